// sixteen - sixteen elements of x, and the bytes of sixteen weights. Needs x4 (input/),
// and bytes.
fn x16(at: u32) -> mat4x4<f32> {
  return mat4x4<f32>(x4(at), x4(at + 4u), x4(at + 8u), x4(at + 12u));
}

fn sum16(a: mat4x4<f32>) -> f32 {
  let sums = (a[0] + a[1]) + (a[2] + a[3]);
  return (sums.x + sums.y) + (sums.z + sums.w);
}

fn dot16(a: mat4x4<f32>, b: mat4x4<f32>) -> f32 {
  let sums = (a[0] * b[0] + a[1] * b[1]) + (a[2] * b[2] + a[3] * b[3]);
  return (sums.x + sums.y) + (sums.z + sums.w);
}

fn bytes16(words: vec4<u32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    vec4<f32>(bytes(words.x)), vec4<f32>(bytes(words.y)),
    vec4<f32>(bytes(words.z)), vec4<f32>(bytes(words.w)));
}

fn signed16(words: vec4<u32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    vec4<f32>(signed_bytes(words.x)), vec4<f32>(signed_bytes(words.y)),
    vec4<f32>(signed_bytes(words.z)), vec4<f32>(signed_bytes(words.w)));
}
