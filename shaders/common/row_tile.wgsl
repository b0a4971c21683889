// row_tile - the dot products of ROWS weight rows and TOKENS rows of x.
//
// Every value is read once for all its products: a weight for TOKENS of them, an element
// of x for ROWS. A tile that is not full repeats a row. Needs x and a format. `blocks` are
// the first blocks of the weight rows, `x_begins` the first elements of the rows of x.
const ROWS: u32 = 4u;

fn row_tile(
  blocks: array<u32, ROWS>,
  x_begins: array<u32, TOKENS>,
  dim_in: u32,
) -> array<array<f32, TOKENS>, ROWS> {
  var block = blocks;
  var x_begin = x_begins;
  var sums: array<array<f32, TOKENS>, ROWS>;
  let whole = dim_in & ~3u;
  for (var d = 0u; d < whole; d += 4u) {
    var weights: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
      weights[r] = dequant4(block[r] + d / BLOCK_SIZE, d % BLOCK_SIZE);
    }
    for (var t = 0u; t < TOKENS; t++) {
      let i = x_begin[t] + d;
      let four = vec4<f32>(x[i], x[i + 1u], x[i + 2u], x[i + 3u]);
      for (var r = 0u; r < ROWS; r++) {
        sums[r][t] += dot(weights[r], four);
      }
    }
  }
  // The rest of a row of a float type; blocks are multiples of four, and their variants
  // compile faster without this.
  for (var d = whole; BLOCK_SIZE == 1u && d < dim_in; d++) {
    for (var r = 0u; r < ROWS; r++) {
      let value = dequant(block[r] + d, 0u);
      for (var t = 0u; t < TOKENS; t++) {
        sums[r][t] += value * x[x_begin[t] + d];
      }
    }
  }
  return sums;
}
