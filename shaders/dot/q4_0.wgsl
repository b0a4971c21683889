// Q4_0 by loads of 16 bytes, the body of a block (quant/q4_0.wgsl).
const BLOCK_SIZE: u32 = 32u;
const BLOCK_BYTES: u32 = 18u;
const BODY_WORDS: u32 = 4u;
const SPAN: u32 = 1u;

//#include "common/bytes.wgsl"
//#include "common/loads_16.wgsl"
//#include "common/sixteen.wgsl"
//#include "common/halves.wgsl"
//#include "common/halves_{precision}.wgsl"
//#include "common/plane.wgsl"
//#include "common/rows_dot.wgsl"

fn chunk_dot(row: u32, i: u32, x: Halves) -> f32 {
  let words = weight[row + i];
  let first = less_offset(low_nibbles(words), 8u);
  let second = less_offset(high_nibbles(words), 8u);
  let dots = signed_dots(first, second, x);
  return block_scale(row + i) * (dots.x + dots.y);
}
