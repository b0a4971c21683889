// NVFP4: 64 elements in 4 groups of 16, w = matrix scale * scale * code book[q]
// (common/fp4.wgsl). Bytes: 0 to 3 the groups' scales, floats of four bits of exponent and
// three of mantissa (127 is 0), halved as the code book is doubled; 4 to 35 q, 8 bytes to a
// group: byte j holds q[j] (low nibble) and q[j + 8]. Behind the blocks: f32 scales of
// matrices, the first one last, and a u32, how many blocks each of them is for.
const BLOCK_SIZE: u32 = 64u;
const BLOCK_BYTES: u32 = 36u;

//#include "common/bytes.wgsl"
//#include "common/fp4.wgsl"

fn matrix_scale(block: u32) -> f32 {
  let last = arrayLength(&weight) - 1u;
  return bitcast<f32>(weight[last - 1u - block / weight[last]]);
}

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let bits = byte(weight[block * 9u], i / 16u);
  // As a half, its exponent is eight too low.
  let scale = select(128.0 * f16_at((bits & 127u) << 7u, 0u), 0.0, bits == 127u);
  return vec2<f32>(matrix_scale(block) * scale, 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * 9u + 1u + 2u * (i / 16u) + (i & 7u) / 4u;
  return fp4_values(nibbles(weight[word], (i & 8u) / 2u));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return group_scales(block, i).x * quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
