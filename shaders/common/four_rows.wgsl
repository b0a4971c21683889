// four_rows - the numbers of four rows from `first` on; past the end, the last one again.
fn four_rows(first: u32, n_rows: u32) -> vec4<u32> {
  return min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(n_rows - 1u));
}
