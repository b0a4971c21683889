// grid_2 - elements i to i + 3 of eight in a grid of IQ2: levels 0, 1, 2 stand for 8, 25, 43.
fn grid_2(code: u32, i: u32) -> vec4<f32> {
  let levels = (vec4<u32>(grid_entry(code) >> (2u * (i & 4u))) >> vec4<u32>(0u, 2u, 4u, 6u))
    & vec4<u32>(3u);
  return vec4<f32>((vec4<u32>(0x002b1908u) >> (8u * levels)) & vec4<u32>(255u));
}
