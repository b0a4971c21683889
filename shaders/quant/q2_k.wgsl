// Q2_K: 256 elements in 16 groups of 16, w = d * scale * q - dmin * min. Bytes: 0 to 15
// scale (low nibble) and min of each group; 16 to 79 q; 80 f16 d; 82 f16 dmin.
// Elements 32 g + l of each half of a block are bits 2 g and 2 g + 1 of its byte l, g < 4.
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 84u;

//#include "common/bytes.wgsl"

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let word = block * 21u;
  let group = byte(weight[word + i / 64u], (i / 16u) & 3u);
  return unpack2x16float(weight[word + 20u])
    * vec2<f32>(f32(group & 15u), -f32(group >> 4u));
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * 21u + 4u + 8u * (i / 128u) + (i & 31u) / 4u;
  return vec4<f32>(crumbs(weight[word], 2u * ((i / 32u) & 3u)));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  let scales = group_scales(block, i);
  return scales.x * quants4(block, i) + scales.y;
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
