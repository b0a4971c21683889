// Q4_K by loads of 16 bytes, a block's head and its eight chunks (quant/q4_k.wgsl).
const BLOCK_SIZE: u32 = 256u;
const SPAN: u32 = 2u;

//#include "common/bytes.wgsl"
//#include "common/loads_16.wgsl"
//#include "common/sixteen.wgsl"
//#include "common/halves.wgsl"
//#include "common/halves_{precision}.wgsl"
//#include "common/k_scales.wgsl"
//#include "common/rows_dot.wgsl"

fn chunk_dot(row: u32, i: u32, x: Halves) -> f32 {
  let block = 9u * (row + i / 8u);
  let head = weight[block];
  let words = weight[block + 1u + i % 8u];
  let first = k_scales(head, i & 6u);  // two groups to two chunks
  let second = k_scales(head, (i & 6u) + 1u);
  let dots = bytes_dots(low_nibbles(words), high_nibbles(words), x);
  return dot(vec4<f32>(first, second), vec4<f32>(dots.x, x.sums.x, dots.y, x.sums.y));
}
