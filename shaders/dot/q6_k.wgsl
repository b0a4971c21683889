// Q6_K by loads of 16 bytes, of a body eight of low bits, four of top bits, one of scales
// (quant/q6_k.wgsl).
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 210u;
const BODY_WORDS: u32 = 52u;
const SPAN: u32 = 4u;

//#include "common/bytes.wgsl"
//#include "common/loads_16.wgsl"
//#include "common/sixteen.wgsl"
//#include "common/halves.wgsl"
//#include "common/halves_{precision}.wgsl"
//#include "common/plane.wgsl"
//#include "common/rows_dot.wgsl"

// Two bits of each byte, `shift` bits up, above the nibbles.
fn top_bits(words: vec4<u32>, shift: u32) -> vec4<u32> {
  return ((words >> vec4<u32>(shift)) & vec4<u32>(0x03030303u)) << vec4<u32>(4u);
}

fn chunk_dot(row: u32, i: u32, x: Halves) -> f32 {
  let block = row + i / 8u;
  let half_block = i / 4u % 2u;
  let words = weight[13u * block + i % 8u];
  let tops = weight[13u * block + 8u + 2u * half_block + i % 2u];
  let both = weight[13u * block + 12u];
  let chosen = select(both.xy, both.zw, half_block == 1u) << vec2<u32>(24u - 8u * (i % 4u));
  let scales = vec2<f32>(bitcast<vec2<i32>>(chosen) >> vec2<u32>(24u));
  let first = less_offset(low_nibbles(words) | top_bits(tops, i & 2u), 32u);
  let second = less_offset(high_nibbles(words) | top_bits(tops, (i & 2u) + 4u), 32u);
  return block_scale(block) * dot(scales, signed_dots(first, second, x));
}
