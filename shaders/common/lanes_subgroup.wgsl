// lanes_subgroup - lanes_sum by shuffles within subgroups, with no barrier where they are wide.
// needs subgroups
//
// `const SUBGROUP`, a power of two as LANES is, is no larger than any subgroup of the device.
// WGSL does not promise which threads share a subgroup. Compilers fill subgroups in the order
// of local_invocation_index, so that SUBGROUP neighbours share one; whether a device does is
// for its self-test to say (kernel_options.py). Where LANES is more than that, the sums of
// such runs go through workgroup memory, as in lanes_workgroup.
var<workgroup> lane_values: array<vec4<f32>, 2u * ROWS * LANES / min(LANES, SUBGROUP)>;
var<private> lane_set: u32 = 0u;

fn lanes_sum(lane: u32, row: u32, values: vec4<f32>) -> vec4<f32> {
  let run = min(LANES, SUBGROUP);
  var sums = values;
  for (var step = 1u; step < run; step *= 2u) {
    sums += subgroupShuffleXor(sums, step);
  }
  if (run == LANES) {
    return sums;
  }
  let begin = (lane_set * ROWS + row) * (LANES / run);
  lane_set = 1u - lane_set;
  if (lane % run == 0u) {
    lane_values[begin + lane / run] = sums;
  }
  workgroupBarrier();
  sums = vec4<f32>(0.0);
  for (var i = begin; i < begin + LANES / run; i++) {
    sums += lane_values[i];
  }
  return sums;
}
