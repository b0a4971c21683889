"""Replace the .py files of an archive by .pyc files; runs inside Pyodide."""

from __future__ import annotations

import importlib.util
import marshal
import zipfile

EPOCH = (1980, 1, 1, 0, 0, 0)  # the same input gives the same bytes
UNCHECKED_HASH = 0b01  # there is no source beside it to check against


def compile_archive(source: str, target: str, prefix: str) -> None:
    """Write `target`: the archive `source` with every module compiled."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in sorted(old.namelist()):
            if name.endswith("/"):
                continue
            content = old.read(name)
            if name.endswith(".py"):
                content = compile_module(content, prefix + name)
                name += "c"
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            new.writestr(info, content, zipfile.ZIP_DEFLATED, 9)


def compile_module(source: bytes, path: str) -> bytes:
    """Return the content of the .pyc file of a module."""
    code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    flags = UNCHECKED_HASH.to_bytes(4, "little")
    key = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + flags + key + marshal.dumps(code)
