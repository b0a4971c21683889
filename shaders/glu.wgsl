// glu - a gated unit: an activation of the gate times the other half.
//
//   y[t, d] = act(gate[t, gate_offset + d]) * up[t, up_offset + d]
//   act is that of a file of the slot `unit`: gelu(z) = 0.5 z (1 + tanh(sqrt(2 / pi) (z +
//   0.044715 z^3))) of geglu, or silu(z) = z / (1 + exp(-z)) of swiglu
//
// shapes     gate: [n, gate_stride]; up: [n, up_stride]; y: [n, dim]; all f32
// bindings   0 params, 1 gate, 2 up, 3 y
// overrides  WG: threads per workgroup
// dispatch   (ceil(dim / WG), n, 1): one thread per element
// oracle     oracle.ops.glu
// tolerance  rtol=2e-6 atol=1e-7
// notes      The bound is exp's (2 ulp of an argument up to 20, hence 20 * 6e-8) and a
//            handful of roundings.
// source     Hendrycks and Gimpel 2016 (GELU); Shazeer 2020 (GLU variants)
override WG: u32 = 64u;

struct Params {
  dim: u32,
  gate_stride: u32,
  gate_offset: u32,
  up_stride: u32,
  up_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include "common/math.wgsl"
//#include "common/unit_{unit}.wgsl"

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let d = group.x * WG + thread;
  if (d >= params.dim) {
    return;
  }
  let row = group.y;
  let left = gate[row * params.gate_stride + params.gate_offset + d];
  let right = up[row * params.up_stride + params.up_offset + d];
  y[row * params.dim + d] = unit(left, right);
}
