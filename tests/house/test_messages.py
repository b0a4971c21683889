"""The messages between page and driver: Python keeps to the types of messages.js.

What the driver reads is held here, by its names; what it says is held by messages that
are really sent, in tests/web/test_worker_node.py, and the page's own side by the type
check.
"""

from __future__ import annotations

import ast
import functools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from pyodide_app.adapter.measure import Measured
from pyodide_app.load.predict import Prediction
from pyodide_app.run.sampling import SamplingOptions
from tests.house.tree import ROOT, parse, python_files
from tools.environment import WEB, ensure_node_modules, node

TYPES = ROOT / "tests/support/message_types.mjs"
BROWSER = python_files("pyodide_app/browser")
READERS = [path for path in BROWSER if path.name != "blobs.py"]  # that is sent nothing
# The names under which Python holds what it is sent.
HOLDERS = {"message", "request", "options", "folder"}
# What is read of each request besides its own fields.
PARTS = ("Folder", "PreflightOptions")
# What is no field: methods of an object, and of a coroutine of that name.
METHODS = {"to_py", "get", "close"}


@functools.cache
def types() -> dict[str, Any]:
    """Return the types of messages.js: of each its parts and its fields."""
    ensure_node_modules(dev=True)
    command = [node(), TYPES, WEB]
    reply = subprocess.run(command, capture_output=True, text=True, check=True)
    described: dict[str, Any] = json.loads(reply.stdout)
    return described


def fields_of(name: str) -> set[str]:
    return set(types()[name]["fields"])


def names_read() -> Iterator[str]:
    """Yield the names that Python reads from what it is sent."""
    for path in READERS:
        for part in ast.walk(parse(path)):
            if isinstance(part, ast.Attribute) and is_holder(part.value):
                yield part.attr
            elif isinstance(part, ast.Subscript) and is_holder(part.value):
                yield from strings(part.slice)
            elif isinstance(part, ast.Call):
                yield from names_asked(part)
            elif isinstance(part, ast.Assign) and is_list_of_names(part):
                yield from strings(part.value)


def names_asked(call: ast.Call) -> Iterator[str]:
    """Yield the name in `holder.get(name)` and in `getattr(holder, name)`."""
    asked = call.func
    if isinstance(asked, ast.Attribute) and asked.attr == "get":
        if is_holder(asked.value):
            yield from strings(call.args[0])
    elif isinstance(asked, ast.Name) and asked.id == "getattr":
        if is_holder(call.args[0]):
            yield from strings(call.args[1])


def is_list_of_names(assignment: ast.Assign) -> bool:
    """Tell whether this is `names = …`, which are asked for one after the other."""
    target = assignment.targets[0]
    return isinstance(target, ast.Name) and target.id == "names"


def is_holder(part: ast.expr) -> bool:
    return isinstance(part, ast.Name) and part.id in HOLDERS


def strings(part: ast.AST) -> Iterator[str]:
    for each in ast.walk(part):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def test_every_field_that_is_read_has_a_type_and_every_one_is_read():
    typed = {field for name in types()["Request"]["union"] for field in fields_of(name)}
    typed |= {field for name in PARTS for field in fields_of(name)}
    assert set(names_read()) - METHODS == typed


def test_every_kind_of_request_is_served_and_no_other():
    worker = parse(ROOT / "pyodide_app/browser/worker.py")
    handle = next(
        part
        for part in ast.walk(worker)
        if isinstance(part, ast.FunctionDef) and part.name == "handle"
    )
    compared = [part for part in ast.walk(handle) if isinstance(part, ast.Compare)]
    served = {text for each in compared for text in strings(each)}
    kinds = {kind_of(name) for name in types()["Request"]["union"]}
    assert served == kinds
    assert kinds - {"stop"} == fields_of("Ends")


def kind_of(name: str) -> str:
    return json.loads(types()[name]["fields"]["kind"]["type"])


def test_every_kind_of_answer_is_posted_and_no_other():
    posted = set()
    for path in BROWSER:
        for part in ast.walk(parse(path)):
            if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
                if part.func.id == "post":
                    posted |= set(strings(part.args[1]))
    assert posted == {kind_of(name) for name in types()["Answer"]["union"]}


@pytest.mark.parametrize("record", [Measured, Prediction], ids=lambda r: r.__name__)
def test_what_is_sent_as_it_is_has_a_type(record):
    assert {field.name for field in fields(record)} == fields_of(record.__name__)


def test_sampling_options_are_the_drivers():
    assert {field.name for field in fields(SamplingOptions)} == fields_of("Sampling")


STOPPED = {"id": 1, "kind": "done", "reason": "stopped"}


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (STOPPED, ""),
        (STOPPED | {"more": 1}, "does not exist in type 'StoppedDone'"),
        (STOPPED | {"reason": "bored"}, "not assignable to type '\"stopped\"'"),
        ({"id": 1, "kind": "done"}, "Property 'reason' is missing"),
    ],
    ids=["sound", "more", "other", "less"],
)
def test_a_message_that_is_not_of_its_type_is_found(message, fault):
    values = json.dumps([["StoppedDone", message]])
    command = [node(), TYPES, WEB, values]
    reply = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(reply.stdout)
    assert len(found) == bool(fault)
    assert fault in "".join(found)
