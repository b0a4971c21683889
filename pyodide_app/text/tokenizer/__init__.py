"""Text to token ids, and ids to text as they stream in, by a GGUF's vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyodide_app.errors import RequestError
from pyodide_app.gguf.metadata import Metadata
from pyodide_app.text.chat import Prompt
from pyodide_app.text.tokenizer.choose import Kind, choose
from pyodide_app.text.tokenizer.roles import Roles, Special
from pyodide_app.text.tokenizer.stream import StreamDecoder
from pyodide_app.text.tokenizer.vocabulary import UNUSED, Vocabulary


class Tokenizer:
    """A vocabulary with its way of encoding, which is llama.cpp's and Ollama's.

    Text is encoded as it is: Qwen's tokenizer in Hugging Face composes characters first
    (NFC), theirs does not, and so decoding gives back what was encoded.

    Attributes: `n_vocab`; `bos_id` begins every prompt, None where none does;
    `stop_ids` end the generation; `suppress_ids` must not be sampled; `special_ids` are
    no text; `parsed_ids`, a subset of them, mean something to the output parser.
    """

    def __init__(self, vocabulary: Vocabulary, kind: Kind) -> None:
        self.n_vocab = len(vocabulary.tokens)
        self.bos_id = kind.bos_id
        self.stop_ids = kind.roles.stops
        self.suppress_ids = vocabulary.suppress_ids
        self._unused = vocabulary.typed(UNUSED)  # Qwen's padding: [PAD151700]
        self._tokens = vocabulary.tokens
        self._ids = vocabulary.ids
        self._coder = kind.coder
        self._adds_space = kind.adds_space
        self._take(kind.roles)

    @classmethod
    def from_metadata(cls, metadata: Metadata, n_rows: int | None = None) -> Tokenizer:
        """Build the tokenizer of a GGUF's header, for a model with `n_rows` embeddings.

        Raises: FileFormatError if the header contradicts itself,
        UnsupportedFormatError for a kind of vocabulary that is not known or not whole,
        ShapeError if the vocabulary cannot be that of so many rows.
        """
        vocabulary = Vocabulary.read(metadata, n_rows)
        return cls(vocabulary, choose(metadata, vocabulary))

    def keep(self, strings: Iterable[str]) -> None:
        """Let a parser see more tokens: decoded, they appear literally.

        Whatever their type is, only markup of ours becomes them from now on.
        """
        found = (self._special.get(s, self._ids.get(s.encode())) for s in strings)
        roles = self._roles.keep(i for i in found if i is not None)
        if roles != self._roles:
            self._take(roles)

    def _take(self, roles: Roles) -> None:
        """Decide which strings become special tokens, and keep merges from them."""
        self._roles = roles
        self.special_ids = roles.special
        self.parsed_ids = roles.parsed
        self._literal = self.special_ids | roles.plain
        self._special = self._strings(self.special_ids | roles.plain)
        self._patterns = roles.patterns(self._special)
        for token_id in (*self.special_ids, *self._coder.hidden):
            self._ids.pop(self._tokens[token_id], None)

    def _strings(self, ids: Iterable[int]) -> dict[str, int]:
        """Return the strings of tokens, as far as they can occur in a text."""
        strings: dict[str, int] = {}
        for token_id in sorted(ids):
            string = self._tokens[token_id].decode("utf-8", "ignore")
            if string and string.encode() == self._tokens[token_id]:
                strings.setdefault(string, token_id)
        return strings

    def encode(
        self, text: str, *, special: bool = True, bos: bool = False
    ) -> list[int]:
        """Return the token ids of `text`; with `bos`, behind the BOS if there is one.

        `special=False` leaves control tokens as text and still reads user-defined ones
        (thought and tool-call markers), exactly as llama.cpp does. For text that is not
        trusted use `encode_prompt`, where neither can be forged.
        """
        ids = [self.bos_id] if bos and self.bos_id is not None else []
        level = Special.ALL if special else Special.USER_DEFINED
        self._encode_text(_well_formed(text), level, ids)
        return ids

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Return the token ids of a rendered prompt, with one BOS if there is one.

        Plain text on both sides of a segment border is joined before it is encoded:
        merges go across, as they did in training. Untrusted text never becomes a
        control token or a marker.
        """
        ids: list[int] = []
        plain: list[str] = []
        for segment in prompt.segments:
            if not segment.trusted:
                plain.append(segment.text)
                continue
            for piece in self._split_special(segment.text, Special.ALL):
                if isinstance(piece, str):
                    plain.append(piece)
                    continue
                self._encode_untrusted(plain, ids)
                ids.append(piece)
        self._encode_untrusted(plain, ids)
        if self.bos_id is None or ids[:1] == [self.bos_id]:
            return ids
        return [self.bos_id, *ids]

    def _encode_untrusted(self, plain: list[str], ids: list[int]) -> None:
        """Append the ids of the collected text and empty the collection."""
        text = _well_formed("".join(plain))
        plain.clear()
        self._encode_text(text, Special.NONE, ids)

    def _encode_text(self, text: str, level: Special, ids: list[int]) -> None:
        """Append the ids of a text in which some special tokens are recognised."""
        for piece in self._split_special(text, level):
            if isinstance(piece, int):
                ids.append(piece)
            else:
                self._coder.encode(piece, ids)

    def _split_special(self, text: str, level: Special) -> Iterable[str | int]:
        """Yield plain text and the ids of special tokens, in order."""
        for i, piece in enumerate(self._patterns[level].split(text)):
            if i % 2:
                yield self._special[piece]
            elif piece:
                yield piece

    def decoder(self, prompt: Sequence[int] = ()) -> StreamDecoder:
        """Return a decoder for one reply to a prompt of these ids.

        Where a text is encoded with a space in front, one that begins behind a special
        token loses it again; one that goes on with the prompt's text does not.
        """
        begins = not prompt or prompt[-1] in self.special_ids
        return StreamDecoder(self._shown, begins=self._adds_space and begins)

    def _shown(self, token_id: int) -> bytes:
        """Return the bytes that are shown of a token."""
        is_special = token_id in self.special_ids and token_id not in self.parsed_ids
        is_hidden = is_special or token_id in self._unused
        return b"" if is_hidden else self.piece_bytes(token_id)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`, the strings of special tokens included."""
        pieces: list[bytes] = []
        begins = self._adds_space
        for token_id in ids:
            piece = self.piece_bytes(token_id)
            if begins and token_id not in self.special_ids:
                begins, piece = False, piece.removeprefix(b" ")
            pieces.append(piece)
        return b"".join(pieces).decode("utf-8", "replace")

    def piece(self, token_id: int) -> str:
        """Return a token's own text, U+FFFD for bytes that are no whole character."""
        return self.piece_bytes(token_id).decode("utf-8", "replace")

    def piece_bytes(self, token_id: int) -> bytes:
        """Return the UTF-8 bytes that a token adds; special tokens add their string."""
        if not 0 <= token_id < self.n_vocab:
            raise RequestError(
                "token id",
                found=str(token_id),
                expected=f"0 to {self.n_vocab - 1}",
            )
        token = self._tokens[token_id]
        if token_id in self._literal:
            return token
        return self._coder.text_bytes(token_id, token)


def _well_formed(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        units = text.encode("utf-16-le", "surrogatepass")
        return units.decode("utf-16-le", "replace")
    return text
