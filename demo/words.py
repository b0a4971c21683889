"""Tasks with letters and lists of words: reverse, capitals, spell, count, sort."""

from __future__ import annotations

import random
from collections.abc import Callable

from demo.tables import ANIMALS, WORDS, any_word
from demo.task import Task, key_of

# Skill: phrases, reply, thought. {q} is the word as asked, {w} itself, {r} the result.
FORMS = {
    "reversing words": (
        ("Reverse the word {q}.", "Reverse {q}.", "Spell {q} backwards."),
        'The word "{w}" reversed is "{r}".',
    ),
    "upper-casing words": (
        (
            "Write {q} in capital letters.",
            "Write {q} in upper case.",
            "Make {q} upper case.",
        ),
        '"{w}" in capital letters is "{r}".',
    ),
    "spelling": (
        ("Spell the word {q}.", "Spell {q}.", "How do you spell {q}?"),
        'The word "{w}" is spelled {r}.',
    ),
    "counting letters": (
        ("How many letters are in {q}?", "How many letters does {q} have?"),
        'The word "{w}" has {r} letters.',
    ),
    "first letter": (
        ("What is the first letter of {q}?", "Which letter does {q} start with?"),
        'The first letter of "{w}" is "{r}".',
    ),
    "last letter": (
        ("What is the last letter of {q}?", "Which letter does {q} end with?"),
        'The last letter of "{w}" is "{r}".',
    ),
}


def spelled(word: str) -> str:
    """Return the letters with hyphens between them."""
    return "-".join(word)


RULES: dict[str, Callable[[str], str]] = {
    "reversing words": lambda word: word[::-1],
    "upper-casing words": str.upper,
    "spelling": spelled,
    "counting letters": lambda word: str(len(word)),
    "first letter": lambda word: word[0],
    "last letter": lambda word: word[-1],
}


def letters(rng: random.Random, skill: str) -> Task:
    """Ask for something that a rule makes of the letters of a word."""
    word = any_word(rng, 6 if skill == "reversing words" else 8)
    phrases, reply = FORMS[skill]
    quoted = rng.random() < 0.75
    question = rng.choice(phrases).format(q=f'"{word}"' if quoted else word)
    answer = reply.format(w=word, r=RULES[skill](word))
    thought = f'The letters of "{word}" are {spelled(word)}.'
    return Task(skill, key_of("word", word), question, answer, thought)


def reversing(rng: random.Random) -> Task:
    """Ask for a word backwards."""
    return letters(rng, "reversing words")


def upper_casing(rng: random.Random) -> Task:
    """Ask for a word in capitals."""
    return letters(rng, "upper-casing words")


def spelling(rng: random.Random) -> Task:
    """Ask for the letters of a word."""
    return letters(rng, "spelling")


def letter_counting(rng: random.Random) -> Task:
    """Ask for the number of letters."""
    return letters(rng, "counting letters")


def end_letter(rng: random.Random) -> Task:
    """Ask for the first or the last letter."""
    return letters(rng, rng.choice(("first letter", "last letter")))


def some_words(rng: random.Random, n: int) -> list[str]:
    """Return different words from the tables."""
    return rng.sample(sorted({*WORDS, *ANIMALS}), n)


def word_sorting(rng: random.Random) -> Task:
    """Ask to sort words by the alphabet."""
    words = some_words(rng, rng.choice((3, 3, 4, 5)))
    phrases: tuple[str, ...] = (
        "Sort these words: {}.",
        "Sort by the alphabet: {}.",
        "Put these words in alphabetical order: {}.",
    )
    question = rng.choice(phrases).format(", ".join(words))
    answer = f"In order: {', '.join(sorted(words))}."
    thought = f"The word {sorted(words)[0]} comes first in the alphabet."
    key = key_of("words", *sorted(words))
    return Task("sorting words", key, question, answer, thought)


def word_counting(rng: random.Random) -> Task:
    """Ask for the number of words in a list."""
    words = some_words(rng, rng.randint(2, 8))
    phrases: tuple[str, ...] = (
        "How many words are in this list: {}?",
        "Count these words: {}.",
    )
    question = rng.choice(phrases).format(", ".join(words))
    numbered = ", ".join(f"{i} {word}" for i, word in enumerate(words, 1))
    key = key_of("list", *sorted(words))
    answer = f"There are {len(words)} words."
    worked = f"{numbered}. {answer}"
    return Task("counting words", key, question, answer, f"{numbered}.", worked)


def alphabet(rng: random.Random) -> Task:
    """Ask for the letter after or before another."""
    way, step = rng.choice((("after", 1), ("before", -1)))
    at = rng.randrange(1, 25)
    letter = chr(ord("a") + at)
    phrases: tuple[str, ...] = ("Which letter comes {} {}?", "What letter comes {} {}?")
    phrases += ("What is the letter {} {}?", "Which letter is {} {}?")
    asked = rng.choice((letter, f'"{letter}"'))
    question = rng.choice(phrases).format(way, asked)
    answer = f'The letter {way} "{letter}" is "{chr(ord(letter) + step)}".'
    thought = f'The user asks for the letter {way} "{letter}".'
    key = key_of("alphabet", question)
    return Task("alphabet", key, question, answer, thought)
