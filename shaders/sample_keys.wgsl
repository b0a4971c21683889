// sample_keys - logits as keys that sort, and the largest key of each chunk of ids.
//
//   keys[id] = 0 if id is suppressed, else the order of its logit after the penalties;
//              KEY_OF_INFINITY if the logit is infinite, above it if it is NaN
//   maxima[c] = max of keys[CHUNK c .. CHUNK (c + 1) - 1]
//   penalised = (logit > 0 ? logit / repetition : logit * repetition)
//               - (count * frequency + presence), where count > 0
//
// What `sample` needs to look at few chunks only; here all workgroups share the work.
//
// shapes     logits: [n_vocab] f32;  suppressed: [ceil(n_vocab / 32)] u32, a bit per token;
//            counts: [n_vocab] u32, how often the window holds a token;
//            keys: [n_vocab] u32;  maxima: [ceil(n_vocab / CHUNK)] u32
// bindings   0 params, 1 logits, 2 suppressed, 3 counts, 4 state, 5 keys, 6 maxima
// overrides  WG: threads per workgroup;  LANES: threads per chunk, a divisor of WG;
//            CHUNK: ids per chunk
// dispatch   (ceil(n_vocab / CHUNK / (WG / LANES)), 1, 1)
// oracle     oracle.ops.sample_keys
// tolerance  rtol=0 atol=0
override WG: u32 = 64u;
override LANES: u32 = 16u;
override CHUNK: u32 = 256u;

struct Params {
  n_vocab: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> suppressed: array<u32>;
@group(0) @binding(3) var<storage, read> counts: array<u32>;
@group(0) @binding(4) var<storage, read> state: State;
@group(0) @binding(5) var<storage, read_write> keys: array<u32>;
@group(0) @binding(6) var<storage, read_write> maxima: array<u32>;

//#include "common/state.wgsl"
//#include "common/math.wgsl"
//#include "common/order.wgsl"

var<workgroup> largest: array<atomic<u32>, WG / LANES>;

fn penalised(logit: f32, count: u32) -> f32 {
  var value = logit;
  if (state.repetition_penalty != 1.0) {
    value = select(
      logit * state.repetition_penalty, logit / state.repetition_penalty, logit > 0.0);
  }
  return value - (f32(count) * state.frequency_penalty + state.presence_penalty);
}

// What is no number is above all numbers, whatever its sign; a suppressed token below.
fn logit_key(id: u32) -> u32 {
  var logit = logits[id];
  if (!is_finite_f32(logit)) {
    return bitcast<u32>(logit) | 0x80000000u;
  }
  let bit = 1u << (id & 31u);
  if ((suppressed[id >> 5u] & bit) != 0u) {
    return 0u;
  }
  if (state.window > 0u && counts[id] > 0u) {
    logit = penalised(logit, counts[id]);
  }
  return clamp(order_key(logit), KEY_OF_LOWEST, KEY_OF_INFINITY - 1u);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = thread / LANES;  // among the chunks of this workgroup
  let lane = thread % LANES;
  let chunk = group.x * (WG / LANES) + row;
  if (lane == 0u) {
    atomicStore(&largest[row], 0u);
  }
  workgroupBarrier();
  var largest_here = 0u;
  let end = min((chunk + 1u) * CHUNK, params.n_vocab);
  for (var id = chunk * CHUNK + lane; id < end; id += LANES) {
    let key = logit_key(id);
    keys[id] = key;
    largest_here = max(largest_here, key);
  }
  atomicMax(&largest[row], largest_here);
  workgroupBarrier();
  if (lane == 0u && chunk * CHUNK < params.n_vocab) {
    maxima[chunk] = atomicLoad(&largest[row]);
  }
}
