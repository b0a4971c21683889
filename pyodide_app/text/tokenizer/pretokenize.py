"""How byte-level vocabularies cut a text into words, within which they merge.

A pre-tokenizer is a list of patterns: each in turn cuts every piece into its matches
and what is left between them. They speak of Unicode's categories, which Python's `re`
does not know. So they run over a shadow of the text: every character outside ASCII is
replaced by one that stands for its category, and lengths tell where to cut the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from itertools import accumulate, pairwise

from pyodide_app.errors import UnsupportedFormatError

# Characters that stand for a category: for letters of no case, for marks, numbers and
# white space outside ASCII. "`" is the one symbol of ASCII that no pattern names.
_UNCASED, _MARK, _NUMBER, _SPACE, _PUNCTUATION, _OTHER = (
    "ª",
    "\u0300",
    "²",
    "\t",
    "!",
    "`",
)
_BY_CATEGORY = {
    **dict.fromkeys(("Lu", "Lt"), "A"),
    "Ll": "a",
    **dict.fromkeys(("Lm", "Lo"), _UNCASED),
    **dict.fromkeys(("Mn", "Mc", "Me"), _MARK),
    **dict.fromkeys(("Nd", "Nl", "No"), _NUMBER),
    **dict.fromkeys(("Zs", "Zl", "Zp"), _SPACE),
    **dict.fromkeys(("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"), _PUNCTUATION),
}
_MOST_KNOWN = 1 << 14  # characters whose class is remembered


class _Classes(dict[int, str]):
    """The class of each character, found when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if code < 0x80:
            found = character
        elif code == 0x85:  # white space, though its category says control
            found = _SPACE
        else:
            found = _BY_CATEGORY.get(unicodedata.category(character), _OTHER)
        if len(self) < _MOST_KNOWN:
            self[code] = found
        return found


_classes = _Classes()

# Classes as they are written between brackets.
_L = f"A-Za-z{_UNCASED}"
_UPPER, _LOWER = f"A-Z{_UNCASED}{_MARK}", f"a-z{_UNCASED}{_MARK}"  # case may be none
_N = f"0-9{_NUMBER}"
_S = r"\t-\r "

_ENDINGS = "'s|'t|'re|'ve|'m|'ll|'d"
_SYMBOLS = f" ?[^{_S}{_L}{_N}]+"
_BEFORE_LETTERS = rf"[^\r\n{_L}{_N}]?"
_LAST_SPACES = f"[{_S}]+(?![^{_S}])"
_SPACES = rf"[{_S}]*[\r\n]+|{_LAST_SPACES}|[{_S}]+"
_GPT2_OPEN = f"{_ENDINGS}| ?[{_L}]+| ?[{_N}]+|{_SYMBOLS}|{_LAST_SPACES}"
_GPT2 = f"{_GPT2_OPEN}|[{_S}]+"


def _llama3(numbers: str) -> str:
    words = f"(?i:{_ENDINGS})|{_BEFORE_LETTERS}[{_L}]+|{numbers}"
    return rf"{words}|{_SYMBOLS}[\r\n]*|{_SPACES}"


def _by_case(endings: str, numbers: str) -> str:
    lower = f"{_BEFORE_LETTERS}[{_UPPER}]*[{_LOWER}]+{endings}"
    upper = f"{_BEFORE_LETTERS}[{_UPPER}]+[{_LOWER}]*{endings}"
    return rf"{lower}|{upper}|{numbers}|{_SYMBOLS}[\r\n/]*|{_SPACES}"


PATTERNS = {
    "gpt-2": (_GPT2,),
    "smollm": (f"[{_N}]", _GPT2),
    "llama-bpe": (_llama3(f"[{_N}]{{1,3}}"),),
    "qwen2": (_llama3(f"[{_N}]"),),
    "tekken": (_by_case("", f"[{_N}]"),),
    "gpt-4o": (_by_case(f"(?i:{_ENDINGS})?", f"[{_N}]{{1,3}}"),),
    # All of ASCII's punctuation and symbols but "`".
    "default": (r"[!-/:-@\[-_{-~]+", _GPT2_OPEN, f"[{_N}]+", "[0-9][0-9][0-9]"),
}
ALIASES = {
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "falcon3": "llama-bpe",
    "deepseek-r1-qwen": "qwen2",
}


def canonical(name: str) -> str:
    """Return the name that a pre-tokenizer has here.

    Raises: UnsupportedFormatError for one that is not known.
    """
    found = ALIASES.get(name, name)
    if found not in PATTERNS:
        raise UnsupportedFormatError(
            "this vocabulary's pre-tokenizer is not supported",
            found=f"tokenizer.ggml.pre {name!r}",
            expected=f"one of {', '.join(sorted({*PATTERNS, *ALIASES}))}",
            remedy="Choose another model",
        )
    return found


def pretokenizer(name: str) -> Callable[[str], list[str]]:
    """Return the function that cuts a text into words, none of it lost."""
    patterns = [re.compile(f"({pattern})") for pattern in PATTERNS[name]]

    def cut(text: str) -> list[str]:
        pieces = [text if text.isascii() else text.translate(_classes)]
        for pattern in patterns:
            pieces = [part for piece in pieces for part in pattern.split(piece) if part]
        if text.isascii():
            return pieces
        ends = accumulate(map(len, pieces), initial=0)
        return [text[begin:end] for begin, end in pairwise(ends)]

    return cut
