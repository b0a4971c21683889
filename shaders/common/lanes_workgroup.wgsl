// lanes_workgroup - lanes_sum through workgroup memory, on any device.
//
// One barrier, and a serial sum in a fixed order. Two sets of values take turns: who still
// reads the last sums is not disturbed.
var<workgroup> lane_values: array<vec4<f32>, 2u * LANES * ROWS>;
var<private> lane_set: u32 = 0u;

fn lanes_sum(lane: u32, row: u32, values: vec4<f32>) -> vec4<f32> {
  let begin = (lane_set * ROWS + row) * LANES;
  lane_set = 1u - lane_set;
  lane_values[begin + lane] = values;
  workgroupBarrier();
  var sums = vec4<f32>(0.0);
  for (var i = begin; i < begin + LANES; i++) {
    sums += lane_values[i];
  }
  return sums;
}
