// MXFP4: 32 elements, w = 2^(e - 128) * code book[q], the code book being twice the e2m1
// floats: 0 1 2 3 4 6 8 12 and their negatives. In the file: byte e; 16 bytes q. As stored
// here: the 16 bytes of every block, then every e. Byte i holds q[i] (low nibble) and
// q[i + 16]. Scales of e = 0 and 1 are subnormal: an adapter may flush them to zero.
const BLOCK_SIZE: u32 = 32u;
const BLOCK_BYTES: u32 = 17u;

//#include "common/bytes.wgsl"

fn block_scale(block: u32) -> f32 {
  let n_blocks = arrayLength(&weight) * 4u / BLOCK_BYTES;
  let e = byte(weight[n_blocks * 4u + block / 4u], block & 3u);
  return bitcast<f32>(select((e - 1u) << 23u, 0x00200000u << (e & 1u), e < 2u));
}

fn fp4_values(q: vec4<u32>) -> vec4<f32> {
  let four = vec4<u32>(0xc8643210u) >> (4u * (q & vec4<u32>(7u)));
  let value = bitcast<vec4<i32>>(four & vec4<u32>(15u));
  return vec4<f32>(select(value, -value, q > vec4<u32>(7u)));  // of -0, ggml makes 0
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
