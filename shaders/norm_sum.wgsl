// norm_sum - the two branches of a mixture-of-experts layer, each normed, added.
//
//   y[t] = rms(a[t]) * weight_a + rms(b[t]) * weight_b
//
// shapes     a, b, y: [n_tokens, dim]; weight_a, weight_b: [dim]; all f32
// bindings   0 params, 1 a, 2 weight_a, 3 b, 4 weight_b, 5 y
// overrides  WG: threads per workgroup
// dispatch   (n_tokens, 1, 1): one workgroup per token
// oracle     oracle.ops.norm_sum
// tolerance  rtol=2e-6 atol=1e-7
// notes      The sum of two norms: twice the bound of rms_norm.
override WG: u32 = 64u;

struct Params {
  dim: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> weight_a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> weight_b: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

//#include "common/finite.wgsl"
//#include "common/reduce.wgsl"

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.x * params.dim;
  var squares = vec2<f32>(0.0);
  for (var d = thread; d < params.dim; d += WG) {
    let values = vec2<f32>(a[row + d], b[row + d]);
    squares += values * values;
  }
  let mean_a = workgroup_sum(thread, squares.x) / f32(params.dim);
  let mean_b = workgroup_sum(thread, squares.y) / f32(params.dim);
  let factor_a = rms_factor(mean_a, params.eps);
  let factor_b = rms_factor(mean_b, params.eps);
  for (var d = thread; d < params.dim; d += WG) {
    y[row + d] = a[row + d] * factor_a * weight_a[d] + b[row + d] * factor_b * weight_b[d];
  }
}
