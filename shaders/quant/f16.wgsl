// F16: IEEE halves. A block is one element, and i counts on from it;
// four elements begin in either half of a word.
const BLOCK_SIZE: u32 = 1u;
const BLOCK_BYTES: u32 = 2u;

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  return vec2<f32>(1.0, 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = (block + i) / 2u;
  let first = unpack2x16float(weight[word]);
  let second = unpack2x16float(weight[word + 1u]);
  if (((block + i) & 1u) == 0u) {
    return vec4<f32>(first, second);
  }
  return vec4<f32>(first.y, second, unpack2x16float(weight[word + 2u]).x);
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  let at = block + i;
  return unpack2x16float(weight[at / 2u] >> (16u * (at & 1u))).x;
}
