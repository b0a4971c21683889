// int8 - sixteen elements of x as signed bytes and a scale, and their exact products.
//
// The scale is the largest magnitude / 127; elements are rounded to the nearest, ties to
// the even one. What is nothing but zeros, or too small to divide by, becomes zeros. The
// largest is found among the bits, as integers: NaN is above all numbers there.
struct Quantised {
  words: vec4<u32>,
  scale: f32,
}

fn magnitudes(x: vec4<f32>) -> vec4<u32> {
  return bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu);
}

fn quantise(x: mat4x4<f32>) -> Quantised {
  let tops = max(max(magnitudes(x[0]), magnitudes(x[1])), max(magnitudes(x[2]), magnitudes(x[3])));
  let top = bitcast<f32>(max(max(tops.x, tops.y), max(tops.z, tops.w)));
  let factor = select(127.0 / top, 0.0, top < 1e-30);
  return Quantised(
    vec4<u32>(
      pack4xI8(vec4<i32>(round(x[0] * factor))), pack4xI8(vec4<i32>(round(x[1] * factor))),
      pack4xI8(vec4<i32>(round(x[2] * factor))), pack4xI8(vec4<i32>(round(x[3] * factor)))),
    top / 127.0);
}

fn signed_dot(words: vec4<u32>, x: Quantised) -> f32 {
  let sum = (dot4I8Packed(words.x, x.words.x) + dot4I8Packed(words.y, x.words.y))
    + (dot4I8Packed(words.z, x.words.z) + dot4I8Packed(words.w, x.words.w));
  return x.scale * f32(sum);
}
