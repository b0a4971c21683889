"""Workgroup sizes per kind of adapter: overrides, never other shaders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

_MOST_RUNS = 32  # sums of subgroups that are worth adding up one by one


@dataclass(frozen=True, slots=True)
class Tuning:
    """How wide the kernels run.

    A GPU wants many threads to a row so that loads coalesce. A software adapter runs a
    workgroup on one core and pays for every barrier: there, few lanes are fastest.
    SwiftShader, under Chromium, compiles a store for every word of workgroup memory,
    which WebGPU clears: a kilobyte costs a tenth of a second, so tiles there are small,
    and workgroups that multiply by rows have one four of them.
    """

    lanes: int  # threads that share four rows of a matvec
    rows: int  # fours of rows of a matvec workgroup; a thread works on four at once,
    four: str  # as common/rows_{four}.wgsl says
    fold_bytes: int  # workgroup memory in which kernels may norm their input; 0: none
    fold_rows: int  # fours of rows that such a workgroup works on at a time,
    fold_groups: int  # again and again while this many workgroups remain
    tile: str  # of a matmul, common/tile_{tile}.wgsl: where it keeps what it multiplies
    tile_rows: int  # rows of a workgroup's tile, a multiple of eight, and
    tile_tokens: int  # tokens, or assignments to an expert, a multiple of four
    threads: int  # threads of norms, elementwise kernels and reductions
    attention_threads: int  # threads per KV head and split of a single token
    attention_lanes: int  # of these, how many share a key, at most
    attention_heads: int  # query heads that one of them serves, where it can choose
    attention_keys: int  # keys that one scores between two barriers, at most
    attention_groups: int  # workgroups that keep the adapter busy with a single token
    prefill_threads: int  # threads per tile of queries
    prefill_rows: int  # rows of such a tile, query heads times tokens, at most
    prefill_stage: int  # words of keys staged at a time
    prefill_sums: int  # numbers that one thread adds up, at most
    chunk: int  # tokens of a prompt that are prefilled in one pass
    # What not every device can do; kernel_options.py chooses.
    subgroup: int = 0  # threads that share a subgroup for sure; 0: it is not used
    kv_f16: str = "f16"  # how keys and values in f16 are read, common/kv_{kv_f16}.wgsl
    element: str = "f32"  # of a tile in workgroup memory, common/element_{element}.wgsl
    precision: str = "f32"  # of what is multiplied, common/halves_{precision}.wgsl

    @property
    def label(self) -> str:
        """Return a short name for reports."""
        return f"{self.lanes}x{self.rows}/{self.threads}/{self.attention_threads}"

    def special_slots(self, sizes: Mapping[str, int]) -> dict[str, str]:
        """Return the slots in which kernels of these sizes differ from the baseline."""
        found = {"element": self.element} if self.element != "f32" else {}
        if self.four != "looped":
            found["four"] = self.four
        if self.precision != "f32":
            found["precision"] = self.precision
        for slot, threads in (
            ("lanes", sizes.get("LANES")),
            ("reduce", sizes.get("WG")),
        ):
            if self._adds_up_in_subgroups(threads or 0):
                found[slot] = "subgroup"
        return found

    def _adds_up_in_subgroups(self, threads: int) -> bool:
        is_cut_evenly = self.subgroup > 1 and threads.bit_count() == 1
        return is_cut_evenly and threads <= _MOST_RUNS * self.subgroup


SOFTWARE = Tuning(
    lanes=8,
    rows=1,
    four="looped",
    fold_bytes=0,
    fold_rows=1,
    fold_groups=256,
    tile="private",
    tile_rows=32,
    tile_tokens=8,
    threads=32,
    attention_threads=16,
    attention_lanes=8,
    attention_heads=4,
    attention_keys=4,
    attention_groups=1,
    prefill_threads=16,
    prefill_rows=16,
    prefill_stage=32,
    prefill_sums=128,
    chunk=64,
)
HARDWARE = Tuning(
    lanes=16,
    rows=4,
    four="unrolled",
    fold_bytes=16384,  # what every WebGPU device has
    fold_rows=8,
    fold_groups=256,
    tile="workgroup",
    tile_rows=64,
    tile_tokens=32,
    threads=256,
    attention_threads=256,
    attention_lanes=32,
    attention_heads=2,
    attention_keys=4,
    attention_groups=128,
    prefill_threads=128,
    prefill_rows=32,
    prefill_stage=256,
    prefill_sums=64,
    chunk=256,
)


def choose(is_software: bool, workgroup_bytes: int = HARDWARE.fold_bytes) -> Tuning:
    """Return the tuning for an adapter with that much memory to a workgroup."""
    return SOFTWARE if is_software else replace(HARDWARE, fold_bytes=workgroup_bytes)
