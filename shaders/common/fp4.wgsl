// MXFP4's scale 2^(e - 128), and its code book: twice the e2m1 floats,
// 0 1 2 3 4 6 8 12 and their negatives.
fn fp4_scale(e: u32) -> f32 {
  return bitcast<f32>(select((e - 1u) << 23u, 0x00200000u << (e & 1u), e < 2u));
}

fn fp4_values(q: vec4<u32>) -> vec4<f32> {
  let four = vec4<u32>(0xc8643210u) >> (4u * (q & vec4<u32>(7u)));
  let value = bitcast<vec4<i32>>(four & vec4<u32>(15u));
  return vec4<f32>(select(value, -value, q > vec4<u32>(7u)));  // of -0, ggml makes 0
}
