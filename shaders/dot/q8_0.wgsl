// Q8_0 by loads of 16 bytes, two of them the body of a block (quant/q8_0.wgsl).
const BLOCK_SIZE: u32 = 32u;
const BLOCK_BYTES: u32 = 34u;
const BODY_WORDS: u32 = 8u;

//#include "common/bytes.wgsl"
//#include "common/loads_16.wgsl"
//#include "common/sixteen.wgsl"
//#include "common/signed_{precision}.wgsl"
//#include "common/plane.wgsl"
//#include "common/rows_dot.wgsl"

fn chunk_dot(row: u32, i: u32, x: Chunk) -> f32 {
  return block_scale(row + i / 2u) * signed_dot(weight[2u * row + i], x);
}
