"""Models that cannot run: each gives a typed error that names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from pyodide_app import errors
from tests.models.native import logits, opened
from tests.samples.toy_models import (
    TOY_A,
    TOY_B,
    Toy,
    toy_tensors,
    write_metadata,
    write_toy,
)
from tests.support.compare import relative_l2
from tests.support.golden_data import Case, committed_cases
from tests.support.gpu import device

Tensors = dict[str, np.ndarray]


def drop(name: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.__delitem__(name)


def resize(name: str, *shape: int) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: np.ones(shape, np.float32)})


def retype(name: str, kind: type) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: tensors[name].astype(kind)})


@pytest.mark.parametrize(
    ("toy", "change", "error", "text"),
    [
        (TOY_A, drop("token_embd.weight"), errors.ShapeError, "token_embd.weight"),
        (TOY_A, drop("output_norm.weight"), errors.ShapeError, "output_norm.weight"),
        (TOY_A, drop("blk.5.attn_q.weight"), errors.ShapeError, "blk.5.attn_q.weight"),
        (TOY_A, drop("blk.2.post_norm.weight"), errors.ShapeError, "blk.2.post_norm"),
        (
            TOY_B,
            drop("blk.1.ffn_down_exps.scale"),
            errors.ShapeError,
            "down_exps.scale",
        ),
        (
            TOY_B,
            resize("blk.0.ffn_down_exps.weight", 7, 32, 12),
            errors.ShapeError,
            r"blk.0.ffn_down_exps.weight: found \[12, 32, 7\]; expected \[12, 32, 8\]",
        ),
        (
            TOY_A,
            resize("blk.3.ffn_up.weight", 48, 32),
            errors.ShapeError,
            r"blk.3.ffn_up.weight: found \[32, 48\]; expected \[32, 96\]",
        ),
        (TOY_A, resize("rope_freqs.weight", 5), errors.ShapeError, "rope_freqs"),
        (
            TOY_A,
            retype("blk.0.attn_norm.weight", np.int8),
            errors.UnsupportedFormatError,
            "blk.0.attn_norm.weight': found ggml type 24",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:30],
)
def test_tensors_that_do_not_fit(
    tmp_path: Path,
    toy: Toy,
    change: Callable[[Tensors], None],
    error: type[errors.EngineError],
    text: str,
) -> None:
    tensors = toy_tensors(toy)
    change(tensors)
    path = write_toy(tmp_path / "toy.gguf", toy, tensors)
    with pytest.raises(error, match=text), opened(path):
        pass


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda w: w.add_expert_used_count(9), "expert_used_count: found 9"),
        (lambda w: w.add_head_count_kv(3), "blk.0: heads"),
        (lambda w: w.add_sliding_window_pattern([True] * 4), "4 elements; expected 3"),
        (lambda w: w.add_block_count(100_000), "block_count"),
        (lambda w: w.add_layer_norm_rms_eps(-1.0), "rms_epsilon: found -1.0"),
        (lambda w: w.add_rope_freq_base(0.0), "freq_base: found 0.0"),
        (lambda w: w.add_shared_kv_layers(3), "shared_kv_layers"),
        (lambda w: w.add_sliding_window(0), "sliding_window"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_metadata_that_contradicts_itself(
    tmp_path: Path, change: Callable[[gguf.GGUFWriter], None], text: str
) -> None:
    path = tmp_path / "toy.gguf"
    write_changed(path, "gemma4", change)
    with pytest.raises(errors.FileFormatError, match=text), opened(path):
        pass


def write_changed(
    path: Path, architecture: str, change: Callable[[gguf.GGUFWriter], None]
) -> None:
    """Write toy B with some of its metadata overwritten."""
    writer = gguf.GGUFWriter(path, architecture)
    write_metadata(writer, TOY_B)
    kept = dict(writer.kv_data[0])
    writer.kv_data[0].clear()
    change(writer)
    writer.kv_data[0] = {**kept, **writer.kv_data[0]}
    for name, values in toy_tensors(TOY_B).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_more_experts_than_the_router_holds(tmp_path: Path) -> None:
    path = tmp_path / "toy.gguf"
    write_changed(path, "gemma4", lambda writer: writer.add_expert_count(1025))
    with (
        pytest.raises(errors.UnsupportedArchitectureError, match="found 1025"),
        opened(path),
    ):
        pass


def test_another_architecture(tmp_path: Path) -> None:
    path = tmp_path / "phi3.gguf"
    write_changed(path, "phi3", lambda writer: None)
    with (
        pytest.raises(
            errors.UnsupportedArchitectureError,
            match=r"found 'phi3'; expected .*'gemma4'",
        ),
        opened(path),
    ):
        pass


@pytest.mark.parametrize("n_ctx", [0, -5, 1 << 20])
def test_a_context_that_the_model_was_not_made_for(n_ctx: int) -> None:
    case = committed_cases()[0]
    with (
        pytest.raises(errors.RequestError, match="context length"),
        opened(case.gguf, n_ctx=n_ctx),
    ):
        pass


def limit(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    info = device().info
    limits = replace(info.limits, max_binding_bytes=most)
    monkeypatch.setattr(device(), "info", replace(info, limits=limits))


@pytest.mark.parametrize("case", committed_cases(), ids=str)
def test_tensors_split_over_many_bindings(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every matrix, table and expert tensor in parts gives the logits of the whole."""
    limit(monkeypatch, 60_000)
    with opened(case.gguf, n_ctx=64) as engine:
        parts = {n: len(w.parts) for n, w in engine.loaded.model.weights.items()}
        assert parts["token_embd.weight"] > 3
        assert parts.get("blk.0.ffn_gate_up_exps.weight", 8) >= 4
        got = logits(engine, case.ids("p20"))
        got_one = logits(engine, case.ids("p1"))
    assert relative_l2(got, case.exact("p20")) < 5e-5
    assert relative_l2(got_one, case.exact("p1")) < 5e-5


def test_a_row_that_no_binding_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 100)
    with (
        pytest.raises(errors.DeviceLimitError, match="in one row or expert"),
        opened(committed_cases()[0].gguf),
    ):
        pass


def test_a_context_that_the_adapter_cannot_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit(monkeypatch, 1 << 20)
    with (
        pytest.raises(errors.DeviceLimitError, match="context of 2,048 tokens"),
        opened(committed_cases()[0].gguf, n_ctx=4096),
    ):
        pass


def test_a_truncated_model_is_refused_before_it_is_read(tmp_path: Path) -> None:
    whole = committed_cases()[0].gguf.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(errors.FileFormatError), opened(path):
        pass


def test_what_a_failed_load_had_allocated_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(device()._buffers)
    limit(monkeypatch, 1 << 20)
    with (
        pytest.raises(errors.DeviceLimitError),
        opened(committed_cases()[0].gguf, n_ctx=4096),
    ):
        pass
    assert set(device()._buffers) == before
