// router_top_k - choose each token's experts, and their weights.
//
//   p = softmax(logits[t, :]);  S = the top_k largest p, in falling order
//   idx[t, j] = S_j;  weight[t, j] = p[S_j] / sum_S p * scale[S_j]
//
// Ties go to the lower index. NaN counts as -inf; entries of +inf share the mass equally;
// without any mass the chosen weigh the same.
//
// shapes     logits: [n, n_experts] f32;  scale: [n_experts] f32;
//            idx: [n, top_k] u32;  weight: [n, top_k] f32;  top_k <= n_experts <= 1024
// bindings   0 params, 1 logits, 2 scale, 3 idx, 4 weight
// overrides  WG: threads per workgroup;  MAX_EXPERTS: room for experts, >= n_experts
// dispatch   (n, 1, 1): one workgroup per token
// oracle     oracle.ops.router_top_k
// tolerance  rtol=1e-6 atol=1e-7
// notes      Softmax over all, renormalised over S, is softmax over S: the sum over all
//            cancels, so it is not taken. An expert's place in S is the number of
//            experts that beat it: n_experts^2 / WG comparisons in one stretch, where
//            top_k rounds of arg-max would need 2 top_k barriers.
override WG: u32 = 64u;
override MAX_EXPERTS: u32 = 1024u;  // SwiftShader compiles 3 x 1024 in a second

struct Params {
  n_experts: u32,
  top_k: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> idx: array<u32>;
@group(0) @binding(4) var<storage, read_write> weight: array<f32>;

//#include "common/math.wgsl"
//#include "common/order.wgsl"

var<workgroup> keys: array<u32, MAX_EXPERTS>;
var<workgroup> chosen: array<u32, MAX_EXPERTS>;
var<workgroup> mass: array<f32, MAX_EXPERTS>;  // of the chosen, relative to the largest

fn largest_key() -> u32 {
  var top = 0u;
  for (var e = 0u; e < params.n_experts; e++) {
    top = max(top, keys[e]);
  }
  return top;
}

// How many experts come before expert e; keys below `lowest` are without mass and tie.
fn place(e: u32, lowest: u32) -> u32 {
  let key = max(keys[e], lowest);
  var n_before = 0u;
  for (var other = 0u; other < params.n_experts; other++) {
    let rival = max(keys[other], lowest);
    n_before += select(0u, 1u, rival > key || (rival == key && other < e));
  }
  return n_before;
}

// exp(logit - top): 1 for the largest, whatever it is.
fn relative_mass(key: u32, top: u32) -> f32 {
  if (key == top) {
    return 1.0;
  }
  if (key == KEY_OF_MINUS_INFINITY || top == KEY_OF_INFINITY) {
    return 0.0;
  }
  return exp_f32(from_order_key(key) - from_order_key(top));
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.x * params.n_experts;
  for (var e = thread; e < params.n_experts; e += WG) {
    let x = logits[row + e];
    keys[e] = select(order_key(x), KEY_OF_MINUS_INFINITY, is_nan_f32(x));
  }
  workgroupBarrier();

  let top = largest_key();
  let lowest = select(0u, KEY_OF_INFINITY - 1u, top == KEY_OF_INFINITY);
  for (var e = thread; e < params.n_experts; e += WG) {
    let slot = place(e, lowest);
    if (slot < params.top_k) {
      chosen[slot] = e;
      mass[slot] = relative_mass(keys[e], top);
    }
  }
  workgroupBarrier();

  var total = 0.0;
  for (var j = 0u; j < params.top_k; j++) {
    total += mass[j];
  }
  for (var j = thread; j < params.top_k; j += WG) {
    let out = group.x * params.top_k + j;
    idx[out] = chosen[j];
    weight[out] = mass[j] / total * scale[chosen[j]];
  }
}
