// The 6-bit scales and mins of Q4_K and Q5_K blocks, which begin alike: f16 d, f16 dmin,
// then 12 bytes b. Sub-block s < 4: scale b[s] & 63, min b[4 + s] & 63. Sub-block 4 + s:
// scale b[8 + s] & 15, min b[8 + s] >> 4, their two top bits above those of sub-block s.
//
// Returns (d * scale, -dmin * min); `head` is the first 16 bytes of the block.
fn k_scales(head: vec4<u32>, s: u32) -> vec2<f32> {
  let scales = byte(head.y, s & 3u);
  let mins = byte(head.z, s & 3u);
  let upper = byte(head.w, s & 3u);
  let first = vec2<u32>(scales, mins) & vec2<u32>(63u);
  let second = vec2<u32>(upper & 15u, upper >> 4u)
    | ((vec2<u32>(scales, mins) >> vec2<u32>(6u)) << vec2<u32>(4u));
  let chosen = vec2<f32>(select(second, first, s < 4u));
  return unpack2x16float(head.x) * vec2<f32>(chosen.x, -chosen.y);
}
