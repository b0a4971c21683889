// Q4_1: 32 elements, w = d * q + m. Bytes: 0 f16 d; 2 f16 m; 4 to 19 q.
// Byte i of q holds q[i] (low nibble) and q[i + 16].
const BLOCK_SIZE: u32 = 32u;
const BLOCK_BYTES: u32 = 20u;

//#include "common/bytes.wgsl"

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  return unpack2x16float(weight[block * 5u]);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  return vec4<f32>(nibbles(weight[block * 5u + 1u + (i & 15u) / 4u], 4u * (i / 16u)));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  let scales = group_scales(block, i);
  return scales.x * quants4(block, i) + scales.y;
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
