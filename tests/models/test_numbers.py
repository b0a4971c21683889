"""Numbers that are not finite: wherever they arise, a request ends in an error."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from pyodide_app import errors
from pyodide_app.__main__ import main
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from pyodide_app.run.engine import Engine
from tests.models.native import generate, greedy, logits, opened
from tests.support.golden_data import require

BOTH = pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=["cpu", "gpu"])
PROMPT = [2, 5, 9, 17, 33, 12, 44]
SCALE_AT = {"Q4_K": 0, "Q5_K": 0, "Q6_K": 208, "Q8_0": 0, "Q5_0": 0, "F16": 0}  # bytes
# A norm, a product, what only the experts, the per-layer inputs or the caches read.
DAMAGED = {
    "dense": ["attn_k_norm", "ffn_up", "output_norm"],
    "ple": ["per_layer_model_proj", "inp_gate", "layer_output_scale"],
    "moe8": ["ffn_gate_inp.weight", "ffn_gate_up_exps", "ffn_down_exps.scale"],
}


def model(name: str) -> Path:
    return require(f"models/{name}-q4_k_m.gguf")


def damage(source: Path, path: Path, name: str, value: float, row: int = 0) -> Path:
    """Write a model in which a value or a scale of a tensor is replaced.

    It is in the last layer that has such a tensor, in each of its experts.
    """
    data = bytearray(source.read_bytes())
    found = [t for t in gguf.GGUFReader(source).tensors if name in t.name]
    tensor = found[-1]
    kind, shape = tensor.tensor_type.name, [int(n) for n in tensor.shape]
    n_matrices = shape[2] if len(shape) == 3 else 1
    n_matrices = shape[0] if name == "ffn_down_exps.scale" else n_matrices
    row_bytes = int(tensor.n_bytes) // int(np.prod(shape[1:]))
    for i in range(n_matrices):
        at = tensor.data_offset + i * int(tensor.n_bytes) // n_matrices
        at += row * row_bytes + SCALE_AT.get(kind, 0)
        number = np.array(value, np.float32 if kind == "F32" else np.float16).tobytes()
        data[at : at + len(number)] = number
    path.write_bytes(data)
    return path


def fails(engine: Engine, prompt: list[int]) -> errors.NumberError:
    """Return the error in which a request ends."""
    with pytest.raises(errors.NumberError) as caught:
        generate(engine, prompt, max_tokens=4, ignore_eos=True)
    return caught.value


@pytest.mark.parametrize(
    ("name", "tensor"), [(name, t) for name, found in DAMAGED.items() for t in found]
)
@pytest.mark.parametrize(
    ("value", "kv", "tune"),
    [(np.nan, "f32", SOFTWARE), (np.inf, "f16", HARDWARE)],
    ids=["nan-cpu", "inf-gpu"],
)
def test_a_damaged_tensor_never_passes_for_a_reply(
    tmp_path: Path, name: str, tensor: str, value: float, kv: str, tune: Tuning
) -> None:
    """By the kernels of a prompt, and by those of a token."""
    path = damage(model(name), tmp_path / "m.gguf", tensor, value)
    with opened(path, n_ctx=64, tune=tune, kv=kv) as engine:
        for prompt in (PROMPT, PROMPT[:1]):
            error = fails(engine, prompt)
            assert error.found.endswith("in the logits after 0 tokens")
            assert ("as f32" in error.remedy) == (kv == "f16")


@BOTH
def test_what_only_one_token_reads_ends_the_reply_there(
    tmp_path: Path, tune: Tuning
) -> None:
    """And the model serves the next request as if that had not been."""
    with opened(model("ple"), n_ctx=64, tune=tune) as engine:
        sound = greedy(engine, PROMPT, 12)
    n_before = next(i for i in range(2, 12) if sound[i] not in PROMPT + sound[:i])
    path, rows = tmp_path / "m.gguf", "per_layer_token_embd"
    damage(model("ple"), path, rows, np.nan, row=sound[n_before])
    with opened(path, n_ctx=64, tune=tune) as engine:
        with pytest.raises(errors.NumberError, match=f"after {n_before + 1} tokens"):
            greedy(engine, PROMPT, 12)
        assert greedy(engine, PROMPT, n_before + 1) == sound[: n_before + 1]
        fails(engine, [sound[n_before]] * 40)  # a cache full of it
        assert greedy(engine, PROMPT, n_before + 1) == sound[: n_before + 1]


def test_logits_are_given_out_whole_before_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = damage(model("dense"), tmp_path / "m.gguf", "token_embd", np.nan, row=33)
    with opened(path) as engine, pytest.raises(errors.NumberError, match="after 0"):
        logits(engine, [2, 5])  # row 33 of the tied output
    out = tmp_path / "logits.bin"
    asked = ["--ids", "2,5,9", "--out", str(out)]
    assert main(["logits", str(path), *asked]) == 2
    assert "the model's numbers are not finite" in capsys.readouterr().err
    rows = np.fromfile(out, np.float32).reshape(3, -1)
    assert np.isnan(rows[:, 33]).all() and np.isnan(rows).sum() == 3


def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = damage(model("dense"), tmp_path / "m.gguf", "output_norm", np.inf)
    assert main(["generate", str(path), "--ids", "2,5", "-n", "3"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith("lapidary: the model's numbers are not finite: found ")
