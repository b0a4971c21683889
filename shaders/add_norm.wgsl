// add_norm - end of a branch: norm it, add it to the residual, norm the sum for what follows.
//
//   residual[t] = (x[t] + rms(branch[t]) * weight) * layer_scale,  or x[t] + branch[t] there
//   y[t]        = rms(residual[t]) * next_weight
//
// shapes     x, branch, residual, y: [n_tokens, dim]; weight, next_weight: [dim];
//            layer_scale: [1]; all f32
// bindings   0 params, 1 x, 2 branch, 3 weight, 4 layer_scale, 5 next_weight, 6 residual, 7 y
// overrides  WG: threads per workgroup, HAS_NORM: norm the branch, HAS_SCALE: multiply by
//            layer_scale, HAS_NEXT: write y
// dispatch   (n_tokens, 1, 1): one workgroup per token
// oracle     oracle.ops.add_norm
// tolerance  rtol=2e-6 atol=1e-7
// notes      Two norms in a row: twice the bound of rms_norm.
override WG: u32 = 64u;
override HAS_NORM: bool = true;
override HAS_SCALE: bool = true;
override HAS_NEXT: bool = true;

struct Params {
  dim: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> branch: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> layer_scale: array<f32>;
@group(0) @binding(5) var<storage, read> next_weight: array<f32>;
@group(0) @binding(6) var<storage, read_write> residual: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

//#include "common/finite.wgsl"
//#include "common/reduce.wgsl"

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.x * params.dim;
  var squares = 0.0;
  var factor = 1.0;
  if (HAS_NORM) {
    for (var d = thread; d < params.dim; d += WG) {
      squares += branch[row + d] * branch[row + d];
    }
    let mean = workgroup_sum(thread, squares) / f32(params.dim);
    factor = rms_factor(mean, params.eps);
  }
  var scale = 1.0;
  if (HAS_SCALE) {
    scale = layer_scale[0];
  }
  squares = 0.0;
  for (var d = thread; d < params.dim; d += WG) {
    var more = branch[row + d];
    if (HAS_NORM) {
      more *= factor * weight[d];
    }
    let value = (x[row + d] + more) * scale;
    residual[row + d] = value;
    squares += value * value;
  }
  if (HAS_NEXT) {
    let next_mean = workgroup_sum(thread, squares) / f32(params.dim);
    let next_factor = rms_factor(next_mean, params.eps);
    // Each thread reads back only what it wrote itself.
    for (var d = thread; d < params.dim; d += WG) {
      y[row + d] = residual[row + d] * next_factor * next_weight[d];
    }
  }
}
