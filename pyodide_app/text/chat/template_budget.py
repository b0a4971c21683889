"""How much a chat template may do: steps, characters and output count against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

LONGEST = 10_000_000  # characters, elements, or bits of a number
DEEPEST = 40  # calls within calls: Gemma's has one for each level of a schema


class BudgetError(Exception):
    """The template does more than any that is of use."""


class Budget:
    """What is left of the work that a template may do."""

    def __init__(self, units: int) -> None:
        self._units = units
        self._depth = 0  # of calls within calls

    def step(self, units: int) -> bool:
        """Take units for a step."""
        self._units -= units
        if self._units < 0:
            raise BudgetError
        return True

    def text(self, length: int) -> None:
        """Take what it costs to look at a text or list, which may not be too long."""
        if length > LONGEST:
            raise BudgetError
        self.step(1 + length // 16)

    @contextmanager
    def nested(self) -> Iterator[None]:
        """Let a call be made within the calls under way, if these are not too many.

        The stack of a browser's worker ends after some hundred, and all ends with it.
        """
        if self._depth >= DEEPEST:
            raise BudgetError
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def value(self, value: Any) -> None:
        """Take what it costs to look at a value and all that is in it."""
        waiting = [value]
        while waiting:
            item = waiting.pop()
            self.step(3)
            self.text(len(item) if isinstance(item, str | list | tuple | dict) else 1)
            if isinstance(item, Mapping):
                waiting += [*item.keys(), *item.values()]
            elif isinstance(item, list | tuple):
                waiting += item
