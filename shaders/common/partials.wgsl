// partials - how attention over one split of the keys is handed on.
//
// One split alone gives y itself, [n_rows, HEAD_DIM], a row being a query head of a token.
// Several give what attention_merge adds up, in one buffer: sums [n_splits, n_rows,
// HEAD_DIM], not yet divided, then stats [n_splits, n_rows, 2] = (highest score, total of
// exponentials). A row with no key in a split has a total of 0 and no sums.
const LOWEST: f32 = -3.0e38;

fn sums_begin(split: u32, n_rows: u32, row: u32) -> u32 {
  return (split * n_rows + row) * HEAD_DIM;
}

fn stats_begin(split: u32, n_splits: u32, n_rows: u32, row: u32) -> u32 {
  return n_splits * n_rows * HEAD_DIM + 2u * (split * n_rows + row);
}
