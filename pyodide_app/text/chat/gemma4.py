"""Gemma 4's prompt: messages, tools and thinking, rendered as the models expect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from pyodide_app.text.chat import Fragment, Message, Prompt, Tool, markup, outside
from pyodide_app.text.chat.format import SYSTEM_ROLES
from pyodide_app.text.chat.gemma4_tools import declaration, mapping
from pyodide_app.text.chat.messages import MEDIA, check_messages, check_tools


def render(
    messages: object,
    *,
    tools: object = (),
    think: bool = False,
    large: bool = False,
    add_generation_prompt: bool = True,
    preserve_thinking: bool = False,
) -> Prompt:
    """Render a conversation as the published chat template does.

    Names, contents, keys and values from the messages and tools are untrusted segments.
    Raises: RequestError for a message or tool that is not of the expected form.
    """
    conversation, declared = check_messages(messages), check_tools(tools)
    has_system = bool(conversation) and conversation[0]["role"] in SYSTEM_ROLES
    fragments = [markup("<bos>")]
    if has_system or think or declared:
        system = conversation[0]["content"] if has_system else ""
        fragments.append(_system_turn(system, declared, think))
    turns = conversation[1:] if has_system else conversation
    last_user = max((i for i, m in enumerate(turns) if m["role"] == "user"), default=-1)
    for i, message in enumerate(turns):
        if message["role"] != "tool":
            shows_thought = i > last_user or (
                preserve_thinking and bool(message["tool_calls"])
            )
            fragments.append(_message(turns, i, shows_thought))
    if add_generation_prompt:
        fragments.append(_generation_prompt(turns, think, large))
    return Prompt.join(fragments)


def _system_turn(content: Any, tools: Iterable[Tool], think: bool) -> Fragment:
    """Return the first turn: thinking switch, instructions, tools."""
    turn = markup("<|turn>system\n")
    if think:
        turn += markup("<|think|>\n")
    if isinstance(content, str):
        turn += outside(content.strip())
    else:
        for part in content:
            turn += outside(part["text"].strip() + " ")  # the template's own quirk
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
    if message["reasoning"] and shows_thought:
        fragment += markup("<|channel>thought\n") + outside(message["reasoning"])
        fragment += markup("\n<channel|>")
    for call in message["tool_calls"]:
        fragment += _tool_call(call)
    responses = _responses(turns, i)
    content = _content(message, role)
    return fragment + responses + content + _end(turns, i, responses, content)


def _end(
    turns: Sequence[Message], i: int, responses: Fragment, content: Fragment
) -> Fragment:
    """Return what closes a message: nothing where the model's turn goes on."""
    if turns[i]["tool_calls"] and not responses:
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
    if last is not None and turns[last]["tool_calls"]:
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
    before = (turns[j] for j in range(i - 1, -1, -1))
    return next((m for m in before if m["role"] != "tool"), None)


def _next(turns: Sequence[Message], i: int) -> Message | None:
    """Return the first message after `i` that is no tool result."""
    after = (turns[j] for j in range(i + 1, len(turns)))
    return next((m for m in after if m["role"] != "tool"), None)


def _tool_call(call: Mapping[str, Any]) -> Fragment:
    """Return one call that the model has made."""
    function = call["function"]
    head = markup("<|tool_call>call:") + outside(function["name"])
    return head + mapping(function["arguments"]) + markup("<tool_call|>")


def _responses(turns: Sequence[Message], i: int) -> Fragment:
    """Return the results of a message's calls: its own, or the tool messages after."""
    fragment: Fragment = []
    for result in turns[i]["tool_responses"]:
        fragment += _response(result["name"] or "unknown", result["response"])
    calls = turns[i]["tool_calls"]
    if fragment or not calls:
        return fragment
    after = (turns[j] for j in range(i + 1, len(turns)))
    for message in takewhile(lambda m: m["role"] == "tool", after):
        fragment += _tool_message(message, calls)
    return fragment


def _tool_message(message: Message, calls: Iterable[Mapping[str, Any]]) -> Fragment:
    """Return one tool message; media of its content follow the block."""
    name = _response_name(message, calls)
    content = message["content"]
    if not isinstance(content, list):
        return _response(name, content)
    text = "".join(part["text"] for part in content if part["type"] == "text")
    media = "".join(MEDIA.get(part["type"], "") for part in content)
    return _response(name, text) + markup(media)


def _response_name(message: Message, calls: Iterable[Mapping[str, Any]]) -> str:
    """Return the name of the function that a tool message answers.

    The template compares ids even where both are missing, so that the last call wins;
    `tool_name`, which it does not know, is better evidence than that.
    """
    call_id = message["tool_call_id"]
    name: str = message["tool_name"] or message["name"] or "unknown"
    if call_id is None and message["tool_name"]:
        return name
    for call in calls:
        if call["id"] == call_id:
            name = call["function"]["name"]
    return name


def _response(name: str, result: Any) -> Fragment:
    """Return one result: the pairs of an object, anything else as `value`."""
    pairs = result if isinstance(result, Mapping) else {"value": result}
    head = markup("<|tool_response>response:") + outside(name)
    return head + mapping(pairs) + markup("<tool_response|>")


def _content(message: Message, role: str) -> Fragment:
    """Return a message's content: text trimmed, media as placeholders."""
    clean = _strip_thoughts if role == "model" else str.strip
    content = message["content"]
    fragment = markup(MEDIA["image"] * len(message["images"]))
    if isinstance(content, str):
        return fragment + outside(clean(content))
    for part in content:
        is_text = part["type"] == "text"
        fragment += (
            outside(clean(part["text"])) if is_text else markup(MEDIA[part["type"]])
        )
    return fragment


def _strip_thoughts(text: str) -> str:
    """Remove thought channels, and channel markers that stand alone."""
    spans = text.split("<channel|>")
    return "".join(span.split("<|channel>")[0] for span in spans).strip()
