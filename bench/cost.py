"""Print what a decode step costs, from its plan: exact, the same on every machine.

    python -m bench.cost [MODEL ...] [--type Q4_K_M] [--context 4096] [--check]

MODEL is a released size, by its real header and without its weights (`e2b`, `e4b`,
`12b`, `26b-a4b`, `31b`, `llama3.2-3b`, `llama3.1-8b`, `qwen3-8b`, `qwen3-30b-a3b`,
`gemma3-4b`, `gemma3-12b`), a GGUF file, or a name in Ollama's store; the five of
Gemma 4 unless said. The step is the one of a GPU whose workgroups have 16 KB, the least
that WebGPU allows; a second row counts its dispatches with the 48 KB of many. Submits,
calls and objects are counted while the engine decodes on a device that computes
nothing.
`--check` exits with 1 where a figure is outside its bound.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bench import arguments
from bench.counting import CountingDevice
from pyodide_app.adapter import kernel_options
from pyodide_app.cli.models import open_model
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu.device import AdapterInfo, Limits
from pyodide_app.graph.plan import Buffer, Dispatch, Plan
from pyodide_app.graph.tensors import Weight
from pyodide_app.load import loader
from pyodide_app.load.layout import Layout
from pyodide_app.load.options import LoadOptions
from pyodide_app.load.passes import Passes
from pyodide_app.load.predict import kv_bytes_read
from pyodide_app.models.config import Config
from pyodide_app.run import pace
from pyodide_app.run.engine import Engine
from tests.samples import realshape

ADAPTER = AdapterInfo(
    "a GPU",
    "none",
    is_software=False,
    features=frozenset(),
    limits=Limits(
        max_binding_bytes=(2 << 30) - 4,
        max_buffer_bytes=4 << 30,
        max_workgroup_bytes=16384,  # the least that WebGPU allows
        max_threads=256,
        max_storage_buffers=8,
        max_groups=65535,
    ),
)
# What many adapters have, and a page asks for all: more products norm their own input.
ROOMY = replace(ADAPTER, limits=replace(ADAPTER.limits, max_workgroup_bytes=49152))
# Bounds: architecture.md's cost model, and the best published engine for e2b.
PER_DENSE_LAYER = 9
PER_LAYER_EMBEDDINGS = 2  # more, in a layer that has them
PER_MOE_LAYER = 13
OUTSIDE = 8
E2B_PUBLISHED = 283
READBACK = 64  # bytes per token
BATCH = pace.MOST  # tokens of a submit
EXTRA_WEIGHT_BYTES = 1.01


@dataclass(frozen=True, slots=True)
class Cost:
    """What one decode step of a model costs."""

    name: str
    n_dispatches: int
    n_roomy: int  # the same where a workgroup has 48 KB
    outside: int  # dispatches outside the layers
    dense: int  # dispatches of the longest dense layer, 0 without any
    moe: int  # of the longest layer with experts
    weight_bytes: int  # that the dispatches read
    needed_bytes: int  # of the tensors that a step needs
    kv_bytes: int  # read at the context, each key once per KV head
    kv_needed: int
    scratch_bytes: int
    submits: int  # per batch of tokens
    host_calls: int  # likewise
    objects: int  # likewise, that are made on the GPU
    readback: float  # bytes per token
    has_per_layer: bool

    def violations(self) -> Iterator[str]:
        """Yield each figure that is outside its bound."""
        more = PER_LAYER_EMBEDDINGS if self.has_per_layer else 0
        bounds = [
            ("dispatches of a dense layer", self.dense, PER_DENSE_LAYER + more),
            ("dispatches of a layer with experts", self.moe, PER_MOE_LAYER + more),
            ("dispatches outside the layers", self.outside, OUTSIDE),
            ("bytes read back", self.readback, READBACK),
            ("submits per batch", self.submits, 1),
            ("host calls per batch", self.host_calls, 1),
            ("objects made per batch", self.objects, 0),
            (
                "weight bytes",
                self.weight_bytes,
                int(EXTRA_WEIGHT_BYTES * self.needed_bytes),
            ),
            ("bytes of keys and values", self.kv_bytes, self.kv_needed),
        ]
        if self.name == "e2b":
            bounds.append(("dispatches", self.n_dispatches, E2B_PUBLISHED - 1))
        for what, found, most in bounds:
            if found > most:
                yield f"{self.name}: {found:,} {what}, at most {most:,} wanted"


async def measure(name: str, sources: Sequence[ByteSource], n_keys: int) -> Cost:
    """Count what a step of a model costs with `n_keys` tokens in its cache."""
    fitted = await loader.preflight(sources, ADAPTER, LoadOptions(n_ctx=n_keys))
    config, layout = fitted.config, fitted.layout
    plan = layout.plans[1]
    layers = Counter(layer_of(dispatch) for dispatch in plan.dispatches)
    outside = layers.pop(None, 0)
    roomy = await loader.preflight(sources, ROOMY, LoadOptions(n_ctx=n_keys))
    of_batch = await count_batch(fitted)
    return Cost(
        name,
        len(plan.dispatches),
        len(roomy.layout.plans[1].dispatches),
        outside,
        max((layers[a.index] for a in config.layers if not a.has_experts), default=0),
        max((layers[a.index] for a in config.layers if a.has_experts), default=0),
        weight_bytes(config, layout, plan),
        fitted.fit.step_bytes,
        kv_bytes(config, layout, plan, n_keys),
        kv_bytes_read(config, fitted.fit.kv, n_keys),
        fitted.fit.scratch_bytes,
        of_batch["submits"],
        of_batch["host_calls"],
        of_batch["objects"],
        of_batch["bytes_read"] / BATCH,
        layout.model.family.host_table in layout.model.weights,
    )


async def count_batch(fitted: loader.Fitted) -> Counter[str]:
    """Count what the host does for one more batch of a reply."""
    device, layout = CountingDevice(ADAPTER), fitted.layout
    passes = Passes(device, layout)
    choice = kernel_options.of(layout.tuning, ADAPTER)
    loaded = loader.Loaded(fitted.file, fitted.fit, layout, None, passes, choice)
    engine = Engine(device, loaded)
    engine.pace = pace.Fixed(BATCH)
    counts = []
    for n_batches in (1, 2, 3):  # the first prepares the passes
        before = device.counters.copy()
        async for _ in engine.generate([2], max_tokens=1 + n_batches * BATCH):
            pass
        counts.append(device.counters - before)
    _, few, many = counts
    return many - few


def layer_of(dispatch: Dispatch) -> int | None:
    """Return the layer that a dispatch belongs to, None for none."""
    first, _, rest = dispatch.label.partition(".")
    return int(rest.partition(".")[0]) if first == "blk" else None


Owners = Mapping[Buffer, Weight]


def owners(layout: Layout) -> Owners:
    """Return which matrix each weight buffer holds; vectors share one, left out."""
    matrices = [w for w in layout.model.weights.values() if len(w.dims) > 1]
    return {part.view.buffer: weight for weight in matrices for part in weight.parts}


def weight_bytes(config: Config, layout: Layout, plan: Plan) -> int:
    """Add up the weights that the dispatches read, the vectors once."""
    owner = owners(layout)
    vectors = [w for w in layout.model.weights.values() if len(w.dims) == 1]
    matrices = (matrix_bytes(config, owner, each) for each in plan.dispatches)
    return sum(4 * weight.n_cols for weight in vectors) + sum(matrices)


def matrix_bytes(config: Config, owner: Owners, dispatch: Dispatch) -> int:
    """Add up what a dispatch reads of matrices.

    A gather reads one row, a routed matrix the chosen experts, all others the
    whole of what is bound.
    """
    total = 0
    # Twice the same view: gate and up in one tensor, or a place that is not used.
    for view in dict.fromkeys(dispatch.views):
        weight = owner.get(view.buffer)
        if weight is None:
            continue
        if dispatch.variant.kernel == "embed":
            total += view.size // weight.parts[0].count
        elif len(weight.dims) == 3:
            total += view.size * config.n_experts_used // weight.dims[2]
        else:
            total += view.size
    return total


def kv_bytes(config: Config, layout: Layout, plan: Plan, n_keys: int) -> int:
    """Add up the keys and values that attention reads, by the shape of its grid.

    A workgroup reads all keys of its split, for one KV head, once.
    """
    caches = layout.model.caches
    by_buffer: dict[Buffer, int] = {}
    for layer, cache in caches.items():
        seen = min(n_keys, cache.window) if cache.window else n_keys
        by_buffer[cache.k] = by_buffer[cache.v] = (
            seen * cache.k.size // cache.n_slots // cache.n_kv_heads
        )
        assert config.layers[layer].n_kv_heads == cache.n_kv_heads
    total = 0
    for dispatch in plan.dispatches:
        if dispatch.variant.kernel == "attention_decode":
            heads = dispatch.workgroups[0]
            total += sum(heads * by_buffer.get(v.buffer, 0) for v in dispatch.views)
    return total


def table(costs: Sequence[Cost], n_keys: int) -> str:
    """Lay the figures out, a model per column."""
    rows: list[tuple[str, list[str]]] = [
        ("", [cost.name for cost in costs]),
        ("dispatches", [f"{c.n_dispatches}" for c in costs]),
        ("  with 48 KB to a workgroup", [f"{c.n_roomy}" for c in costs]),
        (f"  per dense layer (≤ {PER_DENSE_LAYER})", [str(c.dense) for c in costs]),
        (f"  per MoE layer (≤ {PER_MOE_LAYER})", [str(c.moe) for c in costs]),
        (f"  outside the layers (≤ {OUTSIDE})", [str(c.outside) for c in costs]),
        (f"submits per {BATCH} tokens (1)", [str(c.submits) for c in costs]),
        (f"host calls per {BATCH} tokens (1)", [str(c.host_calls) for c in costs]),
        (
            f"bytes read back per token (≤ {READBACK})",
            [f"{c.readback:g}" for c in costs],
        ),
        ("GPU objects made meanwhile (0)", [str(c.objects) for c in costs]),
        ("weights read, GB", [f"{c.weight_bytes / 1e9:.3f}" for c in costs]),
        (
            f"  over what is needed (≤ {EXTRA_WEIGHT_BYTES})",
            [f"{c.weight_bytes / c.needed_bytes:.4f}" for c in costs],
        ),
        (
            f"keys and values read at {n_keys:,}, MB",
            [f"{c.kv_bytes / 1e6:.1f}" for c in costs],
        ),
        ("scratch, MB", [f"{c.scratch_bytes / 1e6:.1f}" for c in costs]),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(
        f"{name:<{width}}" + "".join(f"{cell:>15}" for cell in cells)
        for name, cells in rows
    )


async def costs_of(names: Sequence[str], file_type: str, n_keys: int) -> list[Cost]:
    """Measure released sizes and files."""
    costs = []
    for name in names:
        if name in realshape.SIZES:
            # The vocabulary's words cost seconds to read and no dispatch.
            layout = realshape.plan(name, file_type)
            costs.append(await measure(name, [realshape.HoleSource(layout)], n_keys))
        else:
            opened = await open_model(name)
            costs.append(await measure(name, opened.sources, n_keys))
    return costs


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; with `--check`, say what is outside its bound."""
    parser = arguments.parser("cost", __doc__)
    arguments.add_models(parser)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(argv)
    names = options.models or list(realshape.MODELS)
    costs = asyncio.run(costs_of(names, options.type, options.context))
    print(table(costs, options.context))
    broken = [line for cost in costs for line in cost.violations()]
    for line in broken:
        print(line, file=sys.stderr)
    return 1 if options.check and broken else 0


if __name__ == "__main__":
    sys.exit(main())
