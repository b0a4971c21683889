// sample - choose the next token and advance the state.
//
//   candidates = top-k, then top-p, then min-p of softmax(penalised logits / temperature)
//   token = argmax over the candidates of logit / temperature + Gumbel(seed, draw, id)
//
// The host's reference, with the meaning of each option, is pyodide_app/run/sampling.py.
// Candidates are what lies at or above a threshold: equal logits stay or go together, and
// nothing depends on an order of threads. Sums are of integers, so any order is right.
//
// A stop token ends the request: the state stays at the last token that was run, so that
// whatever replays are still queued run it again and change nothing. So does a logit that
// is no number, and a vocabulary that is suppressed as a whole: the word of `sampled` then
// has a fault, beside the id.
//
// shapes     keys: [n_vocab] u32;  maxima: [ceil(n_vocab / CHUNK)] u32, at most LIST;
//            stops: [ceil(n_vocab / 32)] u32, a bit per token;  counts: [n_vocab] u32, how
//            often the window holds a token;  recent: [>= window] u32, a ring of its
//            tokens;  tokens: [>= n_tokens] u32;  sampled: [tokens of a request] u32;
//            n_vocab <= 2^18
// bindings   0 params, 1 keys, 2 maxima, 3 stops, 4 counts, 5 recent, 6 tokens, 7 sampled,
//            8 state
// overrides  WG: threads per workgroup, 64 to 256;  LIST: room for candidates, a multiple
//            of WG;  CHUNK: ids per maximum
// dispatch   (1, 1, 1): one workgroup
// oracle     pyodide_app.run.sampling.choose
// tolerance  rtol=0 atol=0
// notes      Keys and maxima come from sample_keys. The k-th largest maximum bounds the
//            k-th largest key from below, and few chunks have a maximum that passes it:
//            what passes it there is listed in workgroup memory, where the rest happens.
//            Top-p alone takes a pass over the vocabulary for the mass of all, and lists
//            LIST / 2 tokens or more; a draw from all tokens takes a pass too. Only where
//            the list overflows (thousands of equal logits) or holds too little mass does
//            each step read all keys again: 11 passes at most, of n_vocab / WG turns each
//            (llvmpipe ends all loops of a thread after 65,535 turns in all).
override WG: u32 = 64u;
override LIST: u32 = 1024u;
override CHUNK: u32 = 256u;

struct Params {
  n_vocab: u32,
  n_tokens: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read> maxima: array<u32>;
@group(0) @binding(3) var<storage, read> stops: array<u32>;
@group(0) @binding(4) var<storage, read_write> counts: array<u32>;
@group(0) @binding(5) var<storage, read_write> recent: array<u32>;
@group(0) @binding(6) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(7) var<storage, read_write> sampled: array<u32>;
@group(0) @binding(8) var<storage, read_write> state: State;

//#include "common/state.wgsl"
//#include "common/math.wgsl"
//#include "common/order.wgsl"
//#include "common/random.wgsl"

const DRAW: u32 = 1u;   // flags of the steps to take
const TOP_K: u32 = 2u;
const TOP_P: u32 = 4u;
const WORTHLESS: f32 = -1000.0;  // a scaled logit far below where exp is 0
const STOPPED: u32 = 0x80000000u;  // of a word of `sampled`: it is the request's last
const INFINITE: u32 = 0x10000000u;  // the faults that a word may have
const NOT_A_NUMBER: u32 = 0x20000000u;
const ALL_SUPPRESSED: u32 = 0x30000000u;

var<workgroup> list_keys: array<u32, LIST>;  // the maxima, then the keys of the listed
var<workgroup> list_ids: array<u32, LIST>;
var<workgroup> chunks: array<u32, LIST>;     // those that hold what is to be listed
var<workgroup> top_key: atomic<u32>;
var<workgroup> top_chunk: atomic<u32>;
var<workgroup> best_key: atomic<u32>;
var<workgroup> best_id: atomic<u32>;
var<workgroup> n_chunks: atomic<u32>;
var<workgroup> n_listed: atomic<u32>;
var<workgroup> n_kept: atomic<u32>;
var<workgroup> steps: u32;

var<private> n_items: u32;  // of the list, or of the vocabulary
var<private> listed: bool;
var<private> top: u32;      // the largest key

// -- items ---------------------------------------------------------------------------

fn item_key(i: u32) -> u32 {
  if (listed) {
    return list_keys[i];
  }
  return keys[i];
}

fn item_id(i: u32) -> u32 {
  if (listed) {
    return list_ids[i];
  }
  return i;
}

fn use_list(is_complete: bool) {
  listed = is_complete;
  n_items = select(params.n_vocab, atomicLoad(&n_listed), is_complete);
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
    atomicStore(&top_chunk, 0xffffffffu);
    atomicStore(&best_key, 0u);
    atomicStore(&best_id, 0xffffffffu);
    atomicStore(&n_chunks, 0u);
    atomicStore(&n_listed, 0u);
    atomicStore(&n_kept, 0u);
  }
  workgroupBarrier();
}

// Put the maxima into the list, and find the largest.
fn load_maxima(thread: u32) {
  let n_maxima = (params.n_vocab + CHUNK - 1u) / CHUNK;
  var largest = 0u;
  for (var i = thread; i < LIST; i += WG) {
    list_keys[i] = select(0u, maxima[min(i, n_maxima - 1u)], i < n_maxima);
    largest = max(largest, list_keys[i]);
  }
  atomicMax(&top_key, largest);
  workgroupBarrier();
  top = atomicLoad(&top_key);
}

fn fault() -> u32 {
  if (top >= KEY_OF_INFINITY) {
    return select(NOT_A_NUMBER, INFINITE, top == KEY_OF_INFINITY);
  }
  return select(0u, ALL_SUPPRESSED, top == 0u);
}

fn choose_steps() -> u32 {
  if (state.temperature == 0.0 || fault() != 0u) {
    return 0u;
  }
  return DRAW | select(0u, TOP_K, state.top_k > 0u) | select(0u, TOP_P, state.top_p < 1.0);
}

// Find the lowest id that has the largest key.
fn find_top(thread: u32) {
  for (var i = thread; i < LIST; i += WG) {
    if (list_keys[i] == top) {
      atomicMin(&top_chunk, i);
    }
  }
  workgroupBarrier();
  let begin = atomicLoad(&top_chunk) * CHUNK;
  let end = min(begin + CHUNK, params.n_vocab);
  for (var id = begin + thread; id < end; id += WG) {
    if (keys[id] == top) {
      atomicMin(&best_id, id);
    }
  }
  workgroupBarrier();
}

// List the tokens above a bound that at least `count` pass, if there are as many; in what
// order does not matter. The maxima give way to the list.
fn list_top(thread: u32, count: u32) {
  listed = true;
  n_items = LIST;
  let bound = radix_select(thread, 0u, BY_COUNT, f32(count), 2u);
  for (var i = thread; i < LIST; i += WG) {
    if (list_keys[i] >= bound && list_keys[i] > 0u) {
      chunks[atomicAdd(&n_chunks, 1u)] = i;
    }
  }
  workgroupBarrier();
  let n_ids = atomicLoad(&n_chunks) * CHUNK;
  for (var i = thread; i < n_ids; i += WG) {
    let id = chunks[i / CHUNK] * CHUNK + i % CHUNK;
    let key = keys[min(id, params.n_vocab - 1u)];
    if (id < params.n_vocab && key >= bound && key > 0u) {
      let slot = atomicAdd(&n_listed, 1u);
      if (slot < LIST) {
        list_keys[slot] = key;
        list_ids[slot] = id;
      }
    }
  }
  workgroupBarrier();
  use_list(atomicLoad(&n_listed) <= LIST);
}

// List the tokens that make up a mass, if the list holds as many.
fn list_mass(thread: u32, wanted: f32) {
  list_top(thread, LIST / 2u);
  let mass = sum_masses(thread, 0u);
  use_list(listed && mass >= wanted);
}

// Draw among the tokens at or above a key that pass min-p.
fn draw(thread: u32, threshold: u32) {
  var key_here = 0u;
  var id_here = 0xffffffffu;
  var n_here = 0u;
  for (var i = thread; i < n_items; i += WG) {
    let key = item_key(i);
    if (key >= threshold && key > 0u) {
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

// Let a token into the window of the penalties, and the oldest out of a full one.
fn remember(token: u32) {
  if (state.window == 0u) {
    return;
  }
  let slot = state.n_recent % state.window;
  if (state.n_recent >= state.window) {
    counts[recent[slot]] -= 1u;
  }
  recent[slot] = token;
  counts[token] += 1u;
  state.n_recent += 1u;
}

fn commit(token: u32, n_candidates: u32) {
  if (state.ended != 0u) {
    return;
  }
  let bit = 1u << (token & 31u);
  let is_stop = fault() != 0u || (stops[token >> 5u] & bit) != 0u;
  sampled[state.n_sampled] = token | fault() | select(0u, STOPPED, is_stop);
  state.token = token;
  state.n_candidates = n_candidates;
  state.n_sampled += 1u;
  if (is_stop) {
    state.ended = 1u;
    state.position += params.n_tokens - 1u;
    tokens[0] = tokens[params.n_tokens - 1u];
    return;
  }
  state.position += params.n_tokens;
  tokens[0] = token;
  remember(token);
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) thread: u32) {
  clear(thread);
  load_maxima(thread);
  if (thread == 0u) {
    steps = choose_steps();
  }
  let chosen = workgroupUniformLoad(&steps);
  if ((chosen & DRAW) == 0u) {
    find_top(thread);
    if (thread == 0u) {
      commit(atomicLoad(&best_id), select(0u, 1u, fault() == 0u));
    }
    return;
  }
  use_list(false);
  var threshold = 0u;
  if ((chosen & TOP_K) != 0u) {
    list_top(thread, state.top_k);
    threshold = radix_select(thread, 0u, BY_COUNT, f32(state.top_k), 4u);
  }
  if ((chosen & TOP_P) != 0u) {
    let wanted = state.top_p * sum_masses(thread, threshold);
    if ((chosen & TOP_K) == 0u) {
      list_mass(thread, wanted);
    }
    let nucleus = radix_select(thread, threshold, BY_MASS, wanted, 4u);
    threshold = max(threshold, min(nucleus, top));
  }
  draw(thread, threshold);
  if (thread == 0u) {
    commit(atomicLoad(&best_id), atomicLoad(&n_kept));
  }
}
