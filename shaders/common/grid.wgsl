// grid - entries of a code book, GRID_WORDS at the end of the binding, 16 bits each. It
// lies there, not in the shader: a table that is indexed by a variable costs compilers of
// software adapters time, and threads of some GPUs memory.
fn grid_entry(i: u32) -> u32 {
  let word = weight[arrayLength(&weight) - GRID_WORDS + i / 2u];
  return (word >> (16u * (i & 1u))) & 0xffffu;
}

// Four values, negative where a bit is set.
fn signed4(values: vec4<f32>, bits: u32) -> vec4<f32> {
  let set_bits = vec4<u32>(bits) & vec4<u32>(1u, 2u, 4u, 8u);
  return select(values, -values, set_bits != vec4<u32>(0u));
}
