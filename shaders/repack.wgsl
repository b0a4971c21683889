// repack - blocks as a file has them, into two aligned planes: all bodies, all scales.
//
//   planes = body of block 0, of block 1, ...; then scale of block 0, of block 1, ...
//
// shapes     raw: [n_blocks * block_bytes] bytes;  planes: [total_blocks * block_bytes]
//            bytes; both rounded up to words
// bindings   0 params, 1 raw, 2 planes
// overrides  WG: threads per workgroup
// dispatch   n_blocks / WG, folded into y: a thread per block, and per word of scales
// oracle     oracle.ops.repack
// tolerance  rtol=0 atol=0
// notes      A chunk holds blocks block_begin to block_begin + n_blocks of a weight's
//            part; block_begin is a multiple of four, so that no word belongs to two
//            chunks. scale_offset and the bytes of a body are multiples of four; at most
//            four bytes of scales mean no more words of scales than blocks. A thread per
//            word took 1.5 to 4 times as long on SwiftShader (2 cores, 2026-11-21).
override WG: u32 = 64u;

struct Params {
  n_blocks: u32,
  block_begin: u32,
  total_blocks: u32,
  block_bytes: u32,
  scale_offset: u32,
  scale_bytes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> raw: array<u32>;
@group(0) @binding(2) var<storage, read_write> planes: array<u32>;

// The word that begins at any byte.
fn raw_word(at: u32) -> u32 {
  let shift = 8u * (at & 3u);
  let low = raw[at / 4u] >> shift;
  if (shift == 0u) {
    return low;
  }
  return low | (raw[at / 4u + 1u] << (32u - shift));
}

fn scale_word(i: u32) -> u32 {
  var word = 0u;
  for (var k = 0u; k < 4u; k++) {
    let at = 4u * i + k;
    let block = at / params.scale_bytes;
    if (block < params.n_blocks) {
      let source = block * params.block_bytes + params.scale_offset + at % params.scale_bytes;
      word |= ((raw[source / 4u] >> (8u * (source & 3u))) & 255u) << (8u * k);
    }
  }
  return word;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.x + group.y * n_groups.x) * WG + thread;
  let body_words = (params.block_bytes - params.scale_bytes) / 4u;
  if (i < params.n_blocks) {
    let begin = i * params.block_bytes;
    let body = (params.block_begin + i) * body_words;
    for (var w = 0u; w < body_words; w++) {
      let skipped = select(0u, params.scale_bytes, 4u * w >= params.scale_offset);
      planes[body + w] = raw_word(begin + 4u * w + skipped);
    }
  }
  if (4u * i < params.n_blocks * params.scale_bytes) {
    let scales = params.total_blocks * body_words
      + params.block_begin * params.scale_bytes / 4u;
    planes[scales + i] = scale_word(i);
  }
}
