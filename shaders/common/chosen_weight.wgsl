// chosen_weight - the softmax weight of a chosen expert, times its scale if it has one.
//
// RENORMALISED: the weights of the chosen add up to 1. Softmax over all experts,
// renormalised over the chosen, is softmax over the chosen: the sum over all cancels, so
// it is not taken. NaN where a logit is no number.
//
// The kernel gives `chosen_expert(j)`; the first one has the largest logit. Needs the
// binding `scale`, `override`s N_EXPERTS, TOP_K, HAS_SCALE and RENORMALISED,
// common/logit.wgsl.
fn chosen_weight(row: u32, j: u32) -> f32 {
  let top = logit_key(row + chosen_expert(0u));
  if (top == KEY_OF_NAN) {
    return bitcast<f32>(top);
  }
  var total = 0.0;
  if (RENORMALISED) {
    for (var i = 0u; i < TOP_K; i++) {
      total += relative_mass(logit_key(row + chosen_expert(i)), top);
    }
  } else {
    for (var expert = 0u; expert < N_EXPERTS; expert++) {
      total += relative_mass(logit_key(row + expert), top);
    }
  }
  let expert = chosen_expert(j);
  let share = relative_mass(logit_key(row + expert), top) / total;
  if (HAS_SCALE) {
    return share * scale[expert];
  }
  return share;
}
