"""Workgroup sizes per kind of adapter: overrides, never other shaders."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tuning:
    """How wide the kernels run.

    A GPU wants many threads to a row so that loads coalesce. A software adapter runs a
    workgroup on one core and pays for every barrier: there, few lanes are fastest.
    """

    lanes: int  # threads that share one row of a matvec
    rows: int  # rows of a matvec workgroup
    matmul_rows: int  # rows of a matmul workgroup, a multiple of four
    threads: int  # threads of norms, elementwise kernels and reductions
    attention_threads: int  # threads per query head
    chunk: int  # tokens of a prompt that are prefilled in one pass

    @property
    def label(self) -> str:
        """Return a short name for reports."""
        return f"{self.lanes}x{self.rows}/{self.threads}/{self.attention_threads}"


SOFTWARE = Tuning(
    lanes=8, rows=4, matmul_rows=32, threads=32, attention_threads=32, chunk=64
)
HARDWARE = Tuning(
    lanes=16, rows=4, matmul_rows=256, threads=256, attention_threads=64, chunk=256
)


def choose(is_software: bool) -> Tuning:
    """Return the tuning for an adapter."""
    return SOFTWARE if is_software else HARDWARE
