"""The Range header of a request, which asks for a part of a file."""

from __future__ import annotations

import re

MAX_SIZE = (1 << 63) - 1  # of a file, and of an offset in one


def byte_range(header: str, size: int) -> range | None:
    """Return the bytes that a Range header asks for: an empty range if there are none.

    None stands for the whole file: there is no header, or it is one to be ignored
    (several ranges, another unit, an end before the beginning).
    """
    match = re.fullmatch("bytes=([0-9]*)-([0-9]*)", header.strip(), re.IGNORECASE)
    first, last = match.groups() if match else ("", "")
    begin, end = number(first), number(last)
    if first and last and end < begin:
        return None
    if first:
        return range(min(begin, size), min(size, end + 1) if last else size)
    return range(max(0, size - end), size) if last else None


def is_one_range(header: str) -> bool:
    """Tell whether a Range header asks for nothing, one range or another unit.

    Answering several ranges, or ones that contradict themselves, with a whole file of
    gigabytes would be within the rules, and to nobody's use.
    """
    ours = header.strip().lower().startswith("bytes=")
    return not ours or byte_range(header, MAX_SIZE) is not None


def number(digits: str) -> int:
    """Read a number of bytes; more than any file has is as good as that."""
    digits = digits.lstrip("0") or "0"
    return MAX_SIZE if len(digits) > 19 else min(int(digits), MAX_SIZE)
