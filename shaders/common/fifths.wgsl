// The fifth bits of 16 weights: four at a time from a word that has one bit of each, or
// bit `shift` of each of 16 bytes. Both stand at bit 4 of a byte afterwards.
fn spread_fifths(bits: u32) -> vec4<u32> {
  let four = (vec4<u32>(bits) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
  return ((four * 0x00204081u) & vec4<u32>(0x01010101u)) << vec4<u32>(4u);
}

fn byte_fifths(words: vec4<u32>, shift: u32) -> vec4<u32> {
  return ((words >> vec4<u32>(shift)) & vec4<u32>(0x01010101u)) << vec4<u32>(4u);
}
