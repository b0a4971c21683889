// none - stands for the format of a matrix that is absent: nothing is read.
const BLOCK_SIZE: u32 = 1u;
const BLOCK_BYTES: u32 = 4u;

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  return vec2<f32>(0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  return vec4<f32>(0.0);
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return vec4<f32>(0.0);
}

fn dequant(block: u32, i: u32) -> f32 {
  return 0.0;
}
