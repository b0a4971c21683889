"""The arena: scratch buffers, reused as soon as nothing later reads them."""

from __future__ import annotations

from collections.abc import Sequence

from pyodide_app.graph.plan import Buffer, View
from pyodide_app.graph.tensors import Tensor


class Arena:
    """A pool of scratch buffers shared by all plans of a model.

    Plans run one after another, so each may use the whole pool. WebGPU tracks usage by
    buffer, hence a buffer holds one tensor at a time.
    """

    def __init__(self) -> None:
        self.none = Buffer("none", 16)  # bound where a kernel's input is left out
        self.buffers: list[Buffer] = [self.none]

    def place(
        self, uses: Sequence[Sequence[Tensor]], pinned: Sequence[Tensor] = ()
    ) -> dict[Tensor, View]:
        """Give each tensor a view, from its first use to its last.

        `uses[i]` are the tensors that dispatch i touches; pinned ones stay to the end.
        """
        last = {t.root: i for i, tensors in enumerate(uses) for t in tensors}
        last.update(dict.fromkeys((t.root for t in pinned), len(uses)))
        free = sorted(self.buffers[1:], key=lambda b: b.size)
        views: dict[Tensor, View] = {}
        for i, tensors in enumerate(uses):
            roots = dict.fromkeys(tensor.root for tensor in tensors)
            for root in roots:
                if root not in views:
                    views[root] = root.fixed or self._take(free, root.size)
            for root in roots:
                if last[root] == i and root.fixed is None:
                    free.append(views[root].buffer)
                    free.sort(key=lambda b: b.size)
        for tensor in (t for tensors in (*uses, pinned) for t in tensors):
            views[tensor] = _view(tensor, views)
        return views

    def _take(self, free: list[Buffer], size: int) -> View:
        for i, buffer in enumerate(free):
            if buffer.size >= size:
                return View(free.pop(i), 0, size)
        buffer = Buffer(f"scratch.{len(self.buffers)}", size)
        self.buffers.append(buffer)
        return View(buffer, 0, size)


def _view(tensor: Tensor, views: dict[Tensor, View]) -> View:
    if tensor.parent is None:
        return views[tensor]
    around = _view(tensor.parent, views)
    return View(around.buffer, around.offset + 4 * tensor.begin, tensor.size)
