// reduce_workgroup - workgroup_sum through workgroup memory, on any device.
//
// Two levels of serial sums: two barriers whatever the workgroup's size (software adapters
// pay dearly for each), besides the one for who still reads the previous sum.
var<workgroup> reduce_values: array<f32, WG>;
var<workgroup> reduce_partials: array<f32, 16>;

fn workgroup_sum(thread: u32, value: f32) -> f32 {
  let span = (WG + 15u) / 16u;
  workgroupBarrier();  // the previous sum may still be read
  reduce_values[thread] = value;
  workgroupBarrier();
  if (thread < 16u) {
    var partial = 0.0;
    let end = min((thread + 1u) * span, WG);
    for (var i = thread * span; i < end; i++) {
      partial += reduce_values[i];
    }
    reduce_partials[thread] = partial;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < min(16u, WG); i++) {
    total += reduce_partials[i];
  }
  return total;
}
