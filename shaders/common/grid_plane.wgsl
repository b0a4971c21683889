// grid_plane - the f16 scales, between the bodies of all blocks and the code book.
fn block_scale(block: u32) -> f32 {
  let n_blocks = (arrayLength(&weight) - GRID_WORDS) * 4u / BLOCK_BYTES;
  return f16_at(weight[n_blocks * BODY_WORDS + block / 2u], block & 1u);
}
