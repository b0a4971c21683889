// expert_combine - sum the weighted outputs of each token's experts, in slot order.
//
//   y[t, d] = sum_j weight[t, j] * x[r(t, j), d]
//   r(t, j) = perm[t * top_k + j]
//
// shapes     x: [n * top_k, dim] f32;  perm: [n * top_k] u32;  weight: [n, top_k] f32;
//            y: [n, dim] f32
// bindings   0 params, 1 x, 2 perm, 3 weight, 4 y
// overrides  WG: threads per workgroup
// dispatch   (ceil(dim / WG), n, 1): one thread per element of y
// oracle     oracle.ops.expert_combine
// tolerance  rtol=4e-6 atol=1e-7
// notes      A gather in a fixed order, so a token's result does not depend on what else
//            is in the batch. At most 32 terms: 32 roundings of 6e-8 against the
//            largest partial sum.
override WG: u32 = 64u;

struct Params {
  dim: u32,
  top_k: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> perm: array<u32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let d = group.x * WG + thread;
  if (d >= params.dim) {
    return;
  }
  var total = 0.0;
  for (var j = 0u; j < params.top_k; j++) {
    let slot = group.y * params.top_k + j;
    total += weight[slot] * x[perm[slot] * params.dim + d];
  }
  y[group.y * params.dim + d] = total;
}
