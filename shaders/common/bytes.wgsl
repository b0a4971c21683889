// Four values that share a word, lowest byte first, and f16 fields.

fn bytes(word: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
}

fn signed_bytes(word: u32) -> vec4<i32> {
  return bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
}

// Nibbles of the word's bytes: the low ones (shift 0) or the high ones (shift 4).
fn nibbles(word: u32, shift: u32) -> vec4<u32> {
  return bytes((word >> shift) & 0x0f0f0f0fu);
}

// Two-bit fields of the word's bytes, `shift` bits up (0, 2, 4, 6).
fn crumbs(word: u32, shift: u32) -> vec4<u32> {
  return bytes((word >> shift) & 0x03030303u);
}

// Bit `shift` (0 to 7) of each of the word's bytes.
fn bits(word: u32, shift: u32) -> vec4<u32> {
  return bytes((word >> shift) & 0x01010101u);
}

fn byte(word: u32, i: u32) -> u32 {
  return (word >> (8u * i)) & 255u;
}

// The f16 in the low (0) or the high (1) half of a word.
fn f16_at(word: u32, i: u32) -> f32 {
  return unpack2x16float(word >> (16u * i)).x;
}
