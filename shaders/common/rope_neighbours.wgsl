// rope_neighbours - element 2 i of a head turns with element 2 i + 1 (see rope_halves).
fn rope_partner(word: u32) -> u32 {
  return word;
}

fn rope_swap(partner: vec4<f32>) -> vec4<f32> {
  return partner.yxwz;
}

fn rope_turn(position: u32, word: u32) -> mat2x4<f32> {
  let a = rope_angle(position, 2u * word);
  let b = rope_angle(position, 2u * word + 1u);
  return mat2x4<f32>(vec4<f32>(a.x, a.x, b.x, b.x), vec4<f32>(-a.y, a.y, -b.y, b.y));
}
