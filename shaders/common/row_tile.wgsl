// row_tile - the dot products of one weight row and TOKENS rows of x, into tile_sums.
//
// The row is decoded once for all of them, in runs that share their scales. Fill tile_x,
// the first element of each row of x, before; a tile that is not full repeats a row.
// Needs x and a format. `block` is the weight row's first block.
const RUN: u32 = 16u;  // no format has smaller groups

var<private> tile_x: array<u32, TOKENS>;
var<private> tile_sums: array<f32, TOKENS>;

fn row_tile(block: u32, dim_in: u32) {
  for (var t = 0u; t < TOKENS; t++) {
    tile_sums[t] = 0.0;
  }
  let whole = dim_in / RUN * RUN;
  for (var d = 0u; d < whole; d += RUN) {
    let run_block = block + d / BLOCK_SIZE;
    let run_begin = d % BLOCK_SIZE;
    let scales = group_scales(run_block, run_begin);
    for (var k = 0u; k < RUN; k += 4u) {
      let four = scales.x * quants4(run_block, run_begin + k) + scales.y;
      for (var t = 0u; t < TOKENS; t++) {
        let i = tile_x[t] + d + k;
        tile_sums[t] += dot(four, vec4<f32>(x[i], x[i + 1u], x[i + 2u], x[i + 3u]));
      }
    }
  }
  // The rest of a row of a float type; blocks hold whole runs.
  for (var d = whole; d < dim_in; d++) {
    let value = dequant(block + d, 0u);
    for (var t = 0u; t < TOKENS; t++) {
      tile_sums[t] += value * x[tile_x[t] + d];
    }
  }
}
