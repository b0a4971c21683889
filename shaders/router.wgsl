// router - score all experts for a token, and norm the token for those it will choose.
//
//   total[d]  = x[d] + more[d], or x[d] without HAS_BRANCH
//   factor    = 1 / sqrt(mean_d(total[d]^2) + eps)
//   y[d]      = total[d] * factor * vectors[norm + d]
//   logits[e] = sum_d weight[e, d] * total[d] * factor * vectors[scale + d] / divisor
//
// shapes     x, more, total, y: [dim] f32;  weight: [n_rows, dim] quant;
//            logits: [n_experts] f32;  vectors: f32
// bindings   0 params, 1 x, 2 more, 3 vectors, 4 weight, 5 total, 6 logits, 7 y
// overrides  LANES: threads that share four rows, ROWS: such fours per workgroup;
//            HAS_BRANCH: add `more`, and write `total`
// dispatch   (ceil(n_rows / (4 * ROWS)), 1, 1): each workgroup writes its share of y and
//            total too
// oracle     oracle.ops.router
// tolerance  rtol=2e-6 atol=1e-7
// notes      rtol of the logits is of sum_d |weight| * (|x| + |more|) * |scale| * factor /
//            divisor, as in matvec: 1e-6 for the products and 1e-6 for the factor; that of
//            y is likewise of what it would be if nothing cancelled in total. A router
//            that sees what its experts see has their norm for a scale, and divides by 1.
//            Each four rows sum up their own squares, beside their products; y costs one
//            more read of x, and saves the norm in every workgroup of expert_gate_up. dim
//            is a multiple of four; norm and scale are in units of four elements. This
//            binding holds the n_rows experts from row_begin on.
override LANES: u32 = 16u;
override ROWS: u32 = 4u;
override HAS_BRANCH: bool = true;

struct Params {
  dim: u32,
  n_rows: u32,
  row_begin: u32,
  norm: u32,
  scale: u32,
  divisor: f32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> more: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> vectors: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> weight: array<Word>;
@group(0) @binding(5) var<storage, read_write> total: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> logits: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;

//#include "dot/{weight}.wgsl"
//#include "common/finite.wgsl"
//#include "common/four_rows.wgsl"
//#include "common/lanes_sum.wgsl"

// Four elements of the token.
fn token(i: u32) -> vec4<f32> {
  if (HAS_BRANCH) {
    return x[i] + more[i];
  }
  return x[i];
}

fn x4(i: u32) -> vec4<f32> {
  return token(i / 4u) * vectors[params.scale + i / 4u];
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
    let four = token(i);
    squares += dot(four, four);
  }
  let mean = lanes_sum(thread.x, thread.y, vec4<f32>(squares)).x / f32(params.dim);
  let factor = rms_factor(mean, params.eps);
  products = lanes_sum(thread.x, thread.y, products);
  for (var k = thread.x; k < 4u && row + k < params.n_rows; k += LANES) {
    logits[params.row_begin + row + k] = products[k] * factor / params.divisor;
  }
  let stride = n_groups.x * LANES * ROWS;
  for (var i = group.x * LANES * ROWS + index; i < params.dim / 4u; i += stride) {
    let four = token(i);
    y[i] = four * factor * vectors[params.norm + i];
    if (HAS_BRANCH) {
      total[i] = four;
    }
  }
}
