// MXFP4: 32 elements, w = 2^(e - 128) * code book[q] (common/fp4.wgsl). In the file: byte
// e; 16 bytes q. As stored here: the 16 bytes of every block, then every e. Byte i holds
// q[i] (low nibble) and q[i + 16]. Scales of e = 0 and 1 are subnormal: an adapter may
// flush them to zero.
const BLOCK_SIZE: u32 = 32u;
const BLOCK_BYTES: u32 = 17u;

//#include "common/bytes.wgsl"
//#include "common/fp4.wgsl"

fn block_scale(block: u32) -> f32 {
  let n_blocks = arrayLength(&weight) * 4u / BLOCK_BYTES;
  let e = byte(weight[n_blocks * 4u + block / 4u], block & 3u);
  return fp4_scale(e);
}

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  return vec2<f32>(block_scale(block), 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  return fp4_values(nibbles(weight[block * 4u + (i & 15u) / 4u], 4u * (i / 16u)));
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  let scales = group_scales(block, i);
  return scales.x * quants4(block, i) + scales.y;
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
