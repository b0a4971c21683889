"""What a model takes here, laid out for a terminal."""

from __future__ import annotations

from pyodide_app.load.fit import HOST_EMBEDDINGS, RESIDENT, Fit, gb
from pyodide_app.load.predict import Prediction


def describe_fit(fit: Fit, prediction: Prediction | None = None) -> str:
    """Say what a model takes here, and how fast it may be."""
    where = {
        RESIDENT: "all on the GPU",
        HOST_EMBEDDINGS: f"{gb(fit.host_bytes)} of per-layer embeddings in the file",
    }
    lines = [
        f"fits in {gb(fit.total_bytes)}: {where[fit.mode]}",
        f"  weights            {gb(fit.weight_bytes)}",
        f"  keys and values    {gb(fit.kv_bytes)} for {fit.n_ctx:,} tokens, {fit.kv}",
        f"  scratch and tables {gb(fit.scratch_bytes + fit.table_bytes)}",
        f"  a step reads       {gb(fit.step_bytes)} in {fit.n_dispatches} dispatches",
    ]
    if prediction is not None:
        lines.append(
            f"decodes at most {prediction.tokens_per_second:.1f} tokens/s: "
            f"{1e3 * prediction.memory_seconds:.1f} ms of memory and "
            f"{1e3 * prediction.dispatch_seconds:.1f} ms of dispatches a token"
        )
        if prediction.load_seconds is not None:
            seconds = max(1, round(prediction.load_seconds))
            lines.append(f"loads in about {seconds} s")
    return "\n".join(lines)
