// signed_int8 - chunks of 16 elements of x, quantised, by signed bytes. Needs sixteen.
//#include "common/int8.wgsl"

alias Chunk = Quantised;
const CHUNK: u32 = 16u;

fn chunk_x(x_begin: u32, i: u32) -> Chunk {
  return quantise(x16(x_begin + 16u * i));
}
