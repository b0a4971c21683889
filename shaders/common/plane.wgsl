// plane - the scales of formats that are repacked into two planes (repack.wgsl).
//
// They follow the bodies of all blocks. The format gives BLOCK_BYTES, and BODY_WORDS of a
// block's body; needs loads_16 or loads_4, and bytes.
fn plane_word(i: u32) -> u32 {
  let n_blocks = n_words() * 4u / BLOCK_BYTES;
  return word_at(n_blocks * BODY_WORDS + i);
}

// The f16 of a block.
fn block_scale(block: u32) -> f32 {
  return f16_at(plane_word(block / 2u), block & 1u);
}
