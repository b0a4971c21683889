// logit_key, relative_mass - a router's logits: how they sort, and what they weigh.
//
// NaN counts as -inf. Needs the binding `logits`, common/math.wgsl, common/order.wgsl.

fn logit_key(at: u32) -> u32 {
  let x = logits[at];
  return select(order_key(x), KEY_OF_MINUS_INFINITY, is_nan_f32(x));
}

// exp(logit - top): 1 for the largest, whatever it is.
fn relative_mass(key: u32, top: u32) -> f32 {
  if (key == top) {
    return 1.0;
  }
  if (key == KEY_OF_MINUS_INFINITY || top == KEY_OF_INFINITY) {
    return 0.0;
  }
  return exp_f32(from_order_key(key) - from_order_key(top));
}
