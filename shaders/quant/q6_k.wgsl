// Q6_K: 256 elements in 16 groups of 16, w = d * scale * (q - 32). In the file, bytes:
// 0 to 127 low nibbles of q; 128 to 191 its top two bits; 192 to 207 signed scales;
// 208 f16 d. As stored here: the first 208 bytes of every block, then every d.
// Element 32 g + l of each half of a block (g < 4, l < 32) is nibble g / 2 of byte
// 32 (g % 2) + l of the half's 64, and bits 2 g and 2 g + 1 of byte l of its 32.
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 210u;

//#include "common/bytes.wgsl"

// The f16 scales follow the bodies of all blocks.
fn block_scale(block: u32) -> f32 {
  let n_blocks = arrayLength(&weight) * 4u / BLOCK_BYTES;
  return f16_at(weight[n_blocks * 52u + block / 2u], block & 1u);
}

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let top = byte(weight[block * 52u + 48u + i / 64u], (i / 16u) & 3u) << 24u;
  let scale = block_scale(block) * f32(bitcast<i32>(top) >> 24u);
  return vec2<f32>(scale, -32.0 * scale);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * 52u + (i & 31u) / 4u;
  let half_block = i / 128u;
  let group = (i / 32u) & 3u;
  let low = nibbles(weight[word + 16u * half_block + 8u * (group & 1u)], 4u * (group / 2u));
  let high = crumbs(weight[word + 32u + 8u * half_block], 2u * group);
  return vec4<f32>(low | (high << vec4<u32>(4u)));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  let scales = group_scales(block, i);
  return scales.x * quants4(block, i) + scales.y;
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
