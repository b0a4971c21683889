// matmul - a matrix times several vectors.
//
//   y[t, row_begin + r] = sum_d weight[r, d] * x[t, d]
//
// shapes     x: [n_tokens, dim_in] f32;  weight: [n_rows, dim_in] quant;
//            y: [n_tokens, dim_out] f32
// bindings   0 params, 1 x, 2 weight, 3 y
// consts     TILE_ROWS: rows of a workgroup; TOKENS: its tokens; multiples of eight
//            and four
// dispatch   (n_rows / TILE_ROWS, n_tokens / TOKENS, 1): a workgroup per tile
// oracle     oracle.ops.matmul
// tolerance  rtol=2e-6 atol=1e-7
// notes      rtol is of sum_d |weight[r, d] * x[t, d]|. A chain is at most dim_in additions
//            of partial sums whose roundings do not lean in one direction: some 2^-24.
//            A sum's order depends on nothing but d: not on how many tokens a pass has.
//            The tile is common/tile_private.wgsl or, on a GPU, tile_workgroup.wgsl.

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

//#include "quant/{weight}.wgsl"
//#include "common/tile_{tile}.wgsl"

var<private> first_row: u32;  // of the tile
var<private> first_token: u32;

fn row_block(row: u32) -> u32 {
  return min(first_row + row, params.n_rows - 1u) * (params.dim_in / BLOCK_SIZE);
}

fn x_begin(token: u32) -> u32 {
  return min(first_token + token, params.n_tokens - 1u) * params.dim_in;
}

fn n_tokens() -> u32 {
  return params.n_tokens - first_token;
}

fn put(row: u32, token: u32, sum: f32) {
  if (first_row + row < params.n_rows && token < n_tokens()) {
    y[(first_token + token) * params.dim_out + params.row_begin + first_row + row] = sum;
  }
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  first_row = group.x * TILE_ROWS;
  first_token = group.y * TOKENS;
  multiply(thread);
}
