// repack - blocks as a file has them, into two aligned planes: all bodies, all scales.
//
//   planes = body of block 0, of block 1, ...; then scale of block 0, of block 1, ...
//
// shapes     raw: [n_blocks * block_bytes] bytes;  planes: [total_blocks * block_bytes]
//            bytes; both rounded up to words
// bindings   0 params, 1 raw, 2 planes
// overrides  WG: threads per workgroup;  BLOCK_BYTES: of the type's block;
//            SCALE_OFFSET: bytes of it before its scales;  SCALE_BYTES: of these
// dispatch   n_blocks / WG, folded into y: a thread per block, and per word of scales
// oracle     oracle.ops.repack
// tolerance  rtol=0 atol=0
// notes      A chunk holds blocks block_begin to block_begin + n_blocks of a weight's
//            part; block_begin is a multiple of four, so that no word belongs to two
//            chunks. SCALE_OFFSET and the bytes of a body are multiples of four; at most
//            four bytes of scales mean no more words of scales than blocks. A thread per
//            word took 1.5 to 4 times as long on SwiftShader (2 cores, 2026-11-21).
//            The type is in overrides, for llvmpipe compiles a kernel anew for each
//            dispatch if its uniform bounds a loop, and keeps what it compiled: 512
//            blocks of Q6_K took 6.6 ms and left 165 KB, and take 2.1 (2 busy cores,
//            2026-11-27).
override WG: u32 = 64u;
override BLOCK_BYTES: u32 = 18u;
override SCALE_OFFSET: u32 = 0u;
override SCALE_BYTES: u32 = 2u;

struct Params {
  n_blocks: u32,
  block_begin: u32,
  total_blocks: u32,
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
    let block = at / SCALE_BYTES;
    if (block < params.n_blocks) {
      let source = block * BLOCK_BYTES + SCALE_OFFSET + at % SCALE_BYTES;
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
  let body_words = (BLOCK_BYTES - SCALE_BYTES) / 4u;
  if (i < params.n_blocks) {
    let begin = i * BLOCK_BYTES;
    let body = (params.block_begin + i) * body_words;
    for (var w = 0u; w < body_words; w++) {
      let skipped = select(0u, SCALE_BYTES, 4u * w >= SCALE_OFFSET);
      planes[body + w] = raw_word(begin + 4u * w + skipped);
    }
  }
  if (4u * i < params.n_blocks * SCALE_BYTES) {
    let scales = params.total_blocks * body_words
      + params.block_begin * SCALE_BYTES / 4u;
    planes[scales + i] = scale_word(i);
  }
}
