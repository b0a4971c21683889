"""The recorder: collects dispatches, places their tensors, and gives a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pyodide_app.graph import kernels
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.kernels import Variant
from pyodide_app.graph.plan import Buffer, Dispatch, Plan, View, whole
from pyodide_app.graph.tensors import Input, Part, Tensor, Weight
from pyodide_app.graph.tuning import Tuning

MAX_GROUPS = 65535  # maxComputeWorkgroupsPerDimension of every WebGPU device
STATE_BYTES = 64  # of shaders/common/state.wgsl

Groups = tuple[int, int, int]  # workgroups along x, y and z
AnyInput = TypeVar("AnyInput", bound=Input)


@dataclass(frozen=True, slots=True)
class _Record:
    variant: Variant
    tensors: tuple[Tensor, ...]
    params: bytes
    groups: Groups
    label: str


class Recorder:
    """One pass over `n_tokens` tokens, being recorded; kernels add themselves to it."""

    def __init__(
        self,
        label: str,
        tuning: Tuning,
        arena: Arena,
        state: Buffer,
        n_tokens: int,
        trace: bool = False,
    ) -> None:
        """Begin; with `trace`, tensors that are named keep a place of their own."""
        self.label = label
        self.tuning = tuning
        self.n_tokens = n_tokens
        self.named: dict[str, Tensor] = {}
        self._arena = arena
        self._trace = trace
        self.state = Tensor((STATE_BYTES // 4,), whole(state))
        self.none = Tensor((arena.none.size // 4,), whole(arena.none))
        self._prefix = ""
        self._records: list[_Record] = []
        self._made: dict[Input, Tensor] = {}  # what was computed apart
        self._pending: dict[Input, str] = {}  # the names of what is not computed yet

    def scope(self, prefix: str) -> None:
        """Name what follows, e.g. `blk.3`."""
        self._prefix = prefix

    def scoped(self, name: str) -> str:
        """Return `scope.name`."""
        return f"{self._prefix}.{name}" if self._prefix else name

    def name(self, name: str, tensor: AnyInput) -> AnyInput:
        """Keep a tensor to the end under `scope.name` when tracing; return it.

        What is not computed yet has the name if it becomes a tensor.
        """
        if isinstance(tensor, Tensor):
            self.keep(self.scoped(name), tensor)
        else:
            self._pending[tensor] = self.scoped(name)
        return tensor

    def made(self, x: Input) -> Tensor | None:
        """Return the tensor that holds an input, if something has computed it."""
        return self._made.get(x)

    def make(self, x: Input, y: Tensor) -> Tensor:
        """Note that y holds an input, for all that read it later; return y."""
        self._made[x] = self.keep(self._pending.get(x, ""), y)
        return y

    def keep(self, name: str, tensor: Tensor) -> Tensor:
        """Keep a tensor to the end under its full name when tracing; return it."""
        if self._trace and name:
            self.named[name] = tensor
        return tensor

    def finish(self) -> tuple[Plan, dict[Tensor, View]]:
        """Place the scratch tensors and return the plan, with where each tensor is.

        Raises ValueError for a tensor that is read before anything is written to it.
        """
        self._check_order()
        uses = [record.tensors for record in self._records]
        views = self._arena.place(uses, list(self.named.values()))
        dispatches = tuple(
            Dispatch(
                record.variant,
                tuple(views[tensor] for tensor in record.tensors),
                record.params,
                record.groups,
                record.label,
            )
            for record in self._records
        )
        return Plan(self.label, dispatches), views

    def _check_order(self) -> None:
        written: set[Tensor] = set()
        for record in self._records:
            kernel = kernels.load(record.variant.kernel)
            bound = [b for b in kernel.bindings if b.access != "uniform"]
            for binding, tensor in zip(bound, record.tensors, strict=True):
                if binding.access == "read_write":
                    written.add(tensor.root)
                elif tensor.root.fixed is None and tensor.root not in written:
                    raise ValueError(
                        f"{record.variant.label} {record.label}: {binding.name} is "
                        "read before it is written"
                    )

    def record(
        self,
        name: str,
        tensors: Mapping[str, Tensor],
        params: Mapping[str, int | float],
        groups: Groups,
        *,
        slots: Mapping[str, str] | None = None,
        consts: Mapping[str, int] | None = None,
        overrides: Mapping[str, int] | None = None,
        label: str = "",
    ) -> None:
        """Add a dispatch of a kernel. Raises ValueError where bindings are wrong."""
        kernel = kernels.load(name)
        wanted = [b.name for b in kernel.bindings if b.access != "uniform"]
        if set(wanted) != set(tensors):
            raise ValueError(f"{name}: bindings {sorted(tensors)}, needs {wanted}")
        variant = self._variant(name, slots or {}, consts or {}, overrides or {})
        ordered = tuple(tensors[binding] for binding in wanted)
        packed = kernel.pack(params)
        self._records.append(
            _Record(variant, ordered, packed, groups, label or self._prefix)
        )

    def _variant(
        self,
        name: str,
        slots: Mapping[str, str],
        consts: Mapping[str, int],
        overrides: Mapping[str, int],
    ) -> Variant:
        """Return a kernel's variant; what its op leaves open is the tuning's to say."""
        used = kernels.slots_of(name, tuple(slots.items()))
        special = self.tuning.special_slots({**consts, **overrides})
        special = {slot: value for slot, value in special.items() if slot in used}
        if "subgroup" in special.values():
            consts = {**consts, "SUBGROUP": self.tuning.subgroup}
        return Variant(
            name,
            tuple({**slots, **special}.items()),
            tuple(consts.items()),
            tuple(overrides.items()),
        )

    def vector(self, weight: Weight | None) -> Tensor:
        """Return a vector's tensor, or a stand-in for one that the model lacks."""
        if weight is None:
            return self.none
        return Tensor(tuple(reversed(weight.dims)), weight.parts[0].view)

    @staticmethod
    def part(part: Part) -> Tensor:
        """Return a part of a matrix as the words that a kernel sees."""
        return Tensor((part.view.size // 4,), part.view)


def fold(n_groups: int) -> Groups:
    """Spread a one-dimensional grid over x and y; kernels test for the overhang."""
    if n_groups <= MAX_GROUPS:
        return (n_groups, 1, 1)
    rows = -(-n_groups // MAX_GROUPS)
    return (-(-n_groups // rows), rows, 1)
