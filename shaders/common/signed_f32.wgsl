// signed_f32 - chunks of 16 elements of x as they are, by signed bytes. Needs sixteen.
//#include "common/chunk_16.wgsl"
alias Chunk = mat4x4<f32>;

fn signed_dot(words: vec4<u32>, x: Chunk) -> f32 {
  return dot16(signed16(words), x);
}
