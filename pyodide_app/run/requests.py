"""What is asked of a runner, refused where it cannot be served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

from pyodide_app import errors
from pyodide_app.load.loader import Progress
from pyodide_app.run.sampling import SamplingOptions
from pyodide_app.text.chat.json_values import refuse

Tell = Callable[[Progress], None]


class Asked(TypedDict, total=False):
    """What `Runner.generate` takes besides a prompt, whoever passes it on."""

    sampling: SamplingOptions | None
    max_tokens: int | None
    ignore_eos: bool
    progress: Tell


def check_request(
    ids: Sequence[int], max_tokens: int | None, n_vocab: int, n_ctx: int
) -> None:
    """Raise RequestError for a prompt or a length of a reply that cannot be.

    Raises ContextFullError for a prompt that leaves no room for a token.
    """
    is_whole = isinstance(max_tokens, int) and not isinstance(max_tokens, bool)
    if max_tokens is not None and not (is_whole and max_tokens >= 1):
        refuse("max_tokens", max_tokens, "an integer from 1 on")
    if not ids:
        raise errors.RequestError("an empty prompt", expected="at least one token")
    wrong = [i for i in ids if not 0 <= i < n_vocab]
    if wrong:
        refuse("token id", wrong[0], f"0 to {n_vocab - 1}")
    if len(ids) > n_ctx:
        full = errors.ContextFullError(
            "the conversation is longer than the context",
            found=f"{len(ids)} tokens",
            expected=f"at most {n_ctx}",
            remedy="Shorten it, start a new chat, or load the model with a longer "
            "context",
        )
        full.n_tokens, full.n_most = len(ids), n_ctx
        raise full
