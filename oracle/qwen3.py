"""Qwen 3: Llama's decoder with norms of q and k, and halves that turn.

The norms are tensors of the file, which the shared attention applies before it turns.
"""

from __future__ import annotations

from oracle.llama import Llama


class Qwen3(Llama):
    """A model of architecture `qwen3`."""

    NEIGHBOURS = False
