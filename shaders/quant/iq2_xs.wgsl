// IQ2_XS: 256 elements in 16 groups of 16, w = d * (1/2 + scale) / 4 * grid[code] * signs.
// In the file: f16 d; 32 u16, for eight elements each a code of nine bits and seven signs;
// 8 bytes of 4-bit scales. As stored here: the other 72 bytes of every block, every d, the
// grid (common/grid.wgsl).
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 74u;
const BODY_WORDS: u32 = 18u;
const GRID_WORDS: u32 = 256u;

//#include "common/bytes.wgsl"
//#include "common/grid.wgsl"
//#include "common/grid_plane.wgsl"
//#include "common/grid_2.wgsl"
//#include "common/even_signs.wgsl"

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let scales = weight[block * BODY_WORDS + 16u + i / 128u];
  let scale = f32((scales >> (4u * ((i / 16u) & 7u))) & 15u);
  return vec2<f32>(block_scale(block) * (0.5 + scale) * 0.25, 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let code = (weight[block * BODY_WORDS + i / 16u] >> (2u * (i & 8u))) & 0xffffu;
  return signed4(grid_2(code & 511u, i), even_signs(code >> 9u) >> (i & 4u));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return group_scales(block, i).x * quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
