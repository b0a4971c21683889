// elements - chunks of one element, for rows of a float type of any length. Needs x4
// (input/), and a format of blocks of one element (quant/).
const CHUNK: u32 = 1u;

fn chunk_x(x_begin: u32, i: u32) -> f32 {
  return x4(x_begin + (i & ~3u))[i & 3u];
}

fn chunk_dot(row: u32, i: u32, x: f32) -> f32 {
  return dequant(row + i, 0u) * x;
}
