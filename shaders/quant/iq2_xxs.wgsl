// IQ2_XXS: 256 elements in 8 groups of 32, w = d * (1/2 + scale) / 4 * grid[code] * signs.
// In the file: f16 d; 64 bytes q, two words to a group: four codes for eight elements
// each; four times seven signs, and a 4-bit scale on top. As stored here: the 64 bytes of
// every block, every d, the grid (common/grid.wgsl).
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 66u;
const BODY_WORDS: u32 = 16u;
const GRID_WORDS: u32 = 128u;

//#include "common/bytes.wgsl"
//#include "common/grid.wgsl"
//#include "common/grid_plane.wgsl"
//#include "common/grid_2.wgsl"
//#include "common/even_signs.wgsl"

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let scale = f32(weight[block * BODY_WORDS + 2u * (i / 32u) + 1u] >> 28u);
  return vec2<f32>(block_scale(block) * (0.5 + scale) * 0.25, 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * BODY_WORDS + 2u * (i / 32u);
  let eighth = (i / 8u) & 3u;
  let signs = even_signs(weight[word + 1u] >> (7u * eighth));
  return signed4(grid_2(byte(weight[word], eighth), i), signs >> (i & 4u));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return group_scales(block, i).x * quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
