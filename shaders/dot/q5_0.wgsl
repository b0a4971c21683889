// Q5_0 by words: a block's body is five (quant/q5_0.wgsl).
const BLOCK_SIZE: u32 = 32u;
const BLOCK_BYTES: u32 = 22u;
const BODY_WORDS: u32 = 5u;
const SPAN: u32 = 1u;

//#include "common/bytes.wgsl"
//#include "common/loads_4.wgsl"
//#include "common/sixteen.wgsl"
//#include "common/halves.wgsl"
//#include "common/halves_{precision}.wgsl"
//#include "common/fifths.wgsl"
//#include "common/plane.wgsl"
//#include "common/rows_dot.wgsl"

fn chunk_dot(row: u32, i: u32, x: Halves) -> f32 {
  let fifths = weight[5u * (row + i)];
  let words = four_words(5u * (row + i) + 1u);
  let first = less_offset(low_nibbles(words) | spread_fifths(fifths), 16u);
  let second = less_offset(high_nibbles(words) | spread_fifths(fifths >> 16u), 16u);
  let dots = signed_dots(first, second, x);
  return block_scale(row + i) * (dots.x + dots.y);
}
