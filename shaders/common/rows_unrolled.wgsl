// rows_unrolled - rows_dot on a GPU: the loads of four rows are under way together.
fn rows_dot(rows: vec4<u32>, x_begin: u32, dim_in: u32, lane: u32) -> vec4<f32> {
  let first = rows * (dim_in / BLOCK_SIZE);
  var sums = vec4<f32>(0.0);
  for (var i = lane; i < dim_in / CHUNK; i += LANES) {
    let x = chunk_x(x_begin, i);
    sums += vec4<f32>(
      chunk_dot(first.x, i, x), chunk_dot(first.y, i, x),
      chunk_dot(first.z, i, x), chunk_dot(first.w, i, x));
  }
  return sums;
}
