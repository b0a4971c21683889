// kv_write - norm and rotate keys, norm values without a weight, store both in the cache.
//
//   K[slot, head] = rope(rms(k[t, head]) * weight);   V[slot, head] = rms(v[t, head])
//   slot = (position + t) % n_slots
//
// shapes     k, v: [n_tokens, n_kv_heads, head_dim] f32; weight: [head_dim] f32;
//            rope: [fine + coarse, n_pairs] of (cos, sin);
//            k_cache, v_cache: [n_slots, n_kv_heads, head_dim / 4] of four elements
// bindings   0 params, 1 state, 2 k, 3 v, 4 weight, 5 rope, 6 k_cache, 7 v_cache
// overrides  WG: threads per workgroup
// dispatch   (n_kv_heads, n_tokens, 2): z = 0 writes the key, z = 1 the value
// oracle     oracle.ops.kv_write
// tolerance  rtol=2e-6 atol=1e-7
// notes      As head_norm_rope; with f16 storage half a unit in the last place, 2^-11 of
//            each element, comes on top. head_dim is a multiple of 8, so that a half of
//            a head is whole words.
override WG: u32 = 64u;

struct Params {
  head_dim: u32,
  n_kv_heads: u32,
  n_pairs: u32,
  fine: u32,
  n_slots: u32,
  eps: f32,
}

//#include "common/kv_{kv}.wgsl"

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read> rope: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> k_cache: array<KvWord>;
@group(0) @binding(7) var<storage, read_write> v_cache: array<KvWord>;

//#include "common/state.wgsl"
//#include "common/reduce.wgsl"
//#include "common/rope.wgsl"

// The normed key at element d of the head that begins at `begin`.
fn key(begin: u32, d: u32, factor: f32) -> f32 {
  return k[begin + d] * factor * weight[d];
}

// The rotated key's first and second half at pair i.
fn rotated(begin: u32, i: u32, factor: f32, position: u32) -> vec2<f32> {
  let half_dim = params.head_dim / 2u;
  let pair = vec2<f32>(key(begin, i, factor), key(begin, i + half_dim, factor));
  if (i >= params.n_pairs) {
    return pair;
  }
  let angle = rope_angle(position, i, params.n_pairs, params.fine);
  return vec2<f32>(
    pair.x * angle.x - pair.y * angle.y,
    pair.y * angle.x + pair.x * angle.y,
  );
}

fn write_key(begin: u32, slot_word: u32, factor: f32, position: u32, thread: u32) {
  let half_words = params.head_dim / 8u;
  for (var word = thread; word < half_words; word += WG) {
    let p0 = rotated(begin, 4u * word, factor, position);
    let p1 = rotated(begin, 4u * word + 1u, factor, position);
    let p2 = rotated(begin, 4u * word + 2u, factor, position);
    let p3 = rotated(begin, 4u * word + 3u, factor, position);
    k_cache[slot_word + word] = kv_pack(vec4<f32>(p0.x, p1.x, p2.x, p3.x));
    k_cache[slot_word + half_words + word] = kv_pack(vec4<f32>(p0.y, p1.y, p2.y, p3.y));
  }
}

fn write_value(begin: u32, slot_word: u32, factor: f32, thread: u32) {
  for (var word = thread; word < params.head_dim / 4u; word += WG) {
    let d = begin + 4u * word;
    let values = vec4<f32>(v[d], v[d + 1u], v[d + 2u], v[d + 3u]);
    v_cache[slot_word + word] = kv_pack(values * factor);
  }
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let begin = (group.y * params.n_kv_heads + group.x) * params.head_dim;
  var squares = 0.0;
  for (var d = thread; d < params.head_dim; d += WG) {
    let value = select(k[begin + d], v[begin + d], group.z == 1u);
    squares += value * value;
  }
  let mean = workgroup_sum(thread, squares) / f32(params.head_dim);
  let factor = 1.0 / sqrt(mean + params.eps);
  let position = state.position + group.y;
  let slot = position % params.n_slots;
  let slot_word = (slot * params.n_kv_heads + group.x) * params.head_dim / 4u;
  if (group.z == 0u) {
    write_key(begin, slot_word, factor, position, thread);
  } else {
    write_value(begin, slot_word, factor, thread);
  }
}
