// attention_merge - attention from its splits of the keys: the softmax over all of them.
//
//   top = max_s highest[s];  y = sum_s exp(highest[s] - top) sums[s]
//                              / sum_s exp(highest[s] - top) total[s]
//
// shapes     partials: sums [n_splits, n_rows, HEAD_DIM], then stats [n_splits, n_rows, 2]
//            (common/partials.wgsl);  y: [n_rows, HEAD_DIM];  all f32
// bindings   0 params, 1 partials, 2 y
// consts     HEAD_DIM: elements of a head; SPLITS: of the keys; WG: threads per workgroup
// dispatch   (n_rows, HEAD_DIM / WG, 1): one workgroup per WG elements of a row
// oracle     oracle.ops.attention_merge
// tolerance  rtol=2e-6 atol=1e-7
// notes      Splits that hold no key of the row (total 0) are left out, and what their sums
//            hold with them. Splits are added in order: the result always repeats.

struct Params {
  n_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

//#include "common/partials.wgsl"
//#include "common/math.wgsl"

var<workgroup> factors: array<f32, SPLITS>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.x;
  var top = LOWEST;
  for (var split = 0u; split < SPLITS; split++) {
    top = max(top, partials[stats_begin(split, SPLITS, params.n_rows, row)]);
  }
  for (var split = thread; split < SPLITS; split += WG) {
    let at = stats_begin(split, SPLITS, params.n_rows, row);
    factors[split] = split_factor(vec2<f32>(partials[at], partials[at + 1u]), top);
  }
  workgroupBarrier();
  let d = group.y * WG + thread;
  if (d >= HEAD_DIM) {
    return;
  }
  var sum = 0.0;
  var total = 0.0;
  for (var split = 0u; split < SPLITS; split++) {
    let factor = factors[split];
    if (holds_key(factor)) {
      sum += factor * partials[sums_begin(split, params.n_rows, row) + d];
      total += factor * partials[stats_begin(split, SPLITS, params.n_rows, row) + 1u];
    }
  }
  y[row * HEAD_DIM + d] = sum / total;
}
