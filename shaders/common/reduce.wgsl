// workgroup_sum - the sum of one value per thread, known to every thread afterwards.
//
// Two levels of serial sums in a fixed order: two barriers whatever the workgroup's
// size (software adapters pay dearly for each), and the same result every time.
// Needs `override WG`, the threads per workgroup. Call in uniform control flow.
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
