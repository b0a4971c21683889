"""Measure decoding: tokens per second at several contexts, and the share of the floor.

    python -m bench.decode MODEL [--contexts 16,512,2048] [-n 64] [--browser]
                           [--vs llama.cpp wllama llama.cpp-vulkan] [--vs-commit COMMIT]

MODEL is a GGUF file, a name in Ollama's store, or a released size (`e2b`, `31b`, …)
which is written with generated weights, cut by `--layers N`. The floor of a step is
what it must read (weights, keys, values) at a copy's bandwidth on the same adapter.
Peers play the same file in the same run, taking turns; they are installed for that on
first use. `--vs-commit` does the same with an older version of this project.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench import speed


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = speed.parser("decode", __doc__, "--contexts", n=64)
    parser.set_defaults(lengths=[16, 512, 2048])
    options = parser.parse_args(argv)
    if options.n < 2:
        parser.error("-n: decoding begins with the second token")
    return speed.run(options, "decode")


if __name__ == "__main__":
    sys.exit(main())
