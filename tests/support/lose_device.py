"""Run the command line on a device that is lost in the Nth reply; 0: while it loads.

    python -m tests.support.lose_device HOW N VERB ...

`submit` loses it between the end of an encoder and its submit, where wgpu's library
ends the process; `encode` before, where wgpu-py raises. A process that has begun again
in place of one that lost its device keeps its own, unless HOW ends in `-again`.
"""

from __future__ import annotations

import sys
from typing import Any

from wgpu.backends.wgpu_native._api import GPUCommandEncoder

from pyodide_app.__main__ import main
from pyodide_app.cli import restart
from pyodide_app.run.engine import Engine

FEW = 3  # command buffers before the loss, so that it is in the middle


class Loss:
    """A device that is lost once, when it is time."""

    def __init__(self, how: str, reply: int) -> None:
        self.how = how
        self.replies_left = reply
        self.left = FEW

    def set_up(self) -> None:
        """Come between the driver and wgpu-py."""
        finish, generate = GPUCommandEncoder.finish, Engine.generate

        def finish_and_lose(encoder: Any, **options: Any) -> Any:
            self.left -= self.replies_left == 0
            if self.left == 0 and self.how == "encode":
                encoder._device.destroy()
            made = finish(encoder, **options)
            if self.left == 0 and self.how == "submit":
                encoder._device.destroy()
            return made

        def count_and_generate(engine: Engine, *ids: Any, **asked: Any) -> Any:
            self.replies_left -= 1
            return generate(engine, *ids, **asked)

        GPUCommandEncoder.finish = finish_and_lose
        Engine.generate = count_and_generate  # type: ignore[method-assign]


if __name__ == "__main__":
    how, reply, *arguments = sys.argv[1:]
    goes_on = any(a.startswith(restart.OPTION) for a in arguments)
    if not goes_on or how.endswith("-again"):
        Loss(how.removesuffix("-again"), int(reply)).set_up()
    sys.exit(main(arguments))
