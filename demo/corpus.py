"""Generate the demonstration model's conversations: seeded, by rule, split by rule.

python -m demo.corpus --seed 7 -n 5 --split held-out
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from demo import arithmetic, facts, talk, words
from demo.task import Maker, Task, assistant, is_held_out, user

Split = Literal["train", "held-out"]

THINK_SHARE = 0.16
EARLIER_SHARE = 0.25  # of conversations that have exchanges before the task's own
MOST_EARLIER = 5
LOWER_SHARE = 0.1
NAMING = ("memory", "telling", "tools", "not knowing")  # where a capital says something

# Tasks and how often they come.
MIX: dict[Maker, float] = {
    arithmetic.addition: 12,
    arithmetic.subtraction: 12,
    arithmetic.multiplication: 22,
    arithmetic.follow_up: 6,
    arithmetic.beyond: 2,
    arithmetic.comparison: 8,
    arithmetic.number_sorting: 8,
    arithmetic.extreme: 4,
    arithmetic.counting: 4,
    arithmetic.parity: 2,
    words.reversing: 9,
    words.upper_casing: 4,
    words.spelling: 3,
    words.letter_counting: 4,
    words.end_letter: 3,
    words.word_sorting: 8,
    words.word_counting: 3,
    words.alphabet: 1.5,
    facts.capital: 6,
    facts.colour: 3,
    facts.animal: 4,
    facts.opposite: 3,
    facts.calendar: 6,
    facts.units: 5,
    talk.greeting: 2,
    talk.mood: 2,
    talk.identity: 2.5,
    talk.refusal: 5,
    talk.memory: 6,
    talk.telling: 2,
    talk.story: 3,
    talk.tool_call: 11,
    talk.missing_tool: 1,
}


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages as a chat interface takes them; the last is the reply to learn.

    `key` decides the split, `reply` is the last message's content, `thought` its
    reasoning where thinking is on.
    """

    skill: str
    key: str
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...]
    think: bool

    @property
    def prompt(self) -> tuple[Mapping[str, Any], ...]:
        """Return the messages up to the last one of the user."""
        last = max(i for i, m in enumerate(self.messages) if m["role"] == "user")
        return self.messages[: last + 1]

    @property
    def replies(self) -> tuple[Mapping[str, Any], ...]:
        """Return what follows the last message of the user."""
        return self.messages[len(self.prompt) :]


def generate(seed: int, n: int, split: Split) -> Iterator[Conversation]:
    """Yield n conversations of a split; the same seed gives the same ones."""
    rng = random.Random(f"{seed} {split}")
    makers, weights = [*MIX], [*MIX.values()]
    for _ in range(n):
        (maker,) = rng.choices(makers, weights)
        yield conversation(rng, maker, split)


def conversation(
    rng: random.Random, maker: Maker, split: Split, n_earlier: int | None = None
) -> Conversation:
    """Return one conversation around a task of the split.

    A number of earlier exchanges makes it longer than those of training.
    """
    task = _draw(rng, maker, split)
    before = [*task.before]
    if n_earlier is not None:
        before = [*_earlier(rng, n_earlier), *before]
    elif not before and not task.tools and rng.random() < EARLIER_SHARE:
        before = _earlier(rng, rng.randint(1, MOST_EARLIER))
    think = rng.random() < THINK_SHARE
    question = task.question if task.before else _as_typed(rng, task)
    messages = (*before, user(question), *_reply(task, think))
    return Conversation(task.skill, task.key, messages, task.tools, think)


def _earlier(rng: random.Random, n: int) -> list[Mapping[str, Any]]:
    """Return exchanges on other subjects, none of them held out."""
    messages: list[Mapping[str, Any]] = []
    for maker in rng.choices([*MIX], [*MIX.values()], k=n):
        task = _draw(rng, maker, "train")
        if not task.tools:
            asked = user(_as_typed(rng, task))
            messages += [*task.before, asked, assistant(task.reply)]
    return messages


def _draw(rng: random.Random, maker: Maker, split: Split) -> Task:
    """Draw tasks until one belongs to the split."""
    while True:
        task = maker(rng)
        if is_held_out(task.key) == (split == "held-out"):
            return task


def _as_typed(rng: random.Random, task: Task) -> str:
    """Return a question as people type it: some leave out marks and capitals."""
    question = task.question
    if question[-1] in ".?!" and rng.random() < 0.15:
        question = question[:-1]
    lower = task.skill not in NAMING and rng.random() < LOWER_SHARE
    return question.lower() if lower else question


def _reply(task: Task, think: bool) -> Iterator[dict[str, Any]]:
    """Yield the model's messages, with a tool's result between them."""
    thought = {"reasoning": task.thought} if think else {}
    if task.call:
        name, arguments = task.call
        call = {"type": "function", "function": {"name": name, "arguments": arguments}}
        yield {"role": "assistant", "content": "", "tool_calls": [call], **thought}
        yield {"role": "tool", "name": name, "content": task.result}
        told = {"reasoning": f"The tool says {task.result}."} if think else {}
        yield {**assistant(task.answer), **told}
    else:
        yield {**assistant(task.answer if think else task.reply), **thought}


def main() -> None:
    """Print conversations as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-n", type=int, default=10)
    parser.add_argument("--split", choices=("train", "held-out"), default="train")
    args = parser.parse_args()
    for item in generate(args.seed, args.n, args.split):
        fields = {"skill": item.skill, "think": item.think, "messages": item.messages}
        print(json.dumps({**fields, "tools": item.tools}, ensure_ascii=False))


if __name__ == "__main__":
    main()
