"""Measure prefill: tokens of a prompt per second, until the first token of the reply.

    python -m bench.prefill MODEL [--prompts 16,128,512] [--browser]
                            [--vs llama.cpp wllama llama.cpp-vulkan]
                            [--vs-commit COMMIT]

MODEL and the peers are those of `python -m bench.decode`. The floor is the time in
which a copy on the same adapter moves the weights of a step once; a long prompt is
bound by arithmetic and stays far above it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench import speed


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = speed.parser("prefill", __doc__, "--prompts", n=1)
    parser.set_defaults(lengths=[16, 128, 512])
    options = parser.parse_args(argv)
    return speed.run(options, "prefill")


if __name__ == "__main__":
    sys.exit(main())
