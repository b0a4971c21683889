// grid_3 - the levels of four elements in a grid of IQ3.
fn grid_3(code: u32) -> vec4<u32> {
  return (vec4<u32>(grid_entry(code)) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
}
