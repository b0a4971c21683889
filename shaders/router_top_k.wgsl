// router_top_k - choose each token's experts, and their weights (prefill).
//
//   p = softmax(logits[t, :]);  S = the top_k largest p, in falling order
//   idx[t, j] = S_j;  weight[t, j] = p[S_j] / sum_S p * scale[S_j]
//   without RENORMALISED p is not divided, without HAS_SCALE not scaled
//
// Ties go to the lower index. A logit that is NaN or infinite is chosen first, and makes
// all weights of its token NaN.
//
// shapes     logits: [n, stride] f32;  scale: [n_experts] f32;
//            idx: [n, top_k] u32;  weight: [n, top_k] f32;  top_k <= n_experts <= 1024
// bindings   0 params, 1 logits, 2 scale, 3 idx, 4 weight
// overrides  WG: threads per workgroup;  N_EXPERTS: experts in all;
//            TOP_K: chosen ones;  HAS_SCALE: weights are scaled;
//            RENORMALISED: before that, they add up to 1
// dispatch   (n, 1, 1): one workgroup per token
// oracle     oracle.ops.router_top_k
// tolerance  rtol=1e-6 atol=1e-7
// notes      In a decode step expert_gate_up does this by the same text. n_experts and top_k
//            are overrides, for llvmpipe compiles a kernel anew for each dispatch if its
//            loops become much simpler once the values of a uniform are known.
//            Without RENORMALISED the sum is over all experts: up to N_EXPERTS roundings
//            of 6e-8 more.
override WG: u32 = 64u;
override N_EXPERTS: u32 = 128u;
override TOP_K: u32 = 8u;
override HAS_SCALE: bool = true;
override RENORMALISED: bool = true;

struct Params {
  stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> idx: array<u32>;
@group(0) @binding(4) var<storage, read_write> weight: array<f32>;

//#include "common/math.wgsl"
//#include "common/order.wgsl"
//#include "common/logit.wgsl"
//#include "common/top_k.wgsl"
//#include "common/chosen_weight.wgsl"

fn chosen_expert(j: u32) -> u32 {
  return chosen[j];
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.x * params.stride;
  choose_top_k(thread, WG, row);
  for (var j = thread; j < TOP_K; j += WG) {
    idx[group.x * TOP_K + j] = chosen_expert(j);
    weight[group.x * TOP_K + j] = chosen_weight(row, j);
  }
}
