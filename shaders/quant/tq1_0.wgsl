// TQ1_0: 256 elements, w = d * (q - 1), q = 0, 1, 2. In the file: 52 bytes of five, at last
// of four, digits in base three; f16 d. As stored here: the 52 bytes of every block, then
// every d. A byte is a fraction of 256: times 3^n, without its whole part, it begins with
// digit n. Elements 32 n + l < 160 are digit n of byte l, the next 80 digits of 16 bytes,
// the last 16 of four, likewise.
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 54u;

//#include "common/bytes.wgsl"

// The f16 scales follow the bodies of all blocks.
fn block_scale(block: u32) -> f32 {
  let n_blocks = arrayLength(&weight) * 4u / BLOCK_BYTES;
  return f16_at(weight[n_blocks * 13u + block / 2u], block & 1u);
}

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  return vec2<f32>(block_scale(block), 0.0);
}

// Word, and digit, of element i.
fn digit_at(i: u32) -> vec2<u32> {
  if (i < 160u) {
    return vec2<u32>((i & 31u) / 4u, i / 32u);
  }
  if (i < 240u) {
    return vec2<u32>(8u + (i & 15u) / 4u, (i - 160u) / 16u);
  }
  return vec2<u32>(12u, (i - 240u) / 4u);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let at = digit_at(i);
  let power = select(byte(0x1b090301u, at.y & 3u), 81u, at.y == 4u);
  let rest = (bytes(weight[block * 13u + at.x]) * power) & vec4<u32>(255u);
  return vec4<f32>((rest * 3u) >> vec4<u32>(8u)) - 1.0;
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return group_scales(block, i).x * quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
