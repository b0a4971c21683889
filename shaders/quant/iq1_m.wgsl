// IQ1_M: 256 elements in 16 groups of 16, w = d * (1 + 2 scale) * (grid[code] +- 1/8), the
// grid of -1, 0 and 1. Bytes: 0 to 31 the low bits of a code for eight elements each; 32 to
// 47 a nibble for each, its three top bits and the sign of 1/8; 48 four u16 of four 3-bit
// scales, on top of which are the four nibbles of f16 d, lowest first. Behind the blocks:
// the grid (common/grid.wgsl).
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 56u;
const GRID_WORDS: u32 = 1024u;

//#include "common/bytes.wgsl"
//#include "common/grid.wgsl"
//#include "common/grid_1.wgsl"

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let word = block * 14u + 12u;
  let nibbles = vec2<u32>(weight[word], weight[word + 1u]) & vec2<u32>(0xf000f000u);
  let pairs = (nibbles >> vec2<u32>(12u)) | (nibbles >> vec2<u32>(24u));
  let d = f16_at((pairs.x & 255u) | ((pairs.y & 255u) << 8u), 0u);
  let scales = weight[word + i / 128u] >> ((i & 64u) / 4u);
  let scale = (scales >> (3u * ((i / 16u) & 3u))) & 7u;
  return vec2<f32>(d * f32(1u + 2u * scale), 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * 14u;
  let nibble = weight[word + 8u + i / 64u] >> (4u * ((i / 8u) & 7u));
  let code = byte(weight[word + i / 32u], (i / 8u) & 3u) | ((nibble & 7u) << 8u);
  return grid_1(code, i, (nibble >> 3u) & 1u);
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return group_scales(block, i).x * quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
