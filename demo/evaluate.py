"""Measure the demonstration model: held-out replies that are right, per skill.

    python -m demo.evaluate demo/lapidary-demo.gguf -n 340
    python -m demo.evaluate demo/lapidary-demo.gguf -n 6800 --hugging-face

The first asks this project's engine; the second Hugging Face's model with the weights
of the file, many prompts at once. A reply is right when it equals the expected one,
letter for letter, thought and tool calls included where they come first; a story when
the grammar could have made it.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demo import talk
from demo.chat_text import reply_text
from demo.corpus import MIX, Conversation, conversation
from demo.tables import ANIMALS

if TYPE_CHECKING:
    import torch
    from transformers import Gemma4ForCausalLM

    from demo.chat_tokens import Encoder
    from demo.model import Routing

MAX_TOKENS = 160
STORY = re.compile(
    r"Once there was an? (?:{moods}) ([a-z]+) in a (?:{places})\. "
    r"One day it found an? (?:{finds})\. "
    r"Then it met an? ({animals}), who was (?:{moods}) too\. "
    r"(?:[A-Z][a-z ]+)\. The end\.".format(
        moods="|".join(talk.MOODS),
        animals="|".join(ANIMALS),
        places="|".join(talk.PLACES),
        finds="|".join(talk.FINDS),
    )
)


@dataclass(frozen=True, slots=True)
class Score:
    """How many of the replies of a skill were right."""

    n_right: int
    n: int
    wrong: tuple[tuple[str, str], ...]  # question and reply

    @property
    def share(self) -> float:
        """Return the share that was right."""
        return self.n_right / self.n


def questions(n: int, seed: int, n_earlier: int | None = None) -> list[Conversation]:
    """Return n held-out conversations, every kind of task as often."""
    rng = random.Random(f"{seed} evaluation")
    makers = [*MIX]
    return [
        conversation(rng, makers[i % len(makers)], "held-out", n_earlier)
        for i in range(n)
    ]


def is_right(item: Conversation, step: int, reply: str) -> bool:
    """Say whether a reply counts."""
    if item.skill != "stories":
        return reply == reply_text(item, step)
    text = reply.split("<channel|>")[-1]
    hero = item.prompt[-1]["content"]
    found = STORY.fullmatch(text)
    asked = re.search(r"about an? (\w+)", hero)
    return found is not None and (asked is None or asked[1] == found[1])


def scores(
    items: Sequence[Conversation], answered: Iterable[Sequence[str]]
) -> dict[str, Score]:
    """Count the right ones per skill; all replies of a conversation must be."""
    rights: dict[str, list[bool]] = defaultdict(list)
    wrong: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for item, replies in zip(items, answered, strict=True):
        right = all(is_right(item, i, reply) for i, reply in enumerate(replies))
        rights[item.skill].append(right)
        if not right:
            wrong[item.skill].append((item.prompt[-1]["content"], " | ".join(replies)))
    return {
        skill: Score(sum(flags), len(flags), tuple(wrong[skill]))
        for skill, flags in sorted(rights.items())
    }


def table(results: Mapping[str, Score], *, wrong: int = 1) -> str:
    """Return the scores as a table, with a few wrong replies."""
    lines = []
    for skill, score in results.items():
        lines.append(
            f"{skill:28s} {score.n_right:5d} / {score.n:5d}  {100 * score.share:5.1f} %"
        )
        lines += [f"    {asked!r} -> {reply!r}" for asked, reply in score.wrong[:wrong]]
    n_right = sum(score.n_right for score in results.values())
    n = sum(score.n for score in results.values())
    lines.append(f"{'all':28s} {n_right:5d} / {n:5d}  {100 * n_right / n:5.1f} %")
    return "\n".join(lines)


def turns(item: Conversation) -> range:
    """Number the replies that the model has to write: two around a tool's result."""
    return range(sum(message["role"] == "assistant" for message in item.replies))


def accuracy(
    gemma: Gemma4ForCausalLM, encoder: Encoder, items: Sequence[Conversation]
) -> dict[str, Score]:
    """Score Hugging Face's model by greedy decoding."""
    prompts = [encoder.prompt(item, 2 * step) for item in items for step in turns(item)]
    written = iter(complete(gemma, encoder, prompts))
    answered = [[next(written) for _ in turns(item)] for item in items]
    return scores(items, answered)


def complete(
    gemma: Gemma4ForCausalLM, encoder: Encoder, prompts: Sequence[Sequence[int]]
) -> Iterator[str]:
    """Yield greedy replies in the order of the prompts."""
    import torch

    texts: dict[int, str] = {}
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    stops = {encoder.ids[t] for t in ("<turn|>", "<eos>", "<|tool_response>", "<pad>")}
    device = next(gemma.parameters()).device
    begin = 0
    while begin < len(order):
        # Prompts of one length go together, without padding.
        length, end = len(prompts[order[begin]]), begin
        while (
            end < len(order) and len(prompts[order[end]]) == length and end - begin < 64
        ):
            end += 1
        group = order[begin:end]
        ids = torch.tensor([prompts[i] for i in group], device=device)
        with torch.inference_mode():
            rows = _greedy(gemma, ids, stops)
        for i, row in zip(group, rows, strict=True):
            texts[i] = encoder.tokenizer.decode(row, skip_special_tokens=False)
        begin = end
    yield from (texts[i] for i in range(len(prompts)))


def _greedy(
    gemma: Gemma4ForCausalLM, ids: torch.Tensor, stops: set[int]
) -> list[list[int]]:
    """Return the new tokens of every row, without what ends them."""
    rows: list[list[int]] = [[] for _ in ids]
    going = [True] * len(rows)
    cache = None
    for _ in range(MAX_TOKENS):
        output = gemma(
            input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        cache = output.past_key_values
        ids = output.logits[:, -1].argmax(-1, keepdim=True)
        for i, token in enumerate(ids[:, 0].tolist()):
            going[i] = going[i] and token not in stops
            if going[i]:
                rows[i].append(token)
        if not any(going):
            break
    return rows


def expert_use(
    gemma: Gemma4ForCausalLM, routing: Routing, encoder: Encoder, n: int = 200
) -> list[list[float]]:
    """Return the share of the tokens' choices that each expert has, per layer."""
    import torch

    device = next(gemma.parameters()).device
    total: torch.Tensor | float = 0.0
    n_tokens = 0
    for item in questions(n, seed=5):
        ids = encoder.whole(item)
        routing.begin(None)
        with torch.inference_mode():
            gemma.model(input_ids=torch.tensor([ids], device=device), use_cache=False)
        total = total + torch.stack(routing.shares) * len(ids)
        n_tokens += len(ids)
    assert isinstance(total, torch.Tensor)
    return (total / n_tokens).tolist()


def expert_table(shares: Sequence[Sequence[float]]) -> str:
    """Return the experts' shares in per cent, a layer per line."""
    lines = []
    for layer, row in enumerate(shares):
        lines.append(f"layer {layer}: " + " ".join(f"{100 * s:5.1f}" for s in row))
    return "\n".join(lines)


def main() -> None:
    """Print how many replies were right, per skill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("-n", type=int, default=1120)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--earlier", type=int, help="exchanges before the question")
    parser.add_argument("--hugging-face", action="store_true")
    parser.add_argument("--wrong", type=int, default=1, help="wrong replies to show")
    args = parser.parse_args()
    items = questions(args.n, args.seed, args.earlier)
    if args.hugging_face:
        from demo.model import Routing
        from demo.reference import read

        gemma, encoder = read(args.model)
        results = accuracy(gemma, encoder, items)
        print(expert_table(expert_use(gemma, Routing(gemma), encoder)))
    else:
        from demo.engine import answers

        results = scores(items, answers(args.model, items))
    print(table(results, wrong=args.wrong))


if __name__ == "__main__":
    main()
