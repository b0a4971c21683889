// row_dot - one lane's share of the dot product of a weight row and a row of x.
//
// A format gives an element as group_scales.x * quants4 + group_scales.y, the scales being
// those of the element's group. Lanes take runs of RUN elements in turn: a
// longer run decodes its scales once for more elements, a shorter one keeps the reads of
// neighbouring lanes closer together; no group is shorter than 16. Needs x4 (input/), a
// format, and `override LANES`. `block` is the row's first block, `x_begin` the first
// element of x.
const RUN: u32 = 8u;

fn row_dot(block: u32, x_begin: u32, dim_in: u32, lane: u32) -> f32 {
  var sums = vec4<f32>(0.0);
  let whole = dim_in / RUN * RUN;
  for (var d = lane * RUN; d < whole; d += LANES * RUN) {
    let run_block = block + d / BLOCK_SIZE;
    let run_begin = d % BLOCK_SIZE;
    let scales = group_scales(run_block, run_begin);
    for (var k = 0u; k < RUN; k += 4u) {
      let four = scales.x * quants4(run_block, run_begin + k) + scales.y;
      sums += four * x4(x_begin + d + k);
    }
  }
  var sum = (sums.x + sums.y) + (sums.z + sums.w);
  // The rest of a row of a float type; blocks hold whole runs.
  for (var d = whole + lane; d < dim_in; d += LANES) {
    sum += dequant(block + d, 0u) * x4(x_begin + (d & ~3u))[d & 3u];
  }
  return sum;
}
