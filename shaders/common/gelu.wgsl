// gelu - the tanh form, 0.5 z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))).
//
// Written as z * sigmoid(2u), which is the same function and keeps the relative precision
// where tanh(u) nears -1. The bound is that of exp (2 ulp of an argument up to 20, hence
// 20 * 6e-8) and a handful of roundings. Needs common/math.wgsl.
fn gelu(z: f32) -> f32 {
  let u = 0.7978845608028654 * (z + 0.044715 * z * z * z);
  // exp(-2u) overflows below u = -44: there the true value is under 1e-38.
  return z / (1.0 + exp_f32(-2.0 * max(u, -40.0)));
}
