"""What a reply's Markdown becomes, at once and as it grows; no browser is needed."""

from __future__ import annotations

import functools
import html
import random
from typing import Any

import pytest

from tests.web.node_cases import play

# As in web/chat/blocks.js: no more than this is read again when a reply has grown.
LONGEST = 10_000

# Formulas that Markdown would damage: each must be seen as it is written.
FORMULAS = [
    r"\(x^2=2\)",
    r"\[ \int x^2\,dx \]",
    "\\[\n\\int_0^1 x^2\\,dx = \\frac{1}{3}\n\\]",
    "\\[\n- a\n= b\n> c\n# d\n1. e\n\\]",
    "$$\n\\begin{aligned}\na &= b \\\\\n&< c_1 * d_2 * e\n\\end{aligned}\n$$",
    r"$$a_1*b*c_1$$",
    "\\begin{pmatrix}\n1 & 2 \\\\\n3 & 4\n\\end{pmatrix}",
    r"$x_1 * y * z_1$",
    r"$\$0.60$",
    r"$\{a, b\}$",
    r"$2 \cdot 3$",
    r"$2*3*4$",
    r"\(a_{i}*b_{j}*c\_d\)",
    r"\(f(x) < g(x) & h\)",
    r"\(\text{a}~~b~~\)",
    r"\([a](b)\)",
    r"$<b>$",
]
# Where they may stand; `@` is the formula.
PLACES = {
    "alone": "@",
    "in a sentence": "So *here* @ is it, **there**.",
    "in a list": "- a\n- @\n- b",
    "in an ordered list": "1. @\n\n2. b",
    "in a quote": "> @\n> c",
    "in bold": "**See @ here**",
    "in a heading": "## About @",
    "in a table": "| a | b |\n|---|---|\n| @ | *c* |",
    "twice": "@ and @",
    "after emphasis that is open": "*a @ b",
}
# Text that is no mathematics, and what it becomes.
PLAIN = {
    "money": ("It costs $5 and *not* $6.", "<p>It costs $5 and <em>not</em> $6.</p>"),
    "money with a star": ("$10 *or* 10$", "<p>$10 <em>or</em> 10$</p>"),
    "a range": ("$5-$6 *each*", "<p>$5-$6 <em>each</em></p>"),
    "a space": ("a $ b *c* $ d", "<p>a $ b <em>c</em> $ d</p>"),
    "a variable": ("$HOME and *x*", "<p>$HOME and <em>x</em></p>"),
    "escaped": (r"\$5 \*a\*", "<p>$5 *a*</p>"),
    "code": (r"`\(a\)` *b*", r"<p><code>\(a\)</code> <em>b</em></p>"),
    "code with dollars": ("`$a$` $`*`", "<p><code>$a$</code> $<code>*</code></p>"),
    "code after a dollar": ("$a `b$` c", "<p>$a <code>b$</code> c</p>"),
    "a code block": (
        "```\n$$\n\\[x\\]\n$$\n```",
        "<pre><code>$$\n\\[x\\]\n$$\n</code></pre>",
    ),
    "an indented block": ("    \\[x\\]", "<pre><code>\\[x\\]\n</code></pre>"),
    "a link that is refused": ("[click](javascript:x)", "<p>click (javascript:x)</p>"),
    "a link into the page": ("[a](#b) [](c.md)", "<p>a (#b) c.md</p>"),
    "an image that is refused": (
        "![a](data:image/png;x)",
        "<p>a (data:image/png;x)</p>",
    ),
    "a link": (
        '[a](https://b.c "d")',
        '<p><a href="https://b.c" title="d">a</a></p>',
    ),
    "headings": (
        "# a\n## b\n##### c",
        "<h3>a</h3>\n<h4>b</h4>\n<h6>c</h6>",
    ),
}

NASTY = [
    "# h\n\npara *a* b\n\n- a\n- b\n\n- c\n  - d\n\n  e\n- [ ] t\n- [x] u\n\nend",
    "| a | b |\n|---|--:|\n| 1 | 2 |\n| 3 | 4 |\n| *x* | `|` |\nfoo\n\nafter",
    "foo\n| a |\n| - | - |\nbar\n\n> a\n> b\nlazy\n>\n> c\n> - d\n> - e\n>\n> f\n\n> n",
    "```py\na\n\n  b\n\n\nc\n```\ntext\n~~~\nx\n```\n~~~\n    code\n\n    more\n\nq",
    "[a] [b][c] ![c]\n\n| [a] |\n|--|\n| [c] |\n| x |\n| [c] |\n\n- [a]\n- x\n\n"
    '[a]: http://x "t"\n[c]: <http://y>\n\n[a]: http://z\n[A]: /u\n"t\nm" [c]',
    "Title\n===\n\nfoo\nbar\n---\nbaz\n***\n1. a\n2. b\n\n   c\n3) d\n10) e\n- - - x\n"
    "* * *\n- a\n***\n",
    "\\[ \\int x^2\\,dx \\]\n\ntext \\(a_b*c*\\) $x_1*y*z$ $5 and *6$*.\n\\[\n"
    "- a\n= b\n"
    "\\]\n$$\na\n$$\n| a | $x_1$ |\n|--|--|\n| \\(a\\\\b\\) | $c$ |\n",
    "<div>\n*x*\n\n</div>\n<!-- a\n\nb -->\nc <b>x</b>\n<script>\n\nx\n</script>\ny",
    "1. a\n\n   ```\n   x\n\n   y\n   ```\n2. b\n   > q\n\n   | a |\n   |---|\n"
    "   | 1 |\n"
    "3. c\nlazy\n\n\nd",
    "> > > a\n> > b\n> c\nd\n\n> # h\n> ```\n> x\n>\n> y\n> ```\n> z\n>\n"
    "> 1. a\n> 2. b\n",
    "a\r\nb\r\n\r\n- c\r\n- d\r\n\r\n```\r\ne\r\nf\r\n```",
]
ATOMS = (
    "- ,* ,1. ,2. ,10) ,> ,>,  ,    ,\n,\n,\n\n,\n"
    ",a,b c,# ,===,---,***,```,~~~,```js,|,"
    "| a | b |,|---|---|,|---|,[a],[a]: http://x,'t',[ ] ,*x*,**,_,`,\\,\\[,\\],$,$$,"
    "<div>,<!--,-->,\t, ,\\(,\\),[x](y)"
).split(",")


def made_up(n: int) -> list[str]:
    """Return texts that nobody would write, the same each time."""
    chance = random.Random(7)
    return [
        "".join(chance.choices(ATOMS, k=chance.randint(3, 24))).replace("'", '"')
        for _ in range(n)
    ]


# Replies of one kind of block, and the characters of the longest part that may grow.
GROWING: dict[str, tuple[str, int]] = {
    "paragraphs": ("It is *so*, in [some](https://a.b) words.\n\n" * 400, 60),
    "a list": ("- An item of a **list**\n" * 800, 60),
    "a list with space": ("1. An item of a list\n\n" * 800, 60),
    "a table": ("| a | b |\n|---|---|\n" + "| some | *cell* |\n" * 900, 80),
    "code": ("```python\n" + "x = compute(1, 2)\n" * 900, 60),
    "a quote": ("> Some words that were said.\n>\n" * 500, 80),
    "definitions": ("".join(f"[a{i}]: https://b.c\n" for i in range(400)), 80),
    "one line": ("word " * 3000, LONGEST + 5),
    "nested quotes": ("> > > > > a\n" * 1000, LONGEST + 20),
    "an outline": ("- a\n" + "  - b\n" * 2000, LONGEST + 10),
    "blank lines": ("\n" * 20_000, 10),
}
STEP = 25  # characters: a frame of a quick model


@functools.cache
def outcomes() -> dict[str, list[Any]]:
    """Run all cases at once in Node."""
    placed = [place.replace("@", f) for place in PLACES.values() for f in FORMULAS]
    cases = {
        "html": placed + [text for text, _ in PLAIN.values()],
        "cuts": [*NASTY, *made_up(200)],
        "growth": [{"text": text, "step": STEP} for text, _ in GROWING.values()],
    }
    return play("markdown_cases.mjs", cases)


@pytest.mark.parametrize("place", PLACES)
def test_formula_stays_as_it_is_written(place):
    first = list(PLACES).index(place) * len(FORMULAS)
    for i, formula in enumerate(FORMULAS):
        if "\n" in formula and place not in ("alone",):
            continue  # what a line's end means there is not the formula's affair
        shown = html.unescape(outcomes()["html"][first + i])
        assert shown.count(formula) == PLACES[place].count("@"), shown
        assert shown.count('class="math"') == PLACES[place].count("@"), shown


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_no_formula(name):
    i = len(PLACES) * len(FORMULAS) + list(PLAIN).index(name)
    assert outcomes()["html"][i].strip() == PLAIN[name][1]


def test_half_a_formula_is_no_emphasis():
    # As long as a formula is not closed, its line stays as it is written.
    formula = r"\(a_{1}*b*c + \frac{_x_}{2}\)"
    cut = [formula[:n] for n in range(2, len(formula) + 1)]
    shown_of = play("markdown_cases.mjs", {"html": cut, "cuts": [], "growth": []})
    for text, shown in zip(cut, shown_of["html"], strict=True):
        assert (
            html.unescape(shown).strip() == f'<p><span class="math">{text}</span></p>'
        )


def test_reply_that_grows_is_what_it_is_at_once():
    assert [found for found in outcomes()["cuts"] if found] == []


@pytest.mark.parametrize("name", GROWING)
def test_only_what_is_new_is_read(name):
    text, part = GROWING[name]
    growth = outcomes()["growth"][list(GROWING).index(name)]
    n_frames = -(-len(text) // STEP)
    # Each character is read when it comes, and twice when its part is complete; what
    # may still change is read in each frame: two parts at most, and what is new.
    assert growth["lexed"] <= 3 * len(text) + n_frames * (2 * part + STEP)
    # A frame makes the two last blocks anew, besides those that became complete.
    assert growth["made"] <= 2 * n_frames + text.count("\n") + 2
