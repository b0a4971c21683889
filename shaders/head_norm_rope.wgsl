// head_norm_rope - norm each query head, then rotate it by position.
//
//   h = rms(x[t, head]) * weight
//   (y_i, y_j) = (h_i cos - h_j sin, h_j cos + h_i sin),  j = i + head_dim / 2, i < n_pairs
//   the other pairs are copied (proportional RoPE of the global layers)
//
// shapes     x, y: [n_tokens, n_heads, head_dim]; weight: [head_dim];
//            rope: [fine + coarse, n_pairs] of (cos, sin); all f32
// bindings   0 params, 1 state, 2 x, 3 weight, 4 rope, 5 y
// overrides  WG: threads per workgroup
// dispatch   (n_heads, n_tokens, 1): one workgroup per head and token
// oracle     oracle.ops.head_norm_rope
// tolerance  rtol=2e-6 atol=1e-7
// notes      The norm (1e-6), the angle from two table entries (2e-7 absolute), and one
//            rotation.
override WG: u32 = 64u;

struct Params {
  head_dim: u32,
  n_pairs: u32,
  fine: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> rope: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

//#include "common/state.wgsl"
//#include "common/reduce.wgsl"
//#include "common/rope.wgsl"

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let begin = (group.y * n_groups.x + group.x) * params.head_dim;
  var squares = 0.0;
  for (var d = thread; d < params.head_dim; d += WG) {
    squares += x[begin + d] * x[begin + d];
  }
  let mean = workgroup_sum(thread, squares) / f32(params.head_dim);
  let factor = 1.0 / sqrt(mean + params.eps);
  let half_dim = params.head_dim / 2u;
  for (var i = thread; i < half_dim; i += WG) {
    let j = i + half_dim;
    let u = x[begin + i] * factor * weight[i];
    let v = x[begin + j] * factor * weight[j];
    var angle = vec2<f32>(1.0, 0.0);
    if (i < params.n_pairs) {
      angle = rope_angle(state.position + group.y, i, params.n_pairs, params.fine);
    }
    y[begin + i] = u * angle.x - v * angle.y;
    y[begin + j] = v * angle.x + u * angle.y;
  }
}
