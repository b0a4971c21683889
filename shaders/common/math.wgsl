// exp_f32, log_f32, log1p_f32, tanh_f32, softcap_f32 - exponentials as good on every adapter.
//
// WGSL lets exp be off by 3 + 2|x| ulp, log by 2^-21 absolute near 1, and leaves tanh to
// both. Software adapters use that freedom: exp 63 ulp off, log(1 - 2^-23) by 16 % or more,
// tanh NaN for large arguments. These keep to 2 ulp (log1p 3) by range reduction and a
// polynomial, with + - * / and bit operations alone. Infinities come out where they
// belong and NaN passes through, by tests on the bits: a compiler may assume that a float
// is neither. Results below 2^-126 may be flushed to zero.
//
// Coefficients: minimax fits in float64, weighted for the relative error of the result
// (exp 3e-9, tanh 5e-9), and the series of atanh (log 2e-9): far below an ulp, 6e-8.
const LN2_HIGH: f32 = 0.693359375;  // 10 bits: times an exponent it is exact
const LN2_LOW: f32 = -2.12194440e-4;

fn is_nan_f32(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_finite_f32(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// 2^n for -126 <= n <= 127.
fn power_of_two(n: i32) -> f32 {
  return bitcast<f32>(u32(n + 127) << 23u);
}

fn exp_f32(x: f32) -> f32 {
  let bounded = clamp(x, -104.0, 89.0);  // exp is 0 below and infinite above
  let n = round(bounded * 1.44269504);
  let r = (bounded - n * LN2_HIGH) - n * LN2_LOW;  // |r| <= ln(2) / 2
  var p = 1.381446491e-3;
  p = p * r + 8.368780836e-3;
  p = p * r + 4.166839272e-2;
  p = p * r + 1.666651964e-1;
  p = p * r + 4.999999404e-1;
  p = (p * r) * r + r;
  // 2^n in two factors: n reaches from -150 to 128.
  let half_n = i32(n) >> 1u;
  let y = ((p + 1.0) * power_of_two(half_n)) * power_of_two(i32(n) - half_n);
  return select(y, x, is_nan_f32(x));
}

// log(1 + f) + n log(2) for sqrt(1/2) <= 1 + f < sqrt(2).
fn log_reduced(f: f32, n: f32) -> f32 {
  // log(1 + f) = 2 atanh(s) = f - (f^2 / 2 - s (f^2 / 2 + r)): the large term f is exact.
  let s = f / (2.0 + f);
  let z = s * s;
  let r = z * (0.666666667 + z * (0.4 + z * (0.285714286 + z * 0.222222222)));
  let half_square = 0.5 * f * f;
  return n * LN2_HIGH - ((half_square - (s * (half_square + r) + n * LN2_LOW)) - f);
}

fn log_f32(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let magnitude = bits & 0x7fffffffu;
  if (magnitude == 0u) {
    return bitcast<f32>(bits | 0xff800000u);
  }
  if (bits > 0x80000000u) {
    return bitcast<f32>(bits | 0x7fc00000u);
  }
  if (magnitude >= 0x7f800000u) {
    return x;
  }
  var mantissa_bits = bits;
  var exponent = 0;
  if (bits < 0x00800000u) {  // subnormal: an integer, times 2^-149
    mantissa_bits = bitcast<u32>(f32(bits));
    exponent = -149;
  }
  // x = m * 2^exponent with sqrt(1/2) <= m < sqrt(2)
  let shifted = mantissa_bits - 0x3f3504f3u;
  exponent += bitcast<i32>(shifted) >> 23u;
  let m = bitcast<f32>((shifted & 0x007fffffu) + 0x3f3504f3u);
  return log_reduced(m - 1.0, f32(exponent));
}

// log(1 + f), without the rounding of 1 + f where it would tell.
fn log1p_f32(f: f32) -> f32 {
  if (f > -0.29 && f < 0.41) {
    return log_reduced(f, 0.0);
  }
  return log_f32(1.0 + f);
}

fn tanh_f32(x: f32) -> f32 {
  let z = x * x;
  var p = -5.704978481e-3;
  p = p * z + 2.063907869e-2;
  p = p * z - 5.373971164e-2;
  p = p * z + 1.333144158e-1;
  p = p * z - 3.333328068e-1;
  let small = x + (p * z) * x;
  // tanh is 1 in f32 from 9.02 on; the bound also keeps inf / inf away.
  let large = 1.0 - 2.0 / (exp_f32(2.0 * min(abs(x), 10.0)) + 1.0);
  let y = select(select(large, -large, x < 0.0), small, abs(x) < 0.625);
  return select(y, x, is_nan_f32(x));
}

// x squashed into (-cap, cap); what is no number stays as it is, and is seen.
fn softcap_f32(x: f32, cap: f32) -> f32 {
  return select(x, cap * tanh_f32(x / cap), is_finite_f32(x));
}
