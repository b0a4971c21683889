// expert_gate_up - choose a token's experts, and compute their gated hidden vectors.
//
//   S = the top_k largest logits, in falling order;  s = table[S_j]
//   routing[j] = S_j;  routing[weights_begin + j] = softmax(logits[S])[j] * scale[S_j]
//   y[j, r] = act(sum_d gate[s, r, d] * x[d]) * sum_d up[s, up_row + r, d] * x[d]
//
// act is that of a file of the slot `unit` (see glu). Ties go to the lower index, and the
// weights may be of another kind; see router_top_k.
//
// shapes     x: [dim_in] f32;  gate, up: [slots, expert_rows, dim_in] quant, which may be
//            one and the same;  logits, scale: [n_experts] f32;  table: [n_experts] u32;
//            routing: [weights_begin + top_k] u32, the weights as the bits of f32;
//            y: [top_k, n_rows] f32
// bindings   0 params, 1 x, 2 gate_weight, 3 up_weight, 4 logits, 5 scale, 6 table,
//            7 routing, 8 y
// overrides  LANES: threads that share four rows, ROWS: such fours of y per workgroup;
//            N_EXPERTS: experts in all, TOP_K: chosen ones;  HAS_SCALE: weights are
//            scaled, RENORMALISED: before that, they add up to 1
// dispatch   (ceil(n_rows / (4 * ROWS)), top_k, 1)
// oracle     oracle.ops.expert_gate_up
// tolerance  rtol=1e-6 atol=1e-7
// notes      rtol is of 1.13 G |u| + |act(g)| U + 2 |y|, with g and u the sums of gate and
//            up, G and U those of their absolute terms: each sum is 1e-6 of G or U off, as
//            in matvec, act's slope (see glu) is at most 1.13, and the unit's error 2e-6 of y.
//            Every workgroup chooses the experts for itself: of 128, that takes 3 barriers
//            and 450 instructions of a SIMD32 unit, beside some 20,000 for the 64 weight
//            rows (100 kB of Q4_K at dim_in 2816) of a workgroup with 32 rows of y. That is
//            a few hundredths; a dispatch of one workgroup instead would hold up the whole
//            device.
//            These bindings hold slots slot_begin to slot_begin + n_slots, from their own
//            slot gate_skip or up_skip on; nothing is written for experts elsewhere.
//            dim_in is a multiple of four.
override LANES: u32 = 16u;
override ROWS: u32 = 4u;
override N_EXPERTS: u32 = 128u;
override TOP_K: u32 = 8u;
override HAS_SCALE: bool = true;
override RENORMALISED: bool = true;

struct Params {
  dim_in: u32,
  n_rows: u32,
  expert_rows: u32,
  up_row: u32,
  slot_begin: u32,
  n_slots: u32,
  gate_skip: u32,
  up_skip: u32,
  weights_begin: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gate_weight: array<gate_Word>;
@group(0) @binding(3) var<storage, read> up_weight: array<up_Word>;
@group(0) @binding(4) var<storage, read> logits: array<f32>;
@group(0) @binding(5) var<storage, read> scale: array<f32>;
@group(0) @binding(6) var<storage, read> table: array<u32>;
@group(0) @binding(7) var<storage, read_write> routing: array<u32>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

//#include "common/math.wgsl"
//#include "common/order.wgsl"
//#include "common/unit_{unit}.wgsl"
//#include "common/logit.wgsl"
//#include "common/top_k.wgsl"
//#include "common/chosen_weight.wgsl"
//#include "common/lanes_sum.wgsl"
//#include "input/vector.wgsl"
//#include "dot/{gate}.wgsl" as gate
//#include "dot/{up}.wgsl" as up
//#include "common/four_rows.wgsl"

fn chosen_expert(j: u32) -> u32 {
  return chosen[j];
}

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_id) thread: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  choose_top_k(index, LANES * ROWS, 0u);
  let expert = chosen_expert(group.y);
  if (group.x == 0u && index == 0u) {
    routing[group.y] = expert;
    routing[params.weights_begin + group.y] = bitcast<u32>(chosen_weight(0u, group.y));
  }
  let slot = table[expert] - params.slot_begin;  // wraps round for an earlier slot
  let row = 4u * (group.x * ROWS + thread.y);
  let n_rows = select(0u, params.n_rows, slot < params.n_slots);
  var gate = vec4<f32>(0.0);
  var up = vec4<f32>(0.0);
  if (row < n_rows) {
    let rows = four_rows(row, n_rows);
    let gate_begin = (slot + params.gate_skip) * params.expert_rows;
    let up_begin = (slot + params.up_skip) * params.expert_rows + params.up_row;
    gate = gate_rows_dot(rows + gate_begin, 0u, params.dim_in, thread.x);
    up = up_rows_dot(rows + up_begin, 0u, params.dim_in, thread.x);
  }
  gate = lanes_sum(thread.x, thread.y, gate);
  up = lanes_sum(thread.x, thread.y, up);
  for (var k = thread.x; k < 4u && row + k < n_rows; k += LANES) {
    y[group.y * n_rows + row + k] = unit(gate[k], up[k]);
  }
}
