"""A plan: one recorded pass as plain data, replayed by replay.js or by wgpu-py."""

from __future__ import annotations

from dataclasses import dataclass

from pyodide_app.graph.kernels import Variant

PARAMS_ALIGNMENT = 256  # bytes; WebGPU's default minUniformBufferOffsetAlignment


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """A GPU buffer by description; the device makes it when it is first needed."""

    label: str
    size: int  # bytes, a multiple of four


@dataclass(frozen=True, slots=True)
class View:
    """A range of a buffer, as a kernel or a read-back sees it."""

    buffer: Buffer
    offset: int  # bytes
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One kernel launch: what runs, on which views, with which uniform, how wide."""

    variant: Variant
    views: tuple[View, ...]  # in binding order, `params` left out
    params: bytes
    workgroups: tuple[int, int, int]
    label: str = ""

    @property
    def name(self) -> str:
        """Return the variant's label with the tensor it works on."""
        return f"{self.variant.label} {self.label}".rstrip()


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A recorded pass: dispatches in order."""

    label: str
    dispatches: tuple[Dispatch, ...]

    def pack_params(self) -> tuple[bytes, tuple[int, ...]]:
        """Return one uniform arena and each dispatch's byte offset into it.

        Equal uniforms share a place.
        """
        places: dict[bytes, int] = {}
        offsets = []
        for dispatch in self.dispatches:
            place = places.setdefault(dispatch.params, len(places) * PARAMS_ALIGNMENT)
            offsets.append(place)
        arena = b"".join(params.ljust(PARAMS_ALIGNMENT, b"\0") for params in places)
        return arena, tuple(offsets)


def whole(buffer: Buffer) -> View:
    """Return a view of a whole buffer."""
    return View(buffer, 0, buffer.size)
