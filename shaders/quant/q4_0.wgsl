// Q4_0: 32 elements, w = d * (q - 8). In the file: f16 d; 16 bytes q. As stored here: the
// 16 bytes of every block, then every d. Byte i holds q[i] (low nibble) and q[i + 16].
const BLOCK_SIZE: u32 = 32u;
const BLOCK_BYTES: u32 = 18u;

//#include "common/bytes.wgsl"

// The f16 scales follow the bodies of all blocks.
fn block_scale(block: u32) -> f32 {
  let n_blocks = arrayLength(&weight) * 4u / BLOCK_BYTES;
  return f16_at(weight[n_blocks * 4u + block / 2u], block & 1u);
}

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let d = block_scale(block);
  return vec2<f32>(d, -8.0 * d);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  return vec4<f32>(nibbles(weight[block * 4u + (i & 15u) / 4u], 4u * (i / 16u)));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  let scales = group_scales(block, i);
  return scales.x * quants4(block, i) + scales.y;
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
