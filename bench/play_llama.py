"""Play prompts on llama.cpp through llama-cpp-python, as bench/play.py does on ours.

Runs with the Python of the peer's own environment and imports nothing of the project.
"""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter
from typing import Any

import llama_cpp


def load(options: dict[str, Any]) -> llama_cpp.Llama:
    """Load the model, on all cores, or all its layers on a GPU."""
    if has_amx():
        defaults = llama_cpp.llama_model_default_params

        def plain() -> llama_cpp.llama_model_params:
            params = defaults()
            params.use_extra_bufts = False
            return params

        llama_cpp.llama_cpp.llama_model_default_params = plain
    return llama_cpp.Llama(
        options["files"][0],
        n_ctx=options["n_ctx"],
        n_gpu_layers=-1 if options["gpu"] else 0,
        n_threads=os.cpu_count(),
        n_threads_batch=os.cpu_count(),
        verbose=options["gpu"],  # its log names the device
    )


def has_amx() -> bool:
    """Say whether weights would be laid out for AMX, which 0.3.36 dies of in places."""
    return b"AMX_INT8 = 1" in llama_cpp.llama_print_system_info()


def describe(model: llama_cpp.Llama, gpu: bool) -> dict[str, Any]:
    """Say what runs; its own text names the instructions that it uses."""
    if gpu and not llama_cpp.llama_supports_gpu_offload():
        raise SystemExit("this llama-cpp-python was built without a GPU back-end")
    system = llama_cpp.llama_print_system_info().decode()
    return {
        "package": f"llama-cpp-python {llama_cpp.__version__}",
        "ran_on": "Vulkan" if gpu else f"CPU, {os.cpu_count()} threads",
        "system": system.strip(),
        "repacks": not has_amx(),
        "n_ctx": model.n_ctx(),
    }


def play(model: llama_cpp.Llama, ids: list[int], n: int) -> dict[str, Any]:
    """Continue a prompt by `n` greedy tokens, with nothing kept from the one before."""
    model.reset()
    begin = perf_counter()
    new: list[int] = []
    for token in model.generate(ids, temp=0.0, repeat_penalty=1.0):
        new.append(token)
        if len(new) == 1:
            first = perf_counter()
        if len(new) == n:
            break
    return {
        "ids": new,
        "n_prompt": len(ids),
        "prefill_seconds": first - begin,
        "decode_seconds": perf_counter() - first,
    }


def main() -> None:
    """Load, then answer until the input ends."""
    options = json.loads(sys.argv[1])
    model = load(options)
    print(json.dumps(describe(model, options["gpu"])), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(play(model, request["ids"], request["n"])), flush=True)


if __name__ == "__main__":
    main()
