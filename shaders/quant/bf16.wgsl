// BF16: the upper halves of IEEE singles. A block is one element, and i counts on from it;
// four elements begin in either half of a word.
const BLOCK_SIZE: u32 = 1u;
const BLOCK_BYTES: u32 = 2u;

fn widen(word: u32) -> vec2<f32> {
  return bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u));
}

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  return vec2<f32>(1.0, 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = (block + i) / 2u;
  let first = widen(weight[word]);
  let second = widen(weight[word + 1u]);
  if (((block + i) & 1u) == 0u) {
    return vec4<f32>(first, second);
  }
  return vec4<f32>(first.y, second, widen(weight[word + 2u]).x);
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  let at = block + i;
  return widen(weight[at / 2u] >> (16u * (at & 1u))).x;
}
