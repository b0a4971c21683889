// TQ2_0: 256 elements, w = d * (q - 1). In the file: 64 bytes q; f16 d. As stored here: the
// 64 bytes of every block, then every d. Elements 32 g + l of each half of a block are bits
// 2 g and 2 g + 1 of its byte l, g < 4.
const BLOCK_SIZE: u32 = 256u;
const BLOCK_BYTES: u32 = 66u;

//#include "common/bytes.wgsl"

// The f16 scales follow the bodies of all blocks.
fn block_scale(block: u32) -> f32 {
  let n_blocks = arrayLength(&weight) * 4u / BLOCK_BYTES;
  return f16_at(weight[n_blocks * 16u + block / 2u], block & 1u);
}

fn group_scales(block: u32, i: u32) -> vec2<f32> {
  return vec2<f32>(block_scale(block), 0.0);
}

fn quants4(block: u32, i: u32) -> vec4<f32> {
  let word = block * 16u + 8u * (i / 128u) + (i & 31u) / 4u;
  return vec4<f32>(crumbs(weight[word], 2u * ((i / 32u) & 3u))) - 1.0;
}

fn dequant4(block: u32, i: u32) -> vec4<f32> {
  return group_scales(block, i).x * quants4(block, i);
}

fn dequant(block: u32, i: u32) -> f32 {
  return dequant4(block, i & ~3u)[i & 3u];
}
