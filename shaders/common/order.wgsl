// order_key, from_order_key - floats as integers that sort alike.
//
// A float's bits already sort as integers of sign and magnitude; this makes them sort as
// u32. -0 gets the key of 0, for equal values must tie. NaN is the caller's to replace;
// the largest key stands for one.
const KEY_OF_LOWEST: u32 = 0x00800000u;  // of the numbers
const KEY_OF_INFINITY: u32 = 0xff800000u;
const KEY_OF_NAN: u32 = 0xffffffffu;

fn order_key(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
}

fn from_order_key(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}
