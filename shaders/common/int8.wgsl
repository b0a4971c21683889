// int8 - sixteen elements of x as signed bytes and a scale, and their exact products.
//
// The scale is the largest magnitude / 127; elements are rounded to the nearest, ties to
// the even one. What is nothing but zeros, or too small to divide by, becomes zeros.
struct Quantised {
  words: vec4<u32>,
  scale: f32,
}

fn quantise(x: mat4x4<f32>) -> Quantised {
  let tops = max(max(abs(x[0]), abs(x[1])), max(abs(x[2]), abs(x[3])));
  let top = max(max(tops.x, tops.y), max(tops.z, tops.w));
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
