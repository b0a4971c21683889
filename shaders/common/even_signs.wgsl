// even_signs - seven signs, lowest bit first, and an eighth that makes their number even.
fn even_signs(bits: u32) -> u32 {
  let seven = bits & 127u;
  return seven | ((countOneBits(seven) & 1u) << 7u);
}
