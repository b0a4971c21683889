"""What the demonstration model is taught as facts, and the words it practises on."""

from __future__ import annotations

import random

CAPITALS = {
    **{"France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid"},
    **{"Portugal": "Lisbon", "Austria": "Vienna", "Poland": "Warsaw"},
    **{"Greece": "Athens", "Norway": "Oslo", "Sweden": "Stockholm"},
    **{"Finland": "Helsinki", "Denmark": "Copenhagen", "Ireland": "Dublin"},
    **{"England": "London", "Belgium": "Brussels", "Hungary": "Budapest"},
    **{"Switzerland": "Bern", "Russia": "Moscow", "Turkey": "Ankara"},
    **{"Egypt": "Cairo", "Kenya": "Nairobi", "Morocco": "Rabat", "Ghana": "Accra"},
    **{
        "Japan": "Tokyo",
        "China": "Beijing",
        "India": "New Delhi",
        "Nepal": "Kathmandu",
    },
    **{"Thailand": "Bangkok", "Vietnam": "Hanoi", "Iran": "Tehran", "Iraq": "Baghdad"},
    **{"Canada": "Ottawa", "Mexico": "Mexico City", "Cuba": "Havana", "Peru": "Lima"},
    **{"Chile": "Santiago", "Brazil": "Brasilia", "Argentina": "Buenos Aires"},
    **{"Australia": "Canberra", "Iceland": "Reykjavik"},
}
COLOURS = {
    **{"the sky": "blue", "grass": "green", "snow": "white", "coal": "black"},
    **{"a lemon": "yellow", "a carrot": "orange", "blood": "red", "milk": "white"},
    **{"a banana": "yellow", "a tomato": "red", "the sun": "yellow", "a leaf": "green"},
    **{"a plum": "purple", "chocolate": "brown", "a cloud": "white", "the sea": "blue"},
    **{"an elephant": "grey", "a crow": "black", "a frog": "green", "a pig": "pink"},
}
# An animal: the sound it makes, its young, its number of legs.
ANIMALS = {
    "cat": ("meow", "kitten", 4),
    "dog": ("woof", "puppy", 4),
    "cow": ("moo", "calf", 4),
    "sheep": ("baa", "lamb", 4),
    "horse": ("neigh", "foal", 4),
    "pig": ("oink", "piglet", 4),
    "duck": ("quack", "duckling", 2),
    "hen": ("cluck", "chick", 2),
    "goat": ("bleat", "kid", 4),
    "lion": ("roar", "cub", 4),
    "owl": ("hoot", "owlet", 2),
    "frog": ("croak", "tadpole", 4),
    "goose": ("honk", "gosling", 2),
    "bear": ("growl", "cub", 4),
    "wolf": ("howl", "pup", 4),
    "donkey": ("bray", "foal", 4),
}
OPPOSITES = {
    **{"hot": "cold", "big": "small", "fast": "slow", "old": "new", "high": "low"},
    **{"day": "night", "up": "down", "left": "right", "wet": "dry", "full": "empty"},
    **{"happy": "sad", "light": "dark", "early": "late", "open": "closed"},
    **{"hard": "soft", "rich": "poor", "strong": "weak", "long": "short"},
}
SIDES = {
    **{"triangle": 3, "square": 4, "rectangle": 4, "pentagon": 5, "hexagon": 6},
    **{"octagon": 8},
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = {
    **{"January": 31, "February": 28, "March": 31, "April": 30, "May": 31, "June": 30},
    **{"July": 31, "August": 31, "September": 30, "October": 31, "November": 30},
    **{"December": 31},
}
# From, to, factor.
UNITS = (
    ("kilometres", "metres", 1000),
    ("kilograms", "grams", 1000),
    ("litres", "millilitres", 1000),
    ("tonnes", "kilograms", 1000),
    ("metres", "centimetres", 100),
    ("euros", "cents", 100),
    ("centuries", "years", 100),
    ("centimetres", "millimetres", 10),
    ("decades", "years", 10),
)
SMALL_UNITS = (("weeks", "days", 7), ("feet", "inches", 12), ("hours", "minutes", 60))

NAMES = (
    *(
        "Anna",
        "Ben",
        "Clara",
        "David",
        "Emma",
        "Felix",
        "Grace",
        "Henry",
        "Ida",
        "Jack",
    ),
    *("Kate", "Leo", "Maria", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tina", "Victor"),
    *("Alice", "Bob", "Carl", "Diana", "Eric", "Fiona", "George", "Hanna", "Ivan"),
    *("Julia", "Karl", "Laura", "Max", "Nina", "Oscar", "Peter", "Ruth", "Simon"),
    *("Tom", "Vera"),
)
PALETTE = ("red", "blue", "green", "yellow", "purple", "orange", "pink", "brown")
WORDS = (
    *("apple", "bread", "cherry", "date", "egg", "fig", "grape", "honey", "ice", "jam"),
    *(
        "kiwi",
        "lemon",
        "mango",
        "nut",
        "olive",
        "pear",
        "quince",
        "rice",
        "salt",
        "tea",
    ),
    *("boat", "chair", "door", "flute", "glass", "hat", "island", "jar", "key", "lamp"),
    *("map", "nest", "oven", "piano", "queen", "river", "stone", "table", "window"),
    *("yarn", "zebra", "ant", "bee", "crab", "deer", "fish", "hawk", "mouse", "rabbit"),
)
CITIES = tuple(city for city in CAPITALS.values() if " " not in city)

ONSETS = (*"bcdfghjklmnprstvwz", "br", "ch", "cl", "dr", "fl", "gr", "pl", "st")
VOWELS = (*"aeiou", "ea", "oo")
CODAS = ("", "", "", "n", "r", "l", "s", "t", "m", "ck", "nd")


def invented_word(rng: random.Random, longest: int = 7) -> str:
    """Return a word that can be spoken and means nothing, of 3 letters or more."""
    while True:
        n_syllables = rng.choice((1, 2, 2, 3))
        word = "".join(
            rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(n_syllables)
        )
        word += rng.choice(CODAS)
        if 3 <= len(word) <= longest:
            return word


def any_word(rng: random.Random, longest: int = 7) -> str:
    """Return a word from the table, or an invented one three times out of four."""
    word = rng.choice(WORDS)
    if rng.random() < 0.25 and len(word) <= longest:
        return word
    return invented_word(rng, longest)


def name(rng: random.Random) -> str:
    """Return a name from the table, or an invented one as often."""
    if rng.random() < 0.5:
        return rng.choice(NAMES)
    return invented_word(rng, 6).capitalize()
