// router - score all experts for a token, and norm the token for those it will choose.
//
//   factor    = 1 / sqrt(mean_d(x[d]^2) + eps)
//   logits[e] = sum_d weight[e, d] * (x[d] * scale[d]) * factor * dim^-0.5
//   y[d]      = x[d] * factor * norm_weight[d]
//
// shapes     x, scale, norm_weight, y: [dim] f32;  weight: [n_rows, dim] quant;
//            logits: [n_experts] f32
// bindings   0 params, 1 x, 2 scale, 3 weight, 4 norm_weight, 5 logits, 6 y
// overrides  LANES: threads that share four rows, ROWS: such fours per workgroup
// dispatch   (ceil(n_rows / (4 * ROWS)), 1, 1): each workgroup writes its share of y too
// oracle     oracle.ops.router
// tolerance  rtol=2e-6 atol=1e-7
// notes      rtol of the logits is of sum_d |weight * x * scale| * factor * dim^-0.5, as in
//            matvec: 1e-6 for the products and 1e-6 for the factor. Each four rows sum up
//            their own squares, beside their products; y costs one more read of x, and saves the
//            norm in every workgroup of expert_gate_up. dim is a multiple of four. This
//            binding holds the n_rows experts from row_begin on.
override LANES: u32 = 16u;
override ROWS: u32 = 4u;

struct Params {
  dim: u32,
  n_rows: u32,
  row_begin: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<Word>;
@group(0) @binding(4) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> logits: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

//#include "dot/{weight}.wgsl"
//#include "common/finite.wgsl"
//#include "common/four_rows.wgsl"
//#include "common/lanes_sum.wgsl"

fn x4(i: u32) -> vec4<f32> {
  return x[i / 4u] * scale[i / 4u];
}

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_id) thread: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let row = 4u * (group.x * ROWS + thread.y);
  var products = vec4<f32>(0.0);
  if (row < params.n_rows) {
    products = rows_dot(four_rows(row, params.n_rows), 0u, params.dim, thread.x);
  }
  var squares = 0.0;
  for (var i = thread.x; i < params.dim / 4u; i += LANES) {
    squares += dot(x[i], x[i]);
  }
  let n = f32(params.dim);
  let mean = lanes_sum(thread.x, thread.y, vec4<f32>(squares)).x / n;
  let factor = rms_factor(mean, params.eps);
  products = lanes_sum(thread.x, thread.y, products);
  for (var k = thread.x; k < 4u && row + k < params.n_rows; k += LANES) {
    logits[params.row_begin + row + k] = products[k] * factor / sqrt(n);
  }
  let stride = n_groups.x * LANES * ROWS;
  for (var i = group.x * LANES * ROWS + index; i < params.dim / 4u; i += stride) {
    y[i] = x[i] * factor * norm_weight[i];
  }
}
