"""What a verb works with: a model, a device, and its options in the driver's terms."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import fields
from typing import NoReturn

from pyodide_app import errors
from pyodide_app.adapter import kernel_options
from pyodide_app.adapter.measure import Measured, measure, read_rate
from pyodide_app.cli import abort, report
from pyodide_app.cli.fit import describe_fit
from pyodide_app.cli.models import Opened, open_model
from pyodide_app.gguf.metadata import Metadata
from pyodide_app.gguf.reader import GGUFFile, read_gguf
from pyodide_app.gpu.device import Device
from pyodide_app.gpu.host_memory import available_memory
from pyodide_app.graph import tuning
from pyodide_app.load.advice import sampling_defaults
from pyodide_app.load.chat_format import choose_format
from pyodide_app.load.loader import preflight
from pyodide_app.load.options import LoadOptions
from pyodide_app.load.predict import predict
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.run.sampling import SamplingOptions
from pyodide_app.text.chat.choice import Choice

RANDOM = -1  # as a seed: another each time, also where the model brings one


class Session:
    """One call of a verb that takes a model."""

    def __init__(
        self, options: argparse.Namespace, opened: Opened, closing: ExitStack
    ) -> None:
        """Serve the options; what is opened is left to `closing`."""
        self.options = options
        self.opened = opened
        self._closing = closing
        self._measured: Measured | None = None  # the device, where `--fit` asks for it
        # Told of a device that ends the process; what it raises is said then.
        self.on_abort: Callable[[errors.DeviceError], None] = lambda _: None

    @classmethod
    async def open(cls, options: argparse.Namespace, closing: ExitStack) -> Session:
        """Open the files that MODEL stands for."""
        opened = await open_model(options.model)
        for source in opened.sources:
            closing.callback(source.close)
        return cls(options, opened, closing)

    async def header(self) -> GGUFFile:
        """Read what the files say of themselves."""
        return await read_gguf(self.opened.sources)

    async def chat_format(self) -> Choice:
        """Say which chat format the model has."""
        return choose_format(await self.header(), self.opened.brought)

    def open_device(self) -> Device:
        """Open the adapter that was asked for. Raises DeviceMissingError."""
        try:
            from pyodide_app.gpu.wgpu_native import open_device
        except ImportError as error:
            raise errors.DeviceMissingError(
                f"the package wgpu cannot be imported ({error})",
                remedy="Install it: pip install 'wgpu==0.32.0'",
            ) from error
        device = open_device(self.options.adapter)
        self._closing.enter_context(abort.watching(self._end))
        self._closing.callback(device.close)
        return device

    async def load(self) -> Engine:
        """Load the model, and say on stderr what people want to know of it."""
        device = self.open_device()
        if self.options.fit:
            print(await self.fit(device), file=sys.stderr)
        engine = await Engine.load(
            self.opened.sources,
            device,
            self._load_options(device),
            progress=report.progress,
        )
        engine.learn(self.opened.brought)
        for note in (*self.opened.notes, *engine.notes):
            print(f"note: {note}", file=sys.stderr)
        if self.options.kernels or str(engine.loaded.choice) != kernel_options.BASELINE:
            print(f"kernels: {engine.loaded.choice}", file=sys.stderr)
        return engine

    async def fit(self, device: Device) -> str:
        """Say from the header, and from two seconds of measuring, how it would run."""
        sources, options = self.opened.sources, self._load_options(device)
        fitted = await preflight(sources, device.info, options)
        self._measured = await measure(device, tuning.choose(device.info.is_software))
        rate = await read_rate(sources[0])
        predicted = predict(fitted.fit, fitted.config, self._measured, read_rate=rate)
        return describe_fit(fitted.fit, predicted)

    def predicted(self, engine: Engine, end: Finished) -> float | None:
        """Return how fast a reply could have been at most; None if nobody measured."""
        if self._measured is None:
            return None
        loaded = engine.loaded
        found = predict(loaded.fit, loaded.config, self._measured, end.n_keys)
        return found.tokens_per_second

    def sampling(self, metadata: Metadata) -> SamplingOptions:
        """Return what was asked for, else the model's own, else its family's."""
        names = [field.name for field in fields(SamplingOptions)]
        asked = {name: getattr(self.options, name) for name in names}
        asked["temperature"] = 0.0 if self.options.greedy else asked["temperature"]
        given = {name: value for name, value in asked.items() if value is not None}
        drawn = {"seed": int.from_bytes(os.urandom(4), "little")}
        own = sampling_defaults(metadata) | dict(self.opened.options.sampling)
        if given.get("seed") == RANDOM:
            given |= drawn
        return SamplingOptions(**(drawn | own | given))

    @property
    def max_tokens(self) -> int | None:
        """Return the longest reply that was asked for, else the model's own."""
        asked: int | None = self.options.max_tokens
        return self.opened.options.max_tokens if asked is None else asked

    @property
    def stop(self) -> Sequence[str]:
        """Return the stop strings that were asked for, else the model's own."""
        if self.options.stop is not None:
            return list(self.options.stop)
        # The model's own may be the text of its end token.
        return () if self.options.ignore_eos else self.opened.options.stop

    def _end(self, error: errors.DeviceError) -> NoReturn:
        try:
            self.on_abort(error)
        except errors.DeviceError as other:
            error = other
        abort.end(error)

    def _load_options(self, device: Device) -> LoadOptions:
        """Return what was asked for; software has what memory the machine has left."""
        return LoadOptions(
            n_ctx=self.options.context,
            default_ctx=self.opened.options.n_ctx,
            kv=self.options.kv,
            memory=available_memory() if device.info.is_software else None,
            kernels=kernel_options.parse(self.options.kernels),
        )
