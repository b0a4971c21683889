// IQ1_S: 256 elements in 8 groups of 32, w = d * (1 + 2 scale) * (grid[code] +- 1/8), the
// grid of -1, 0 and 1. In the file: f16 d; 32 bytes, the low bits of a code for eight
// elements each; a u16 for each group: four times the three top bits, a 3-bit scale, the
// sign of 1/8. As stored here: the other 48 bytes of every block, every d, the grid
// (common/grid.wgsl).
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 50u;
const BODY_WORDS: u32 = 12u;
const GRID_WORDS: u32 = 1024u;

//#include "common/bytes.wgsl"
//#include "common/grid.wgsl"
//#include "common/grid_plane.wgsl"
//#include "common/grid_1.wgsl"

fn group_head(block: u32, i: u32) -> u32 {
  return weight[block * BODY_WORDS + 8u + i / 64u] >> ((i & 32u) / 2u);
}

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let scale = (group_head(block, i) >> 12u) & 7u;
  return vec2<f32>(block_scale(block) * f32(1u + 2u * scale), 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let head = group_head(block, i);
  let eighth = (i / 8u) & 3u;
  let top = (head >> (3u * eighth)) & 7u;
  let code = byte(weight[block * BODY_WORDS + i / 32u], eighth) | (top << 8u);
  return grid_1(code, i, (head >> 15u) & 1u);
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return group_scales(block, i).x * quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
