// reduce_subgroup - workgroup_sum by shuffles within subgroups, then over their sums.
// needs subgroups
//
// `const SUBGROUP` is as lanes_subgroup says, and WG is a power of two. One barrier less than
// reduce_workgroup has, and WG / SUBGROUP values to add up in place of 16 and 16.
var<workgroup> reduce_values: array<f32, WG / min(WG, SUBGROUP)>;

fn workgroup_sum(thread: u32, value: f32) -> f32 {
  let run = min(WG, SUBGROUP);
  var sum = value;
  for (var step = 1u; step < run; step *= 2u) {
    sum += subgroupShuffleXor(sum, step);
  }
  workgroupBarrier();  // the previous sum may still be read
  if (thread % run == 0u) {
    reduce_values[thread / run] = sum;
  }
  workgroupBarrier();
  sum = 0.0;
  for (var i = 0u; i < WG / run; i++) {
    sum += reduce_values[i];
  }
  return sum;
}
