// attention_prefill - many tokens against the cache, in tiles of queries and of keys.
//
//   s_j = q . k_j;  y = sum_j softmax(s)_j v_j
//   over j = max(0, p - window + 1) .. p, or 0 .. p when window is 0;  p = position + first_token + t
//
// shapes     q: [n_tokens, n_heads, HEAD_DIM] f32, normed, rotated and scaled;
//            k_cache, v_cache: [n_slots, n_kv_heads, HEAD_DIM / 4] of four elements;
//            y: as q, or the partials of several splits
// bindings   0 params, 1 state, 2 q, 3 k_cache, 4 v_cache, 5 y
// consts     HEAD_DIM: elements of a head, a multiple of 8; HEADS: query heads of one KV
//            head that a workgroup takes; TOKENS: tokens that it takes;
//            ROWS: room for their HEADS * TOKENS rows, a multiple of four;
//            KEYS: of a tile, a multiple of four; SPAN: words of a head staged at a time;
//            COLUMNS: threads along a value
// dispatch   (n_heads / HEADS, n_tokens / TOKENS, n_splits): one workgroup per tile of
//            queries and split of the keys
// oracle     oracle.ops.attention
// tolerance  rtol=3e-5 atol=1e-6
// notes      A thread scores four keys for four rows, then adds up its columns of the
//            values for its rows: everything is vectors over four rows. Rows are the
//            heads of a group and a few tokens, so that keys and values stream through
//            once for all of them. Tiles and splits begin at absolute positions: what a
//            query adds up, and in which order, depends on its position alone, so a chunk
//            may begin anywhere and the result is the same to the bit.
//            Scores reach tens, and their error enters the weights absolutely: HEAD_DIM
//            products are added one by one, and 512 roundings of partial sums of some tens
//            walk about 1e-5 away, three times that at the worst of thousands of scores.
// source     Milakov and Gimelshein 2018 (online softmax); Dao et al. 2022

struct Params {
  n_tokens: u32,
  first_token: u32,
  n_heads: u32,
  n_kv_heads: u32,
  n_slots: u32,
  window: u32,
  split_keys: u32,
}

//#include "common/kv_{kv}.wgsl"

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> k_cache: array<KvWord>;
@group(0) @binding(4) var<storage, read> v_cache: array<KvWord>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

//#include "common/state.wgsl"
//#include "common/finite.wgsl"
//#include "common/math.wgsl"
//#include "common/partials.wgsl"

const WORDS: u32 = HEAD_DIM / 4u;                // of a head
const ROW_BLOCKS: u32 = ROWS / 4u;
const KEY_BLOCKS: u32 = KEYS / 4u;
const WG: u32 = ROW_BLOCKS * KEY_BLOCKS;
const Q_STRIDE: u32 = ROW_BLOCKS + 1u;           // neighbours in different banks
const K_STRIDE: u32 = KEY_BLOCKS + 1u;
const V_GROUPS: u32 = WG / COLUMNS;              // threads that add up the same columns
const OWN_BLOCKS: u32 = (ROW_BLOCKS + V_GROUPS - 1u) / V_GROUPS;
const OWN_WORDS: u32 = (WORDS + COLUMNS - 1u) / COLUMNS;
const OWN: u32 = OWN_BLOCKS * OWN_WORDS;

var<workgroup> q_tile: array<vec4<f32>, 4u * SPAN * Q_STRIDE>;  // [4 SPAN, rows / 4]
var<workgroup> k_tile: array<vec4<f32>, max(4u * SPAN * K_STRIDE, WG)>;
var<workgroup> exps: array<vec4<f32>, KEYS * ROW_BLOCKS>;       // [KEYS, rows / 4]
var<workgroup> rescale: array<vec4<f32>, ROW_BLOCKS>;
var<workgroup> position: u32;

var<private> first_token: u32;  // of the workgroup
var<private> kv_head: u32;
var<private> first_head: u32;

fn checked4(x: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(
    nan_if_infinite(x.x), nan_if_infinite(x.y), nan_if_infinite(x.z), nan_if_infinite(x.w));
}

fn exp4(x: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(exp_f32(x.x), exp_f32(x.y), exp_f32(x.z), exp_f32(x.w));
}

// a times b transposed: column i is a * b[i].
fn outer(a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(a * b.x, a * b.y, a * b.z, a * b.w);
}

// Rows beyond the last are computed as the last one, and not written.
fn row_token(row: u32) -> u32 {
  return min(first_token + min(row / HEADS, TOKENS - 1u), params.n_tokens - 1u);
}

fn is_real(row: u32) -> bool {
  return row < HEADS * TOKENS && first_token + row / HEADS < params.n_tokens;
}

fn row_index(row: u32) -> u32 {
  return row_token(row) * params.n_heads + first_head + row % HEADS;
}

fn slot_word(key: u32) -> u32 {
  return (key % params.n_slots * params.n_kv_heads + kv_head) * WORDS;
}

fn q_word(row: u32, word: u32) -> vec4<f32> {
  return q[row_index(row) * WORDS + word];
}

fn k_word(key: u32, word: u32) -> vec4<f32> {
  return kv_unpack(k_cache[slot_word(key) + word]);
}

// Put SPAN words of all rows and keys into workgroup memory, element by element.
fn stage(tile: u32, begin: u32, n_words: u32, thread: u32) {
  for (var i = thread; i < ROW_BLOCKS * n_words; i += WG) {
    let block = i / n_words;
    let word = i % n_words;
    let four = transpose(mat4x4<f32>(
      q_word(4u * block, begin + word),
      q_word(4u * block + 1u, begin + word),
      q_word(4u * block + 2u, begin + word),
      q_word(4u * block + 3u, begin + word),
    ));
    let at = 4u * word * Q_STRIDE + block;
    q_tile[at] = four[0];
    q_tile[at + Q_STRIDE] = four[1];
    q_tile[at + 2u * Q_STRIDE] = four[2];
    q_tile[at + 3u * Q_STRIDE] = four[3];
  }
  for (var i = thread; i < KEY_BLOCKS * n_words; i += WG) {
    let block = i / n_words;
    let word = i % n_words;
    let key = tile + 4u * block;
    let four = transpose(mat4x4<f32>(
      k_word(key, begin + word),
      k_word(key + 1u, begin + word),
      k_word(key + 2u, begin + word),
      k_word(key + 3u, begin + word),
    ));
    let at = 4u * word * K_STRIDE + block;
    k_tile[at] = four[0];
    k_tile[at + K_STRIDE] = four[1];
    k_tile[at + 2u * K_STRIDE] = four[2];
    k_tile[at + 3u * K_STRIDE] = four[3];
  }
}

// The first key that the query at `last` sees.
fn first_key(last: u32) -> u32 {
  return select(0u, last + 1u - params.window, params.window > 0u && last >= params.window);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) n_groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let n_splits = n_groups.z;
  let n_rows = params.n_tokens * params.n_heads;
  first_token = group.y * TOKENS;
  first_head = group.x * HEADS;
  kv_head = first_head / (params.n_heads / params.n_kv_heads);
  let row_block = thread / KEY_BLOCKS;
  let key_block = thread % KEY_BLOCKS;
  let column = thread % COLUMNS;
  let v_group = thread / COLUMNS;
  if (thread == 0u) {
    position = state.position + params.first_token;
  }
  let begin = workgroupUniformLoad(&position);

  // The keys: from the first that any row sees to the last, within this split.
  let lowest = first_key(begin + group.y * TOKENS);
  let split = (lowest / params.split_keys + group.z) * params.split_keys;
  let past_last = begin + min(group.y * TOKENS + TOKENS, params.n_tokens);
  let first_tile = max(lowest / KEYS * KEYS, split);
  let end = min(past_last, split + params.split_keys);

  let last = begin + vec4<u32>(
    row_token(4u * row_block),
    row_token(4u * row_block + 1u),
    row_token(4u * row_block + 2u),
    row_token(4u * row_block + 3u),
  );
  let first = vec4<u32>(
    first_key(last.x), first_key(last.y), first_key(last.z), first_key(last.w)
  );
  var highest = vec4<f32>(LOWEST);
  var total = vec4<f32>(0.0);  // over this thread's keys
  var sums: array<mat4x4<f32>, OWN>;
  for (var i = 0u; i < OWN; i++) {
    sums[i] = mat4x4<f32>();
  }

  for (var tile = first_tile; tile < end; tile += KEYS) {
    var scores = mat4x4<f32>();  // a column per key
    for (var word = 0u; word < WORDS; word += SPAN) {
      let n_words = min(SPAN, WORDS - word);
      stage(tile, word, n_words, thread);
      workgroupBarrier();
      for (var i = 0u; i < 4u * n_words; i += 4u) {
        let q_at = i * Q_STRIDE + row_block;
        let k_at = i * K_STRIDE + key_block;
        scores += outer(q_tile[q_at], k_tile[k_at]);
        scores += outer(q_tile[q_at + Q_STRIDE], k_tile[k_at + K_STRIDE]);
        scores += outer(q_tile[q_at + 2u * Q_STRIDE], k_tile[k_at + 2u * K_STRIDE]);
        scores += outer(q_tile[q_at + 3u * Q_STRIDE], k_tile[k_at + 3u * K_STRIDE]);
      }
      workgroupBarrier();
    }
    var top = vec4<f32>(LOWEST);
    for (var k = 0u; k < 4u; k++) {
      let key = vec4<u32>(tile + 4u * key_block + k);
      scores[k] = select(vec4<f32>(LOWEST), checked4(scores[k]), (key >= first) & (key <= last));
      top = max(top, scores[k]);
    }
    k_tile[key_block * ROW_BLOCKS + row_block] = top;  // staged keys are done with
    workgroupBarrier();
    top = highest;
    for (var i = 0u; i < KEY_BLOCKS; i++) {
      top = max(top, k_tile[i * ROW_BLOCKS + row_block]);
    }
    let factor = exp4(highest - top);
    highest = top;
    total *= factor;
    for (var k = 0u; k < 4u; k++) {
      // Where a row has seen no key yet, LOWEST - LOWEST must not count as one.
      let hidden = bitcast<vec4<u32>>(scores[k]) == vec4<u32>(bitcast<u32>(LOWEST));
      let four = select(exp4(scores[k] - top), vec4<f32>(0.0), hidden);
      total += four;
      exps[(4u * key_block + k) * ROW_BLOCKS + row_block] = four;
    }
    if (key_block == 0u) {
      rescale[row_block] = factor;
    }
    workgroupBarrier();
    for (var b = 0u; b < OWN_BLOCKS; b++) {
      let block = min(v_group + b * V_GROUPS, ROW_BLOCKS - 1u);
      let f = rescale[block];
      for (var i = 0u; i < OWN_WORDS; i++) {
        let s = sums[b * OWN_WORDS + i];
        sums[b * OWN_WORDS + i] = mat4x4<f32>(s[0] * f.x, s[1] * f.y, s[2] * f.z, s[3] * f.w);
      }
    }
    for (var k = 0u; k < KEYS; k++) {
      // Slots beyond the end may hold what is no number, and 0 times that is none.
      let words = slot_word(min(tile + k, end - 1u));
      for (var i = 0u; i < OWN_WORDS; i++) {
        let value = kv_unpack(v_cache[words + min(column + i * COLUMNS, WORDS - 1u)]);
        for (var b = 0u; b < OWN_BLOCKS; b++) {
          let block = min(v_group + b * V_GROUPS, ROW_BLOCKS - 1u);
          sums[b * OWN_WORDS + i] += outer(value, exps[k * ROW_BLOCKS + block]);
        }
      }
    }
  }

  // The totals of a row, over the threads that scored its keys.
  workgroupBarrier();
  k_tile[key_block * ROW_BLOCKS + row_block] = total;
  workgroupBarrier();
  total = vec4<f32>(0.0);
  for (var i = 0u; i < KEY_BLOCKS; i++) {
    total += k_tile[i * ROW_BLOCKS + row_block];
  }
  if (key_block == 0u) {
    rescale[row_block] = total;
  }
  workgroupBarrier();
  for (var b = 0u; b < OWN_BLOCKS; b++) {
    let block = v_group + b * V_GROUPS;
    for (var r = 0u; r < 4u; r++) {
      let row = 4u * block + r;
      if (!is_real(row)) {
        continue;
      }
      let divisor = select(rescale[block][r], 1.0, n_splits > 1u);
      let y_begin = sums_begin(group.z, n_rows, row_index(row));
      for (var i = 0u; i < OWN_WORDS; i++) {
        let word = column + i * COLUMNS;
        if (word < WORDS) {
          let four = sums[b * OWN_WORDS + i][r] / divisor;
          y[y_begin + 4u * word] = four.x;
          y[y_begin + 4u * word + 1u] = four.y;
          y[y_begin + 4u * word + 2u] = four.z;
          y[y_begin + 4u * word + 3u] = four.w;
        }
      }
    }
  }
  if (n_splits > 1u && key_block == 0u) {
    for (var r = 0u; r < 4u; r++) {
      let row = 4u * row_block + r;
      if (is_real(row)) {
        let at = stats_begin(group.z, n_splits, n_rows, row_index(row));
        y[at] = highest[r];
        y[at + 1u] = total[r];
      }
    }
  }
}
