// eight - chunks of eight elements of two bytes, for rows that are a multiple of eight.
//
// The format gives `widen`, the two floats of a word; needs x4 (input/).
alias Word = vec4<u32>;
const BLOCK_SIZE: u32 = 1u;
const CHUNK: u32 = 8u;

fn chunk_x(x_begin: u32, i: u32) -> mat2x4<f32> {
  return mat2x4<f32>(x4(x_begin + 8u * i), x4(x_begin + 8u * i + 4u));
}

fn chunk_dot(row: u32, i: u32, x: mat2x4<f32>) -> f32 {
  let words = weight[row / 8u + i];
  return dot(vec4<f32>(widen(words.x), widen(words.y)), x[0])
    + dot(vec4<f32>(widen(words.z), widen(words.w)), x[1]);
}
