"""Words that were encoded before: texts repeat them."""

from __future__ import annotations

_MOST = 1 << 13  # words: about 2 MB
_LONGEST = 32  # characters


class Words(dict[str, list[int]]):
    """The ids of words, as many as are worth their memory."""

    def learn(self, word: str, ids: list[int]) -> list[int]:
        """Return the ids of a word, kept for when it comes again."""
        if len(word) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[word] = ids
        return ids
