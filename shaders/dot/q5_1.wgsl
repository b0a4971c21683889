// Q5_1 by words: a block is six (quant/q5_1.wgsl).
const BLOCK_SIZE: u32 = 32u;
const SPAN: u32 = 1u;

//#include "common/bytes.wgsl"
//#include "common/loads_4.wgsl"
//#include "common/sixteen.wgsl"
//#include "common/halves.wgsl"
//#include "common/halves_{precision}.wgsl"
//#include "common/fifths.wgsl"
//#include "common/rows_dot.wgsl"

fn chunk_dot(row: u32, i: u32, x: Halves) -> f32 {
  let block = 6u * (row + i);
  let fifths = weight[block + 1u];
  let words = four_words(block + 2u);
  let dots = bytes_dots(
    low_nibbles(words) | spread_fifths(fifths),
    high_nibbles(words) | spread_fifths(fifths >> 16u), x);
  let sums = vec2<f32>(dots.x + dots.y, x.sums.x + x.sums.y);
  return dot(unpack2x16float(weight[block]), sums);
}
