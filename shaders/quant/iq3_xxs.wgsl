// IQ3_XXS: 256 elements in 8 groups of 32, w = d * (1/2 + scale) / 2 * grid[code] * signs.
// In the file: f16 d; 64 bytes, codes for four elements each; a word for each group: four
// times seven signs, and a 4-bit scale on top. As stored here: the other 96 bytes of every
// block, every d, the grid (common/grid.wgsl).
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 98u;
const BODY_WORDS: u32 = 24u;
const GRID_WORDS: u32 = 128u;

//#include "common/bytes.wgsl"
//#include "common/grid.wgsl"
//#include "common/grid_plane.wgsl"
//#include "common/grid_3.wgsl"
//#include "common/even_signs.wgsl"

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let scale = f32(weight[block * BODY_WORDS + 16u + i / 32u] >> 28u);
  return vec2<f32>(block_scale(block) * (0.5 + scale) * 0.5, 0.0);
}

// Levels 0 to 7 stand for 4, 12, 20, 28, 36, 44, 52 and, out of step, 62.
fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * BODY_WORDS;
  let levels = grid_3(byte(weight[word + i / 16u], (i / 4u) & 3u));
  let values = 8u * levels + 4u + 2u * (levels / 7u);
  let signs = even_signs(weight[word + 16u + i / 32u] >> (7u * ((i / 8u) & 3u)));
  return signed4(vec4<f32>(values), signs >> (i & 4u));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return group_scales(block, i).x * quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
