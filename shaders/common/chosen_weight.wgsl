// chosen_weight - the share of a chosen expert in the mass of all chosen, times its scale.
//
// Softmax over all experts, renormalised over the chosen, is softmax over the chosen: the
// sum over all cancels, so it is not taken. NaN where a logit is no number.
//
// The kernel gives `chosen_expert(j)`; the first one has the largest logit. Needs the
// binding `scale`, `override TOP_K`, common/logit.wgsl.
fn chosen_weight(row: u32, j: u32) -> f32 {
  let top = logit_key(row + chosen_expert(0u));
  if (top == KEY_OF_NAN) {
    return bitcast<f32>(top);
  }
  var total = 0.0;
  for (var i = 0u; i < TOP_K; i++) {
    total += relative_mass(logit_key(row + chosen_expert(i)), top);
  }
  let expert = chosen_expert(j);
  return relative_mass(logit_key(row + expert), top) / total * scale[expert];
}
