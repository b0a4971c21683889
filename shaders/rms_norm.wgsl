// rms_norm - root-mean-square normalisation over the last axis.
//
//   y[t, d] = x[t, d] / sqrt(mean_d(x[t, d]^2) + eps) * weight[d] * scale
//
// shapes     x, y: [n, dim];  weight: [dim]; all f32
// bindings   0 params, 1 x, 2 weight, 3 y
// overrides  WG: threads per workgroup, HAS_WEIGHT: multiply by weight
// dispatch   (n, 1, 1): one workgroup per row
// oracle     oracle.ops.rms_norm
// tolerance  rtol=1e-6 atol=1e-7
// notes      WG partial sums, then 16, then one: no chain is longer than dim / WG + 32
//            additions, far inside rtol for the real dims.
override WG: u32 = 64u;
override HAS_WEIGHT: bool = true;

struct Params {
  dim: u32,
  eps: f32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include "common/finite.wgsl"
//#include "common/reduce.wgsl"

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.x * params.dim;
  var squares = 0.0;
  for (var d = thread; d < params.dim; d += WG) {
    let value = x[row + d];
    squares += value * value;
  }
  let mean = workgroup_sum(thread, squares) / f32(params.dim);
  let factor = params.scale * rms_factor(mean, params.eps);
  for (var d = thread; d < params.dim; d += WG) {
    var value = x[row + d] * factor;
    if (HAS_WEIGHT) {
      value *= weight[d];
    }
    y[row + d] = value;
  }
}
