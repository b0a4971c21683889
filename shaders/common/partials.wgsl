// partials - how attention over one split of the keys is handed on.
//
// One split alone gives y itself, [n_rows, HEAD_DIM], a row being a query head of a token.
// Several give what attention_merge adds up, in one buffer: sums [n_splits, n_rows,
// HEAD_DIM], not yet divided, then stats [n_splits, n_rows, 2] = (highest score, total of
// exponentials). A row with no key in a split has a total of 0 and no sums.
//
// Needs common/math.wgsl.
const LOWEST: f32 = -3.0e38;
const NO_KEY: f32 = -1.0;  // a split's factor where it holds no key of the row

// What a split's sums and total count for: exp(highest - top), or NaN if its total is.
fn split_factor(stats: vec2<f32>, top: f32) -> f32 {
  let factor = select(exp_f32(stats.x - top), NO_KEY, stats.y == 0.0);
  return select(factor, stats.y, is_nan_f32(stats.y));
}

// By the bits: on llvmpipe NaN differs from no number.
fn holds_key(factor: f32) -> bool {
  return bitcast<u32>(factor) != bitcast<u32>(NO_KEY);
}

fn sums_begin(split: u32, n_rows: u32, row: u32) -> u32 {
  return (split * n_rows + row) * HEAD_DIM;
}

fn stats_begin(split: u32, n_splits: u32, n_rows: u32, row: u32) -> u32 {
  return n_splits * n_rows * HEAD_DIM + 2u * (split * n_rows + row);
}
