"""The one door for messages and tools: what any caller sent, checked and made plain.

What comes out has these forms, and what reads it need not look again:

    message  role; content: a text, or parts {type, text}, of a tool also an object or
             a scalar; reasoning: a text; images: a list; tool_calls: a list of {id,
             function: {name, arguments: an object}}; tool_responses: a list of {name,
             response}; tool_call_id, tool_name, name
    tool     {function: {name, description, parameters, response}}, with schemas whose
             types, properties and required are of their kinds
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pyodide_app.errors import RequestError
from pyodide_app.gguf.shallow import shallow
from pyodide_app.text.chat.json_values import (
    LEVELS,
    json_of,
    json_text,
    list_of,
    object_of,
    refuse,
    text_of,
)
from pyodide_app.text.chat.schemas import schema_of

MEDIA = {
    "image": "<|image|>",
    "image_url": "<|image|>",
    "audio": "<|audio|>",
    "input_audio": "<|audio|>",
    "video": "<|video|>",
}
REASONING_KEYS = ("reasoning", "reasoning_content", "thinking")
_PARTS = "text or a list of parts"
_RESULT_ROLES = ("tool", "tool_results", "ipython")


def check_messages(messages: object) -> list[dict[str, Any]]:
    """Return a conversation in its plain form. Raises: RequestError, saying where."""
    if messages is None:
        refuse("messages", messages, "a list of messages")
    items = list_of(messages, "messages", "a list of messages")
    return [_message(item, f"messages[{i}]") for i, item in enumerate(items)]


def check_tools(tools: object) -> list[dict[str, Any]]:
    """Return tools in their plain form. Raises: RequestError, saying where."""
    items = list_of(tools, "tools", "a list of tools")
    return [_tool(item, f"tools[{i}]") for i, item in enumerate(items)]


def tools_as_sent(tools: object) -> list[dict[str, Any]]:
    """Return tools with all that they say, in its order, for formats that show JSON.

    Raises: RequestError, saying where.
    """
    items = list_of(tools, "tools", "a list of tools")
    check_tools(items)
    plain = [json_of(item, f"tools[{i}]") for i, item in enumerate(items)]
    return [
        tool if "function" in tool else {"type": "function", "function": tool}
        for tool in plain
    ]


def refuse_media(messages: list[dict[str, Any]]) -> None:
    """Raise RequestError for an image or a sound: the model would not get it."""
    for i, message in enumerate(messages):
        for where, kind in _media(message):
            raise RequestError(
                f"messages[{i}].{where}",
                found=kind,
                expected="text",
                remedy="Leave it out, or describe it: images and sound are not read.",
            )


def _media(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if message["images"]:
        yield "images", "an image"
    if isinstance(message["content"], list):
        for i, part in enumerate(message["content"]):
            if part["type"] != "text":
                yield f"content[{i}]", f"a part of the type {part['type']}"


def tell_unanswered(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages in their plain form with calls that nobody answered as text.

    A model may call a tool that it was not offered, or more than its format can write.
    """
    told = []
    for i, message in enumerate(messages):
        is_answered = message["tool_responses"] or any(
            following["role"] in _RESULT_ROLES for following in messages[i + 1 : i + 2]
        )
        if message["tool_calls"] and not is_answered:
            calls = [json_text(call["function"]) for call in message["tool_calls"]]
            content = _joined(message["content"], calls)
            message = {**message, "content": content, "tool_calls": []}
        told.append(message)
    return told


def _joined(content: Any, more: list[str]) -> Any:
    if isinstance(content, list):
        return [*content, *({"type": "text", "text": text} for text in more)]
    return "\n\n".join(filter(None, [content, *more]))


# -- messages --------------------------------------------------------------------------


def _message(value: object, where: str) -> dict[str, Any]:
    message = object_of(value, where, "an object with a role")
    role = message.get("role")
    if not isinstance(role, str):
        refuse(where, value, "an object with a role")
    calls = list_of(message.get("tool_calls"), f"{where}.tool_calls", "a list of calls")
    responses = f"{where}.tool_responses"
    results = list_of(message.get("tool_responses"), responses, "a list of results")
    return {
        "role": role,
        "content": _content(message.get("content"), role, f"{where}.content"),
        "reasoning": _reasoning(message, where),
        "images": list_of(message.get("images"), f"{where}.images", "a list of images"),
        "tool_calls": [
            _call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls)
        ],
        "tool_responses": [
            _result(result, f"{responses}[{i}]") for i, result in enumerate(results)
        ],
        "tool_call_id": _id(message.get("tool_call_id"), f"{where}.tool_call_id"),
        "tool_name": text_of(message.get("tool_name"), f"{where}.tool_name"),
        "name": text_of(message.get("name"), f"{where}.name"),
    }


def _content(value: object, role: str, where: str) -> Any:
    """Return a text or parts; what a tool has given may be any object or scalar."""
    if isinstance(value, str) or (value is None and role != "tool"):
        return value or ""
    if role == "tool" and not isinstance(value, list | tuple):
        return json_of(value, where)
    expected = f"{_PARTS}, as content of a {role} message"
    parts = list_of(value, where, expected)
    return [_part(part, f"{where}[{i}]") for i, part in enumerate(parts)]


def _part(value: object, where: str) -> dict[str, Any]:
    part = object_of(value, where, "a part of a message, {type, text}")
    kind = part.get("type", "text" if "text" in part else None)
    if kind != "text" and not (isinstance(kind, str) and kind in MEDIA):
        refuse(f"{where}.type", kind, f"one of text, {', '.join(sorted(MEDIA))}")
    return {"type": kind, "text": text_of(part.get("text"), f"{where}.text")}


def _reasoning(message: Mapping[str, Any], where: str) -> str:
    texts = [text_of(message.get(key), f"{where}.{key}") for key in REASONING_KEYS]
    return next(filter(None, texts), "")


def _call(value: object, where: str) -> dict[str, Any]:
    call = object_of(value, where, "a call, {function: {name, arguments}}")
    function, inside = function_of(call, where)
    arguments = _arguments(function.get("arguments"), f"{inside}.arguments")
    return {
        "id": _id(call.get("id"), f"{where}.id"),
        "function": {"name": function["name"], "arguments": arguments},
    }


def _arguments(value: object, where: str) -> dict[str, Any]:
    """Return the arguments of a call; many clients leave them as JSON text."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            parsed = json.loads(shallow(value, LEVELS))
        except ValueError:
            refuse(where, value, "an object, or the JSON text of one")
        value = parsed
    if not isinstance(value, Mapping):
        refuse(where, value, "an object, or the JSON text of one")
    checked: dict[str, Any] = json_of(value, where)
    return checked


def _result(value: object, where: str) -> dict[str, Any]:
    result = object_of(value, where, "a result, {name, response}")
    return {
        "name": text_of(result.get("name"), f"{where}.name"),
        "response": json_of(result.get("response"), f"{where}.response"),
    }


def _id(value: object, where: str) -> str | int | None:
    if value is not None and not isinstance(value, str | int):
        refuse(where, value, "a text or a number")
    return value


# -- tools -----------------------------------------------------------------------------


def _tool(value: object, where: str) -> dict[str, Any]:
    tool = object_of(value, where, "a tool, {type, function}")
    function, inside = function_of(tool, where)
    text = text_of(function.get("description"), f"{inside}.description")
    plain: dict[str, Any] = {"name": function["name"], "description": text}
    for key in ("parameters", "response"):
        if key in function:
            plain[key] = schema_of(function[key], f"{inside}.{key}")
    return {"function": plain}


def function_of(value: Mapping[str, Any], where: str) -> tuple[dict[str, Any], str]:
    """Return the function that a tool or a call wraps, or is, and where that lies."""
    if "function" in value:
        value, where = value["function"], f"{where}.function"
    function = object_of(value, where, "a function with a name")
    if not isinstance(function.get("name"), str):
        refuse(f"{where}.name", function.get("name"), "the function's name")
    return function, where
