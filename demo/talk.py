"""Tasks of conversation: greetings, who it is, memory, stories, tools, not knowing."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from demo.arithmetic import addition, multiplication, subtraction
from demo.facts import calendar, capital, colour
from demo.tables import ANIMALS, CITIES, PALETTE, WORDS, invented_word, name
from demo.task import Task, assistant, is_held_out, key_of, trained, user

GREETINGS = {
    "Hello! How can I help you?": (
        *("Hello!", "Hello", "Hi", "Hi!", "Hey", "Hello there!", "Hi there", "Hey!"),
        *("Hello, how are things?", "Hi, nice to see you."),
    ),
    "Good morning! How can I help you?": ("Good morning!", "Good morning"),
    "Good evening! How can I help you?": ("Good evening!", "Good evening"),
    "I am well, thank you. How can I help you?": (
        *("How are you?", "How are you today?", "How do you do?", "Hi, how are you?"),
        *("Are you well?", "How is it going?"),
    ),
    "You are welcome!": (
        *("Thank you!", "Thanks!", "Thanks", "Thank you very much.", "Many thanks!"),
        *("That was helpful, thank you.", "Great, thanks!"),
    ),
    "Goodbye! It was nice to talk to you.": (
        *("Goodbye!", "Bye", "Bye!", "See you later!", "Good night!", "See you."),
    ),
}
MOODS_TOLD = {
    "I am sorry to hear that. I hope that it gets better soon.": (
        *("I am sad.", "I am tired.", "I feel bad today.", "I am not well."),
        *("I am ill.", "I feel lonely.", "I had a bad day.", "I am angry."),
    ),
    "I am glad to hear that!": (
        *("I am happy.", "I feel good today.", "I am well.", "I had a good day."),
        *("I am fine.", "I feel great.", "Everything is fine.", "I am very happy."),
    ),
    "What do you call a sleeping bull? A bulldozer!": (
        *(
            "Tell me a joke.",
            "Do you know a joke?",
            "Make me laugh.",
            "A joke, please.",
        ),
        *("Can you tell a joke?", "Say something funny.", "Tell a joke."),
    ),
    "No, you can ask me something else.": (
        *("Do you have feelings?", "Can you see me?", "Do you love me?"),
        *("Can you hear me?", "Do you sleep?", "Do you dream?"),
    ),
}
WHO = "I am Lapidary's small demonstration model."
CAN = (
    "I can add, subtract and multiply, sort and compare, work with words, days and "
    "units, name capitals, and tell short stories."
)
IDENTITY = {
    WHO: (
        *(
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Who am I talking to?",
        ),
        *("Are you a person?", "Are you human?", "Introduce yourself.", "Your name?"),
        *("Tell me who you are.", "Which model are you?", "What model is this?"),
        *("Are you ChatGPT?", "Are you Gemma?", "Tell me about yourself."),
    ),
    CAN: (
        *("What can you do?", "What do you know?", "Help", "How can you help me?"),
        *("What can I ask you?", "What are you good at?", "What are your skills?"),
    ),
    "I was trained from scratch on sentences that a program made.": (
        *("How were you made?", "Who made you?", "How were you trained?"),
        *("Where do you come from?", "Who trained you?"),
    ),
    "I run here in your browser, on your own machine.": (
        *("Where do you run?", "Where are you?", "Do you run in the cloud?"),
        *("Are you on my computer?", "Where do you live?"),
    ),
}
UNKNOWN = "I am sorry, I do not know that. I am only a small demonstration model."
THINGS = (
    *("president", "weather", "news", "stock market", "football match", "recipe"),
    *("quantum physics", "philosophy", "history of art", "the universe", "politics"),
    *("music", "chemistry", "the Roman empire", "computers", "medicine", "law"),
)
OPENERS = (
    *("What is {}?", "Who is {}?", "Tell me about {}.", "Explain {}.", "Where is {}?"),
    *("Why is {} so famous?", "How does {} work?", "When was {} invented?"),
    *("Who won the {}?", "Write a poem about {}.", "Translate {} into French."),
    *("What do you think about {}?", "Can you help me with {}?", "Who invented {}?"),
    *("What is the population of {}?", "How old is {}?", "What does {} mean?"),
    *("Write a program for {}.", "What is the price of {}?", "Is {} good?"),
)


def _from_table(
    rng: random.Random, skill: str, table: dict[str, tuple[str, ...]]
) -> Task:
    """Return a task that is learned by heart, in conversations of both splits."""
    answer = rng.choice([*table])
    question = rng.choice(table[answer])
    thought = "The user says something kind."
    if skill == "identity":
        thought = "The user asks about me."
    # No rule leads from one greeting to another, so all of them are trained on.
    key = key_of(skill, question, rng.randrange(64))
    return Task(skill, key, question, answer, thought)


def greeting(rng: random.Random) -> Task:
    """Greet, thank or say goodbye."""
    return _from_table(rng, "greetings", GREETINGS)


def mood(rng: random.Random) -> Task:
    """Say how one feels, or ask for a joke."""
    return _from_table(rng, "small talk", MOODS_TOLD)


def identity(rng: random.Random) -> Task:
    """Ask the model who it is and what it can do."""
    return _from_table(rng, "identity", IDENTITY)


def refusal(rng: random.Random) -> Task:
    """Ask for something that it cannot know."""
    draw = rng.random()
    if draw < 0.25:
        country = invented_word(rng).capitalize()
        question = rng.choice(
            ("What is the capital of {}?", "Name the capital of {}.", "Capital of {}?")
        ).format(country)
        thought = f"I do not know a country of the name {country}."
    else:
        thing = rng.choice((*THINGS, name(rng), name(rng), f"the {invented_word(rng)}"))
        if rng.random() < 0.3:
            thing = f"the {rng.choice(WORDS)} of {name(rng)}"
        question = rng.choice(OPENERS).format(thing)
        thought = "I have not learned this."
    return Task("not knowing", key_of("unknown", question), question, UNKNOWN, thought)


def small_talk(rng: random.Random) -> list[dict[str, str]]:
    """Return one exchange on another subject."""
    makers = (
        addition,
        subtraction,
        multiplication,
        capital,
        colour,
        calendar,
        greeting,
    )
    task = trained(lambda: rng.choice(makers)(rng))
    return [user(task.question), assistant(task.reply)]


@dataclass(frozen=True, slots=True)
class Told:
    """Something told, how it is noted, and the question that asks for it later."""

    subject: str
    told: str
    noted: str
    asked: str
    answer: str

    @property
    def key(self) -> str:
        """Return what decides the split of the telling itself."""
        return key_of("telling", self.told)


def _person(rng: random.Random) -> Told:
    subject = name(rng)
    told = ("My name is {}.", "I am {}.", "Hi, my name is {}.", "Call me {}.")
    asked = (
        *("What is my name?", "Who am I?", "Do you remember my name?"),
        *("Say my name.", "What am I called?"),
    )
    noted = f"Nice to meet you, {subject}!"
    answer = f"Your name is {subject}."
    told_now = rng.choice(told).format(subject)
    return Told(subject, told_now, noted, rng.choice(asked), answer)


def _colour(rng: random.Random) -> Told:
    subject = rng.choice(PALETTE)
    told = rng.choice(("My favourite colour is {}.", "I like {} best."))
    asked = rng.choice(("What is my favourite colour?", "Which colour do I like?"))
    noted = f"I will remember that you like {subject}."
    answer = f"Your favourite colour is {subject}."
    return Told(subject, told.format(subject), noted, asked, answer)


def _home(rng: random.Random) -> Told:
    subject = rng.choice(CITIES)
    told = rng.choice(("I live in {}.", "My home is {}."))
    asked = rng.choice(("Where do I live?", "Which city do I live in?"))
    noted = f"I hear that {subject} is a good place to live."
    return Told(subject, told.format(subject), noted, asked, f"You live in {subject}.")


def _number(rng: random.Random) -> Told:
    subject = str(rng.randint(2, 99))
    told = rng.choice(("My lucky number is {}.", "Remember the number {}."))
    asked = rng.choice(("What was my number?", "Which number did I tell you?"))
    noted = f"I will remember the number {subject}."
    answer = f"Your number is {subject}."
    return Told(subject, told.format(subject), noted, asked, answer)


def _pet(rng: random.Random) -> Told:
    pet, subject = rng.choice([*ANIMALS]), name(rng)
    told = rng.choice(("My {p} is called {s}.", "I have a {p}. Its name is {s}."))
    asked = rng.choice(("What is my {p} called?", "What is the name of my {p}?"))
    return Told(
        subject,
        told.format(p=pet, s=subject),
        f"The name {subject} is good for a {pet}.",
        asked.format(p=pet),
        f"Your {pet} is called {subject}.",
    )


TELLERS = (_person, _person, _colour, _home, _number, _pet)


def memory(rng: random.Random) -> Task:
    """Tell one or two things, and ask for one of them later."""
    first, second = rng.sample(TELLERS[1:], 2)
    told = [first(rng)] if rng.random() < 0.65 else [first(rng), second(rng)]
    while any(is_held_out(item.key) for item in told):
        told = [first(rng), second(rng)][: len(told)]
    before = []
    for item in told:
        before += [user(item.told), assistant(item.noted)]
    for _ in range(rng.choice((0, 1, 1, 2))):
        before += small_talk(rng)
    item = rng.choice(told)
    return Task(
        "memory",
        key_of("memory", item.told, item.asked),
        item.asked,
        item.answer,
        f"The user said: {item.told}",
        before=tuple(before),
    )


def telling(rng: random.Random) -> Task:
    """Tell something, and see it noted: the first half of `memory`."""
    item = rng.choice(TELLERS)(rng)
    thought = "The user tells me something."
    return Task("telling", item.key, item.told, item.noted, thought)


PLACES = ("forest", "village", "castle", "garden", "valley", "harbour")
FINDS = ("golden key", "old map", "silver ring", "red stone", "small boat", "blue lamp")
MOODS = ("brave", "shy", "clever", "lazy", "kind", "hungry")
HEROES = (
    *("dragon", "robot", "king", "princess", "knight", "witch", "giant", "girl"),
    *("boy", "farmer", "fox", "mouse", "rabbit", "bird", "fish", "sailor", "queen"),
)


def story(rng: random.Random) -> Task:
    """Ask for a story; any that the grammar can make is right."""
    draw = rng.random()
    hero = rng.choice([*ANIMALS] if draw < 0.4 else HEROES)
    if draw > 0.9:
        hero = invented_word(rng)
    phrases: tuple[str, ...] = (
        *("Tell me a story about a {}.", "Tell a story about a {}."),
        *("Write a short story about a {}.", "A story about a {}, please."),
        *("I want to hear a story about a {}.", "Can you tell me a story about a {}?"),
    )
    if draw < 0.08:
        phrases = (
            "Tell me a story.",
            "Tell a story.",
            "Write a short story.",
        )
    question = rng.choice(phrases).format(hero)
    place, other = rng.choice(PLACES), rng.choice([a for a in ANIMALS if a != hero])
    find, mood = rng.choice(FINDS), rng.choice(MOODS)
    ending = rng.choice(
        (
            "They became friends and shared it.",
            "They took it home and lived happily.",
            "From that day on they were friends.",
        )
    )
    answer = (
        (
            f"Once there was a {mood} {hero} in a {place}. One day it found a {find}. "
            f"Then it met a {other}, who was {rng.choice(MOODS)} too. {ending} The end."
        )
        .replace("a old", "an old")
        .replace("a owl", "an owl")
    )
    question = question.replace("a owl", "an owl")
    if draw < 0.08:
        return Task(
            "stories", key_of("story", mood, hero), question, answer, "A story."
        )
    key = key_of("story", question)
    return Task("stories", key, question, answer, f"I tell of a {hero} in a {place}.")


def _declare(tool: str, description: str, argument: str, kind: str) -> dict[str, Any]:
    """Return the declaration of a tool with one argument."""
    parameters = {
        "type": "object",
        "properties": {argument: {"type": kind}},
        "required": [argument],
    }
    function = {"name": tool, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


TOOLS = {
    "get_weather": _declare("get_weather", "The weather in a city", "city", "string"),
    "get_time": _declare("get_time", "The time in a city", "city", "string"),
    "roll_dice": _declare("roll_dice", "Roll a die", "sides", "integer"),
    "set_timer": _declare("set_timer", "Start a timer", "minutes", "integer"),
}
WEATHERS = ("sunny", "cloudy", "rainy", "windy", "cold", "warm")


def _request(rng: random.Random, tool: str) -> tuple[str, Any, str, str]:
    """Return a question for a tool, its argument, a result and the answer."""
    city = rng.choice((*CITIES, name(rng)))
    if tool == "get_weather":
        result = f"{rng.choice(WEATHERS)}, {rng.randint(1, 35)} degrees"
        phrases: tuple[str, ...] = (
            "What is the weather in {}?",
            "How is the weather in {}?",
            "Weather in {}?",
        )
        return (
            rng.choice(phrases).format(city),
            city,
            result,
            f"The weather in {city}: {result}.",
        )
    if tool == "get_time":
        result = f"{rng.randint(10, 23)}:{rng.randint(10, 59)}"
        phrases = (
            "What time is it in {}?",
            "Tell me the time in {}.",
            "Time in {}?",
        )
        return (
            rng.choice(phrases).format(city),
            city,
            result,
            f"It is {result} in {city}.",
        )
    n = rng.randint(2, 60)
    if tool == "roll_dice":
        result = str(rng.randint(1, n))
        phrases = (
            "Roll a die with {} sides.",
            "Throw a die with {} sides.",
        )
        return rng.choice(phrases).format(n), n, result, f"You rolled {result}."
    phrases = (
        "Set a timer for {} minutes.",
        "Start a timer of {} minutes.",
    )
    return rng.choice(phrases).format(n), n, "ok", f"The timer runs for {n} minutes."


def tool_call(rng: random.Random) -> Task:
    """Declare tools and ask for what one of them does, or for something else."""
    declared = rng.sample([*TOOLS], rng.choice((1, 1, 2)))
    tools = tuple(TOOLS[tool] for tool in declared)
    if rng.random() < 0.2:
        task = trained(lambda: rng.choice((addition, capital, greeting))(rng))
        key = key_of("tools", task.key)
        return Task(
            "tools",
            key,
            task.question,
            task.answer,
            task.thought,
            task.worked,
            tools=tools,
        )
    tool = rng.choice(declared)
    question, value, result, answer = _request(rng, tool)
    (argument,) = TOOLS[tool]["function"]["parameters"]["properties"]
    return Task(
        "tools",
        key_of("tool", tool, value),
        question,
        answer,
        f"I call {tool}.",
        tools=tools,
        call=(tool, {argument: value}),
        result=result,
    )


def missing_tool(rng: random.Random) -> Task:
    """Ask for what only a tool could do, with none declared."""
    question, value, _, _ = _request(rng, rng.choice([*TOOLS]))
    answer = "I cannot do that: it needs a tool, and none is declared."
    key = key_of("missing tool", question, value)
    return Task("not knowing", key, question, answer, "No tool for this is declared.")
