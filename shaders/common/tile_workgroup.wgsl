// tile_workgroup - TILE_ROWS x TOKENS dot products; a thread carries eight by four.
//
// For GPUs: DEPTH elements of all rows at a time lie in workgroup memory, the weights
// dequantised, each read and decoded once for TOKENS products. Rows of a thread are
// TILE_ROWS / 8 apart, so that neighbours read other banks and write neighbouring words.
// llvmpipe takes 0.8 of the time of tile_private, too, but SwiftShader needs seconds to
// compile a variant, instead of a tenth of one.
// Needs a format, x, params.dim_in, and of the kernel
//   row_block(row), x_begin(token): the first block, or element, of a row of the tile;
//   n_tokens(): how many of its tokens are wanted;
//   put(row, token, sum), which leaves out what lies beyond the last.
// Sums run along d in order, whatever else is in the tile. Barriers: call it from uniform
// control flow.
const ROWS: u32 = 8u;                        // of a thread
const ROW_STEP: u32 = TILE_ROWS / ROWS;
const WG: u32 = ROW_STEP * (TOKENS / 4u);
const DEPTH: u32 = 16u;                      // at most a group of a format's scales
const RUN: u32 = 8u;                         // elements for which scales are decoded once
const RUNS: u32 = DEPTH / RUN;
const WORDS: u32 = DEPTH / 4u;
const STRIDE: u32 = WORDS + 1u;              // odd: neighbouring rows in different banks

//#include "common/element_{element}.wgsl"

var<workgroup> weight_tile: array<TileWord, TILE_ROWS * STRIDE>;
var<workgroup> x_tile: array<vec4<f32>, TOKENS * STRIDE>;

// Four elements of a row of a float type from d on, zeros beyond its end.
fn last_weights(first: u32, d: u32) -> vec4<f32> {
  var four = vec4<f32>();
  for (var i = 0u; i < 4u; i++) {
    if (d + i < params.dim_in) {
      four[i] = dequant(first + d + i, 0u);
    }
  }
  return four;
}

fn last_x(first: u32, d: u32) -> vec4<f32> {
  var four = vec4<f32>();
  for (var i = 0u; i < 4u; i++) {
    if (d + i < params.dim_in) {
      four[i] = x[first + d + i];
    }
  }
  return four;
}

fn stage_weights(begin: u32, thread: u32) {
  for (var i = thread; i < TILE_ROWS * RUNS; i += WG) {
    let d = begin + i % RUNS * RUN;
    let at = i / RUNS * STRIDE + i % RUNS * (RUN / 4u);
    let first = row_block(i / RUNS);
    if (BLOCK_SIZE == 1u && d + RUN > params.dim_in) {
      weight_tile[at] = TileWord(last_weights(first, d));
      weight_tile[at + 1u] = TileWord(last_weights(first, d + 4u));
      continue;
    }
    let block = first + d / BLOCK_SIZE;
    let of_block = d % BLOCK_SIZE;
    let scales = group_scales(block, of_block);
    weight_tile[at] = TileWord(scales.x * quants4(block, of_block) + scales.y);
    weight_tile[at + 1u] = TileWord(scales.x * quants4(block, of_block + 4u) + scales.y);
  }
}

fn stage_x(begin: u32, thread: u32) {
  for (var i = thread; i < TOKENS * WORDS; i += WG) {
    let d = begin + i % WORDS * 4u;
    let first = x_begin(i / WORDS);
    var four: vec4<f32>;
    if (BLOCK_SIZE == 1u && d + 4u > params.dim_in) {
      four = last_x(first, d);
    } else {
      let at = first + d;
      four = vec4<f32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
    }
    x_tile[i / WORDS * STRIDE + i % WORDS] = four;
  }
}

fn multiply(thread: u32) {
  let row = thread % ROW_STEP;
  let token = thread / ROW_STEP * 4u;
  let is_wanted = token < n_tokens();
  var sums: array<vec4<f32>, ROWS>;  // of four tokens
  for (var d = 0u; d < params.dim_in; d += DEPTH) {
    stage_weights(d, thread);
    stage_x(d, thread);
    workgroupBarrier();
    for (var i = 0u; is_wanted && i < WORDS; i++) {
      let at = token * STRIDE + i;
      let four = transpose(mat4x4<f32>(
        x_tile[at], x_tile[at + STRIDE], x_tile[at + 2u * STRIDE], x_tile[at + 3u * STRIDE]
      ));
      for (var r = 0u; r < ROWS; r++) {
        let weights = vec4<f32>(weight_tile[(row + r * ROW_STEP) * STRIDE + i]);
        sums[r] += weights.x * four[0];
        sums[r] += weights.y * four[1];
        sums[r] += weights.z * four[2];
        sums[r] += weights.w * four[3];
      }
    }
    workgroupBarrier();
  }
  for (var t = 0u; t < 4u; t++) {
    for (var r = 0u; r < ROWS; r++) {
      put(row + r * ROW_STEP, token + t, sums[r][t]);
    }
  }
}
