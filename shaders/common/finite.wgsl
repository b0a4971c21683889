// nan_if_infinite, rms_factor - infinities as NaN, which no later step can lose.
//
// A damaged weight or an overflow must reach the logits, where `sample` ends the request.
// NaN does, through sums and products. An infinity may not: exp(-inf) and 1 / inf are 0.
// By the bits, for a compiler may assume that a float is neither.
fn nan_if_infinite(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  return bitcast<f32>(select(bits, bits | 0x00400000u, (bits & 0x7f800000u) == 0x7f800000u));
}

// What a root-mean-square norm multiplies by; NaN where the squares are beyond f32.
fn rms_factor(mean_square: f32, eps: f32) -> f32 {
  return 1.0 / sqrt(nan_if_infinite(mean_square + eps));
}
