"""The demonstration model's corpus: repeatable, right, and split without a leak."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from demo import arithmetic, corpus, evaluate, task, vocabulary
from demo.chat_text import reply_text
from pyodide_app.text.chat.gemma4 import render

ROOT = Path(__file__).resolve().parents[2]
EQUATION = re.compile(r"(\d+(?: [+×-] \d+)+) = (-?\d+)")
RESULT = re.compile(r"(?:^|, so )(\d+) ([+×-]) (\d+) = -?\d+\.$")
N = 4000


@pytest.fixture(scope="module")
def trained() -> list[corpus.Conversation]:
    return [*corpus.generate(5, N, "train")]


@pytest.fixture(scope="module")
def held_out() -> list[corpus.Conversation]:
    return [*corpus.generate(5, N, "held-out")]


def replies(item: corpus.Conversation) -> list[str]:
    """Return all that the model says in a conversation, its thoughts included."""
    said = [m for m in item.messages if m["role"] == "assistant"]
    return [m["content"] for m in said] + [m.get("reasoning", "") for m in said]


def test_a_seed_gives_the_same_conversations_in_every_process():
    # Another process has another hash seed: nothing may depend on the order of a set.
    command = [sys.executable, "-m", "demo.corpus", "--seed", "9", "-n", "200"]
    lines = [
        subprocess.run(
            command,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert lines[0] == lines[1]
    assert lines[0].count("\n") == 200
    other = [json.loads(line)["messages"] for line in lines[0].splitlines()]
    assert other != [[*c.messages] for c in corpus.generate(10, 200, "train")]


def test_every_skill_comes_in_both_splits(trained, held_out):
    skills = Counter(item.skill for item in trained)
    assert skills.keys() == {item.skill for item in held_out}
    assert min(skills.values()) >= 5


def test_no_held_out_task_is_trained_on(trained, held_out):
    assert not {item.key for item in trained} & {item.key for item in held_out}
    assert all(task.is_held_out(item.key) for item in held_out)


def test_no_operands_of_a_held_out_sum_stand_in_a_trained_conversation(trained):
    """Earlier turns and follow-ups are written by the same rule as the task itself."""
    found = [
        (op, int(a), int(b))
        for item in trained
        for reply in replies(item)
        for a, op, b in RESULT.findall(reply)
    ]
    sums = [operands for operands in found if max(operands[1:]) > 9]
    assert len(sums) > 1000
    assert not [
        operands for operands in sums if task.is_held_out(task.key_of(*operands))
    ]


def test_no_held_out_word_stands_in_a_trained_question_of_letters(trained):
    named = [
        word
        for item in trained
        for message in item.messages
        if message["role"] == "assistant"
        for word in re.findall(r'^The word "(\w+)"', message["content"])
    ]
    assert len(named) > 500
    assert not [word for word in named if task.is_held_out(f"word|{word}")]


def test_every_equation_is_right(trained, held_out):
    equations = [
        (terms.split(), int(result))
        for item in (*trained, *held_out)
        for reply in replies(item)
        for terms, result in EQUATION.findall(reply)
    ]
    assert len(equations) > 5000
    for terms, result in equations:
        value = int(terms[0])
        # A product comes first where there is one, so left to right is right.
        for op, term in zip(terms[1::2], terms[2::2], strict=True):
            value = arithmetic.solve(op, value, int(term))
        assert value == result, terms


def test_the_written_method_gives_the_result():
    rng = random.Random(3)
    for _ in range(3000):
        op = rng.choice("+-×")
        a, b = sorted((rng.randint(0, 999), rng.randint(0, 999)), reverse=True)
        b = b % 10 if op == "×" else b
        if len(str(a)) < len(str(b)):
            continue
        values = [
            int(step.rpartition("= ")[2]) for step in arithmetic.columns(op, a, b)
        ]
        ones = [value % 10 for value in values[:-1]]
        number = values[-1]
        for digit in reversed(ones):
            number = number * 10 + digit
        assert number == arithmetic.solve(op, a, b), (op, a, b)


def test_evaluation_asks_for_every_kind_of_task_as_often():
    items = evaluate.questions(3 * len(corpus.MIX), seed=1)
    assert len(items) == 3 * len(corpus.MIX)
    assert all(task.is_held_out(item.key) for item in items)


def test_expected_replies_count_as_right_and_others_do_not():
    for item in evaluate.questions(300, seed=4):
        for step in evaluate.turns(item):
            reply = reply_text(item, step)
            assert evaluate.is_right(item, step, reply), reply
            assert not evaluate.is_right(item, step, f"{reply} And so on.")


def test_reply_is_what_the_prompt_is_followed_by(held_out):
    for item in held_out[:400]:
        whole = render(
            item.messages,
            tools=item.tools,
            think=item.think,
            add_generation_prompt=False,
        ).text
        prompt = render(item.prompt, tools=item.tools, think=item.think).text
        assert whole.startswith(prompt + reply_text(item, 0))


def test_vocabulary_keeps_digits_and_letters_in_quotes_apart():
    texts = [m["content"] for c in corpus.generate(2, 500, "train") for m in c.messages]
    words = vocabulary.learn(texts, 800)
    assert len(words.tokens) == len(set(words.tokens)) == len(words.types) <= 800
    learned = [left + right for left, right in words.merges if "\n" not in right]
    assert learned
    assert all(token[0] == vocabulary.SPACE or token[0].isupper() for token in learned)
    assert not [token for token in learned if any(map(str.isdigit, token))]
    known = {*words.tokens}
    assert all({left, right, left + right} <= known for left, right in words.merges)
