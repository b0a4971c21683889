// expert_sort - bucket the assignments of tokens to experts by a stable counting sort.
//
//   offsets[e] = #{i: idx[i] < e};  perm[i] = offsets[idx[i]] + #{i' < i: idx[i'] = idx[i]}
//   token_idx[perm[i]] = i / top_k
//   tiles: (e, offsets[e] + m * tile) for each e, each m < ceil(count[e] / tile)
//
// Tiles that are left over hold (0xffffffff, 0).
//
// shapes     idx, token_idx, perm: [n_assignments] u32;  offsets: [n_experts + 1] u32;
//            tiles: [n_tiles, 2] u32, n_tiles >= n_assignments / tile + the number of
//            experts in use;  n_experts <= 1024
// bindings   0 params, 1 idx, 2 offsets, 3 token_idx, 4 perm, 5 tiles
// overrides  WG: threads per workgroup;  MAX_EXPERTS: room for experts, >= n_experts
// dispatch   (1, 1, 1): one workgroup
// oracle     oracle.ops.expert_sort
// tolerance  rtol=0 atol=0
// notes      Stable without comparisons: each expert belongs to one thread, and every
//            thread walks all assignments in order. Counts are integer atomics, which
//            give the same sum in any order.
override WG: u32 = 64u;
override MAX_EXPERTS: u32 = 1024u;  // SwiftShader compiles 3 x 1024 in a second

struct Params {
  n_assignments: u32,
  top_k: u32,
  n_experts: u32,
  n_tiles: u32,
  tile: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> idx: array<u32>;
@group(0) @binding(2) var<storage, read_write> offsets: array<u32>;
@group(0) @binding(3) var<storage, read_write> token_idx: array<u32>;
@group(0) @binding(4) var<storage, read_write> perm: array<u32>;
@group(0) @binding(5) var<storage, read_write> tiles: array<vec2<u32>>;

const STAGE: u32 = 256u;  // assignments read at a time, once for all threads
const UNUSED: u32 = 0xffffffffu;

var<workgroup> counts: array<atomic<u32>, MAX_EXPERTS>;
var<workgroup> fill: array<u32, MAX_EXPERTS>;  // where an expert's next assignment goes
var<workgroup> tile_begin: array<u32, MAX_EXPERTS>;
var<workgroup> stage: array<u32, STAGE>;
var<workgroup> n_used_tiles: u32;

fn count(thread: u32) {
  for (var e = thread; e < params.n_experts; e += WG) {
    atomicStore(&counts[e], 0u);
  }
  workgroupBarrier();
  for (var i = thread; i < params.n_assignments; i += WG) {
    atomicAdd(&counts[idx[i]], 1u);
  }
  workgroupBarrier();
}

// The prefix sums of counts and of tiles: one thread, n_experts steps.
fn place_buckets() {
  var begin = 0u;
  var n_tiles = 0u;
  for (var e = 0u; e < params.n_experts; e++) {
    let n = atomicLoad(&counts[e]);
    fill[e] = begin;
    offsets[e] = begin;
    tile_begin[e] = n_tiles;
    begin += n;
    n_tiles += (n + params.tile - 1u) / params.tile;
  }
  offsets[params.n_experts] = begin;
  n_used_tiles = n_tiles;
}

// Before `distribute`, while fill[e] is still where the bucket begins.
fn write_tiles(thread: u32) {
  for (var e = thread; e < params.n_experts; e += WG) {
    let n = (atomicLoad(&counts[e]) + params.tile - 1u) / params.tile;
    for (var m = 0u; m < n; m++) {
      tiles[tile_begin[e] + m] = vec2(e, fill[e] + m * params.tile);
    }
  }
  for (var i = n_used_tiles + thread; i < params.n_tiles; i += WG) {
    tiles[i] = vec2(UNUSED, 0u);
  }
}

// Place the staged assignments, each by the thread that owns its expert.
fn distribute(thread: u32, begin: u32, n: u32) {
  for (var i = 0u; i < n; i++) {
    let e = stage[i];
    if (e % WG == thread) {
      let position = fill[e];
      fill[e] = position + 1u;
      perm[begin + i] = position;
      token_idx[position] = (begin + i) / params.top_k;
    }
  }
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) thread: u32) {
  count(thread);
  if (thread == 0u) {
    place_buckets();
  }
  workgroupBarrier();
  write_tiles(thread);
  for (var begin = 0u; begin < params.n_assignments; begin += STAGE) {
    let n = min(STAGE, params.n_assignments - begin);
    workgroupBarrier();  // the previous stage has been placed
    for (var i = thread; i < n; i += WG) {
      stage[i] = idx[begin + i];
    }
    workgroupBarrier();
    distribute(thread, begin, n);
  }
}
