// expert_matvec - the matrix of the chosen expert times one vector, for each assignment.
//
//   y[a, y_offset + r] = sum_d weight[table[idx[a]] - slot_begin, r, d] * x[a / per_x, d]
//
// shapes     x: [n_assignments / per_x, dim_in] f32;  weight: [n_slots, n_rows, dim_in]
//            quant;  idx: [n_assignments] u32;  table: [n_experts] u32;
//            y: [n_assignments, y_stride] f32
// bindings   0 params, 1 x, 2 weight, 3 idx, 4 table, 5 y
// overrides  LANES: threads that share a row, ROWS: rows per workgroup
// dispatch   (n_rows / ROWS, n_assignments, 1)
// oracle     oracle.ops.expert_matvec
// tolerance  rtol=1e-6 atol=1e-7
// notes      rtol is of sum_d |weight * x|, as in matvec. table says which slot holds an
//            expert; this binding holds slots slot_begin to slot_begin + n_slots, and
//            nothing is written for experts elsewhere.
override LANES: u32 = 16u;
override ROWS: u32 = 4u;

struct Params {
  dim_in: u32,
  n_rows: u32,
  per_x: u32,
  slot_begin: u32,
  n_slots: u32,
  y_stride: u32,
  y_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<u32>;
@group(0) @binding(3) var<storage, read> idx: array<u32>;
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

//#include "quant/{quant}.wgsl"
//#include "common/row_dot.wgsl"
//#include "common/lanes_sum.wgsl"

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_id) thread: vec3<u32>,
) {
  let a = group.y;
  let slot = table[idx[a]] - params.slot_begin;  // wraps round for an earlier slot
  if (slot >= params.n_slots) {
    return;  // the whole workgroup
  }
  let row = group.x * ROWS + thread.y;
  var sum = 0.0;
  if (row < params.n_rows) {
    let block = (slot * params.n_rows + row) * (params.dim_in / BLOCK_SIZE);
    sum = row_dot(block, a / params.per_x * params.dim_in, params.dim_in, thread.x);
  }
  sum = lanes_sum(thread.x, thread.y, sum);
  if (thread.x == 0u && row < params.n_rows) {
    y[a * params.y_stride + params.y_offset + row] = sum;
  }
}
