// groups - chunk_dot by a format's quants4 and group_scales (quant/), no group of which is
// shorter than 16. Needs chunk_16.
fn chunk_dot(row: u32, i: u32, x: mat4x4<f32>) -> f32 {
  let block = row + 16u * i / BLOCK_SIZE;
  let at = 16u * i % BLOCK_SIZE;
  let quants = mat4x4<f32>(
    quants4(block, at), quants4(block, at + 4u),
    quants4(block, at + 8u), quants4(block, at + 12u));
  return dot(group_scales(block, at), vec2<f32>(dot16(quants, x), sum16(x)));
}
