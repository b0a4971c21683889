// logit_key, relative_mass - a router's logits: how they sort, and what they weigh.
//
// What is no number comes first, so that the token does not go on without it. Needs the
// binding `logits`, common/math.wgsl, common/order.wgsl.

fn logit_key(at: u32) -> u32 {
  let x = logits[at];
  return select(KEY_OF_NAN, order_key(x), is_finite_f32(x));
}

// exp(logit - top).
fn relative_mass(key: u32, top: u32) -> f32 {
  return exp_f32(from_order_key(key) - from_order_key(top));
}
