// IQ4_XS: 256 elements in 8 groups of 32, w = d * (scale - 32) * code book[q]. Bytes:
// 0 f16 d; 2 u16 with the top two bits of each 6-bit scale; 4 to 7 their low nibbles; 8 to
// 135 q, 16 bytes to a group. Byte j of a group holds q[j] (low nibble) and q[j + 16].
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 136u;

//#include "common/bytes.wgsl"
//#include "common/iq4.wgsl"

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  return vec2<f32>(iq4_scale(weight[block * 34u], weight[block * 34u + 1u], i / 32u), 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * 34u + 2u + 4u * (i / 32u) + (i & 15u) / 4u;
  return iq4_values(nibbles(weight[word], 4u * ((i / 16u) & 1u)));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  let scales = group_scales(block, i);
  return scales.x * quants4(block, i) + scales.y;
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
