"""What passes read beside the model: the state, tokens, and sets of ids, as written."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence

from pyodide_app.gpu.device import Device
from pyodide_app.graph.plan import Buffer
from pyodide_app.load.layout import Layout
from pyodide_app.run.sampling import SamplingOptions, pack_counts, pack_ids, pack_state


class Inputs:
    """The buffers of a step, and who writes to them."""

    def __init__(self, device: Device, layout: Layout, n_ctx: int) -> None:
        self.buffers = layout.step
        self._device = device
        self._rows = layout.rows
        self._n_vocab = layout.model.config.n_vocab
        self._n_ctx = n_ctx

    def suppress(self, ids: Iterable[int]) -> None:
        """Write which tokens are never sampled."""
        self._write_ids(self.buffers.suppressed, ids)

    def stop_at(self, ids: Iterable[int]) -> None:
        """Write which tokens end a reply."""
        self._write_ids(self.buffers.stops, ids)

    def begin(self, at: int, ids: Sequence[int], sampling: SamplingOptions) -> None:
        """Begin a request: the state, and what penalties look back on, if there are."""
        buffers, window = self.buffers, sampling.window(self._n_ctx)
        recent = ids[-window:] if window else []
        state = pack_state(at, sampling, window, len(recent))
        self._device.write(buffers.state, 0, state)
        if window:
            counts = pack_counts(recent, self._n_vocab)
            self._device.write(buffers.counts, 0, counts)
            self._device.write(buffers.recent, 0, array("I", recent).tobytes())

    def write(self, position: int, ids: Sequence[int]) -> None:
        """Write the tokens of the next pass, and where they stand."""
        self._device.write(self.buffers.state, 0, struct.pack("<I", position))
        self._device.write(self.buffers.tokens, 0, array("I", ids).tobytes())

    async def gather(self, ids: Sequence[int]) -> None:
        """Fetch the per-layer embeddings of the next pass, where they are not here."""
        if self._rows is not None:
            await self._rows.gather(self._device, ids)

    def _write_ids(self, buffer: Buffer, ids: Iterable[int]) -> None:
        self._device.write(buffer, 0, pack_ids(ids, self._n_vocab))
