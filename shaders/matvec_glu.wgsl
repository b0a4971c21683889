// matvec_glu - the gated unit of one vector, which may still have to be made.
//
//   y[r] = act(sum_d gate[r, d] * h[d]) * sum_d up[r, d] * h[d]
//   or, up being a vector (dot/given.wgsl), the second factor is up[up_begin + r];
//   act is gelu or another activation (see glu)
//
// shapes     gate, up: [n_rows, dim_in] quant, or up: a vector;  y: [n_rows];
//            h: [dim_in], by an input (shaders/input/) from x, more and vectors;
//            total: [dim_in];  all else f32
// bindings   0 params, 1 x, 2 more, 3 vectors, 4 gate_weight, 5 up_weight, 6 total, 7 y
// overrides  LANES: threads that share four rows, ROWS: such fours at a time,
//            TURNS: how many times a workgroup does that
// dispatch   n_rows / (4 * ROWS * TURNS) workgroups, folded into y
// oracle     oracle.ops.matvec_glu
// tolerance  rtol=6e-6 atol=1e-7
// notes      rtol is of 1.13 G |up| + |act| U, where G and U are the sums of the absolute
//            values of gate's and up's terms: 1.13 is the steepest slope of an activation,
//            3.4e-6 the error of a sum (matvec_many), and 2e-6 that of the unit itself.
override LANES: u32 = 16u;
override ROWS: u32 = 4u;
override TURNS: u32 = 1u;

struct Params {
  dim_in: u32,
  n_rows: u32,
  up_begin: u32,
  branch_norm: u32,
  layer_scale: u32,
  norm: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> more: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> vectors: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> gate_weight: array<gate_Word>;
@group(0) @binding(5) var<storage, read> up_weight: array<up_Word>;
@group(0) @binding(6) var<storage, read_write> total: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

//#include "input/{input}.wgsl"
//#include "dot/{gate}.wgsl" as gate
//#include "dot/{up}.wgsl" as up
//#include "common/four_rows.wgsl"
//#include "common/lanes_sum.wgsl"
//#include "common/math.wgsl"
//#include "common/unit_{unit}.wgsl"

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_id) thread: vec3<u32>,
) {
  let first = group.x + group.y * n_groups.x;
  make_input(thread.y * LANES + thread.x, first == 0u);
  let dim_in = params.dim_in;
  for (var turn = 0u; turn < TURNS; turn++) {
    let row = 4u * ((first * TURNS + turn) * ROWS + thread.y);
    var gate = vec4<f32>(0.0);
    var up = vec4<f32>(0.0);
    if (row < params.n_rows) {
      let rows = four_rows(row, params.n_rows);
      gate = gate_rows_dot(rows, 0u, dim_in, thread.x);
      up = up_rows_dot(rows + params.up_begin, 0u, dim_in, thread.x);
    }
    gate = lanes_sum(thread.x, thread.y, gate);
    up = lanes_sum(thread.x, thread.y, up);
    for (var k = thread.x; k < 4u && row + k < params.n_rows; k += LANES) {
      y[row + k] = unit(gate[k], up[k]);
    }
  }
}
