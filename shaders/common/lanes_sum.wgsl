// lanes_sum - the sum over the lanes that share a row, known to every lane afterwards.
//
// One barrier, and a serial sum in a fixed order: the same result every time. Two sets of
// values take turns: who still reads the last sum is not disturbed. Needs
// `override LANES` and `override ROWS`. Call in uniform control flow.
var<workgroup> lane_values: array<f32, 2u * LANES * ROWS>;
var<private> lane_set: u32 = 0u;

fn lanes_sum(lane: u32, row: u32, value: f32) -> f32 {
  let begin = (lane_set * ROWS + row) * LANES;
  lane_set = 1u - lane_set;
  lane_values[begin + lane] = value;
  workgroupBarrier();
  var sum = 0.0;
  for (var i = begin; i < begin + LANES; i++) {
    sum += lane_values[i];
  }
  return sum;
}
