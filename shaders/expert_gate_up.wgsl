// expert_gate_up - choose a token's experts, and compute their gated hidden vectors.
//
//   S = the top_k largest logits, in falling order;  s = table[S_j]
//   routing[j] = S_j;  routing[weights_begin + j] = softmax(logits[S])[j] * scale[S_j]
//   y[j, r] = gelu(sum_d gate[s, r, d] * x[d]) * sum_d up[s, up_row + r, d] * x[d]
//
// Ties go to the lower index; see router_top_k.
//
// shapes     x: [dim_in] f32;  gate, up: [slots, expert_rows, dim_in] quant, which may be
//            one and the same;  logits, scale: [n_experts] f32;  table: [n_experts] u32;
//            routing: [weights_begin + top_k] u32, the weights as the bits of f32;
//            y: [top_k, n_rows] f32
// bindings   0 params, 1 x, 2 gate_weight, 3 up_weight, 4 logits, 5 scale, 6 table,
//            7 routing, 8 y
// overrides  LANES: threads that share a row, ROWS: rows of y per workgroup;
//            N_EXPERTS: experts in all, TOP_K: chosen ones
// dispatch   (ceil(n_rows / ROWS), top_k, 1)
// oracle     oracle.ops.expert_gate_up
// tolerance  rtol=1e-6 atol=1e-7
// notes      rtol is of 1.13 G |u| + |gelu(g)| U + 2 |y|, with g and u the sums of gate and
//            up, G and U those of their absolute terms: each sum is 1e-6 of G or U off, as
//            in matvec, gelu's slope is at most 1.13, and geglu's own error 2e-6 of y.
//            Every workgroup chooses the experts for itself: of 128, that takes 3 barriers
//            and 450 instructions of a SIMD32 unit, beside some 5,000 for the 32 weight
//            rows (50 kB of Q4_K at dim_in 2816) of a workgroup with 16 rows of y. That is
//            under a tenth of the instructions, in a kernel that waits for memory; a
//            dispatch of one workgroup instead would hold up the whole device.
//            These bindings hold slots slot_begin to slot_begin + n_slots, from their own
//            slot gate_skip or up_skip on; nothing is written for experts elsewhere.
//            dim_in is a multiple of four.
override LANES: u32 = 16u;
override ROWS: u32 = 4u;
override N_EXPERTS: u32 = 128u;
override TOP_K: u32 = 8u;

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
@group(0) @binding(2) var<storage, read> gate_weight: array<u32>;
@group(0) @binding(3) var<storage, read> up_weight: array<u32>;
@group(0) @binding(4) var<storage, read> logits: array<f32>;
@group(0) @binding(5) var<storage, read> scale: array<f32>;
@group(0) @binding(6) var<storage, read> table: array<u32>;
@group(0) @binding(7) var<storage, read_write> routing: array<u32>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

//#include "common/math.wgsl"
//#include "common/order.wgsl"
//#include "common/gelu.wgsl"
//#include "common/logit.wgsl"
//#include "common/top_k.wgsl"
//#include "common/chosen_weight.wgsl"
//#include "common/lanes_sum.wgsl"
//#include "input/vector.wgsl"
//#include "quant/{gate}.wgsl" as gate
//#include "common/row_dot.wgsl" as gate
//#include "quant/{up}.wgsl" as up
//#include "common/row_dot.wgsl" as up

fn chosen_expert(j: u32) -> u32 {
  return chosen[j];
}

// One lane's share of (gate, up) of a row of the expert in `slot` of these bindings.
fn both_dots(slot: u32, row: u32, lane: u32) -> vec2<f32> {
  let gate_row = (slot + params.gate_skip) * params.expert_rows + row;
  let up_row = (slot + params.up_skip) * params.expert_rows + params.up_row + row;
  let dim_in = params.dim_in;
  return vec2<f32>(
    gate_row_dot(gate_row * (dim_in / gate_BLOCK_SIZE), 0u, dim_in, lane),
    up_row_dot(up_row * (dim_in / up_BLOCK_SIZE), 0u, dim_in, lane));
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
  let row = group.x * ROWS + thread.y;
  let is_held = slot < params.n_slots && row < params.n_rows;
  var dots = vec2<f32>(0.0);
  if (is_held) {
    dots = both_dots(slot, row, thread.x);
  }
  let gate = lanes_sum(thread.x, thread.y, dots.x);
  let up = lanes_sum(thread.x, thread.y, dots.y);
  if (thread.x == 0u && is_held) {
    y[group.y * params.n_rows + row] = gelu(gate) * up;
  }
}
