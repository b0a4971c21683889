// BF16 by loads of 16 bytes: rows are a multiple of eight elements.
//#include "common/eight.wgsl"
//#include "common/rows_dot.wgsl"

fn widen(word: u32) -> vec2<f32> {
  return bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u));
}
