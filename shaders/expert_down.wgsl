// expert_down - the chosen experts' down projections, weighted and added up.
//
//   y[r] = sum_j w[j] * sum_d weight[table[idx[j]], r, d] * x[j, d]
//
// shapes     x: [top_k, dim_in] f32;  weight: [slots, n_rows, dim_in] quant;
//            idx: [top_k] u32;  w: [top_k] f32;  table: [n_experts] u32;  y: [n_rows] f32
// bindings   0 params, 1 x, 2 weight, 3 idx, 4 w, 5 table, 6 y
// overrides  LANES: threads that share four rows, ROWS: such fours per workgroup;
//            TOP_K: top_k
// dispatch   (ceil(n_rows / (4 * ROWS)), 1, 1): each workgroup runs over all chosen experts
// oracle     oracle.ops.expert_down
// tolerance  rtol=2e-6 atol=1e-7
// notes      rtol is of sum_j |w[j]| * sum_d |weight * x|: 1e-6 of the dot products, and
//            top_k <= 16 roundings of the sum over j, which runs in the order of choice,
//            the same every time. This binding holds slots slot_begin to slot_begin +
//            n_slots; what the later parts of a weight give is added to y (`is_later`).
//            dim_in is a multiple of four.
override LANES: u32 = 16u;
override ROWS: u32 = 4u;
override TOP_K: u32 = 8u;

struct Params {
  dim_in: u32,
  n_rows: u32,
  slot_begin: u32,
  n_slots: u32,
  is_later: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<Word>;
@group(0) @binding(3) var<storage, read> idx: array<u32>;
@group(0) @binding(4) var<storage, read> w: array<f32>;
@group(0) @binding(5) var<storage, read> table: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

//#include "input/vector.wgsl"
//#include "dot/{weight}.wgsl"
//#include "common/four_rows.wgsl"
//#include "common/lanes_sum.wgsl"

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_id) thread: vec3<u32>,
) {
  let row = 4u * (group.x * ROWS + thread.y);
  let rows = four_rows(row, params.n_rows);
  var sums = vec4<f32>(0.0);
  for (var j = 0u; j < TOP_K && row < params.n_rows; j++) {
    let slot = table[idx[j]] - params.slot_begin;  // wraps round for an earlier slot
    if (slot < params.n_slots) {
      let begin = slot * params.n_rows;
      sums += w[j] * rows_dot(rows + begin, j * params.dim_in, params.dim_in, thread.x);
    }
  }
  sums = lanes_sum(thread.x, thread.y, sums);
  for (var k = thread.x; k < 4u && row + k < params.n_rows; k += LANES) {
    var sum = sums[k];
    if (params.is_later != 0u) {
      sum += y[row + k];
    }
    y[row + k] = sum;
  }
}
