"""How attention is cut: threads along a key, heads, tiles and splits of the keys."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from pyodide_app.graph.kv_cache import LayerCache
from pyodide_app.graph.tuning import Tuning

# llvmpipe ends all loops of a thread, silently, after 65,535 turns in all. Where an
# estimate that counts every loop comes to more than this, the keys are split.
_MOST_TURNS = 50_000
_SCORES_BYTES = 12288  # of workgroup memory for scores, and the lanes' shares of them
_MOST_THREADS = 256  # of a workgroup, on every WebGPU device
_OPEN_END = 1 << 30  # keys of a split that holds them all


@dataclass(frozen=True, slots=True)
class DecodeShape:
    """One workgroup per KV head and split, for a single token."""

    group: int  # query heads of a KV head
    heads: int  # of these, how many a thread serves
    lanes: int  # threads along a key
    teams: int  # keys scored at once
    keys: int  # how many times that, for a tile
    n_splits: int

    @property
    def threads(self) -> int:
        """Return the threads of a workgroup."""
        return self.lanes * self.teams * (self.group // self.heads)

    @property
    def tile(self) -> int:
        """Return the keys of a tile."""
        return self.teams * self.keys


@dataclass(frozen=True, slots=True)
class PrefillShape:
    """One workgroup per few tokens of the heads of a group, and split."""

    heads: int
    tokens: int
    rows: int  # room for heads * tokens, a multiple of four
    keys: int  # of a tile
    span: int  # words of a head staged at a time
    columns: int  # threads along a value
    split_keys: int
    n_splits: int


def decode_shape(tune: Tuning, cache: LayerCache, n_heads: int) -> DecodeShape:
    """Cut the attention of one token."""
    group, words = n_heads // cache.n_kv_heads, cache.head_dim // 4
    most_lanes = min(tune.attention_lanes, _SCORES_BYTES // (8 * group))
    lanes = gcd(words, _power_of_two_below(most_lanes))
    heads = _heads_per_thread(group, lanes, tune)
    crew = lanes * (group // heads)
    # At least one thread per query head, too.
    teams = max(1, tune.attention_threads // crew, -(-group // crew))
    keys = max(1, _SCORES_BYTES // (4 * (lanes + 3) * teams * group))
    keys = min(keys, tune.attention_keys)
    shape = DecodeShape(group, heads, lanes, teams, keys, 1)
    n_keys = min(cache.n_slots, cache.window or cache.n_slots)
    # Busy the adapter, but let no split write more partials than a quarter of its keys.
    wanted = tune.attention_groups // cache.n_kv_heads
    worthwhile = n_keys // max(shape.tile, 4 * group)
    needed = -(-n_keys * _decode_turns(shape, words) // _MOST_TURNS)
    n_splits = max(1, min(wanted, worthwhile), int(needed))
    return DecodeShape(group, heads, lanes, teams, keys, n_splits)


def _heads_per_thread(group: int, lanes: int, tune: Tuning) -> int:
    """Return a divisor of the group, small for registers but enough for a workgroup."""
    divisors = [n for n in range(1, group + 1) if group % n == 0]
    fitting = [n for n in divisors if group // n * lanes <= _MOST_THREADS]
    small = [n for n in fitting if n <= tune.attention_heads]
    return small[-1] if small else fitting[0]


def _decode_turns(shape: DecodeShape, words: int) -> float:
    """Return an upper estimate of a thread's loop turns per key."""
    own = words // shape.lanes
    of_key = 2 * own * (1 + shape.heads) + 3 * shape.heads + 2
    items = shape.tile * shape.group / shape.threads
    of_tile = items * (shape.lanes + 2) + shape.tile + shape.heads * (own + 1)
    return (shape.keys * of_key + of_tile) / shape.tile


def prefill_shape(tune: Tuning, cache: LayerCache, n_heads: int) -> PrefillShape:
    """Cut the attention of many tokens."""
    group, words = n_heads // cache.n_kv_heads, cache.head_dim // 4
    threads = tune.prefill_threads
    # A thread holds rows * head_dim / threads sums.
    most_rows = tune.prefill_sums * threads // cache.head_dim
    rows = max(4, _power_of_two_below(min(tune.prefill_rows, most_rows)))
    heads = max(n for n in range(1, min(rows, group) + 1) if group % n == 0)
    keys = 16 * threads // rows
    span = max(1, tune.prefill_stage // keys)
    columns = max(4 * threads // rows, _power_of_two_below(min(words, threads)))
    own_words = -(-words // columns)
    own_blocks = -(-rows // (4 * (threads // columns)))
    of_tile = keys * (1 + own_words * (1 + own_blocks)) + 2 * words + keys / 4
    split_keys = int(_MOST_TURNS / of_tile) * keys
    n_splits = 1
    n_keys = min(cache.n_slots, cache.window + rows) if cache.window else cache.n_slots
    if n_keys <= split_keys:
        split_keys = _OPEN_END
    else:
        n_splits = -(-n_keys // split_keys) + (1 if cache.window else 0)
    return PrefillShape(
        heads, rows // heads, rows, keys, span, columns, split_keys, n_splits
    )


def _power_of_two_below(n: int) -> int:
    return 1 << (n.bit_length() - 1)
