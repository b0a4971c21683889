// chunk_16 - chunks of 16 elements that lie together. Needs sixteen.
const CHUNK: u32 = 16u;

fn chunk_x(x_begin: u32, i: u32) -> mat4x4<f32> {
  return x16(x_begin + 16u * i);
}
