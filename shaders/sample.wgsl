// sample - choose the next token and advance the state.
//
//   candidates = top-k, then top-p, then min-p of softmax(penalised logits / temperature)
//   token = argmax over the candidates of logit / temperature + Gumbel(seed, draw, id)
//
// The host's reference, with the meaning of each option, is pyodide_app/sampling.py.
// Candidates are what lies at or above a threshold: equal logits stay or go together, and
// nothing depends on an order of threads. Sums are of integers, so any order is right.
//
// shapes     logits: [n_vocab] f32;  suppressed, seen: [ceil(n_vocab / 32)] u32, a bit per
//            token;  tokens: [>= 1] u32;  n_vocab <= 2^18
// bindings   0 params, 1 logits, 2 suppressed, 3 seen, 4 tokens, 5 state
// overrides  WG: threads per workgroup, 64 to 256;  LIST: room for candidates, a multiple
//            of WG
// dispatch   (1, 1, 1): one workgroup
// oracle     pyodide_app.sampling.choose
// tolerance  rtol=0 atol=0
// notes      With top-k two passes over the vocabulary. The first keeps the maximum of
//            each of LIST classes of ids; the k-th largest of these bounds the k-th
//            largest logit from below, so few tokens pass it. The second lists them in
//            workgroup memory, where the rest happens. Without top-k, or should the list
//            overflow (thousands of equal logits), each step reads all logits again.
//            262,144 logits, llvmpipe on 2 cores: 2.7 ms by the defaults, 53 ms by top-p
//            alone. llvmpipe ends all loops of a thread after 65,535 turns in all: of
//            the 11 passes at most, each takes n_vocab / WG turns.
override WG: u32 = 64u;
override LIST: u32 = 1024u;

struct Params {
  n_vocab: u32,
  n_tokens: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> suppressed: array<u32>;
@group(0) @binding(3) var<storage, read_write> seen: array<u32>;
@group(0) @binding(4) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(5) var<storage, read_write> state: State;

//#include "common/state.wgsl"
//#include "common/math.wgsl"
//#include "common/order.wgsl"
//#include "common/random.wgsl"

const DRAW: u32 = 1u;   // flags of the steps to take
const TOP_K: u32 = 2u;
const TOP_P: u32 = 4u;
const WORTHLESS: f32 = -1000.0;  // a scaled logit far below where exp is 0

var<workgroup> keys: array<u32, LIST>;  // the maxima of the classes, then of the listed
var<workgroup> ids: array<u32, LIST>;
var<workgroup> top_key: atomic<u32>;
var<workgroup> top_id: atomic<u32>;
var<workgroup> best_key: atomic<u32>;
var<workgroup> best_id: atomic<u32>;
var<workgroup> n_listed: atomic<u32>;
var<workgroup> n_kept: atomic<u32>;
var<workgroup> steps: u32;

var<private> n_items: u32;  // of the list, or of the vocabulary
var<private> listed: bool;
var<private> top: u32;      // the largest key

// -- items: tokens as order keys -----------------------------------------------------

// 0 for a suppressed token, the key of -inf for one that cannot be drawn.
fn logit_key(id: u32) -> u32 {
  let bit = 1u << (id & 31u);
  if ((suppressed[id >> 5u] & bit) != 0u) {
    return 0u;
  }
  var logit = logits[id];
  if (is_nan_f32(logit)) {
    return KEY_OF_MINUS_INFINITY;
  }
  let penalty = state.repetition_penalty;
  if (penalty != 1.0 && (seen[id >> 5u] & bit) != 0u) {
    logit = select(logit * penalty, logit / penalty, logit > 0.0);
  }
  return min(order_key(logit), KEY_OF_INFINITY - 1u);  // at most the largest number
}

fn item_key(i: u32) -> u32 {
  if (listed) {
    return keys[i];
  }
  return logit_key(i);
}

fn item_id(i: u32) -> u32 {
  if (listed) {
    return ids[i];
  }
  return i;
}

// The logit over the temperature, relative to the largest.
fn scaled(key: u32) -> f32 {
  let below = from_order_key(key) - from_order_key(top);
  return max(below / state.temperature, WORTHLESS);
}

//#include "common/radix_select.wgsl"

// -- the steps -----------------------------------------------------------------------

fn clear(thread: u32) {
  if (thread == 0u) {
    atomicStore(&top_key, 0u);
    atomicStore(&top_id, 0xffffffffu);
    atomicStore(&best_key, 0u);
    atomicStore(&best_id, 0xffffffffu);
    atomicStore(&n_listed, 0u);
    atomicStore(&n_kept, 0u);
  }
  for (var i = thread; i < LIST; i += WG) {
    keys[i] = 0u;
  }
  workgroupBarrier();
}

// Find the arg-max, ties to the lower id, and the maximum of each class of ids.
fn scan(thread: u32) {
  var key_here = 0u;
  var id_here = 0xffffffffu;
  var class_here = thread;
  for (var id = thread; id < params.n_vocab; id += WG) {
    let key = logit_key(id);
    keys[class_here] = max(keys[class_here], key);
    class_here = select(class_here + WG, thread, class_here + WG >= LIST);
    if (key > key_here || id_here == 0xffffffffu) {
      key_here = key;
      id_here = id;
    }
  }
  atomicMax(&top_key, key_here);
  workgroupBarrier();
  top = atomicLoad(&top_key);
  if (key_here == top) {
    atomicMin(&top_id, id_here);
  }
  workgroupBarrier();
}

fn choose_steps() -> u32 {
  if (state.temperature == 0.0 || top <= KEY_OF_MINUS_INFINITY) {
    return 0u;
  }
  return DRAW | select(0u, TOP_K, state.top_k > 0u) | select(0u, TOP_P, state.top_p < 1.0);
}

// List the tokens at or above a key; in what order does not matter.
fn list_from(thread: u32, threshold: u32) {
  for (var id = thread; id < params.n_vocab; id += WG) {
    let key = logit_key(id);
    if (key >= threshold && key > KEY_OF_MINUS_INFINITY) {
      let slot = atomicAdd(&n_listed, 1u);
      if (slot < LIST) {
        keys[slot] = key;
        ids[slot] = id;
      }
    }
  }
  workgroupBarrier();
  let n = atomicLoad(&n_listed);
  listed = n <= LIST;
  n_items = select(params.n_vocab, n, listed);
}

// Return the k-th largest key, or 0 if there are fewer.
fn top_k_threshold(thread: u32) -> u32 {
  listed = true;
  n_items = LIST;
  list_from(thread, radix_select(thread, 0u, BY_COUNT, f32(state.top_k), 2u));
  return radix_select(thread, 0u, BY_COUNT, f32(state.top_k), 4u);
}

// Draw among the tokens at or above a key that pass min-p.
fn draw(thread: u32, threshold: u32) {
  var key_here = 0u;
  var id_here = 0xffffffffu;
  var n_here = 0u;
  for (var i = thread; i < n_items; i += WG) {
    let key = item_key(i);
    if (key >= threshold && key > KEY_OF_MINUS_INFINITY) {
      let x = scaled(key);
      if (exp_f32(x) >= state.min_p) {
        let id = item_id(i);
        let bits = random_bits(state.seed, state.n_sampled, id);
        let score = order_key(x - log_f32(exponential(bits)));
        n_here += 1u;
        if (score > key_here || (score == key_here && id < id_here)) {
          key_here = score;
          id_here = id;
        }
      }
    }
  }
  atomicAdd(&n_kept, n_here);
  atomicMax(&best_key, key_here);
  workgroupBarrier();
  if (key_here == atomicLoad(&best_key)) {
    atomicMin(&best_id, id_here);
  }
  workgroupBarrier();
}

fn commit(token: u32, n_candidates: u32) {
  tokens[0] = token;
  seen[token >> 5u] |= 1u << (token & 31u);
  state.token = token;
  state.n_candidates = n_candidates;
  state.n_sampled += 1u;
  state.position += params.n_tokens;
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) thread: u32) {
  clear(thread);
  scan(thread);
  if (thread == 0u) {
    steps = choose_steps();
  }
  let chosen = workgroupUniformLoad(&steps);
  if ((chosen & DRAW) == 0u) {
    if (thread == 0u) {
      commit(atomicLoad(&top_id), select(0u, 1u, top > KEY_OF_MINUS_INFINITY));
    }
    return;
  }
  listed = false;
  n_items = params.n_vocab;
  var threshold = 0u;
  if ((chosen & TOP_K) != 0u) {
    threshold = top_k_threshold(thread);
  }
  if ((chosen & TOP_P) != 0u) {
    let nucleus = radix_select(thread, threshold, BY_MASS, state.top_p, 4u);
    threshold = max(threshold, min(nucleus, top));
  }
  draw(thread, threshold);
  if (thread == 0u) {
    commit(atomicLoad(&best_id), atomicLoad(&n_kept));
  }
}
