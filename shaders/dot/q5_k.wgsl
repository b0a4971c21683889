// Q5_K by loads of 16 bytes, of a block one of head, two of fifth bits, eight of the rest
// (quant/q5_k.wgsl).
const BLOCK_SIZE: u32 = 256u;
const SPAN: u32 = 2u;

//#include "common/bytes.wgsl"
//#include "common/loads_16.wgsl"
//#include "common/sixteen.wgsl"
//#include "common/halves.wgsl"
//#include "common/halves_{precision}.wgsl"
//#include "common/k_scales.wgsl"
//#include "common/fifths.wgsl"
//#include "common/rows_dot.wgsl"

fn chunk_dot(row: u32, i: u32, x: Halves) -> f32 {
  let block = 11u * (row + i / 8u);
  let head = weight[block];
  let fifths = weight[block + 1u + i % 2u];
  let words = weight[block + 3u + i % 8u];
  let group = i & 6u;  // two groups to two chunks
  let first = k_scales(head, group);
  let second = k_scales(head, group + 1u);
  let dots = bytes_dots(
    low_nibbles(words) | byte_fifths(fifths, group),
    high_nibbles(words) | byte_fifths(fifths, group + 1u), x);
  return dot(vec4<f32>(first, second), vec4<f32>(dots.x, x.sums.x, dots.y, x.sums.y));
}
