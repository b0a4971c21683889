// ple_combine - per-layer inputs: the projected embedding, normed, plus the looked-up one.
//
//   y = (rms(projected * scale_projected) * weight + embedded * scale_embedded) / sqrt(2)
//   with the norm over each layer's own group of dim columns
//
// shapes     projected, embedded, y: [n_tokens, n_layers * dim]; weight: [dim]; all f32
// bindings   0 params, 1 projected, 2 embedded, 3 weight, 4 y
// overrides  WG: threads per workgroup
// dispatch   (n_layers, n_tokens, 1): one workgroup per layer and token
// oracle     oracle.ops.ple_combine
// tolerance  rtol=2e-6 atol=1e-7
// notes      One norm (1e-6) and three more roundings.
override WG: u32 = 64u;

struct Params {
  dim: u32,
  eps: f32,
  scale_projected: f32,
  scale_embedded: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> projected: array<f32>;
@group(0) @binding(2) var<storage, read> embedded: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

//#include "common/finite.wgsl"
//#include "common/reduce.wgsl"

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let begin = (group.y * n_groups.x + group.x) * params.dim;
  var squares = 0.0;
  for (var d = thread; d < params.dim; d += WG) {
    let value = projected[begin + d] * params.scale_projected;
    squares += value * value;
  }
  let mean = workgroup_sum(thread, squares) / f32(params.dim);
  let factor = params.scale_projected * rms_factor(mean, params.eps);
  for (var d = thread; d < params.dim; d += WG) {
    let normed = projected[begin + d] * factor * weight[d];
    y[begin + d] = (normed + embedded[begin + d] * params.scale_embedded) * 0.7071067811865476;
  }
}
