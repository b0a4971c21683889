"""What a model file holds, as numbers and as text."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pyodide_app.gguf.reader import GGUFFile
from pyodide_app.gguf.strings import StringArray
from pyodide_app.load import advice
from pyodide_app.load.chat_format import choose_format

_LONGEST_ARRAY = 64  # elements of an array that are shown


def describe(file: GGUFFile) -> dict[str, Any]:
    """Return a summary that JSON can hold: sizes, types, metadata and tensors."""
    tensors = list(file.tensors.values())
    n_elements: Counter[str] = Counter()
    n_bytes: Counter[str] = Counter()
    for info in tensors:
        n_elements[info.type.name] += info.n_elements
        n_bytes[info.type.name] += info.size
    counts = Counter(info.type.name for info in tensors)
    chat = choose_format(file)
    return {
        "version": file.version,
        "architecture": file.architecture,
        "n_bytes": file.n_bytes,
        "n_parameters": sum(n_elements.values()),
        "n_tensors": len(tensors),
        "types": {
            name: {
                "tensors": counts[name],
                "parameters": n_elements[name],
                "bytes": n_bytes[name],
            }
            for name in sorted(counts)
        },
        "chat_format": chat.format.name if chat.format else None,
        "notes": [*advice.notes(file.metadata), *chat.notes],
        "metadata": {key: _plain(value) for key, value in file.metadata.items()},
        "tensors": [
            {
                "name": info.name,
                "dims": list(info.dims),
                "type": info.type.name,
                "offset": info.offset,
                "size": info.size,
            }
            for info in tensors
        ],
    }


def _plain(value: object) -> Any:
    """Return a metadata value as JSON; a long array as its length and beginning."""
    if isinstance(value, (StringArray, memoryview)):
        items = list(value[i] for i in range(min(len(value), _LONGEST_ARRAY)))
        if len(value) <= _LONGEST_ARRAY:
            return items
        return {"length": len(value), "first": items[:8]}
    return value


def describe_text(summary: dict[str, Any]) -> str:
    """Lay the summary out for a terminal; text from the file is escaped."""
    lines = [
        f"GGUF version {summary['version']}, {summary['architecture']}",
        f"{summary['n_bytes']:,} bytes, {summary['n_parameters']:,} parameters "
        f"in {summary['n_tensors']} tensors",
        "",
    ]
    for name, row in summary["types"].items():
        lines.append(
            f"  {name:8} {row['tensors']:5} tensors {row['parameters']:16,} parameters "
            f"{row['bytes']:16,} bytes"
        )
    lines.append("")
    for key, value in summary["metadata"].items():
        shown = ascii(value)
        lines.append(f"  {key} = {shown if len(shown) <= 100 else shown[:99] + '…'}")
    lines += [f"note: {note}" for note in summary["notes"]]
    return "\n".join(lines)
