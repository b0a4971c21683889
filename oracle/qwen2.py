"""Qwen 2 and 2.5: Llama's decoder with biases of q, k and v, and halves that turn.

The biases are tensors of the file; the shared decoder adds whichever there are.
"""

from __future__ import annotations

from oracle.llama import Llama


class Qwen2(Llama):
    """A model of architecture `qwen2`."""

    NEIGHBOURS = False
