// tile_private - TILE_ROWS x TOKENS dot products; a thread carries four rows of them.
//
// For adapters in software: there is no barrier, and every value is read once for all its
// products in a thread, a weight for TOKENS of them, an element of x for four. Needs a
// format, x, params.dim_in, and of the kernel
//   row_block(row), x_begin(token): the first block, or element, of a row of the tile;
//   put(row, token, sum), which leaves out what lies beyond the last.
// Sums run along d in order, whatever else is in the tile.
const ROWS: u32 = 4u;
const WG: u32 = TILE_ROWS / ROWS;

fn multiply(thread: u32) {
  let first_row = thread * ROWS;
  var blocks: array<u32, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    blocks[r] = row_block(first_row + r);
  }
  var x_begins: array<u32, TOKENS>;
  for (var t = 0u; t < TOKENS; t++) {
    x_begins[t] = x_begin(t);
  }
  var sums: array<array<f32, TOKENS>, ROWS>;
  let whole = params.dim_in & ~3u;
  for (var d = 0u; d < whole; d += 4u) {
    var weights: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
      weights[r] = dequant4(blocks[r] + d / BLOCK_SIZE, d % BLOCK_SIZE);
    }
    for (var t = 0u; t < TOKENS; t++) {
      let i = x_begins[t] + d;
      let four = vec4<f32>(x[i], x[i + 1u], x[i + 2u], x[i + 3u]);
      for (var r = 0u; r < ROWS; r++) {
        sums[r][t] += dot(weights[r], four);
      }
    }
  }
  // The rest of a row of a float type; blocks are multiples of four, and their variants
  // compile faster without this.
  for (var d = whole; BLOCK_SIZE == 1u && d < params.dim_in; d++) {
    for (var r = 0u; r < ROWS; r++) {
      let value = dequant(blocks[r] + d, 0u);
      for (var t = 0u; t < TOKENS; t++) {
        sums[r][t] += value * x[x_begins[t] + d];
      }
    }
  }
  for (var t = 0u; t < TOKENS; t++) {
    for (var r = 0u; r < ROWS; r++) {
      put(first_row + r, t, sums[r][t]);
    }
  }
}
