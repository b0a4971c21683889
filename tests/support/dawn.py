"""Compile WGSL as Chromium does, without a GPU: a lint of every shader in a second."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence

from tools import environment

SCRIPT = environment.WEB / "build/dawn_lint.mjs"


def lint(
    shaders: Iterable[tuple[str, str]], features: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Return what Tint says of each (name, expanded text): nothing when all is well.

    `features` are WebGPU feature names that every text may use ("shader-f16",
    "subgroups"); their `enable` lines are added. Warnings are reported like errors.
    """
    environment.ensure_node_modules(dev=True)
    request = [
        {"name": name, "code": code, "features": list(features)}
        for name, code in shaders
    ]
    reply = subprocess.run(
        [environment.node(), SCRIPT],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
        cwd=environment.WEB,
    )
    return {entry["name"]: entry["messages"] for entry in json.loads(reply.stdout)}
