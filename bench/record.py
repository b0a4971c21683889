"""Where and when something was measured, and the file that says so."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pyodide_app.gpu.wgpu_native import NativeDevice
from pyodide_app.graph import tuning
from pyodide_app.measure import measure
from tools.environment import ROOT


def environment() -> dict[str, Any]:
    """Return the commit, the versions, the machine and how busy it is."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        "wgpu": metadata.version("wgpu"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def commit() -> str:
    """Return the commit, with `+` where files differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run(
        [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
    )
    if head.returncode:
        return "unknown"
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def processor() -> str:
    """Return the processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.processor()


async def device_record(device: NativeDevice) -> dict[str, Any]:
    """Return the adapter with its driver, and what it copies and launches."""
    info = device.info
    raw = device._adapter.info  # the driver does not need it, a record does
    found = await measure(device, tuning.choose(info.is_software))
    return {
        "device": info.name,
        "driver": raw["description"],
        "backend": info.backend,
        "is_software": info.is_software,
        "copy_bytes_per_second": found.copy_bytes_per_second,
        "dispatch_seconds": found.dispatch_seconds,
        "submit_seconds": found.submit_seconds,
    }


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark write its record."""
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="keep the figures, with where and when",
    )


def save(path: Path | None, **content: Mapping[str, Any] | object) -> None:
    """Write a record, its environment first; without a path nothing is kept."""
    if path is not None:
        record = {"environment": environment(), **content}
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
