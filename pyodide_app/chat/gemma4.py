"""Gemma 4's prompt: messages, tools and thinking, rendered as the models expect."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from pyodide_app.chat import Fragment, Message, Prompt, Tool, markup, outside
from pyodide_app.chat.gemma4_tools import declaration, function_of, mapping
from pyodide_app.errors import RequestError

SYSTEM_ROLES = ("system", "developer")
REASONING_KEYS = ("reasoning", "reasoning_content", "thinking")
MEDIA = {
    "image": "<|image|>",
    "image_url": "<|image|>",
    "audio": "<|audio|>",
    "input_audio": "<|audio|>",
    "video": "<|video|>",
}


def render(
    messages: Sequence[Message],
    *,
    tools: Sequence[Tool] = (),
    think: bool = False,
    large: bool = False,
    add_generation_prompt: bool = True,
    preserve_thinking: bool = False,
) -> Prompt:
    """Render a conversation as the published chat template does.

    Names, contents, keys and values from the messages and tools are untrusted segments.
    Raises: RequestError for a message or tool that is not of the expected form.
    """
    for message in messages:
        _check(message)
    has_system = bool(messages) and messages[0]["role"] in SYSTEM_ROLES
    fragments = [markup("<bos>")]
    if has_system or think or tools:
        system = messages[0].get("content") if has_system else None
        fragments.append(_system_turn(system, tools, think))
    turns = messages[1:] if has_system else messages
    last_user = max((i for i, m in enumerate(turns) if m["role"] == "user"), default=-1)
    for i, message in enumerate(turns):
        if message["role"] != "tool":
            shows_thought = i > last_user or (
                preserve_thinking and bool(message.get("tool_calls"))
            )
            fragments.append(_message(turns, i, shows_thought))
    if add_generation_prompt:
        fragments.append(_generation_prompt(turns, think, large))
    return Prompt.join(fragments)


def _check(message: Message) -> None:
    """Raise RequestError unless a message has a role and a content of a known form."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise RequestError(
            "message", found=repr(message)[:80], expected="an object with a role"
        )
    content = message.get("content")
    if content is None or isinstance(content, str):
        return
    if message["role"] == "tool" and isinstance(content, (Mapping, bool, int, float)):
        return
    is_parts = isinstance(content, Sequence)
    if not is_parts or not all(isinstance(part, Mapping) for part in content):
        raise RequestError(
            f"content of a {message['role']} message",
            found=repr(content)[:80],
            expected="text or a list of parts",
        )


def _system_turn(content: Any, tools: Iterable[Tool], think: bool) -> Fragment:
    """Return the first turn: thinking switch, instructions, tools."""
    turn = markup("<|turn>system\n")
    if think:
        turn += markup("<|think|>\n")
    if isinstance(content, str):
        turn += outside(content.strip())
    else:
        for part in content or ():
            turn += outside(_part_text(part).strip() + " ")  # the template's own quirk
    for tool in tools:
        turn += declaration(tool)
    return turn + markup("<turn|>\n")


def _message(turns: Sequence[Message], i: int, shows_thought: bool) -> Fragment:
    """Return one message that is no tool result, with the results that follow it."""
    message = turns[i]
    role = _role(message)
    fragment: Fragment = []
    if not (role == "model" and _is_assistant(_previous(turns, i))):
        fragment += markup("<|turn>") + outside(role) + markup("\n")
    reasoning = next(filter(None, map(message.get, REASONING_KEYS)), None)
    if reasoning and shows_thought:
        fragment += markup("<|channel>thought\n") + outside(str(reasoning))
        fragment += markup("\n<channel|>")
    for call in message.get("tool_calls") or ():
        fragment += _tool_call(call)
    responses = _responses(turns, i)
    content = _content(message, role)
    return fragment + responses + content + _end(turns, i, responses, content)


def _end(
    turns: Sequence[Message], i: int, responses: Fragment, content: Fragment
) -> Fragment:
    """Return what closes a message: nothing where the model's turn goes on."""
    if turns[i].get("tool_calls") and not responses:
        return markup("<|tool_response>")
    following = _next(turns, i)
    if _role(turns[i]) == "model" and _is_assistant(following):
        return []
    has_content = any(segment.text.strip() for segment in content)
    if responses and not has_content and following is None:
        return []
    return markup("<turn|>\n")


def _generation_prompt(turns: Sequence[Message], think: bool, large: bool) -> Fragment:
    """Return what asks the model to speak, unless it is still in the middle of a turn.

    A large model that is not to think finds an empty thought already written.
    """
    spoken = [i for i, message in enumerate(turns) if message["role"] != "tool"]
    last = spoken[-1] if spoken else None
    if last is not None and _responses(turns, last):
        return markup("<|channel>thought\n") if think else []
    if last is not None and turns[last].get("tool_calls"):
        return []
    no_thought = "<|channel>thought\n<channel|>" if large and not think else ""
    return markup("<|turn>model\n" + no_thought)


def _role(message: Message) -> str:
    role: str = message["role"]
    return "model" if role == "assistant" else role


def _is_assistant(message: Message | None) -> bool:
    return message is not None and message["role"] == "assistant"


def _previous(turns: Sequence[Message], i: int) -> Message | None:
    """Return the last message before `i` that is no tool result."""
    return next((m for m in reversed(turns[:i]) if m["role"] != "tool"), None)


def _next(turns: Sequence[Message], i: int) -> Message | None:
    """Return the first message after `i` that is no tool result."""
    return next((m for m in turns[i + 1 :] if m["role"] != "tool"), None)


def _tool_call(call: Mapping[str, Any]) -> Fragment:
    """Return one call that the model has made."""
    function = function_of(call)
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        arguments = _parse_arguments(arguments)
    if not isinstance(arguments, Mapping):
        raise RequestError(
            f"arguments of the call of {function['name']}",
            found=repr(arguments)[:80],
            expected="a JSON object",
        )
    head = markup("<|tool_call>call:") + outside(function["name"])
    return head + mapping(arguments) + markup("<tool_call|>")


def _parse_arguments(text: str) -> Any:
    """Parse arguments that a client left as JSON text; other text stays as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _responses(turns: Sequence[Message], i: int) -> Fragment:
    """Return the results of a message's calls: its own, or the tool messages after."""
    fragment: Fragment = []
    for response in turns[i].get("tool_responses") or ():
        name = response.get("name") or "unknown"
        fragment += _response(name, response.get("response"))
    calls = turns[i].get("tool_calls") or ()
    if fragment or not calls:
        return fragment
    for message in takewhile(lambda m: m["role"] == "tool", turns[i + 1 :]):
        fragment += _tool_message(message, calls)
    return fragment


def _tool_message(message: Message, calls: Iterable[Mapping[str, Any]]) -> Fragment:
    """Return one tool message; media of its content follow the block."""
    name = _response_name(message, calls)
    content = message.get("content")
    if isinstance(content, (str, Mapping)) or not isinstance(content, Sequence):
        return _response(name, content)
    text = "".join(_part_text(part) for part in content if part.get("type") == "text")
    media = "".join(MEDIA.get(part.get("type", ""), "") for part in content)
    return _response(name, text) + markup(media)


def _response_name(message: Message, calls: Iterable[Mapping[str, Any]]) -> str:
    """Return the name of the function that a tool message answers.

    The template compares ids even where both are missing, so that the last call wins;
    `tool_name`, which it does not know, is better evidence than that.
    """
    call_id = message.get("tool_call_id")
    name = str(message.get("tool_name") or message.get("name") or "unknown")
    if call_id is None and message.get("tool_name"):
        return name
    for call in calls:
        if call.get("id") == call_id:
            name = function_of(call)["name"]
    return name


def _response(name: str, result: Any) -> Fragment:
    """Return one result: the pairs of an object, anything else as `value`."""
    pairs = result if isinstance(result, Mapping) else {"value": result}
    head = markup("<|tool_response>response:") + outside(name)
    return head + mapping(pairs) + markup("<tool_response|>")


def _content(message: Message, role: str) -> Fragment:
    """Return a message's content: text trimmed, media as placeholders."""
    clean = _strip_thoughts if role == "model" else str.strip
    content = message.get("content") or ()
    fragment = markup(MEDIA["image"] * len(message.get("images") or ()))
    if isinstance(content, str):
        return fragment + outside(clean(content))
    for part in content:
        if part.get("type") == "text":
            fragment += outside(clean(_part_text(part)))
        else:
            fragment += markup(MEDIA.get(part.get("type", ""), ""))
    return fragment


def _part_text(part: Mapping[str, Any]) -> str:
    return str(part.get("text") or "")


def _strip_thoughts(text: str) -> str:
    """Remove thought channels, and channel markers that stand alone."""
    spans = text.split("<channel|>")
    return "".join(span.split("<|channel>")[0] for span in spans).strip()
