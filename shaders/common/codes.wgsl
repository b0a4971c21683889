// codes - the product of halves with the values that nibbles stand for in a code book.
// The format gives `code_values`; needs halves.
fn codes16(nibbles: vec4<u32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    code_values(bytes(nibbles.x)), code_values(bytes(nibbles.y)),
    code_values(bytes(nibbles.z)), code_values(bytes(nibbles.w)));
}

fn codes_dot(words: vec4<u32>, x: Halves) -> f32 {
  return dot16(codes16(low_nibbles(words)), x.first)
    + dot16(codes16(high_nibbles(words)), x.second);
}
