// matmul - a matrix times several vectors.
//
//   y[t, row_begin + r] = sum_d weight[r, d] * x[t, d]
//
// shapes     x: [n_tokens, dim_in] f32;  weight: [n_rows, dim_in] quant;
//            y: [n_tokens, dim_out] f32
// bindings   0 params, 1 x, 2 weight, 3 y
// consts     TOKENS: tokens that a thread carries
// overrides  WG: rows per workgroup, a multiple of the ROWS that a thread carries
// dispatch   (n_rows / WG, n_tokens / TOKENS, 1): a thread per ROWS rows and TOKENS tokens
// oracle     oracle.ops.matmul
// tolerance  rtol=2e-6 atol=1e-7
// notes      rtol is of sum_d |weight[r, d] * x[t, d]|. A chain is dim_in / 4 + 3
//            additions of partial sums that do not grow in one direction: a few 2^-24.
//            Reads of x bound the time: with ROWS = 4 llvmpipe needs 0.4 of the time of
//            ROWS = 1 (Q8_0, 32 tokens, 2048 x 2048).
override WG: u32 = 64u;

struct Params {
  n_tokens: u32,
  dim_in: u32,
  dim_out: u32,
  n_rows: u32,
  row_begin: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include "quant/{quant}.wgsl"
//#include "common/row_tile.wgsl"

@compute @workgroup_size(WG / ROWS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let first_row = group.x * WG + thread * ROWS;
  let first_token = group.y * TOKENS;
  if (first_row >= params.n_rows) {
    return;
  }
  var blocks: array<u32, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    blocks[r] = min(first_row + r, params.n_rows - 1u) * (params.dim_in / BLOCK_SIZE);
  }
  var x_begins: array<u32, TOKENS>;
  for (var t = 0u; t < TOKENS; t++) {
    x_begins[t] = min(first_token + t, params.n_tokens - 1u) * params.dim_in;
  }
  var sums = row_tile(blocks, x_begins, params.dim_in);
  for (var t = 0u; t < min(TOKENS, params.n_tokens - first_token); t++) {
    let y_begin = (first_token + t) * params.dim_out + params.row_begin + first_row;
    for (var r = 0u; r < min(ROWS, params.n_rows - first_row); r++) {
      y[y_begin + r] = sums[r][t];
    }
  }
}
