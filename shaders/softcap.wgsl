// softcap - squash into (-cap, cap), elementwise.
//
//   y[i] = cap * tanh(x[i] / cap), NaN and infinities as they are
//
// shapes     x, y: [n] f32
// bindings   0 params, 1 x, 2 y
// overrides  WG: threads per workgroup
// dispatch   ceil(n / WG) workgroups, folded over x and y
// oracle     oracle.ops.softcap
// tolerance  rtol=1e-6 atol=1e-7
// notes      tanh_f32 is good to 2 ulp; the division and the product add 2 more.
override WG: u32 = 64u;

struct Params {
  n: u32,
  cap: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

//#include "common/math.wgsl"

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * n_groups.x + group.x) * WG + thread;
  if (i < params.n) {
    y[i] = softcap_f32(x[i], params.cap);
  }
}
