// expert_matmul - the matrix of each expert times the vectors of its bucket.
//
//   y[p, y_offset + r] = sum_d weight[table[e] - slot_begin, r, d] * x[row(p), d],
//   offsets[e] <= p < offsets[e + 1],  row(p) = gather ? token_idx[p] : p
//
// shapes     x: [n_tokens or n_assignments, dim_in] f32;  weight: [n_slots, n_rows, dim_in]
//            quant;  offsets: [n_experts + 1] u32;  token_idx: [n_assignments] u32;
//            tiles: [n_tiles, 2] u32;  table: [n_experts] u32;
//            y: [n_assignments, y_stride] f32
// bindings   0 params, 1 x, 2 weight, 3 offsets, 4 token_idx, 5 tiles, 6 table, 7 y
// consts     TILE_ROWS: rows of a workgroup; TOKENS: its assignments; multiples of eight
//            and four
// dispatch   (n_rows / TILE_ROWS, n_tiles, 1): a workgroup per tile
// oracle     oracle.ops.expert_matmul
// tolerance  rtol=2e-6 atol=1e-7
// notes      rtol is of sum_d |weight * x|, as in matmul. A tile is an expert (0xffffffff:
//            unused) and the first of up to TOKENS positions in its bucket. table says
//            which slot holds an expert; this binding holds slots slot_begin to
//            slot_begin + n_slots, and nothing is written for experts elsewhere.
const UNUSED = 0xffffffffu;

struct Params {
  dim_in: u32,
  n_rows: u32,
  gather: u32,
  slot_begin: u32,
  n_slots: u32,
  y_stride: u32,
  y_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<u32>;
@group(0) @binding(3) var<storage, read> offsets: array<u32>;
@group(0) @binding(4) var<storage, read> token_idx: array<u32>;
@group(0) @binding(5) var<storage, read> tiles: array<u32>;
@group(0) @binding(6) var<storage, read> table: array<u32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

//#include "quant/{weight}.wgsl"
//#include "common/tile_{tile}.wgsl"

var<private> first_row: u32;  // of the tile
var<private> first_block: u32;  // of the expert's matrix
var<private> first: u32;  // of the tile's assignments
var<private> past_last: u32;  // of those of the expert

fn row_block(row: u32) -> u32 {
  let clamped = min(first_row + row, params.n_rows - 1u);
  return first_block + clamped * (params.dim_in / BLOCK_SIZE);
}

fn x_begin(token: u32) -> u32 {
  let p = min(first + token, past_last - 1u);
  if (params.gather != 0u) {
    return token_idx[p] * params.dim_in;
  }
  return p * params.dim_in;
}

fn n_tokens() -> u32 {
  return past_last - first;
}

fn put(row: u32, token: u32, sum: f32) {
  if (first_row + row < params.n_rows && token < n_tokens()) {
    y[(first + token) * params.y_stride + params.y_offset + first_row + row] = sum;
  }
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let expert = tiles[2u * group.y];
  if (expert == UNUSED) {
    return;
  }
  let slot = table[expert] - params.slot_begin;  // wraps round for an earlier slot
  if (slot >= params.n_slots) {
    return;
  }
  first_row = group.x * TILE_ROWS;
  first_block = slot * params.n_rows * (params.dim_in / BLOCK_SIZE);
  first = tiles[2u * group.y + 1u];
  past_last = offsets[expert + 1u];
  multiply(thread);
}
