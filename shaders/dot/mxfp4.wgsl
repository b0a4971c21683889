// MXFP4 by loads of 16 bytes, the body of a block (quant/mxfp4.wgsl).
const BLOCK_SIZE: u32 = 32u;
const BLOCK_BYTES: u32 = 17u;
const BODY_WORDS: u32 = 4u;
const SPAN: u32 = 1u;

//#include "common/bytes.wgsl"
//#include "common/loads_16.wgsl"
//#include "common/sixteen.wgsl"
//#include "common/halves.wgsl"
//#include "common/halves_f32.wgsl"
//#include "common/fp4.wgsl"
//#include "common/codes.wgsl"
//#include "common/plane.wgsl"
//#include "common/rows_dot.wgsl"

fn code_values(q: vec4<u32>) -> vec4<f32> {
  return fp4_values(q);
}

fn chunk_dot(row: u32, i: u32, x: Halves) -> f32 {
  let block = row + i;
  let scale = fp4_scale(byte(plane_word(block / 4u), block & 3u));
  return scale * codes_dot(weight[block], x);
}
