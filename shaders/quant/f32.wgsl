// F32: IEEE singles. A block is one element, and i counts on from it.
const BLOCK_SIZE: u32 = 1u;
const BLOCK_BYTES: u32 = 4u;

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  return vec2<f32>(1.0, 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let at = block + i;
  return bitcast<vec4<f32>>(vec4<u32>(
    weight[at], weight[at + 1u], weight[at + 2u], weight[at + 3u]));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  return bitcast<f32>(weight[block + i]);
}
