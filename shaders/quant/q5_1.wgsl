// Q5_1: 32 elements, w = d * q + m. Bytes: 0 f16 d; 2 f16 m; 4 u32 with the fifth bits; 8
// to 23 the rest. Byte i of these holds the low bits of q[i] (low nibble) and q[i + 16].
const BLOCK_SIZE: u32 = 32u;
const BLOCK_BYTES: u32 = 24u;

//#include "common/bytes.wgsl"

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  return unpack2x16float(weight[block * 6u]);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * 6u;
  let low = nibbles(weight[word + 2u + (i & 15u) / 4u], 4u * (i / 16u));
  let high = (vec4<u32>(weight[word + 1u] >> i) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u);
  return vec4<f32>(low | (high << vec4<u32>(4u)));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  let scales = group_scales(block, i);
  return scales.x * quants4(block, i) + scales.y;
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
