// grid_1 - elements i to i + 3 of eight in IQ1's grid: -1, 0 or 1, and an eighth more, or
// less where `is_less` is 1.
fn grid_1(code: u32, i: u32, is_less: u32) -> vec4<f32> {
  let levels = (vec4<u32>(grid_entry(code) >> (2u * (i & 4u))) >> vec4<u32>(0u, 2u, 4u, 6u))
    & vec4<u32>(3u);
  return vec4<f32>(levels) - (0.875 + 0.25 * f32(is_less));
}
