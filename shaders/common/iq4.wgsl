// The code book of the IQ4 types, as signed bytes:
// -127 -104 -83 -65  -49 -35 -22 -10  1 13 25 38  53 69 89 113
// Chosen by selects: an array that is indexed by a variable would live in memory.
fn iq4_values(q: vec4<u32>) -> vec4<f32> {
  let bit2 = (q & vec4<u32>(4u)) != vec4<u32>(0u);
  let bit3 = (q & vec4<u32>(8u)) != vec4<u32>(0u);
  let lower = select(vec4<u32>(0xbfad9881u), vec4<u32>(0xf6eaddcfu), bit2);
  let upper = select(vec4<u32>(0x26190d01u), vec4<u32>(0x71594535u), bit2);
  let four = select(lower, upper, bit3);
  let top = four << (vec4<u32>(24u) - 8u * (q & vec4<u32>(3u)));
  return vec4<f32>(bitcast<vec4<i32>>(top) >> vec4<u32>(24u));
}

// IQ4_XS's scale of a group, from the two words at the head of its block.
fn iq4_scale(head: u32, lows: u32, group: u32) -> f32 {
  let low = (lows >> (4u * group)) & 15u;
  let high = (head >> (16u + 2u * group)) & 3u;
  return f16_at(head, 0u) * (f32(low | (high << 4u)) - 32.0);
}
