// halves_f32 - the halves of x as they are. Needs halves, sixteen.
struct Halves {
  first: mat4x4<f32>,
  second: mat4x4<f32>,
  sums: vec2<f32>,  // of each, for formats with a minimum
}

fn chunk_x(x_begin: u32, i: u32) -> Halves {
  let at = x_begin + first_half(i);
  let first = x16(at);
  let second = x16(at + 16u * SPAN);
  return Halves(first, second, vec2<f32>(sum16(first), sum16(second)));
}

fn bytes_dots(first: vec4<u32>, second: vec4<u32>, x: Halves) -> vec2<f32> {
  return vec2<f32>(dot16(bytes16(first), x.first), dot16(bytes16(second), x.second));
}

fn signed_dots(first: vec4<u32>, second: vec4<u32>, x: Halves) -> vec2<f32> {
  return vec2<f32>(dot16(signed16(first), x.first), dot16(signed16(second), x.second));
}
