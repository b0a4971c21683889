// halves_int8 - the halves of x quantised to signed bytes. Needs halves, sixteen.
//#include "common/int8.wgsl"

struct Halves {
  first: Quantised,
  second: Quantised,
  sums: vec2<f32>,  // of each, for formats with a minimum
}

fn chunk_x(x_begin: u32, i: u32) -> Halves {
  let at = x_begin + first_half(i);
  let first = quantise(x16(at));
  let second = quantise(x16(at + 16u * SPAN));
  let ones = vec4<u32>(0x01010101u);
  return Halves(first, second, vec2<f32>(signed_dot(ones, first), signed_dot(ones, second)));
}

fn signed_dots(first: vec4<u32>, second: vec4<u32>, x: Halves) -> vec2<f32> {
  return vec2<f32>(signed_dot(first, x.first), signed_dot(second, x.second));
}

// No format has a byte of 128 or more.
fn bytes_dots(first: vec4<u32>, second: vec4<u32>, x: Halves) -> vec2<f32> {
  return signed_dots(first, second, x);
}
