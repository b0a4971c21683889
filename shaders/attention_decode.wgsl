// attention_decode - one token's attention, from its raw queries, key and value on.
//
//   K[p] = rope(rms(k + k_bias) * k_norm);  V[p] = rms(v + v_bias);  p = position + first_token
//   q = rope(rms(q + q_bias) * q_norm) * scale;  each rms and bias is optional
//   s_j = q . K[j];  y = sum_j softmax(s)_j V[j],  first <= j <= p
//   first = p - window + 1, or 0 when that is negative or window is 0
//
// shapes     raw: q [n_heads, HEAD_DIM] from q_begin on, likewise k and v [n_kv_heads,
//            HEAD_DIM] (which may be one);  vectors: q_norm, k_norm [HEAD_DIM], q_bias
//            [n_heads, HEAD_DIM], k_bias and v_bias [n_kv_heads, HEAD_DIM];
//            rope: [fine + coarse, n_pairs] of (cos, sin);
//            k_cache, v_cache: [n_slots, n_kv_heads, HEAD_DIM / 4] of four elements;
//            y: [n_heads, HEAD_DIM], or the partials of several splits
// bindings   0 params, 1 state, 2 raw, 3 vectors, 4 rope, 5 k_cache, 6 v_cache, 7 y
// consts     HEAD_DIM: elements of a head, a multiple of 8; GROUP: query heads of a KV head;
//            HEADS: of these, how many a thread serves, a divisor; LANES: threads that share
//            a key, a divisor of HEAD_DIM / 4; TEAMS: keys scored at once;
//            KEYS: how many times that, for a tile
// overrides  HAS_NORM: queries and keys are normed;  V_NORM: values are;  HAS_BIAS: heads
//            have biases
// dispatch   (n_kv_heads, n_splits, 1): one workgroup per KV head and split of the keys
// oracle     oracle.ops.attention_decode
// tolerance  rtol=1e-5 atol=1e-6
// notes      A workgroup serves all query heads of its KV head: a key or value is read from
//            memory once, by LANES neighbours reading neighbouring words. Queries and sums
//            stay in registers; scores are added up over the lanes in workgroup memory. A
//            split takes a share of the keys in whole tiles, so the last ones may be empty.
//            The split that ends at p stores the new key and value, and alone reads them.
//            Scores reach tens, so an error of the score enters the weights
//            absolutely: HEAD_DIM products of order one at 6e-8 each give up to 1e-5 at 512.
//            Against a prefill of the same token the order of sums differs.
// source     Milakov and Gimelshein 2018 (online softmax); Dao et al. 2023 (flash-decoding)

struct Params {
  n_kv_heads: u32,
  q_begin: u32,
  k_begin: u32,
  v_begin: u32,
  first_token: u32,
  n_slots: u32,
  window: u32,
  n_pairs: u32,
  fine: u32,
  owns_cache: u32,  // 1: k and v of the new token are there, and stored
  q_norm: u32,      // where vectors begin, in words
  k_norm: u32,
  q_bias: u32,
  k_bias: u32,
  v_bias: u32,
  eps: f32,
  scale: f32,
}

//#include "common/kv_{kv}.wgsl"

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> raw: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> vectors: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> rope: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> k_cache: array<KvWord>;
@group(0) @binding(6) var<storage, read_write> v_cache: array<KvWord>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

//#include "common/heads.wgsl"
//#include "common/state.wgsl"
//#include "common/finite.wgsl"
//#include "common/math.wgsl"
//#include "common/rope.wgsl"
//#include "common/partials.wgsl"

const SLICES: u32 = GROUP / HEADS;          // threads that read the same word of a key
const CREW: u32 = SLICES * LANES;           // threads that score one key
const WG: u32 = TEAMS * CREW;
const TILE: u32 = TEAMS * KEYS;             // keys
const ITEMS: u32 = TILE * GROUP;            // scores of a tile
const OWN: u32 = WORDS / LANES;             // words of a head that a thread holds
const STRIDE: u32 = LANES + 1u;             // of shares: neighbours in different banks
const ROWS: u32 = max(ITEMS, GROUP + 2u);   // of shares
const SPACE: u32 = max(ROWS * STRIDE, 4u * WG);
const ROUND: u32 = SPACE / (4u * WG);       // words of each thread that fit into shares
const KEY_STEP: u32 = WG / GROUP;

var<workgroup> shares: array<f32, SPACE>;   // of sums over lanes, then over teams
var<workgroup> scores: array<f32, ITEMS>;   // [TILE, GROUP]; at the end the teams' totals
var<workgroup> exps: array<f32, ITEMS>;     // [TILE, GROUP]
var<workgroup> highest: array<f32, GROUP>;
var<workgroup> rescale: array<f32, GROUP>;  // what the tile multiplies earlier sums by
var<workgroup> position: u32;

var<private> lane: u32;
var<private> team: u32;
var<private> head: u32;  // the first that this thread serves

fn shares_sum(row: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < LANES; i++) {
    sum += shares[row * STRIDE + i];
  }
  return sum;
}

fn norm_factor(row: u32, is_normed: bool) -> f32 {
  if (is_normed) {
    return rms_factor(shares_sum(row) / f32(HEAD_DIM), params.eps);
  }
  return 1.0;
}

// This lane's share of the sum of squares of the head that begins at `begin`.
fn squares(begin: u32, bias: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < OWN; i++) {
    let own = lane + i * LANES;
    let word = head_word(begin + own, bias + own);
    sum += dot(word, word);
  }
  return sum;
}

// Where a key's words begin in the caches.
fn slot_word(key: u32, kv_head: u32) -> u32 {
  return (key % params.n_slots * params.n_kv_heads + kv_head) * WORDS;
}

fn store_new(kv_head: u32, to: u32, thread: u32) {
  let k_factor = norm_factor(GROUP, HAS_NORM);
  let v_factor = norm_factor(GROUP + 1u, V_NORM);
  let first = kv_head * WORDS;
  let k_begin = params.k_begin / 4u + first;
  let k_bias = params.k_bias + first;
  for (var word = thread; word < WORDS; word += WG) {
    let other = rope_partner(word);
    let turn = rope_turn(position, word);
    let own = head_word(k_begin + word, k_bias + word) * k_factor
      * norm_word(params.k_norm, word);
    let partner = head_word(k_begin + other, k_bias + other) * k_factor
      * norm_word(params.k_norm, other);
    k_cache[to + word] = kv_pack(own * turn[0] + rope_swap(partner) * turn[1]);
    let v_at = params.v_begin / 4u + first + word;
    v_cache[to + word] = kv_pack(head_word(v_at, params.v_bias + first + word) * v_factor);
  }
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let kv_head = group.x;
  let n_splits = n_groups.y;
  let n_heads = params.n_kv_heads * GROUP;
  lane = thread % LANES;
  team = thread / CREW;
  head = thread / LANES % SLICES * HEADS;

  // The share of the keys: whole tiles, the last split's cut off at the position.
  if (thread == 0u) {
    position = state.position + params.first_token;
  }
  let last = workgroupUniformLoad(&position);
  let past_window = params.window > 0u && last >= params.window;
  let first = select(0u, last + 1u - params.window, past_window);
  let n_tiles = (last - first + TILE) / TILE;
  let share = (n_tiles + n_splits - 1u) / n_splits * TILE;
  let begin = first + group.y * share;
  if (begin > last) {
    if (thread < GROUP) {
      let at = stats_begin(group.y, n_splits, n_heads, kv_head * GROUP + thread);
      y[at] = LOWEST;
      y[at + 1u] = 0.0;
    }
    return;
  }
  let end = min(begin + share, last + 1u);

  // Norms: the sums of squares of the queries, and of the new key and value.
  let q_first = (kv_head * GROUP + head) * WORDS;
  let q_begin = params.q_begin / 4u + q_first;
  let q_bias = params.q_bias + q_first;
  if (team == 0u && HAS_NORM) {
    for (var h = 0u; h < HEADS; h++) {
      shares[(head + h) * STRIDE + lane] = squares(q_begin + h * WORDS, q_bias + h * WORDS);
    }
  }
  if (team == 0u && head == 0u && params.owns_cache == 1u) {
    let first_word = kv_head * WORDS;
    if (HAS_NORM) {
      shares[GROUP * STRIDE + lane] =
        squares(params.k_begin / 4u + first_word, params.k_bias + first_word);
    }
    if (V_NORM) {
      shares[(GROUP + 1u) * STRIDE + lane] =
        squares(params.v_begin / 4u + first_word, params.v_bias + first_word);
    }
  }
  if (thread < GROUP) {
    highest[thread] = LOWEST;
  }
  workgroupBarrier();
  if (params.owns_cache == 1u && end > last) {
    store_new(kv_head, slot_word(last, kv_head), thread);
  }
  var q: array<vec4<f32>, HEADS * OWN>;
  var sums: array<vec4<f32>, HEADS * OWN>;
  var totals: array<f32, HEADS>;
  for (var i = 0u; i < OWN; i++) {
    let word = lane + i * LANES;
    let other = rope_partner(word);
    let turn = rope_turn(last, word);
    let own_turn = norm_word(params.q_norm, word) * turn[0];
    let other_turn = rope_swap(norm_word(params.q_norm, other)) * turn[1];
    for (var h = 0u; h < HEADS; h++) {
      let from_word = q_begin + h * WORDS;
      let bias = q_bias + h * WORDS;
      let partner = rope_swap(head_word(from_word + other, bias + other));
      q[h * OWN + i] = head_word(from_word + word, bias + word) * own_turn + partner * other_turn;
      sums[h * OWN + i] = vec4<f32>(0.0);
    }
  }
  for (var h = 0u; h < HEADS; h++) {
    let factor = norm_factor(head + h, HAS_NORM) * params.scale;
    totals[h] = 0.0;
    for (var i = 0u; i < OWN; i++) {
      q[h * OWN + i] *= factor;
    }
  }
  storageBarrier();
  workgroupBarrier();

  for (var tile = begin; tile < end; tile += TILE) {
    for (var k = 0u; k < KEYS; k++) {
      let key = k * TEAMS + team;
      let words = slot_word(min(tile + key, end - 1u), kv_head) + lane;
      var dots: array<vec4<f32>, HEADS>;
      for (var h = 0u; h < HEADS; h++) {
        dots[h] = vec4<f32>(0.0);
      }
      for (var i = 0u; i < OWN; i++) {
        let word = kv_unpack(k_cache[words + i * LANES]);
        for (var h = 0u; h < HEADS; h++) {
          dots[h] += q[h * OWN + i] * word;
        }
      }
      for (var h = 0u; h < HEADS; h++) {
        let four = dots[h];
        shares[(key * GROUP + head + h) * STRIDE + lane] = (four.x + four.y) + (four.z + four.w);
      }
    }
    workgroupBarrier();
    for (var item = thread; item < ITEMS; item += WG) {
      var score = LOWEST;
      if (tile + item / GROUP < end) {
        score = nan_if_infinite(shares_sum(item));
      }
      scores[item] = score;
    }
    workgroupBarrier();
    let of_head = thread % GROUP;
    var top = highest[of_head];
    for (var item = of_head; item < ITEMS; item += GROUP) {
      top = max(top, scores[item]);
    }
    let first_key = select(TILE, thread / GROUP, thread < KEY_STEP * GROUP);
    for (var key = first_key; key < TILE; key += KEY_STEP) {
      let item = key * GROUP + of_head;
      exps[item] = select(0.0, exp_f32(scores[item] - top), tile + key < end);
    }
    if (thread < GROUP) {
      rescale[thread] = exp_f32(highest[thread] - top);
    }
    workgroupBarrier();
    if (thread < GROUP) {
      highest[thread] = top;
    }
    for (var h = 0u; h < HEADS; h++) {
      let factor = rescale[head + h];
      totals[h] *= factor;
      for (var i = 0u; i < OWN; i++) {
        sums[h * OWN + i] *= factor;
      }
    }
    for (var k = 0u; k < KEYS; k++) {
      let key = k * TEAMS + team;
      let words = slot_word(min(tile + key, end - 1u), kv_head) + lane;
      var weights: array<f32, HEADS>;
      for (var h = 0u; h < HEADS; h++) {
        weights[h] = exps[key * GROUP + head + h];
        totals[h] += weights[h];
      }
      for (var i = 0u; i < OWN; i++) {
        let word = kv_unpack(v_cache[words + i * LANES]);
        for (var h = 0u; h < HEADS; h++) {
          sums[h * OWN + i] += weights[h] * word;
        }
      }
    }
  }

  // Add up the teams, ROUND words of every thread at a time.
  if (lane == 0u) {
    for (var h = 0u; h < HEADS; h++) {
      scores[team * GROUP + head + h] = totals[h];
    }
  }
  for (var done = 0u; done < HEADS * OWN; done += ROUND) {
    let n_words = min(ROUND, HEADS * OWN - done);
    workgroupBarrier();
    for (var i = 0u; i < n_words; i++) {
      let four = sums[done + i];
      let at = 4u * i * WG + thread;
      shares[at] = four.x;
      shares[at + WG] = four.y;
      shares[at + 2u * WG] = four.z;
      shares[at + 3u * WG] = four.w;
    }
    workgroupBarrier();
    for (var item = thread; item < n_words * CREW * 4u; item += WG) {
      let c = item % 4u;
      let crew = item / 4u % CREW;          // of a team
      let i = item / (4u * CREW);
      var sum = 0.0;
      for (var t = 0u; t < TEAMS; t++) {
        sum += shares[(4u * i + c) * WG + t * CREW + crew];
      }
      let of_group = crew / LANES * HEADS + (done + i) / OWN;
      let d = 4u * (crew % LANES + (done + i) % OWN * LANES) + c;
      if (n_splits == 1u) {
        sum /= total_of(of_group);
      }
      y[sums_begin(group.y, n_heads, kv_head * GROUP + of_group) + d] = sum;
    }
  }
  if (n_splits > 1u && thread < GROUP) {
    let at = stats_begin(group.y, n_splits, n_heads, kv_head * GROUP + thread);
    y[at] = highest[thread];
    y[at + 1u] = total_of(thread);
  }
}

fn total_of(of_group: u32) -> f32 {
  var total = 0.0;
  for (var t = 0u; t < TEAMS; t++) {
    total += scores[t * GROUP + of_group];
  }
  return total;
}
