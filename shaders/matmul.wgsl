// matmul - a matrix times several vectors.
//
//   y[t, row_begin + r] = sum_d weight[r, d] * x[t, d]
//
// shapes     x: [n_tokens, dim_in] f32;  weight: [n_rows, dim_in] quant;
//            y: [n_tokens, dim_out] f32
// bindings   0 params, 1 x, 2 weight, 3 y
// consts     TOKENS: tokens that a thread carries
// overrides  WG: threads per workgroup
// dispatch   (n_rows / WG, n_tokens / TOKENS, 1): a thread per row and tile of tokens
// oracle     oracle.ops.matmul
// tolerance  rtol=2e-6 atol=1e-7
// notes      rtol is of sum_d |weight[r, d] * x[t, d]|. A chain is dim_in / 4 + 3
//            additions of partial sums that do not grow in one direction: a few 2^-24.
//            A row is decoded once for TOKENS tokens; threads of a workgroup read the
//            same x at the same time.
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

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.x * WG + thread;
  if (row >= params.n_rows) {
    return;
  }
  let first = group.y * TOKENS;
  for (var t = 0u; t < TOKENS; t++) {
    tile_x[t] = min(first + t, params.n_tokens - 1u) * params.dim_in;
  }
  row_tile(row * (params.dim_in / BLOCK_SIZE), params.dim_in);
  for (var t = 0u; t < min(TOKENS, params.n_tokens - first); t++) {
    y[(first + t) * params.dim_out + params.row_begin + row] = tile_sums[t];
  }
}
