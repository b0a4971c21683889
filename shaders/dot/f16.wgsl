// F16 by loads of 16 bytes: rows are a multiple of eight elements.
//#include "common/eight.wgsl"
//#include "common/rows_dot.wgsl"

fn widen(word: u32) -> vec2<f32> {
  return unpack2x16float(word);
}
