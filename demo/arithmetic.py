"""Tasks with numbers: sums, differences, products, comparing, sorting, counting."""

from __future__ import annotations

import random

from demo.task import Task, assistant, is_held_out, key_of, user

PHRASES = {
    "+": (
        *("What is {a} + {b}?", "{a} + {b}", "{a} + {b} =", "{a}+{b}"),
        *("Add {a} and {b}.", "What is {a} plus {b}?", "Calculate {a} + {b}."),
        *("How much is {a} + {b}?", "What is the sum of {a} and {b}?", "{a} plus {b}"),
    ),
    "-": (
        *("What is {a} - {b}?", "{a} - {b}", "{a} - {b} =", "{a}-{b}"),
        *("Subtract {b} from {a}.", "What is {a} minus {b}?", "Calculate {a} - {b}."),
        *("How much is {a} - {b}?", "Take {b} away from {a}.", "{a} minus {b}"),
    ),
    "×": (
        *("What is {a} × {b}?", "{a} × {b}", "{a} * {b}", "{a} x {b}", "{a}*{b}"),
        *("Multiply {a} by {b}.", "What is {a} times {b}?", "Calculate {a} × {b}."),
        *("How much is {a} times {b}?", "What is the product of {a} and {b}?"),
    ),
}
FOLLOW_UPS = {
    "+": ("Add {b} to that.", "Now add {b}.", "Plus {b}?"),
    "-": ("Subtract {b} from that.", "Now subtract {b}.", "Minus {b}?"),
    "×": ("Multiply that by {b}.", "Now multiply it by {b}.", "Times {b}?"),
}
SKILLS = {"+": "addition", "-": "subtraction", "×": "multiplication"}


def solve(op: str, a: int, b: int) -> int:
    """Return the result of an operation."""
    return {"+": a + b, "-": a - b, "×": a * b}[op]


def columns(op: str, a: int, b: int) -> list[str]:
    """Return the steps of the written method, ones first: "7 + 5 = 12"."""
    steps, carry = [], 0
    low = [*map(int, reversed(str(b)))]
    for i, digit in enumerate(map(int, reversed(str(a)))):
        other = b if op == "×" else low[i] if i < len(low) else None
        if op == "-":
            short = digit - carry < (other or 0)
            terms, value = [digit + 10 * short], digit + 10 * short
            carry_terms = f" - {carry}" if carry else ""
            shown = f"{terms[0]}{carry_terms}" + (
                f" - {other}" if other is not None else ""
            )
            value -= carry + (other or 0)
            carry = int(short)
        else:
            shown = str(digit) + (f" {op} {other}" if other is not None else "")
            shown += f" + {carry}" if carry else ""
            base = digit if other is None else solve(op, digit, other)
            value = base + carry
            carry = value // 10
        steps.append(shown if shown == str(value) else f"{shown} = {value}")
    return steps


def operation(skill: str, question: str, op: str, a: int, b: int) -> Task:
    """Return the task of one operation; longer ones show the written method."""
    answer = f"{a} {op} {b} = {solve(op, a, b)}."
    key = key_of(op, a, b)
    if max(a, b) < 10:
        # Single digits are the tables themselves: nothing follows them from a rule.
        key = key_of(op, a, b, question)
        return Task(skill, key, question, answer, f"I know that {answer[:-1]}.")
    if op == "-" and a < b:
        work = f"{b} is larger than {a}. " + ", ".join(columns(op, b, a))
        return Task(skill, key, question, answer, f"{work}.", f"{work}, so {answer}")
    longer, shorter = (a, b) if len(str(a)) >= len(str(b)) else (b, a)
    work = ", ".join(columns(op, longer, shorter))
    return Task(skill, key, question, answer, f"{work}.", f"{work}, so {answer}")


def operands(rng: random.Random, op: str) -> tuple[int, int]:
    """Return two numbers, of one to three digits."""
    if op == "×":
        a = rng.randint(2, 9) if rng.random() < 0.35 else rng.randint(10, 99)
        return a, rng.randint(2, 9)
    top = rng.choice((9, 99, 99, 99, 999))
    other = rng.choice((top, top, 9, 99))
    a, b = rng.randint(0, top), rng.randint(0, min(other, top))
    if op == "-" and rng.random() < 0.12 and max(a, b) > 9:
        return min(a, b), max(a, b)
    if op == "-" or (rng.random() < 0.5 and b <= a):
        return max(a, b), min(a, b)
    return (a, b) if rng.random() < 0.7 else (b, a)


def arithmetic(rng: random.Random, op: str) -> Task:
    """Ask for one operation."""
    a, b = operands(rng, op)
    question = rng.choice(PHRASES[op]).format(a=a, b=b)
    digits = max(len(str(a)), len(str(b)))
    return operation(f"{SKILLS[op]}, {digits} digits", question, op, a, b)


def addition(rng: random.Random) -> Task:
    """Ask for a sum."""
    return arithmetic(rng, "+")


def subtraction(rng: random.Random) -> Task:
    """Ask for a difference, now and then below zero."""
    return arithmetic(rng, "-")


def multiplication(rng: random.Random) -> Task:
    """Ask for a product with one digit."""
    return arithmetic(rng, "×")


def follow_up(rng: random.Random) -> Task:
    """Go on from a result that the conversation has."""
    first, then = rng.choice("+-×"), rng.choice("+-×")
    while True:
        a, b = operands(rng, first)
        value = solve(first, a, b)
        question = rng.choice(PHRASES[first]).format(a=a, b=b)
        start = operation("", question, first, a, b)
        if 0 <= value < 100 and not is_held_out(start.key):
            break
    c = rng.randint(2, 9) if then == "×" else rng.randint(1, max(1, min(value, 50)))
    if then == "-" and c > value:
        then = "+"
    question = rng.choice(FOLLOW_UPS[then]).format(b=c)
    task = operation("follow-up arithmetic", question, then, value, c)
    before = (user(start.question), assistant(start.reply))
    return Task(
        task.skill,
        task.key,
        question,
        task.answer,
        task.thought,
        task.worked,
        before,
    )


TOO_LARGE = "That is too much for me: I add and subtract numbers below 1000."
ONE_DIGIT = "That is too much for me: I multiply by numbers below 10."
NO_DIVISION = "I am sorry, I have not learned to divide."


def beyond(rng: random.Random) -> Task:
    """Ask for what it has not learned: long numbers, long products, division."""
    draw = rng.random()
    a, b = rng.randint(1000, 99999), rng.randint(10, 9999)
    op, answer = rng.choice("+-"), TOO_LARGE
    if draw < 0.35:
        a, b, op, answer = rng.randint(10, 999), rng.randint(10, 99), "×", ONE_DIGIT
        question = rng.choice(PHRASES[op]).format(a=a, b=b)
    elif draw < 0.65:
        a, b, op, answer = rng.randint(1, 999), rng.randint(1, 99), "/", NO_DIVISION
        phrases: tuple[str, ...] = (
            "What is {a} / {b}?",
            "{a} / {b}",
            "Divide {a} by {b}.",
        )
        phrases += ("What is {a} divided by {b}?", "{a}/{b}", "How much is {a} / {b}?")
        question = rng.choice(phrases).format(a=a, b=b)
    else:
        if rng.random() < 0.3:
            a, b = rng.randint(10, 999), rng.randint(1000, 99999)
        question = rng.choice(PHRASES[op]).format(a=a, b=b)
    key = key_of("beyond", op, a, b)
    return Task("knowing its limits", key, question, answer, "I have not learned this.")


def comparison(rng: random.Random) -> Task:
    """Ask which of two numbers is larger or smaller."""
    top = rng.choice((99, 99, 999))
    a, b = rng.sample(range(top + 1), 2)
    key = key_of("compare", a, b)
    word = rng.choice(("larger", "smaller"))
    right = (a > b) == (word == "larger")
    thought = f"{a} is {'larger' if a > b else 'smaller'} than {b}."
    if rng.random() < 0.5:
        question = f"Is {a} {word} than {b}?"
        answer = f"Yes, {a} is {word} than {b}."
        if not right:
            answer = f"No, {thought}"
        return Task("comparing numbers", key, question, answer, thought)
    phrases: tuple[str, ...] = (
        "Which is {w}, {a} or {b}?",
        "Which number is {w}: {a} or {b}?",
    )
    question = rng.choice(phrases).format(w=word, a=a, b=b)
    first, second = (a, b) if right else (b, a)
    return Task(
        "comparing numbers",
        key,
        question,
        f"{first} is {word} than {second}.",
        thought,
    )


def number_sorting(rng: random.Random) -> Task:
    """Ask to sort numbers."""
    numbers = rng.sample(range(100), rng.choice((3, 3, 4, 5)))
    down = rng.random() < 0.3
    phrases: tuple[str, ...] = (
        "Sort these numbers: {}.",
        "Sort {}.",
        "Put in order: {}.",
    )
    if down:
        phrases = (
            "Sort from largest to smallest: {}.",
            "Sort downwards: {}.",
        )
    shown = ", ".join(map(str, numbers))
    question = rng.choice(phrases).format(shown)
    answer = "In order: " + ", ".join(map(str, sorted(numbers, reverse=down)))
    least = f"The {'largest' if down else 'smallest'} comes first."
    key = key_of("sort", *sorted(numbers))
    return Task("sorting numbers", key, question, f"{answer}.", least)


def extreme(rng: random.Random) -> Task:
    """Ask for the largest or the smallest of some numbers."""
    numbers = rng.sample(range(100), rng.choice((3, 4, 5)))
    word, choose = rng.choice((("largest", max), ("smallest", min)))
    phrases: tuple[str, ...] = ("Which number is the {}: {}?", "What is the {} of {}?")
    shown = ", ".join(map(str, numbers))
    question = rng.choice(phrases).format(word, shown)
    answer = f"The {word} is {choose(numbers)}."
    key = key_of("extreme", *sorted(numbers))
    thought = f"The numbers are {shown}."
    return Task("largest and smallest", key, question, answer, thought)


def counting(rng: random.Random) -> Task:
    """Ask to count from one number to another."""
    start = rng.randint(0, 90)
    numbers = [*range(start, start + rng.randint(3, 9))]
    if rng.random() < 0.4:
        numbers.reverse()
        phrases: tuple[str, ...] = (
            "Count down from {a} to {b}.",
            "Count backwards from {a} to {b}.",
        )
    else:
        phrases = (
            "Count from {a} to {b}.",
            "Count up from {a} to {b}.",
        )
    question = rng.choice(phrases).format(a=numbers[0], b=numbers[-1])
    answer = ", ".join(map(str, numbers)) + "."
    thought = f"I start at {numbers[0]} and stop at {numbers[-1]}."
    key = key_of("count", numbers[0], numbers[-1])
    return Task("counting", key, question, answer, thought)


def parity(rng: random.Random) -> Task:
    """Ask whether a number is even or odd."""
    number = rng.randint(0, 999)
    kind = "odd" if number % 2 else "even"
    phrases: tuple[str, ...] = ("Is {} even or odd?", "Is the number {} odd or even?")
    question = rng.choice(phrases).format(number)
    thought = f"The last digit of {number} is {number % 10}."
    key = key_of("parity", number)
    return Task("even or odd", key, question, f"{number} is {kind}.", thought)
