// copy - the first rows of a buffer, 16 bytes a thread; what memory can do at best.
//
//   y[i, :] = x[i, :] for i < n
//
// shapes     x, y: [n_rows, 4] u32
// bindings   0 params, 1 x, 2 y
// overrides  WG: threads per workgroup
// dispatch   ceil(n / WG) workgroups, at least one, folded over x and y
// oracle     oracle.ops.copy
// tolerance  rtol=0 atol=0
// notes      Bandwidths are told as shares of this kernel's. With n = 0 it is the empty
//            launch that shows what a dispatch costs.
override WG: u32 = 64u;

struct Params {
  n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * n_groups.x + group.x) * WG + thread;
  if (i < params.n) {
    y[i] = x[i];
  }
}
