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
// consts     TOKENS: assignments that a thread carries
// overrides  WG: rows per workgroup, a multiple of the ROWS that a thread carries
// dispatch   (n_rows / WG, n_tiles, 1): a thread per ROWS rows and tile
// oracle     oracle.ops.expert_matmul
// tolerance  rtol=2e-6 atol=1e-7
// notes      rtol is of sum_d |weight * x|, as in matmul. A tile is an expert (0xffffffff:
//            unused) and the first of up to TOKENS positions in its bucket. table says
//            which slot holds an expert; this binding holds slots slot_begin to
//            slot_begin + n_slots, and nothing is written for experts elsewhere.
override WG: u32 = 64u;

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

//#include "quant/{quant}.wgsl"
//#include "common/row_tile.wgsl"

@compute @workgroup_size(WG / ROWS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let expert = tiles[2u * group.y];
  let first_row = group.x * WG + thread * ROWS;
  if (expert == UNUSED || first_row >= params.n_rows) {
    return;
  }
  let slot = table[expert] - params.slot_begin;  // wraps round for an earlier slot
  if (slot >= params.n_slots) {
    return;
  }
  var blocks: array<u32, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    let row = slot * params.n_rows + min(first_row + r, params.n_rows - 1u);
    blocks[r] = row * (params.dim_in / BLOCK_SIZE);
  }
  let first = tiles[2u * group.y + 1u];
  let end = offsets[expert + 1u];
  var x_begins: array<u32, TOKENS>;
  for (var t = 0u; t < TOKENS; t++) {
    let p = min(first + t, end - 1u);
    x_begins[t] = params.dim_in * select(p, token_idx[p], params.gather != 0u);
  }
  var sums = row_tile(blocks, x_begins, params.dim_in);
  for (var t = 0u; t < min(TOKENS, end - first); t++) {
    let y_begin = (first + t) * params.y_stride + params.y_offset + first_row;
    for (var r = 0u; r < min(ROWS, params.n_rows - first_row); r++) {
      y[y_begin + r] = sums[r][t];
    }
  }
}
