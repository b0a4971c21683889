"""Token ids to text as they come, one by one."""

from __future__ import annotations

import codecs
from collections.abc import Callable


class StreamDecoder:
    """Turn token ids into text, one by one, holding back incomplete characters."""

    def __init__(self, shown: Callable[[int], bytes], *, begins: bool) -> None:
        """Decode by `shown`, the bytes of a token that are to be seen.

        `begins`: a space in front of the first text belongs to the vocabulary's way of
        writing and not to the text.
        """
        self._shown = shown
        self._begins = begins
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Return the text that this token completes.

        Control tokens have none; the markers that a parser reads, such as those of
        thoughts and tool calls, appear literally.
        """
        data = self._shown(token_id)
        if self._begins and data:
            self._begins = False
            data = data.removeprefix(b" ")
        return self._utf8.decode(data)

    def finish(self) -> str:
        """Return what is left: U+FFFD for a character that was never completed."""
        text = self._utf8.decode(b"", True)
        self._utf8.reset()
        return text
