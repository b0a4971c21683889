// splits - the input of rows_dot from attention over several splits of the keys, merged.
//
// What attention_merge does, in each workgroup for itself, with the same roundings; `x` are
// the partials (common/partials.wgsl). Needs dim_in = DIM and WG threads; DIM / HEAD_DIM
// rows of HEAD_DIM elements, a multiple of four, and SPLITS splits.
override DIM: u32 = 256u;
override WG: u32 = 64u;
override HEAD_DIM: u32 = 64u;
override SPLITS: u32 = 2u;

var<workgroup> input: array<vec4<f32>, (DIM / 4u + SPREAD - 1u) / SPREAD * SPREAD>;
var<workgroup> stats: array<vec2<f32>, SPLITS * (DIM / HEAD_DIM)>;
var<workgroup> totals: array<f32, DIM / HEAD_DIM>;

//#include "common/partials.wgsl"
//#include "common/spread.wgsl"

fn make_input(thread: u32, is_first: bool) {
  let n_rows = DIM / HEAD_DIM;
  for (var i = thread; i < SPLITS * n_rows; i += WG) {
    let at = stats_begin(0u, SPLITS, n_rows, i);
    let four = x[at / 4u];
    stats[i] = select(four.zw, four.xy, at % 4u == 0u);
  }
  workgroupBarrier();
  // A row's statistics become the factors of its splits.
  for (var row = thread; row < n_rows; row += WG) {
    var top = LOWEST;
    for (var i = row; i < SPLITS * n_rows; i += n_rows) {
      top = max(top, stats[i].x);
    }
    var total = 0.0;
    for (var i = row; i < SPLITS * n_rows; i += n_rows) {
      let factor = split_factor(stats[i], top);
      total += factor * stats[i].y;
      stats[i].x = factor;
    }
    totals[row] = total;
  }
  workgroupBarrier();
  for (var i = thread; i < DIM / 4u; i += WG) {
    let row = 4u * i / HEAD_DIM;
    var sum = vec4<f32>(0.0);
    for (var split = 0u; split < SPLITS; split++) {
      let factor = stats[split * n_rows + row].x;
      if (holds_key(factor)) {
        sum += factor * x[sums_begin(split, n_rows, row) / 4u + i % (HEAD_DIM / 4u)];
      }
    }
    input[spread(i)] = sum / totals[row];
  }
  workgroupBarrier();
}

fn x4(i: u32) -> vec4<f32> {
  return input[spread(i / 4u)];
}
