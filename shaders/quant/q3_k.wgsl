// Q3_K: 256 elements in 16 groups of 16, w = d * (scale - 32) * (q - 4). In the file,
// bytes: 0 to 31 third bits of q; 32 to 95 the rest; 96 to 107 scales; 108 f16 d. As
// stored here: the first 108 bytes of every block, then every d.
// Elements 32 g + l of each half of a block are bits 2 g and 2 g + 1 of its byte l, g < 4;
// the third bits of elements 32 g + l of the whole block are bit g of byte l, g < 8.
// Scale s has its low nibble in byte s % 8 (high half for s >= 8) and its two top bits in
// byte 8 + s % 4 at bit 2 (s / 4).
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 110u;

//#include "common/bytes.wgsl"

// The f16 scales follow the bodies of all blocks.
fn block_scale(block: u32) -> f32 {
  let n_blocks = arrayLength(&weight) * 4u / BLOCK_BYTES;
  return f16_at(weight[n_blocks * 27u + block / 2u], block & 1u);
}

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let word = block * 27u + 24u;
  let s = i / 16u;
  let low = (byte(weight[word + (s & 7u) / 4u], s & 3u) >> (4u * (s / 8u))) & 15u;
  let high = (byte(weight[word + 2u], s & 3u) >> (2u * (s / 4u))) & 3u;
  let scale = block_scale(block) * (f32(low | (high << 4u)) - 32.0);
  return vec2<f32>(scale, -4.0 * scale);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * 27u + (i & 31u) / 4u;
  let low = crumbs(weight[word + 8u + 8u * (i / 128u)], 2u * ((i / 32u) & 3u));
  let high = bits(weight[word], i / 32u);
  return vec4<f32>(low | (high << vec4<u32>(2u)));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  let scales = group_scales(block, i);
  return scales.x * quants4(block, i) + scales.y;
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
