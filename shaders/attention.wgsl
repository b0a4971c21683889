// attention - one query head against the cache, softmax on the fly.
//
//   s_j = q . k_j (no scale);  y = sum_j softmax(s)_j v_j
//   over j = max(0, p - window + 1) .. p, or 0 .. p when window is 0;  p = position + t
//
// shapes     q, y: [n_tokens, n_heads, HEAD_DIM] f32;
//            k_cache, v_cache: [n_slots, n_kv_heads, HEAD_DIM / 4] of four elements
// bindings   0 params, 1 state, 2 q, 3 k_cache, 4 v_cache, 5 y
// consts     HEAD_DIM: elements of a head, a multiple of 8; WG: threads per workgroup
// dispatch   (n_heads, n_tokens, 1): one workgroup per query head and token
// oracle     oracle.ops.attention
// tolerance  rtol=1e-5 atol=1e-6
// notes      Keys come in tiles of WG: a thread scores one key, then all threads add the
//            tile's values, each for its own columns. The running maximum rescales what
//            was added before. Scores are unscaled and reach tens, so an error of the
//            score enters the weights absolutely: HEAD_DIM products of order one at 6e-8
//            each give up to 1e-5 at 512; the values add a sum of up to 512 terms.
//            A thread's loops take about n_keys * (HEAD_DIM / 2 / WG + 2) turns: llvmpipe,
//            which ends them at 65,535, is good for 6,500 keys of 512 at WG = 32.
// source     Milakov and Gimelshein 2018 (online softmax); Dao et al. 2022

struct Params {
  n_heads: u32,
  n_kv_heads: u32,
  n_slots: u32,
  window: u32,
}

//#include "common/kv_{kv}.wgsl"

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> q: array<f32>;
@group(0) @binding(3) var<storage, read> k_cache: array<KvWord>;
@group(0) @binding(4) var<storage, read> v_cache: array<KvWord>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

//#include "common/state.wgsl"
//#include "common/math.wgsl"

const WORDS: u32 = HEAD_DIM / 4u;                  // of a head
const OWN: u32 = (WORDS + WG - 1u) / WG;           // words that a thread adds up

var<workgroup> query: array<vec4<f32>, WORDS>;
var<workgroup> scores: array<f32, WG>;
var<workgroup> position: u32;

fn score(slot: u32, kv_head: u32) -> f32 {
  let begin = (slot * params.n_kv_heads + kv_head) * WORDS;
  var sum = vec4<f32>(0.0);
  for (var i = 0u; i < WORDS; i++) {
    sum += query[i] * kv_unpack(k_cache[begin + i]);
  }
  return (sum.x + sum.y) + (sum.z + sum.w);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let q_begin = (group.y * params.n_heads + group.x) * HEAD_DIM;
  for (var i = thread; i < WORDS; i += WG) {
    let d = q_begin + 4u * i;
    query[i] = vec4<f32>(q[d], q[d + 1u], q[d + 2u], q[d + 3u]);
  }
  if (thread == 0u) {
    position = state.position;
  }
  let last = workgroupUniformLoad(&position) + group.y;
  let first = select(0u, last + 1u - params.window, params.window > 0u && last + 1u > params.window);
  let kv_head = group.x / (params.n_heads / params.n_kv_heads);
  var sums: array<vec4<f32>, OWN>;
  for (var i = 0u; i < OWN; i++) {
    sums[i] = vec4<f32>(0.0);
  }
  var total = 0.0;
  var highest = -3.0e38;
  for (var tile = first; tile <= last; tile += WG) {
    let n = min(WG, last + 1u - tile);
    if (thread < n) {
      scores[thread] = score((tile + thread) % params.n_slots, kv_head);
    }
    workgroupBarrier();
    var tile_highest = highest;
    for (var j = 0u; j < n; j++) {
      tile_highest = max(tile_highest, scores[j]);
    }
    let rescale = exp_f32(highest - tile_highest);
    highest = tile_highest;
    workgroupBarrier();
    if (thread < n) {
      scores[thread] = exp_f32(scores[thread] - highest);
    }
    workgroupBarrier();
    total *= rescale;
    for (var i = 0u; i < OWN; i++) {
      sums[i] *= rescale;
    }
    for (var j = 0u; j < n; j++) {
      let p = scores[j];
      total += p;
      let begin = ((tile + j) % params.n_slots * params.n_kv_heads + kv_head) * WORDS;
      for (var i = 0u; i < OWN; i++) {
        let word = min(thread + i * WG, WORDS - 1u);
        sums[i] += p * kv_unpack(v_cache[begin + word]);
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < OWN; i++) {
    let word = thread + i * WG;
    if (word < WORDS) {
      let d = q_begin + 4u * word;
      let value = sums[i] / total;
      y[d] = value.x;
      y[d + 1u] = value.y;
      y[d + 2u] = value.z;
      y[d + 3u] = value.w;
    }
  }
}
