"""The oracle's reader against the gguf package."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from oracle.gguf_file import GGUFFile
from tests.support.golden_data import Case, committed_cases


@pytest.mark.parametrize("case", committed_cases(), ids=str)
def test_reads_what_the_package_reads(case: Case) -> None:
    ours, theirs = GGUFFile(case.gguf), gguf.GGUFReader(case.gguf)
    fields = {k: f for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    assert set(ours.metadata) == set(fields)
    for key, field in fields.items():
        assert ours.metadata[key] == field.contents(), key
    assert set(ours.tensors) == {t.name for t in theirs.tensors}
    for entry in theirs.tensors:
        tensor = ours.tensors[entry.name]
        assert tensor.format.name == entry.tensor_type.name
        assert tensor.shape == tuple(int(n) for n in reversed(entry.shape))
        assert ours.raw(entry.name).tobytes() == entry.data.tobytes()
        expected = gguf.quants.dequantize(entry.data, entry.tensor_type)
        np.testing.assert_array_equal(ours.tensor(entry.name), expected)


def test_rows_count_over_all_axes_but_the_last() -> None:
    moe = next(case for case in committed_cases() if case.model == "moe8")
    file = GGUFFile(moe.gguf)
    experts = file.tensor("blk.0.ffn_down_exps.weight")
    n_experts, n_rows, n_columns = experts.shape
    third = file.rows("blk.0.ffn_down_exps.weight", 3 * n_rows, 4 * n_rows)
    assert n_experts == 8 and third.shape == (n_rows, n_columns)
    np.testing.assert_array_equal(third, experts[3])


@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_other_alignments_and_all_metadata_types(
    tmp_path: Path, alignment: int
) -> None:
    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(path, "gemma4")
    writer.add_custom_alignment(alignment)
    writer.add_uint8("a.u8", 255)
    writer.add_int8("a.i8", -128)
    writer.add_uint16("a.u16", 65535)
    writer.add_int16("a.i16", -2)
    writer.add_uint64("a.u64", 1 << 63)
    writer.add_int64("a.i64", -(1 << 62))
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_string("a.string", "µ\n▁")
    writer.add_array("a.strings", ["", "x", "日本"])
    writer.add_array("a.bools", [True, False])
    values = np.arange(15, dtype=np.float32).reshape(3, 5)
    writer.add_tensor("first", values)
    writer.add_tensor("second", -values.reshape(5, 3))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GGUFFile(path)
    found = {k: v for k, v in file.metadata.items() if k.startswith("a.")}
    assert found == {
        "a.u8": 255,
        "a.i8": -128,
        "a.u16": 65535,
        "a.i16": -2,
        "a.u64": 1 << 63,
        "a.i64": -(1 << 62),
        "a.f64": 0.1,
        "a.bool": True,
        "a.string": "µ\n▁",
        "a.strings": ["", "x", "日本"],
        "a.bools": [True, False],
    }
    np.testing.assert_array_equal(file.tensor("first"), values)
    np.testing.assert_array_equal(file.tensor("second"), -values.reshape(5, 3))


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "not.gguf"
    path.write_bytes(b"GGML" + bytes(60))
    with pytest.raises(ValueError, match="not GGUF 2 or 3"):
        GGUFFile(path)
