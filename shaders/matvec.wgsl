// matvec - a matrix times one vector.
//
//   y[row_begin + r] = sum_d weight[r, d] * x[d]
//
// shapes     x: [dim_in] f32;  weight: [n_rows, dim_in] quant;  y: [dim_out] f32
// bindings   0 params, 1 x, 2 weight, 3 y
// overrides  LANES: threads that share four rows, ROWS: such fours per workgroup
// dispatch   n_rows / (4 ROWS) workgroups, folded into y
// oracle     oracle.ops.matvec
// tolerance  rtol=1e-6 atol=1e-7
// notes      rtol is of sum_d |weight[r, d] * x[d]|. A chain is at most dim_in / (4 LANES) +
//            LANES additions; the roundings of a chain that does not grow in one direction
//            stay within a few 2^-24 of that sum, 16 of which make 1e-6. A format's minimum
//            multiplies the sum of 16 elements of x.
//            A thread works on four rows, so that it reads x once for all of them: of a
//            Q4_K matrix, 32 elements of x are eight times the bytes of their weights.
//            One barrier whatever LANES is, and always the same order of additions, which
//            no other row has a part in.
//            With `dot` int8, x is oracle.ops.quantise_int8 of itself for formats that have
//            bytes to multiply, here and in all kernels with rows_dot: the sums of 16
//            products are exact then, a scale is one division off.
override LANES: u32 = 16u;
override ROWS: u32 = 4u;

struct Params {
  dim_in: u32,
  n_rows: u32,
  row_begin: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> weight: array<Word>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include "input/{input}.wgsl"
//#include "dot/{weight}.wgsl"
//#include "common/four_rows.wgsl"
//#include "common/lanes_sum.wgsl"

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_id) thread: vec3<u32>,
) {
  let row = 4u * ((group.x + group.y * n_groups.x) * ROWS + thread.y);
  var sums = vec4<f32>(0.0);
  if (row < params.n_rows) {
    sums = rows_dot(four_rows(row, params.n_rows), 0u, params.dim_in, thread.x);
  }
  sums = lanes_sum(thread.x, thread.y, sums);
  for (var k = thread.x; k < 4u && row + k < params.n_rows; k += LANES) {
    y[params.row_begin + row + k] = sums[k];
  }
}
