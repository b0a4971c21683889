"""A sandbox for chat templates: what they may do, and how much of it.

Texts from outside keep their mark (`shifted`) through all that a template does. Steps,
characters and output count against a budget, so that no template hangs or fills memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from types import BuiltinMethodType, CodeType
from typing import Any, NoReturn

from jinja2 import Template, TemplateSyntaxError, Undefined, nodes, pass_context
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pyodide_app.text.chat import text_methods
from pyodide_app.text.chat.jinja_guard import CONCAT, PLAIN, STEP, Guard
from pyodide_app.text.chat.shifted import plain, plain_value, shift
from pyodide_app.text.chat.template_budget import LONGEST, Budget, BudgetError

_MOST_BITS = 4096
_FILTERS = (
    "abs attr count d default dictsort first float int items last length list map max "
    "min reject rejectattr reverse round select selectattr sort unique"
).split()
_METHODS = "trim upper lower capitalize replace".split()
_WIDTH = re.compile(r"\d{4,}|\*")  # of a field in a format
_SIZED = (str, list, tuple)


__all__ = ["BudgetError", "RefusedError", "TemplateSyntaxError", "render"]


class RefusedError(Exception):
    """The template itself refuses the conversation."""


class Generation(Extension):
    """The block `generation`, which marks answers for training: here it is nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return what stands in the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one rendering."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, budget: Budget) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=_finalize,
            extensions=["jinja2.ext.loopcontrols", Generation],
        )
        self.budget = budget
        titled: Callable[[str], str] = self.filters["title"]
        own = {name: self.filters[name] for name in _FILTERS}
        self.filters.clear()
        self.filters.update({name: self._counted(f) for name, f in own.items()})
        self.filters.update({name: self._text_filter(name) for name in _METHODS})
        self.filters.update(
            {
                "tojson": self._tojson,
                "string": self.text_of,
                "safe": self.text_of,
                "join": self._join,
                "indent": self._indent,
                "title": lambda value: self._kept(value, titled(plain(value))),
                STEP: budget.step,
                CONCAT: lambda values: self._join(values),
                PLAIN: self._plain,
            }
        )
        space = {"dict": dict, "namespace": self.globals["namespace"]}
        self.globals.clear()
        self.globals.update(space)
        self.globals.update(
            range=self._range, raise_exception=_refuse, strftime_now=strftime_now
        )
        for name in ("eq", "equalto", "==", "ne", "!=", "in"):
            self.tests[name] = self._by_meaning(self.tests[name])

    def _parse(self, *args: Any) -> nodes.Template:
        tree = super()._parse(*args)
        guarded: nodes.Template = Guard().visit(tree)
        guarded.set_environment(self)
        return guarded

    # -- what replaces Python's own ----------------------------------------------------

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call something; methods of texts have their rules."""
        __self.budget.step(1)
        text = getattr(__obj, "__self__", None)
        if isinstance(text, str) and isinstance(__obj, BuiltinMethodType):
            for name in ("_loop_vars", "_block_vars"):  # the compiler's own
                kwargs.pop(name, None)
            return __self._method(text, __obj.__name__, args, kwargs)
        with __self.budget.nested():
            return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return a `format` that fills no memory."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None or not _WIDTH.search(value.__self__):
            return wrapped
        raise BudgetError

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute what may become large, where it does not."""
        if operator == "+" and isinstance(left, _SIZED) and isinstance(right, _SIZED):
            self.budget.text(len(left) + len(right))
        elif operator == "%" and isinstance(left, str):
            if _WIDTH.search(left):
                raise BudgetError
            self.budget.value(right)
        elif operator == "*" and isinstance(right, _SIZED):
            self.budget.text(len(right) * max(int(left), 0))
        elif operator == "*" and isinstance(left, _SIZED):
            self.budget.text(len(left) * max(int(right), 0))
        elif isinstance(left, int) and isinstance(right, int):
            times = right if operator == "**" else 1
            if left.bit_length() * times + right.bit_length() > _MOST_BITS:
                raise BudgetError
        return super().call_binop(context, operator, left, right)

    def _method(
        self, text: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self.budget.text(len(text))
        self.budget.value(list(args))
        if name == "replace":
            found = max(1, len(plain(args[0])))
            self.budget.text(len(text) + len(text) // found * len(args[1]))
        if name == "join":
            return self._join(args[0], text)
        return text_methods.call(text, name, args, kwargs)

    def _range(self, *args: int) -> range:
        steps = range(*args)
        if steps and abs(steps[-1] - steps[0]) // abs(steps.step) > 100_000:
            raise BudgetError
        return steps

    # -- filters and tests -------------------------------------------------------------

    def text_of(self, value: Any) -> str:
        """Return a value as it is shown."""
        if isinstance(value, str):
            return value
        if value is None or isinstance(value, bool | int | float | Undefined):
            return str(value)
        self.budget.value(value)
        return self._kept(value, str(plain_value(value)))

    def _kept(self, value: Any, text: str) -> str:
        """Return a text made of a value, from outside if any of that is."""
        self.budget.text(len(text))
        return shift(text) if plain_value(value) != value else text

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        self.budget.value(value)
        if indent is not None and not 0 <= indent <= 16:
            raise BudgetError
        text = json.dumps(
            plain_value(value),
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )
        return self._kept(value, text)

    def _join(self, values: Iterable[Any], separator: str = "") -> str:
        parts, length = [], 0
        for value in values:
            parts.append(self.text_of(value))
            length += len(parts[-1]) + len(separator)
            self.budget.text(length if length > LONGEST else len(parts[-1]))
        return separator.join(parts)

    def _indent(
        self, text: str, width: int = 4, first: bool = False, blank: bool = False
    ) -> str:
        if not 0 <= width <= 64:
            raise BudgetError
        space = " " * width
        begun, *lines = text_methods.call(text + "\n", "splitlines", [], {})
        self.budget.text(len(text) + len(lines) * width)
        rest = ((space if line or blank else "") + line for line in lines)
        return "\n".join([(space if first else "") + begun, *rest])

    def _text_filter(self, name: str) -> Callable[..., Any]:
        method = {"trim": "strip"}.get(name, name)

        def apply(value: Any, *args: Any, **kwargs: Any) -> Any:
            return self._method(self.text_of(value), method, args, kwargs)

        return apply

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Let a filter cost something; what it passes by position stays."""
        budget = self.budget

        def apply(*args: Any, **kwargs: Any) -> Any:
            for value in args:
                if isinstance(value, str | list | tuple | dict):
                    budget.text(len(value))
            return function(*args, **kwargs)

        if hasattr(function, "jinja_pass_arg"):
            vars(apply)["jinja_pass_arg"] = function.jinja_pass_arg
        return apply

    def _plain(self, value: Any) -> Any:
        """Return what a value means, for comparing."""
        self.budget.value(value)
        return plain_value(value)

    def _by_meaning(self, test: Any) -> Callable[..., Any]:
        return lambda *values: test(*map(self._plain, values))


@pass_context
def _finalize(context: Context, value: Any) -> str:
    """Return what an expression writes."""
    sandbox = context.environment
    assert isinstance(sandbox, Sandbox)
    text = sandbox.text_of(value)
    sandbox.budget.text(len(text))
    return text


def strftime_now(form: str) -> str:
    """Return the time as a template wants it."""
    return datetime.now().strftime(form[:100])


def _refuse(message: object = "") -> NoReturn:
    raise RefusedError(plain(str(message)))


@lru_cache(maxsize=4)
def _compiled(source: str) -> CodeType:
    return Sandbox(Budget(0)).compile(source)


def render(source: str, budget: int, values: Mapping[str, Any]) -> str:
    """Run a template.

    Raises: BudgetError, RefusedError, and whatever else a template can do wrong.
    """
    code, sandbox = _compiled(source), Sandbox(Budget(budget))
    template = Template.from_code(sandbox, code, dict(sandbox.globals))
    pieces, length = [], 0
    for piece in template.generate(**values):
        pieces.append(piece)
        length += len(piece)
        if length > LONGEST:
            raise BudgetError
    return "".join(pieces)
