// IQ4_XS by words: a block is two of head and eight times four (quant/iq4_xs.wgsl).
const BLOCK_SIZE: u32 = 256u;
const SPAN: u32 = 1u;

//#include "common/bytes.wgsl"
//#include "common/loads_4.wgsl"
//#include "common/sixteen.wgsl"
//#include "common/halves.wgsl"
//#include "common/halves_f32.wgsl"
//#include "common/iq4.wgsl"
//#include "common/codes.wgsl"
//#include "common/rows_dot.wgsl"

fn code_values(q: vec4<u32>) -> vec4<f32> {
  return iq4_values(q);
}

fn chunk_dot(row: u32, i: u32, x: Halves) -> f32 {
  let block = 34u * (row + i / 8u);
  let group = i % 8u;
  let scale = iq4_scale(weight[block], weight[block + 1u], group);
  return scale * codes_dot(four_words(block + 2u + 4u * group), x);
}
