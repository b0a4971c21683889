// last_rows - the last rows of a tensor.
//
//   y[t, d] = x[row_begin + t, d]
//
// shapes     x: [row_begin + n, dim];  y: [n, dim]; both f32
// bindings   0 params, 1 x, 2 y
// overrides  WG: threads per workgroup
// dispatch   (dim / WG, n, 1)
// oracle     oracle.ops.last_rows
// tolerance  rtol=0 atol=0
override WG: u32 = 64u;

struct Params {
  dim: u32,
  row_begin: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let d = group.x * WG + thread;
  if (d < params.dim) {
    y[group.y * params.dim + d] = x[(params.row_begin + group.y) * params.dim + d];
  }
}
