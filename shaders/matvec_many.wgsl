// matvec_many - up to three matrices times one vector, which may still have to be made.
//
//   y[a_begin + r] = cap(sum_d a[r, d] * h[d]), r < a_rows;  likewise b and c
//   cap(v) = cap * tanh(v / cap) with HAS_CAP, as softcap; else v
//
// shapes     a, b, c: [their rows, dim_in] quant, none for a matrix that is absent;
//            h: [dim_in], by an input (shaders/input/) from x, more and vectors;
//            total: [dim_in];  y: [dim_out];  all f32
// bindings   0 params, 1 x, 2 more, 3 vectors, 4 a_weight, 5 b_weight, 6 c_weight,
//            7 total, 8 y
// overrides  LANES: threads that share four rows, ROWS: such fours at a time,
//            TURNS: how many times a workgroup does that, HAS_CAP: squash the results
// dispatch   each matrix's rows / (4 * ROWS * TURNS) workgroups, folded into y
// oracle     oracle.ops.matvec_many
// tolerance  rtol=4e-6 atol=1e-7
// notes      A workgroup belongs wholly to one matrix. rtol is of sum_d |a[r, d] * h[d]|,
//            h's own sum of two taken absolute too: 1e-6 for each of two norms and for the
//            dot product, 2^-24 for each of a sum and five products. total keeps the bound
//            of add_norm.
override LANES: u32 = 16u;
override ROWS: u32 = 4u;
override TURNS: u32 = 1u;
override HAS_CAP: bool = false;

struct Params {
  dim_in: u32,
  a_rows: u32,
  b_rows: u32,
  c_rows: u32,
  a_begin: u32,
  b_begin: u32,
  c_begin: u32,
  cap: f32,
  branch_norm: u32,
  layer_scale: u32,
  norm: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> more: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> vectors: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> a_weight: array<a_Word>;
@group(0) @binding(5) var<storage, read> b_weight: array<b_Word>;
@group(0) @binding(6) var<storage, read> c_weight: array<c_Word>;
@group(0) @binding(7) var<storage, read_write> total: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

//#include "input/{input}.wgsl"
//#include "dot/{a}.wgsl" as a
//#include "dot/{b}.wgsl" as b
//#include "dot/{c}.wgsl" as c
//#include "common/four_rows.wgsl"
//#include "common/lanes_sum.wgsl"
//#include "common/math.wgsl"

fn shares(matrix: u32, rows: vec4<u32>, lane: u32) -> vec4<f32> {
  switch (matrix) {
    case 0u: {
      return a_rows_dot(rows, 0u, params.dim_in, lane);
    }
    case 1u: {
      return b_rows_dot(rows, 0u, params.dim_in, lane);
    }
    default: {
      return c_rows_dot(rows, 0u, params.dim_in, lane);
    }
  }
}

// How many workgroups share a matrix's rows.
fn groups_of(n_rows: u32) -> u32 {
  return (n_rows + 4u * ROWS * TURNS - 1u) / (4u * ROWS * TURNS);
}

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_id) thread: vec3<u32>,
) {
  var matrix = 0u;
  var n_rows = params.a_rows;
  var y_begin = params.a_begin;
  var within = group.x + group.y * n_groups.x;
  make_input(thread.y * LANES + thread.x, within == 0u);
  if (within >= groups_of(params.a_rows)) {
    within -= groups_of(params.a_rows);
    matrix = 1u;
    n_rows = params.b_rows;
    y_begin = params.b_begin;
    if (within >= groups_of(params.b_rows)) {
      within -= groups_of(params.b_rows);
      matrix = 2u;
      n_rows = params.c_rows;
      y_begin = params.c_begin;
    }
  }
  for (var turn = 0u; turn < TURNS; turn++) {
    let row = 4u * ((within * TURNS + turn) * ROWS + thread.y);
    var sums = vec4<f32>(0.0);
    if (row < n_rows) {
      sums = shares(matrix, four_rows(row, n_rows), thread.x);
    }
    sums = lanes_sum(thread.x, thread.y, sums);
    for (var k = thread.x; k < 4u && row + k < n_rows; k += LANES) {
      var sum = sums[k];
      if (HAS_CAP) {
        sum = softcap_f32(sum, params.cap);
      }
      y[y_begin + row + k] = sum;
    }
  }
}
