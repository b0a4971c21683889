// lanes_sum - the sum over the lanes that share a row, known to every lane afterwards.
//
// One barrier, and a serial sum in a fixed order: the same result every time. Needs
// `override LANES` and `override ROWS`. Call once, in uniform control flow.
var<workgroup> lane_values: array<f32, LANES * ROWS>;

fn lanes_sum(lane: u32, row: u32, value: f32) -> f32 {
  lane_values[row * LANES + lane] = value;
  workgroupBarrier();
  var sum = 0.0;
  for (var i = row * LANES; i < (row + 1u) * LANES; i++) {
    sum += lane_values[i];
  }
  return sum;
}
