"""Which tokens are special: control tokens, markup, and strings that are one token."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from pyodide_app.text.tokenizer.special import SpecialTokens
from pyodide_app.text.tokenizer.vocabulary import (
    CONTROL,
    UNKNOWN,
    USER_DEFINED,
    Vocabulary,
)

# Gemma 4: converters disagree about the types, so strings decide.
GEMMA4_CONTROL = (
    *("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>"),
    *("<|think|>", "<|tool>", "<tool|>", "<|tool_response>"),
    *("<|image>", "<|image|>", "<image|>"),
    *("<|audio>", "<|audio|>", "<audio|>", "<|video|>"),
)
GEMMA4_MARKERS = (  # user-defined: the output parser reads them
    *("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>"),
    *("<tool_response|>", '<|"|>'),
)
# The model ends its call with this one and waits, so it stops and still is parsed.
GEMMA4_PARSED = (*GEMMA4_MARKERS, "<|tool_response>")
GEMMA4_STOPS = ("<pad>", "<eos>", "<turn|>", "<|tool_response>")

# Markup of other families' models, wherever it is one token and whatever its type is.
# A chat format may name more that its parser reads.
PARSED = (
    *("<think>", "</think>", "<tool_call>", "</tool_call>"),
    *("<tool_response>", "</tool_response>", "<|python_tag|>"),
)
# Ends of a turn or a text, whatever the header calls its end. `</s>` is not among them:
# where no header names it, it is a tag of HTML.
STOPS = (
    *("<end_of_turn>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>"),
    *("<|end_of_text|>", "<eos>"),
)

_MARKUP = re.compile(rb"<\|.*>|<.*\|>|<(?:start|end)_of_\w+>", re.DOTALL)


class Special(Enum):
    """Which special tokens their strings in a text stand for."""

    ALL = "markup that we wrote: control and user-defined tokens"
    USER_DEFINED = "user-defined tokens, as llama.cpp without special parsing"
    NONE = "text from outside: no control token, no marker"


@dataclass(frozen=True, slots=True)
class Roles:
    """What tokens are besides text; no token is of two kinds."""

    control: frozenset[int]
    markers: frozenset[int]  # user-defined markup
    plain: frozenset[int]  # user-defined, yet nothing but text, such as <table>
    parsed: frozenset[int]  # of control and markers: a parser reads them
    stops: frozenset[int]  # they end a reply

    @property
    def special(self) -> frozenset[int]:
        """Return the tokens that are no text."""
        return self.control | self.markers

    def keep(self, ids: Iterable[int]) -> Roles:
        """Return the roles with more tokens that a parser reads.

        Text from outside can no longer become one of them.
        """
        kept = frozenset(ids)
        new = kept - self.special
        return replace(
            self,
            control=self.control | (new - self.plain),
            markers=self.markers | (new & self.plain),
            plain=self.plain - kept,
            parsed=self.parsed | kept,
        )

    def patterns(self, strings: dict[str, int]) -> dict[Special, SpecialTokens]:
        """Return what is searched for in a text, for each trust in it."""

        def tokens(ids: frozenset[int]) -> SpecialTokens:
            return SpecialTokens(
                s for s, token_id in strings.items() if token_id in ids
            )

        return {
            Special.ALL: SpecialTokens(strings),
            Special.USER_DEFINED: tokens(self.markers | self.plain),
            Special.NONE: tokens(self.plain),
        }


def gemma4_roles(vocabulary: Vocabulary, bos_id: int) -> Roles:
    """Return Gemma 4's roles: by the strings first, by the types where they are new."""
    find, typed = vocabulary.find, vocabulary.typed
    stops = find(GEMMA4_STOPS) | vocabulary.stop_ids
    control = find(GEMMA4_CONTROL) | stops | {bos_id}
    markers = find(GEMMA4_MARKERS)
    others = typed(USER_DEFINED) - control
    markup = _markup(vocabulary, others)
    control |= typed(CONTROL, UNKNOWN) - markers
    parsed = find(GEMMA4_PARSED)
    return _roles(control, markers | markup, others, parsed, stops)


def typed_roles(vocabulary: Vocabulary, bos_id: int | None) -> Roles:
    """Return the roles as the types say, and as strings say where types cannot."""
    stops = vocabulary.find(STOPS) | vocabulary.stop_ids
    control = vocabulary.typed(CONTROL, UNKNOWN) | stops
    if bos_id is not None:
        control.add(bos_id)
    others = vocabulary.typed(USER_DEFINED)
    markup = _markup(vocabulary, others - control)
    roles = _roles(control, markup, others, set(), stops)
    return roles.keep(vocabulary.find(PARSED))


def _markup(vocabulary: Vocabulary, ids: Iterable[int]) -> set[int]:
    return {i for i in ids if _MARKUP.fullmatch(vocabulary.tokens[i])}


def _roles(
    control: set[int],
    markers: set[int],
    user_defined: set[int],
    parsed: set[int],
    stops: Iterable[int],
) -> Roles:
    plain = user_defined - control - markers
    return Roles(
        frozenset(control),
        frozenset(markers - control),
        frozenset(plain),
        frozenset(parsed),
        frozenset(stops),
    )
