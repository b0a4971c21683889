// Q5_0: 32 elements, w = d * (q - 16). In the file: f16 d; u32 with the fifth bits; 16
// bytes with the rest. As stored here: the last 20 bytes of every block, then every d.
// Byte i holds the low bits of q[i] (low nibble) and q[i + 16]; bit i of the u32 is q[i]'s.
const BLOCK_SIZE: u32 = 32u;
const BLOCK_BYTES: u32 = 22u;

//#include "common/bytes.wgsl"

// The f16 scales follow the bodies of all blocks.
fn block_scale(block: u32) -> f32 {
  let n_blocks = arrayLength(&weight) * 4u / BLOCK_BYTES;
  return f16_at(weight[n_blocks * 5u + block / 2u], block & 1u);
}

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let d = block_scale(block);
  return vec2<f32>(d, -16.0 * d);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * 5u;
  let low = nibbles(weight[word + 1u + (i & 15u) / 4u], 4u * (i / 16u));
  let high = (vec4<u32>(weight[word] >> i) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u);
  return vec4<f32>(low | (high << vec4<u32>(4u)));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  let scales = group_scales(block, i);
  return scales.x * quants4(block, i) + scales.y;
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
