// embed - rows of a weight, chosen by token and scaled.
//
//   y[t, d] = weight[tokens[t], d] * scale
//
// shapes     tokens: [n] u32;  weight: [n_rows, dim] quant;  y: [n, dim] f32
// bindings   0 params, 1 tokens, 2 weight, 3 y
// overrides  WG: threads per workgroup
// dispatch   (dim / WG, n, 1): a thread per element
// oracle     oracle.ops.embed
// tolerance  rtol=1e-7 atol=0
// notes      A weight may be split over several bindings: this one holds the rows from
//            row_begin on, and writes nothing for tokens elsewhere. One rounding of the
//            product on top of the format's own: within 2^-24 of each element.
override WG: u32 = 64u;

struct Params {
  dim: u32,
  row_begin: u32,
  n_rows: u32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include "quant/{weight}.wgsl"

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let d = group.x * WG + thread;
  let t = group.y;
  let row = tokens[t] - params.row_begin;  // wraps round for an earlier row
  if (d >= params.dim || row >= params.n_rows) {
    return;
  }
  let block = row * (params.dim / BLOCK_SIZE) + d / BLOCK_SIZE;
  y[t * params.dim + d] = dequant(block, d % BLOCK_SIZE) * params.scale;
}
