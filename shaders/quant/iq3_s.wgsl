// IQ3_S: 256 elements in 8 groups of 32, w = d * (1 + 2 scale) * grid[code] * signs.
// In the file: f16 d; 64 bytes, the low bits of a code for four elements each; 8 bytes with
// the codes' ninth bits; 32 bytes of signs; 4 bytes of 4-bit scales. As stored here: the
// other 108 bytes of every block, every d, the grid (common/grid.wgsl).
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 110u;
const BODY_WORDS: u32 = 27u;
const GRID_WORDS: u32 = 256u;

//#include "common/bytes.wgsl"
//#include "common/grid.wgsl"
//#include "common/grid_plane.wgsl"
//#include "common/grid_3.wgsl"

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let scale = (weight[block * BODY_WORDS + 26u] >> (4u * (i / 32u))) & 15u;
  return vec2<f32>(block_scale(block) * f32(1u + 2u * scale), 0.0);
}

// Levels 0 to 7 stand for 1, 3, 5, ... 15.
fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * BODY_WORDS;
  let ninth = (weight[word + 16u + i / 128u] >> ((i / 4u) & 31u)) & 1u;
  let levels = grid_3(byte(weight[word + i / 16u], (i / 4u) & 3u) | (ninth << 8u));
  let signs = byte(weight[word + 18u + i / 32u], (i / 8u) & 3u);
  return signed4(vec4<f32>(2u * levels + 1u), signs >> (i & 4u));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return group_scales(block, i).x * quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
