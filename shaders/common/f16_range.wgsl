// f16_or_nan - values that f16 holds, and NaN for those beyond it.
//
// What becomes of these in a conversion is left to the device: some make infinities,
// others the largest number, with which the reply would go on unseen.
const LARGEST_F16: u32 = 0x477fe000u;  // 65504, as the bits of f32

fn f16_or_nan(values: vec4<f32>) -> vec4<f32> {
  let bits = bitcast<vec4<u32>>(values);
  let is_beyond = (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(LARGEST_F16);
  return bitcast<vec4<f32>>(select(bits, bits | vec4<u32>(0x7fc00000u), is_beyond));
}
