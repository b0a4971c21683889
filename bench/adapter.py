"""Say what adapters there are, and of the best all that a record should tell.

    python -m bench.adapter [--list] [--adapter NAME] [--json FILE]

The driver, limits and features, what a copy moves and a dispatch costs, and which
kernels were chosen, with the reasons against the others. `--list` opens no device: it
prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import wgpu

from bench import arguments, record
from pyodide_app.adapter import kernel_options
from pyodide_app.gpu.wgpu_native import open_device


def listed() -> list[dict[str, Any]]:
    """Return what wgpu says of each adapter."""
    return [
        {
            "name": adapter.summary,
            "backend": adapter.info["backend_type"],
            "type": adapter.info["adapter_type"],
        }
        for adapter in wgpu.gpu.enumerate_adapters_sync()
    ]


async def describe(name: str) -> dict[str, Any]:
    """Open a device and measure it. Raises EngineError."""
    device = open_device(name)
    found = await record.device_record(device)
    begin = perf_counter()
    choice = await kernel_options.choose(device)
    seconds = perf_counter() - begin
    adapter = device._adapter  # which has more than an engine needs to know
    return {
        "adapters": listed(),
        "device": found,
        "chosen": {
            **kernel_options.record(choice, device.info),
            "text": str(choice),
            "seconds": seconds,
        },
        "wgpu": {
            "info": dict(adapter.info),
            "features": sorted(adapter.features),
            "limits": dict(adapter.limits),
        },
    }


async def run(options: argparse.Namespace) -> None:
    """Describe the adapter, print the most of it and keep it all."""
    found = await describe(options.adapter)
    print(summary(found))
    record.save(options.json, benchmark="adapter", **found)


def summary(found: Mapping[str, Any]) -> str:
    """Say in a few lines what was found; the record has the rest."""
    device = found["device"]
    limits = ", ".join(f"{name} {value}" for name, value in device["limits"].items())
    return "\n".join(
        (
            *(each["name"] for each in found["adapters"]),
            f"chosen: {device['device']}, {device['driver']}, {device['backend']}",
            f"limits: {limits}; subgroup {device['subgroup']}",
            f"a copy moves {device['copy_bytes_per_second'] / 1e9:.1f} GB/s, "
            f"a dispatch costs {1e6 * device['dispatch_seconds']:.1f} µs, "
            f"a submit with its answer {1e6 * device['submit_seconds']:.0f} µs",
            f"kernels: {found['chosen']['text']}",
        )
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = arguments.parser("adapter", __doc__)
    parser.add_argument("--list", action="store_true", help="the adapters alone")
    arguments.add_adapter(parser)
    record.add_option(parser)
    options = parser.parse_args(argv)
    if options.list:
        print(json.dumps(listed()))
        return 0
    asyncio.run(run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
