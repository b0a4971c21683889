"""All that a model takes on a device, by description: nothing is allocated or read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pyodide_app import errors
from pyodide_app.gpu.device import Limits
from pyodide_app.graph import rope
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, Plan, whole
from pyodide_app.graph.tensors import Rope
from pyodide_app.graph.tuning import Tuning
from pyodide_app.load import weights
from pyodide_app.load.header import Header
from pyodide_app.load.options import Settled
from pyodide_app.models import step
from pyodide_app.models.config import RopeSpec
from pyodide_app.models.family import Model, make_caches, make_slots

_LARGER_GPU = "Use a GPU with a larger limit"


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The model with a place for each of its parts, and the passes that it replays."""

    model: Model
    rows: weights.HostRows | None  # of a table that stays in the file
    tuning: Tuning
    step: step.StepBuffers
    arena: Arena  # with the scratch buffers of all passes
    plans: Mapping[int, Plan]  # by tokens: the widest pass, and the step of decoding

    @property
    def weights(self) -> list[Buffer]:
        """Return what holds the tensors that are loaded."""
        gathered = self.rows.buffers if self.rows else []
        placed = self.model.weights.values()
        parts = (part for weight in placed for part in weight.parts)
        buffers = dict.fromkeys(part.view.buffer for part in parts)
        return [buffer for buffer in buffers if buffer not in gathered]

    @property
    def tables(self) -> list[Buffer]:
        """Return rotary tables, slot tables, gathered rows and the steps' own."""
        model = self.model
        slots = dict.fromkeys(slot.view.buffer for slot in model.slots.values())
        ropes = [rope.table.buffer for rope in model.ropes]
        gathered = self.rows.buffers if self.rows else []
        return [*ropes, *slots, *gathered, *self.step.all]

    @property
    def caches(self) -> list[Buffer]:
        """Return the keys and values."""
        return [b for cache in self.model.caches.values() for b in (cache.k, cache.v)]

    @property
    def buffers(self) -> list[Buffer]:
        """Return all of it; what a shorter context makes smaller comes last."""
        return [*self.weights, *self.arena.buffers, *self.tables, *self.caches]


def describe(header: Header, limits: Limits, options: Settled) -> Layout:
    """Give everything a place.

    Passes get narrower until one binding holds each scratch buffer.
    Raises DeviceLimitError for what no binding holds.
    """
    most = min(limits.max_binding_bytes, limits.max_buffer_bytes)
    ropes = tuple(_describe_rope(spec, options.n_ctx) for spec in header.config.ropes)
    tune = options.tune
    while True:
        layout = _describe(header, limits, replace(options, tune=tune), ropes)
        widest = max(buffer.size for buffer in layout.arena.buffers)
        if widest <= most or tune.chunk == 1:
            break
        halvings = (-(-widest // most) - 1).bit_length()
        tune = replace(tune, chunk=max(1, tune.chunk >> halvings))
    _check_sizes([*layout.arena.buffers, *layout.tables, *layout.caches], most)
    return layout


def _describe(
    header: Header, limits: Limits, options: Settled, ropes: tuple[Rope, ...]
) -> Layout:
    config, tune, n_ctx = header.config, options.tune, options.n_ctx
    table = header.host_table if options.host_embeddings else None
    on_device = header.on_device(host_table=table is not None)
    placed = weights.place_all(on_device, limits)
    rows = None
    if table is not None:
        rows = weights.HostRows(table, tune.chunk, limits)
        placed[header.family.host_table] = rows.weight
    model = Model(
        header.family,
        config,
        placed,
        make_caches(config, options.kv, n_ctx, tune.chunk),
        ropes,
        make_slots(config),
        rows.numbers if rows else None,
    )
    buffers = step.make_buffers(config.n_vocab, tune.chunk, n_ctx)
    arena, plans = Arena(), {}
    for n in (tune.chunk, 1):  # the widest first: its buffers serve all others
        ops = Ops(f"step.{n}", tune, arena, buffers.state, n)
        step.record(ops, model, buffers, sample=True)
        plans[n], _ = ops.finish()
    return Layout(model, rows, tune, buffers, arena, plans)


def _describe_rope(spec: RopeSpec, n_ctx: int) -> Rope:
    """Return a place for a rotary table."""
    fine = rope.fine_positions(n_ctx)
    coarse = -(-n_ctx // fine)
    buffer = Buffer(spec.label, max(16, 8 * spec.n_pairs * (fine + coarse)))
    return Rope(whole(buffer), spec.n_pairs, fine, spec.pairs)


def _check_sizes(buffers: Iterable[Buffer], most: int) -> None:
    """Refuse a buffer that the adapter cannot hold in one piece."""
    for buffer in buffers:
        if buffer.size > most:
            raise errors.DeviceLimitError(
                f"buffer {buffer.label}",
                found=f"{buffer.size} bytes",
                expected=f"at most {most} bytes, the adapter's limit",
                remedy=_LARGER_GPU,
            )
