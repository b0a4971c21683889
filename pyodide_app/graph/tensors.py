"""What ops work on: activations, the residual, weights, expert slots, routings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from pyodide_app.gguf.types import GGMLType
from pyodide_app.graph.plan import View

PIECE_ALIGNMENT = 64  # elements: WebGPU's default of 256 bytes for a binding's offset


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """An activation: a shape, and a place that the arena chooses.

    All activations are float32 or uint32, so an element has four bytes.
    """

    shape: tuple[int, ...]
    fixed: View | None = None  # set for tensors that live outside the arena
    parent: Tensor | None = None  # whose piece this is, from element `begin` on
    begin: int = 0

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        n = 4
        for length in self.shape:
            n *= length
        return n

    @property
    def root(self) -> Tensor:
        """Return the tensor that this is a piece of, or this one."""
        return self if self.parent is None else self.parent.root

    def piece(self, begin: int, shape: tuple[int, ...]) -> Tensor:
        """Return a part of this tensor; `begin` is a multiple of PIECE_ALIGNMENT."""
        return Tensor(shape, parent=self, begin=begin)


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """The residual stream: a tensor, and a branch that is still to be added.

    It stands for (x + rms(branch) * norm) * scale, or (x + branch) * scale without a
    norm. Whoever reads it next computes that, and normalises the sum for itself
    (`ops.norm`).
    """

    x: Tensor
    eps: float  # of all norms of the stream
    branch: Tensor | None = None
    norm: Weight | None = None  # of the branch; None: it is added as it is
    scale: Weight | None = None  # one element; None for 1
    name: str = ""  # of the sum, in a trace

    @property
    def tensor(self) -> Tensor:
        """Return the stream once every branch has been added."""
        if self.branch is not None:
            raise ValueError(f"{self.name}: a branch is still to be added")
        return self.x


@dataclass(frozen=True, slots=True, eq=False)
class Normed:
    """rms(residual) * weight, not yet computed; its first reader also writes `total`.

    Without a weight it is the residual itself.
    """

    residual: Residual
    weight: Weight | None
    total: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the norm."""
        return self.total.shape

    @property
    def vectors(self) -> tuple[Weight, ...]:
        """Return the weights of its norms, and the scale."""
        all_three = (self.residual.norm, self.residual.scale, self.weight)
        return tuple(vector for vector in all_three if vector is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Attention over several splits of the keys, not yet merged.

    Shapes: partials as shaders/common/partials.wgsl says; `shape` is the result's.
    """

    partials: Tensor
    shape: tuple[int, ...]
    head_dim: int
    n_splits: int


Input = Tensor | Normed | Splits  # what a matrix multiplies


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
    def dot(self) -> str:
        """Return the file of shaders/dot/ by which a vector is multiplied by its rows.

        Rows of a float type may begin on any element, between loads of 16 bytes.
        """
        is_odd = self.type.block_size == 1 and self.n_cols * self.type.block_bytes % 16
        return f"{self.type.slug}_odd" if is_odd else self.type.slug

    @property
    def n_rows(self) -> int:
        """Return the number of rows (of one expert, in a 3-D tensor)."""
        return self.dims[1]

    def n_blocks(self, part: Part) -> int:
        """Return the number of blocks of a part."""
        unit = prod(self.dims[:-1]) if len(self.dims) > 1 else self.dims[0]
        return part.count * unit // self.type.block_size


def place_of(vector: Weight | None) -> int:
    """Return where a vector begins in its buffer, in words of four elements."""
    return 0 if vector is None else vector.parts[0].view.offset // 16


@dataclass(frozen=True, slots=True, eq=False)
class ExpertSlots:
    """One layer's slot table: slot = table[expert]; the identity when all reside.

    Shapes: view [n_experts] u32.
    """

    view: View
    n_experts: int


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """How a token chooses experts by its logits: the largest, weighed by softmax."""

    n_used: int
    renormalised: bool = True  # the weights of the chosen add up to 1,
    scale: Weight | None = None  # [n_experts]; and are multiplied by this then


@dataclass(frozen=True, slots=True, eq=False)
class Rope:
    """Rotary tables: (cos, sin) for `fine` positions, then for multiples of `fine`.

    Shapes: table [fine + coarse, n_pairs, 2] f32, made on the host in float64.
    """

    table: View
    n_pairs: int  # rotated pairs; the remaining pairs of a head are copied
    fine: int
    pairs: str = "halves"  # or "neighbours": a file shaders/common/rope_*.wgsl


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The raw heads of some tokens, as the projections left them, and what they become.

    Biases are added, queries and keys normed and turned, values normed, queries scaled:
    whichever of it the model does.
    Shapes: q [n, n_heads * head_dim], None where keys and values are only stored; k, v
    [n, n_kv_heads * head_dim], both None where the cache is only read. All are pieces
    of one tensor; v may be k. Fewer tokens than the pass has are its last ones. Norms
    [head_dim]; biases as wide as what they are added to. Vectors lie in one buffer.
    """

    q: Tensor | None
    k: Tensor | None
    v: Tensor | None
    q_norm: Weight | None
    k_norm: Weight | None
    rope: Rope
    eps: float
    v_norm: bool = True  # values are normed, without a weight
    scale: float = 1.0  # of queries, and so of scores
    biases: Mapping[str, Weight] = field(default_factory=dict)  # of "q", "k" and "v"

    @property
    def n_tokens(self) -> int:
        """Return how many tokens they are of."""
        some = self.q or self.k
        return some.shape[0] if some else 0


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """Which experts each token chose, and how the assignments are bucketed.

    Shapes: idx [n_tokens, n_used] u32; weight [n_tokens, n_used]. In a prefill also
    token_idx, perm [n_tokens * n_used] and tiles [n_tiles, 2] (expert, first row).
    """

    idx: Tensor
    weight: Tensor
    offsets: Tensor | None = None
    token_idx: Tensor | None = None
    perm: Tensor | None = None
    tiles: Tensor | None = None
