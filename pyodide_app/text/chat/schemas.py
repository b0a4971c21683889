"""The schemas of tools: held to the forms that a model is told, and what they want."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyodide_app.text.chat.json_values import (
    MAX_DEPTH,
    json_of,
    list_of,
    object_of,
    refuse,
    text_of,
    texts_of,
    too_deep,
)

# Of an object schema without `properties`, every other key is taken for a property.
SCHEMA_KEYS = ("description", "type", "properties", "required", "nullable")


def schema_of(value: object, where: str, depth: int = 0) -> dict[str, Any]:
    """Return a schema in its plain form; true, false and none say nothing.

    Raises: RequestError, saying where, for what no template could write.
    """
    if depth > MAX_DEPTH:
        too_deep(where)
    if value is None or isinstance(value, bool):
        return {}
    schema = object_of(value, where, "a schema, which is an object")
    plain = {k: _entry(k, v, f"{where}.{k}", depth) for k, v in schema.items()}
    if plain.get("properties") is None:
        # The template takes an object's own keys for its properties then.
        own = {k: v for k, v in plain.items() if k not in SCHEMA_KEYS}
        plain |= {
            key: schema_of(item, f"{where}.{key}", depth + 1)
            for key, item in own.items()
            if is_object(plain) and isinstance(item, dict)
        }
    return plain


def is_object(schema: Mapping[str, Any]) -> bool:
    """Say whether a schema is that of an object."""
    return kind_of(schema) == "OBJECT"


def kind_of(schema: Mapping[str, Any]) -> str:
    """Return a schema's type in upper case, a list of types as Python prints it."""
    return str(schema.get("type", "")).upper()


def _entry(key: str, value: object, where: str, depth: int) -> Any:
    """Return what a schema says under one key."""
    if value is None:
        return None
    if key == "type":
        return _type(value, where)
    if key == "description":
        return text_of(value, where)
    if key == "required":
        return texts_of(value, where)
    if key == "enum":
        return json_of(list_of(value, where, "a list of values"), where, depth + 1)
    if key == "properties":
        return _properties(value, where, depth)
    if key == "items" and isinstance(value, Mapping):
        return schema_of(value, where, depth + 1)
    return json_of(value, where, depth + 1)


def _type(value: object, where: str) -> str | list[str]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple):
        refuse(where, value, "the name of a type, or a list of names")
    return texts_of(value, where)


def _properties(value: object, where: str, depth: int) -> dict[str, Any]:
    pairs = object_of(value, where, "an object of schemas")
    return {
        name: schema_of(item, f"{where}.{name}", depth + 1)
        for name, item in pairs.items()
    }


# -- what a schema wants ---------------------------------------------------------------


def kinds_of(schema: Any) -> set[str]:
    """Return the types that a schema names, in lower case; none for any."""
    kinds: set[str] = set()
    for part in _alternatives(schema):
        named = part.get("type")
        named = named if isinstance(named, list | tuple) else [named]
        kinds.update(kind.lower() for kind in named if isinstance(kind, str))
    return kinds


def _alternatives(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a schema, and those of which it allows any."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for key in ("anyOf", "oneOf"):
        parts = schema.get(key)
        if isinstance(parts, list | tuple):
            yield from (part for part in parts if isinstance(part, Mapping))


def properties_of(schema: Any) -> Mapping[str, Any]:
    """Return the schemas of an object's properties."""
    found: dict[str, Any] = {}
    for part in _alternatives(schema):
        properties = part.get("properties")
        found |= properties if isinstance(properties, Mapping) else {}
    return found


def element_of(schema: Any) -> Any:
    """Return the schema of an array's elements."""
    return next(
        (part["items"] for part in _alternatives(schema) if "items" in part), None
    )


def wants_text(schema: Any) -> bool:
    """Say whether only a string will do."""
    return kinds_of(schema) - {"null"} == {"string"}
