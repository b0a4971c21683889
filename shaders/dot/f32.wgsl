// F32 by loads of 16 bytes: rows are a multiple of four elements.
alias Word = vec4<u32>;
const BLOCK_SIZE: u32 = 1u;
const CHUNK: u32 = 4u;

//#include "common/rows_dot.wgsl"

fn chunk_x(x_begin: u32, i: u32) -> vec4<f32> {
  return x4(x_begin + 4u * i);
}

fn chunk_dot(row: u32, i: u32, x: vec4<f32>) -> f32 {
  return dot(bitcast<vec4<f32>>(weight[row / 4u + i]), x);
}
