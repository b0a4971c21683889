// IQ2_S: 256 elements in 16 groups of 16, w = d * (1/2 + scale) / 4 * grid[code] * signs.
// In the file: f16 d; 32 bytes, the low bits of a code for eight elements each; 32 bytes
// of signs; 8 bytes with the two top bits of the codes; 8 bytes of 4-bit scales. As stored
// here: the other 80 bytes of every block, every d, the grid (common/grid.wgsl).
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 82u;
const BODY_WORDS: u32 = 20u;
const GRID_WORDS: u32 = 512u;

//#include "common/bytes.wgsl"
//#include "common/grid.wgsl"
//#include "common/grid_plane.wgsl"
//#include "common/grid_2.wgsl"

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let scales = weight[block * BODY_WORDS + 18u + i / 128u];
  let scale = f32((scales >> (4u * ((i / 16u) & 7u))) & 15u);
  return vec2<f32>(block_scale(block) * (0.5 + scale) * 0.25, 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * BODY_WORDS + i / 32u;
  let eighth = (i / 8u) & 3u;
  let tops = weight[block * BODY_WORDS + 16u + i / 128u] >> (2u * ((i / 8u) & 15u));
  let code = byte(weight[word], eighth) | ((tops & 3u) << 8u);
  return signed4(grid_2(code, i), byte(weight[word + 8u], eighth) >> (i & 4u));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return group_scales(block, i).x * quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
