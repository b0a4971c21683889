"""Tasks from tables: capitals, colours, animals, the calendar, units of measure."""

from __future__ import annotations

import random

from demo.arithmetic import columns
from demo.tables import (
    ANIMALS,
    CAPITALS,
    COLOURS,
    DAYS,
    MONTHS,
    OPPOSITES,
    SIDES,
    SMALL_UNITS,
    UNITS,
)
from demo.task import Task, key_of


def _fact(skill: str, question: str, answer: str, thought: str) -> Task:
    """Return a task whose fact is learned: held out is the way to ask for it."""
    return Task(skill, key_of(skill, question), question, answer, thought)


def capital(rng: random.Random) -> Task:
    """Ask for a capital, or for its country."""
    country, city = rng.choice([*CAPITALS.items()])
    thought = f"The user asks about {country}."
    if rng.random() < 0.3:
        phrases: tuple[str, ...] = (
            "{} is the capital of which country?",
            "Which country has {} as its capital?",
        )
        question = rng.choice(phrases).format(city)
        thought = f"The user asks about {city}."
        answer = f"The country with the capital {city} is {country}."
        return _fact("capitals", question, answer, thought)
    phrases = (
        *("What is the capital of {}?", "Which city is the capital of {}?"),
        *("Name the capital of {}.", "Tell me the capital of {}.", "Capital of {}?"),
        *("What is the capital city of {}?", "Do you know the capital of {}?"),
    )
    question = rng.choice(phrases).format(country)
    return _fact("capitals", question, f"The capital of {country} is {city}.", thought)


def colour(rng: random.Random) -> Task:
    """Ask for the colour of a thing."""
    thing, shade = rng.choice([*COLOURS.items()])
    phrases: tuple[str, ...] = (
        *("What colour is {}?", "Which colour is {}?", "What is the colour of {}?"),
        *("Tell me the colour of {}.", "What color is {}?"),
    )
    question = rng.choice(phrases).format(thing)
    answer = f"The colour of {thing} is {shade}."
    return _fact("colours", question, answer, f"The user asks about {thing}.")


def animal(rng: random.Random) -> Task:
    """Ask for an animal's sound, its young or its legs."""
    kind = rng.choice([*ANIMALS])
    sound, young, n_legs = ANIMALS[kind]
    article = "an" if kind[0] in "aeiou" else "a"
    of_young = "an" if young[0] in "aeiou" else "a"
    forms = (
        (f"What does {article} {kind} say?", f"The {kind} says {sound}."),
        (f"What sound does {article} {kind} make?", f"The {kind} says {sound}."),
        (f"Which sound does the {kind} make?", f"The {kind} says {sound}."),
        (
            f"What is a young {kind} called?",
            f"A young {kind} is called {of_young} {young}.",
        ),
        (
            f"What do you call a baby {kind}?",
            f"A young {kind} is called {of_young} {young}.",
        ),
        (
            f"What is the young of {article} {kind}?",
            f"A young {kind} is called {of_young} {young}.",
        ),
        (f"How many legs does {article} {kind} have?", f"A {kind} has {n_legs} legs."),
        (f"How many legs has {article} {kind}?", f"A {kind} has {n_legs} legs."),
        (
            f"On how many legs does {article} {kind} walk?",
            f"A {kind} has {n_legs} legs.",
        ),
    )
    question, answer = rng.choice(forms)
    if kind[0] in "aeiou":
        answer = answer.replace(f"A {kind}", f"An {kind}")
    return _fact("animals", question, answer, f"The user asks about the {kind}.")


def opposite(rng: random.Random) -> Task:
    """Ask for the opposite of a word, or for the sides of a shape."""
    if rng.random() < 0.3:
        shape = rng.choice([*SIDES])
        article = "an" if shape[0] in "aeiou" else "a"
        phrases: tuple[str, ...] = (
            "How many sides does {} have?",
            "How many sides has {}?",
        )
        question = rng.choice((*phrases, "Count the sides of {}.")).format(
            f"{article} {shape}"
        )
        answer = f"The sides of {article} {shape} are {SIDES[shape]} in number."
        return _fact("shapes", question, answer, f"The user asks about {shape}s.")
    pair = rng.choice([*OPPOSITES.items()])
    word, other = pair if rng.random() < 0.5 else pair[::-1]
    phrases = (
        *("What is the opposite of {}?", "Name the opposite of {}."),
        *("Which word is the opposite of {}?", "Tell me the opposite of {}."),
    )
    question = rng.choice(phrases).format(word)
    answer = f"The opposite of {word} is {other}."
    return _fact("opposites", question, answer, f"The user asks about {word}.")


def _cycle(rng: random.Random, names: tuple[str, ...], unit: str, skill: str) -> Task:
    """Ask for a step forwards or backwards in a cycle of names."""
    at = rng.randrange(len(names))
    way, sign = rng.choice((("after", 1), ("before", -1)))
    n = rng.randint(2, 7)
    if rng.random() < 0.45:
        there = names[(at + sign) % len(names)]
        phrases: tuple[str, ...] = (
            f"What {unit} comes {way} {names[at]}?",
            f"Which {unit} comes {way} {names[at]}?",
            f"Which {unit} is {way} {names[at]}?",
            f"What is the {unit} {way} {names[at]}?",
            f"Name the {unit} {way} {names[at]}.",
        )
        answer = f"The {unit} {way} {names[at]} is {there}."
        thought = f"The user asks for the {unit} {way} {names[at]}."
        return _fact(skill, rng.choice(phrases), answer, thought)
    steps = [names[(at + sign * i) % len(names)] for i in range(1, n + 1)]
    phrases = (
        f"What {unit} is {n} {unit}s {way} {names[at]}?",
        f"Which {unit} is {n} {unit}s {way} {names[at]}?",
        f"Which {unit} comes {n} {unit}s {way} {names[at]}?",
    )
    numbered = ", ".join(f"{i} {there}" for i, there in enumerate(steps, 1))
    answer = f"{n} {unit}s {way} {names[at]} is {steps[-1]}."
    worked = f"{numbered}. {answer}"
    key = key_of(unit, way, n, names[at])
    return Task(skill, key, rng.choice(phrases), answer, f"{numbered}.", worked)


def calendar(rng: random.Random) -> Task:
    """Ask about days and months."""
    draw = rng.random()
    if draw < 0.45:
        return _cycle(rng, DAYS, "day", "days of the week")
    if draw < 0.8:
        return _cycle(rng, tuple(MONTHS), "month", "months")
    month = rng.choice([*MONTHS])
    phrases: tuple[str, ...] = (
        *("How many days does {} have?", "How many days are in {}?"),
        *("How many days has {}?", "How long is {}?", "Tell me how many days {} has."),
    )
    question = rng.choice(phrases).format(month)
    thought = f"The user asks about {month}."
    return _fact(
        "months", question, f"The month of {month} has {MONTHS[month]} days.", thought
    )


def units(rng: random.Random) -> Task:
    """Ask to convert a quantity by a simple factor."""
    if rng.random() < 0.7:
        large, small, factor = rng.choice(UNITS)
        n = rng.randint(2, 99)
        work = f"1 to {factor}"
    else:
        large, small, factor = rng.choice(SMALL_UNITS)
        n = rng.randint(2, 9)
        value = ", ".join(columns("×", factor, n)) if factor > 9 else f"{n} × {factor}"
        work = value
    phrases: tuple[str, ...] = (
        *("How many {s} are {n} {l}?", "Convert {n} {l} to {s}.", "{n} {l} in {s}"),
        *("How many {s} are in {n} {l}?", "What are {n} {l} in {s}?"),
    )
    question = rng.choice(phrases).format(s=small, l=large, n=n)
    answer = f"{n} {large} are {n * factor} {small}."
    key = key_of("unit", large, small, n)
    if factor % 10 == 0 and factor != 60:
        return Task("units", key, question, answer, f"{large} to {small}: {work}.")
    if factor == 7:
        key = key_of(key, question)  # a table, as in multiplication
        return Task("units", key, question, answer, f"{work} = {n * factor}.")
    return Task("units", key, question, answer, f"{work}.", f"{work}, so {answer}")
