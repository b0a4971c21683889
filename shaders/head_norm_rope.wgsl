// head_norm_rope - norm every head, rotate queries and keys, store keys and values.
//
//   y[t, h] = rope(rms(q[t, h] + q_bias[h]) * q_norm) * scale
//   K[slot, h] = rope(rms(k[t, h] + k_bias[h]) * k_norm);  V[slot, h] = rms(v[t, h] + v_bias[h])
//   slot = p % n_slots,  p = position + first_token + t;  each rms and bias is optional
//
// shapes     raw: q [n_tokens, n_heads, HEAD_DIM] from q_begin on, likewise k and v
//            [n_tokens, n_kv_heads, HEAD_DIM] (which may be one);  y: as q;
//            vectors: q_norm, k_norm [HEAD_DIM], q_bias [n_heads, HEAD_DIM], k_bias and
//            v_bias [n_kv_heads, HEAD_DIM];  rope: [fine + coarse, n_pairs] of (cos, sin);
//            k_cache, v_cache: [n_slots, n_kv_heads, HEAD_DIM / 4] of four elements
// bindings   0 params, 1 state, 2 raw, 3 vectors, 4 rope, 5 y, 6 k_cache, 7 v_cache
// consts     HEAD_DIM: elements of a head, a multiple of 8
// overrides  WG: threads per workgroup;  HAS_NORM: queries and keys are normed;
//            V_NORM: values are;  HAS_BIAS: heads have biases
// dispatch   (n_heads + 2 * n_kv_heads, n_tokens, 1): one workgroup per head and token,
//            queries first, then keys, then values; (n_heads, n_tokens, 1) to store nothing;
//            without queries n_heads is 0
// oracle     oracle.ops.head_norm_rope and kv_write
// tolerance  rtol=2e-6 atol=1e-7
// notes      The norm (1e-6), the angle from two table entries (2e-7 absolute), and one
//            rotation; with f16 storage half a unit in the last place, 2^-11 of each
//            element, comes on top.
override WG: u32 = 64u;

struct Params {
  n_heads: u32,
  n_kv_heads: u32,
  q_begin: u32,
  k_begin: u32,
  v_begin: u32,
  first_token: u32,
  n_slots: u32,
  n_pairs: u32,
  fine: u32,
  q_norm: u32,  // where vectors begin, in words
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
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> k_cache: array<KvWord>;
@group(0) @binding(7) var<storage, read_write> v_cache: array<KvWord>;

//#include "common/heads.wgsl"
//#include "common/state.wgsl"
//#include "common/finite.wgsl"
//#include "common/reduce.wgsl"
//#include "common/rope.wgsl"

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let token = group.y;
  let is_query = group.x < params.n_heads;
  let kv_head = (group.x - params.n_heads) % params.n_kv_heads;
  let is_key = group.x < params.n_heads + params.n_kv_heads;
  var begin = params.q_begin / 4u + (token * params.n_heads + group.x) * WORDS;
  var bias = params.q_bias + group.x * WORDS;
  if (!is_query) {
    begin = select(params.v_begin, params.k_begin, is_key) / 4u
      + (token * params.n_kv_heads + kv_head) * WORDS;
    bias = select(params.v_bias, params.k_bias, is_key) + kv_head * WORDS;
  }
  var factor = 1.0;
  if (HAS_NORM || V_NORM) {
    var squares = 0.0;
    for (var word = thread; word < WORDS; word += WG) {
      let four = head_word(begin + word, bias + word);
      squares += dot(four, four);
    }
    let mean = workgroup_sum(thread, squares) / f32(HEAD_DIM);
    let is_normed = select(V_NORM, HAS_NORM, is_key);
    factor = select(1.0, rms_factor(mean, params.eps), is_normed);
  }
  factor *= select(1.0, params.scale, is_query);
  let norm = select(params.k_norm, params.q_norm, is_query);
  let position = state.position + params.first_token + token;
  let to_query = (token * params.n_heads + group.x) * WORDS;
  let to_cache = (position % params.n_slots * params.n_kv_heads + kv_head) * WORDS;
  for (var word = thread; word < WORDS; word += WG) {
    let own = head_word(begin + word, bias + word) * factor;
    if (!is_key) {
      v_cache[to_cache + word] = kv_pack(own);
      continue;
    }
    let other = rope_partner(word);
    let partner = head_word(begin + other, bias + other) * factor * norm_word(norm, other);
    let turn = rope_turn(position, word);
    let turned = own * norm_word(norm, word) * turn[0] + rope_swap(partner) * turn[1];
    if (is_query) {
      y[to_query + word] = turned;
    } else {
      k_cache[to_cache + word] = kv_pack(turned);
    }
  }
}
