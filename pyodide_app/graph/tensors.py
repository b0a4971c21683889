"""What ops work on: activations, weights, expert slots, rotary tables, routings."""

from __future__ import annotations

from dataclasses import dataclass

from pyodide_app.gguf.types import GGMLType
from pyodide_app.graph.plan import View


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """An activation: a shape, and a place that the arena chooses.

    All activations are float32 or uint32, so an element has four bytes.
    """

    shape: tuple[int, ...]
    fixed: View | None = None  # set for tensors that live outside the arena

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        n = 4
        for length in self.shape:
            n *= length
        return n


@dataclass(frozen=True, slots=True)
class Part:
    """A run of rows (of experts, in a 3-D tensor) that one binding can hold."""

    view: View
    begin: int
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """A tensor of the model, placed.

    `dims` are in ggml order: dims[0] is the contiguous one. A 2-D weight
    [dim_out, dim_in] has dims (dim_in, dim_out).
    """

    name: str
    type: GGMLType
    dims: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def n_cols(self) -> int:
        """Return the length of a row."""
        return self.dims[0]

    @property
    def n_rows(self) -> int:
        """Return the number of rows (of one expert, in a 3-D tensor)."""
        return self.dims[1]


@dataclass(frozen=True, slots=True, eq=False)
class ExpertSlots:
    """One layer's slot table: slot = table[expert]; the identity when all reside.

    Shapes: view [n_experts] u32.
    """

    view: View
    n_experts: int


@dataclass(frozen=True, slots=True, eq=False)
class Rope:
    """Rotary tables: (cos, sin) for `fine` positions, then for multiples of `fine`.

    Shapes: table [fine + coarse, n_pairs, 2] f32, made on the host in float64.
    """

    table: View
    n_pairs: int  # rotated pairs; the remaining pairs of a head are copied
    fine: int


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """Which experts each token chose, and how the assignments are bucketed.

    Shapes: idx [n_tokens, top_k] u32; weight [n_tokens, top_k]. In a prefill also
    token_idx, perm [n_tokens * top_k] and tiles [n_tiles, 2] (expert, first row).
    """

    idx: Tensor
    weight: Tensor
    offsets: Tensor | None = None
    token_idx: Tensor | None = None
    perm: Tensor | None = None
    tiles: Tensor | None = None
