// rows_looped - rows_dot for compilers that are slow themselves: the text of a format once.
//
// Under SwiftShader four copies took three times as long to compile, and a third longer to
// run (2 cores, 2026-11-21).
fn rows_dot(rows: vec4<u32>, x_begin: u32, dim_in: u32, lane: u32) -> vec4<f32> {
  let first = rows * (dim_in / BLOCK_SIZE);
  var sums = vec4<f32>(0.0);
  for (var i = lane; i < dim_in / CHUNK; i += LANES) {
    let x = chunk_x(x_begin, i);
    for (var k = 0u; k < 4u; k++) {
      sums[k] += chunk_dot(first[k], i, x);
    }
  }
  return sums;
}
