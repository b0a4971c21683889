"""Gemma 4's notation for tool declarations, arguments and results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pyodide_app.text.chat import Fragment, markup, outside
from pyodide_app.text.chat.schemas import SCHEMA_KEYS, kind_of

QUOTE = '<|"|>'


def string(text: str) -> Fragment:
    """Return a quoted string.

    The notation has no escapes: a string that holds the quote itself cannot be written,
    so the ordinary quotation mark takes its place.
    """
    return markup(QUOTE) + outside(text.replace(QUOTE, '"')) + markup(QUOTE)


def value(item: Any, *, quote_keys: bool = False) -> Fragment:
    """Return a JSON value; calls and results have bare keys, schemas quote them."""
    if item is None:
        return markup("null")
    if isinstance(item, str):
        return string(item)
    if isinstance(item, bool):
        return markup("true" if item else "false")
    if isinstance(item, Mapping):
        return mapping(item, quote_keys=quote_keys)
    if isinstance(item, list):
        items = [value(element, quote_keys=quote_keys) for element in item]
        return markup("[") + _commas(items) + markup("]")
    return outside(str(item))  # numbers, as Python writes them


def mapping(pairs: Mapping[str, Any], *, quote_keys: bool = False) -> Fragment:
    """Return a JSON object, sorted by key."""
    items = [
        (string(key) if quote_keys else outside(key))
        + markup(":")
        + value(item, quote_keys=quote_keys)
        for key, item in sort_keys(pairs)
    ]
    return markup("{") + _commas(items) + markup("}")


def declaration(tool: Mapping[str, Any]) -> Fragment:
    """Return what tells the model that a tool exists, which came through the door."""
    function = tool["function"]
    items = [_text_item("description", function["description"])]
    if parameters := function.get("parameters"):
        items.append(markup("parameters:") + _parameters(parameters))
    if "response" in function:
        items.append(markup("response:") + _response(function["response"]))
    head = markup("<|tool>declaration:") + outside(function["name"])
    return head + _braces(items) + markup("<tool|>")


def sort_keys(pairs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the pairs sorted by key as the published template does: without case."""
    return sorted(pairs.items(), key=lambda pair: pair[0].lower())


def _commas(items: Iterable[Fragment]) -> Fragment:
    """Put commas between items."""
    joined: Fragment = []
    for item in items:
        joined += (markup(",") if joined else []) + item
    return joined


def _braces(items: Iterable[Fragment]) -> Fragment:
    return markup("{") + _commas(items) + markup("}")


def _text_item(key: str, text: object) -> Fragment:
    return markup(f"{key}:") + string(str(text))


def _required(names: Iterable[str]) -> Fragment:
    return markup("required:") + value(names)


def _parameters(schema: Mapping[str, Any]) -> Fragment:
    """Return the schema of a tool's arguments."""
    items = []
    if properties := schema.get("properties"):
        items.append(_properties(properties))
    if required := schema.get("required"):
        items.append(_required(required))
    if schema.get("type"):
        items.append(_text_item("type", kind_of(schema)))
    return _braces(items)


def _response(schema: Mapping[str, Any]) -> Fragment:
    """Return the schema of a tool's result: only the description, and OBJECT."""
    items = []
    if description := schema.get("description"):
        items.append(_text_item("description", description))
    if kind_of(schema) == "OBJECT":
        items.append(_text_item("type", "OBJECT"))
    return _braces(items)


def _properties(properties: Mapping[str, Any]) -> Fragment:
    """Return the schemas of an object's properties, sorted by name."""
    pairs = sort_keys(properties)
    items = [outside(name) + markup(":") + _schema(schema) for name, schema in pairs]
    return markup("properties:") + _braces(items)


def _schema(schema: Mapping[str, Any]) -> Fragment:
    """Return the schema of one property, its items in the template's order."""
    kind = kind_of(schema)
    items = []
    if description := schema.get("description"):
        items.append(_text_item("description", description))
    if kind == "STRING" and schema.get("enum"):
        items.append(markup("enum:") + value(schema["enum"], quote_keys=True))
    if kind == "ARRAY" and isinstance(schema.get("items"), Mapping) and schema["items"]:
        items.append(markup("items:") + _element_schema(schema["items"]))
    if schema.get("nullable"):
        items.append(markup("nullable:true"))
    if kind == "OBJECT":
        items.append(_properties(_properties_of(schema)))
        items += [_required(schema["required"])] if schema.get("required") else []
    items.append(_text_item("type", kind))
    return _braces(items)


def _properties_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an object's properties, else those of its own keys that are schemas."""
    properties: Mapping[str, Any] | None = schema.get("properties")
    if properties is not None:
        return properties
    return {
        key: item
        for key, item in schema.items()
        if key not in SCHEMA_KEYS and isinstance(item, Mapping)
    }


def _element_schema(schema: Mapping[str, Any]) -> Fragment:
    """Return the schema of an array's elements, which is written more freely."""
    pairs = [(key, item) for key, item in sort_keys(schema) if item is not None]
    return _braces(_element_item(key, item) for key, item in pairs)


def _element_item(key: str, item: Any) -> Fragment:
    if key == "properties":
        return _properties(item)
    if key == "required":
        return _required(item)
    if key == "type" and isinstance(item, str):
        return _text_item("type", item.upper())
    if key == "type":
        return markup("type:") + value([kind.upper() for kind in item])
    return outside(key) + markup(":") + value(item, quote_keys=True)
