// Q5_K: 256 elements in 8 groups of 32, w = d * scale * q - dmin * min. Bytes: 0 f16 d;
// 2 f16 dmin; 4 to 15 the groups' 6-bit scales and mins (common/k_scales.wgsl); 16 to 47
// fifth bits of q: bit g of byte l is that of element 32 g + l; 48 to 175 the rest. Each
// 32 bytes of these hold two groups: the low nibbles, then the high nibbles.
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 176u;

//#include "common/bytes.wgsl"
//#include "common/k_scales.wgsl"

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  let word = block * 44u;
  let head = vec4<u32>(weight[word], weight[word + 1u], weight[word + 2u], weight[word + 3u]);
  return k_scales(head, i / 32u);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * 44u + 4u + (i & 31u) / 4u;
  let low = nibbles(weight[word + 8u + 8u * (i / 64u)], 4u * ((i / 32u) & 1u));
  let high = bits(weight[word], i / 32u);
  return vec4<f32>(low | (high << vec4<u32>(4u)));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  let scales = group_scales(block, i);
  return scales.x * quants4(block, i) + scales.y;
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
