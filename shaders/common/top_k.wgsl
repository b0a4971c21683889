// choose_top_k - the experts with the top_k largest logits, in falling order, in `chosen`.
//
// Ties go to the lower index. An expert's place is the number of experts that come before
// it, but only few are worth the count against all others: first each meets some leaders,
// the largest of equal shares, and drops out once top_k of them come before it. Of 128
// experts about 11 are left for top_k = 8, and a workgroup takes 450 SIMD32 instructions,
// where all against all would take 3,000. The candidates stand in any order, their places
// do not depend on it.
//
// Three barriers: call in uniform control flow. Needs `override N_EXPERTS` and
// `override TOP_K`, common/logit.wgsl.
const MAX_LEADERS: u32 = 64u;

var<workgroup> leaders: array<vec2<u32>, MAX_LEADERS>;  // (key, expert)
var<workgroup> candidates: array<u32, N_EXPERTS>;
var<workgroup> n_candidates: atomic<u32>;
var<workgroup> chosen: array<u32, TOP_K>;

// Of two experts as (key, expert).
fn comes_before(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.x > b.x || (a.x == b.x && a.y < b.y);
}

// An expert with its key.
fn contender(row: u32, expert: u32) -> vec2<u32> {
  return vec2(logit_key(row + expert), expert);
}

// The largest of every n_leaders-th expert from `first` on.
fn find_leader(row: u32, first: u32, n_leaders: u32) -> vec2<u32> {
  var leader = contender(row, first);
  for (var e = first + n_leaders; e < N_EXPERTS; e += n_leaders) {
    let rival = contender(row, e);
    if (comes_before(rival, leader)) {
      leader = rival;
    }
  }
  return leader;
}

// By `n_threads` threads, from the logits that begin at `row`.
fn choose_top_k(thread: u32, n_threads: u32, row: u32) {
  let n_leaders = min(min(2u * TOP_K, MAX_LEADERS), N_EXPERTS);
  for (var i = thread; i < n_leaders; i += n_threads) {
    leaders[i] = find_leader(row, i, n_leaders);
  }
  if (thread == 0u) {
    atomicStore(&n_candidates, 0u);
  }
  workgroupBarrier();

  for (var e = thread; e < N_EXPERTS; e += n_threads) {
    let own = contender(row, e);
    var n_before = 0u;
    for (var i = 0u; i < n_leaders; i++) {
      n_before += u32(comes_before(leaders[i], own));
    }
    if (n_before < TOP_K) {
      candidates[atomicAdd(&n_candidates, 1u)] = e;
    }
  }
  workgroupBarrier();

  let n = atomicLoad(&n_candidates);
  for (var i = thread; i < n; i += n_threads) {
    let own = contender(row, candidates[i]);
    var place = 0u;
    for (var other = 0u; other < n; other++) {
      place += u32(comes_before(contender(row, candidates[other]), own));
    }
    if (place < TOP_K) {
      chosen[place] = own.y;
    }
  }
  workgroupBarrier();
}
