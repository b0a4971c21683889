"""Where and when something was measured, and the file that says so."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.gpu import carried
from pyodide_app.adapter.measure import measure
from pyodide_app.gpu.device import Device
from pyodide_app.graph import tuning
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
    """Return the commit, with `+` where files differ from it.

    Where git or its repository is missing, it is the one that was carried along.
    """
    git = ["git", "-C", str(ROOT)]
    head, status = [*git, "rev-parse", "--short=12", "HEAD"], [*git, "status"]
    try:
        name = subprocess.run(head, capture_output=True, text=True, check=True)
        changed = subprocess.run([*status, "--porcelain"], capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return carried.commit()
    return name.stdout.strip() + ("+" if changed.stdout.strip() else "")


def processor() -> str:
    """Return the processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.processor()


async def device_record(device: Device) -> dict[str, Any]:
    """Return what a device is and has, and what it copies and launches."""
    info = device.info
    found = await measure(device, tuning.choose(info.is_software))
    return {
        "device": info.name,
        "driver": driver(device),
        "backend": info.backend,
        "is_software": info.is_software,
        "features": sorted(info.features),
        "limits": asdict(info.limits),
        "subgroup": info.subgroup,
        **asdict(found),
    }


def driver(device: Device) -> str:
    """Return the driver's name; only a native device tells."""
    # Private there: the engine does not need it, a record does.
    adapter = getattr(device, "_adapter", None)
    return "" if adapter is None else str(adapter.info["description"])


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark write its record."""
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="keep the figures, with where and when",
    )


def save(path: Path | None, **content: Mapping[str, Any] | object) -> None:
    """Write a record, its environment first; without a path nothing is kept.

    Whoever reads it meanwhile, or after this was ended, finds a whole one.
    """
    if path is not None:
        record = {"environment": environment(), **content}
        beside = path.with_name(f"{path.name}.new")
        beside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        beside.replace(path)
