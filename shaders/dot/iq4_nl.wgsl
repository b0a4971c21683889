// IQ4_NL by loads of 16 bytes, the body of a block (quant/iq4_nl.wgsl).
const BLOCK_SIZE: u32 = 32u;
const BLOCK_BYTES: u32 = 18u;
const BODY_WORDS: u32 = 4u;
const SPAN: u32 = 1u;

//#include "common/bytes.wgsl"
//#include "common/loads_16.wgsl"
//#include "common/sixteen.wgsl"
//#include "common/halves.wgsl"
//#include "common/halves_f32.wgsl"
//#include "common/iq4.wgsl"
//#include "common/codes.wgsl"
//#include "common/plane.wgsl"
//#include "common/rows_dot.wgsl"

fn code_values(q: vec4<u32>) -> vec4<f32> {
  return iq4_values(q);
}

fn chunk_dot(row: u32, i: u32, x: Halves) -> f32 {
  return block_scale(row + i) * codes_dot(weight[row + i], x);
}
