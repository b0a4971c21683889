// matvec - a matrix times one vector.
//
//   y[row_begin + r] = sum_d weight[r, d] * x[d]
//
// shapes     x: [dim_in] f32;  weight: [n_rows, dim_in] quant;  y: [dim_out] f32
// bindings   0 params, 1 x, 2 weight, 3 y
// overrides  LANES: threads that share a row, ROWS: rows per workgroup
// dispatch   n_rows / ROWS workgroups, folded into y
// oracle     oracle.ops.matvec
// tolerance  rtol=1e-6 atol=1e-7
// notes      rtol is of sum_d |weight[r, d] * x[d]|. A chain is dim_in / (4 LANES) + LANES
//            additions; the roundings of a chain that does not grow in one direction stay
//            within a few 2^-24 of that sum, 16 of which make 1e-6.
//            One barrier whatever LANES is, and always the same order of additions.
override LANES: u32 = 16u;
override ROWS: u32 = 4u;

struct Params {
  dim_in: u32,
  n_rows: u32,
  row_begin: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include "input/plain.wgsl"
//#include "quant/{quant}.wgsl"
//#include "common/row_dot.wgsl"
//#include "common/lanes_sum.wgsl"

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_id) thread: vec3<u32>,
) {
  let row = (group.x + group.y * n_groups.x) * ROWS + thread.y;
  var sum = 0.0;
  if (row < params.n_rows) {
    let block = row * (params.dim_in / BLOCK_SIZE);
    sum = row_dot(block, 0u, params.dim_in, thread.x);
  }
  sum = lanes_sum(thread.x, thread.y, sum);
  if (thread.x == 0u && row < params.n_rows) {
    y[params.row_begin + row] = sum;
  }
}
