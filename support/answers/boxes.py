r"""The boxes of a text, \boxed{42}: what the last one holds, and whether that is the answer.

Whoever boxes a part of a value, "2\boxed{5}", or denies it, "it is not \boxed{5}", has stated none.
Each pattern has an example of what it finds.
"""

import re
from dataclasses import dataclass

from support.answers.words import MAGNITUDES, UNITS

NEAR = 100  # characters around a box that are looked at

# A box, or "\boxed 42" without braces, where the group is 42; or an escaped sign, or a brace.
TOKEN = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|([^\s{}$\\]+))|\\.|[{}]", re.DOTALL)

# "\sqrt{\boxed{5}}", "2^{\boxed{5}}", "\frac{1}{\boxed{5}}": such a brace holds a part of a value.
HOLDS_A_PART = re.compile(r"(?:\\[dt]?frac|\\sqrt(?:\[[^\]]{0,9}\])?|[\^_}])\s*\Z")

# "- \boxed{5}" after a sign, or -\boxed{5} and -$\boxed{5}$ after a word: a minus. A dash behind
# words or at the start of a line, "- $\boxed{5}$", is none.
MINUS = re.compile(
    r"(?:[=({,$]\s*[-−]\s*|(?:\A|\n|[a-z]{2}\s+|:\s+)[-−](?:\\?\$)?)\Z", re.IGNORECASE
)

# "3 + \boxed{5}", "\pm\boxed{5}", "x > \boxed{5}", "is not \boxed{5}".
NO_ANSWER_BEFORE = re.compile(
    r"\d\Z|(?:\S\s*[+×·÷≠≤≥±∓^]|[\w)}]\s*[*/]|\w\s+[<>]|(?:[\d)}]|\b[a-z])\s*[-−]|\w[-−]"
    r"|\\(?:pm|mp|times|cdot|div|neq?|not|leq?|geq?|lt|gt)(?![a-z])"
    r"|(?:\b(?:can)?not|n['’]t)(?: (?:be|equal|equal to))?|\bat (?:most|least)"
    r"|\b(?:less|more|greater|fewer|rather) than|\binstead of)[ \t$]*(?:\\\$)?\Z",
    re.IGNORECASE,
)

# "\boxed{5}x + 3", "\boxed{36}\pi", "\boxed{5}^2", "\boxed{5}?".
NO_ANSWER_BEHIND = re.compile(
    r"\s*(?:\^|[+×·÷/]\s*[\d(\\]|[-−]\s?[\d(]|\\(?:pi|cdot|times|div|sqrt|[dt]?frac|pm)(?![a-z])"
    r"|[\s$.]*\?)|[xyznkπ](?![a-zA-Z])"
)

# "\boxed{5} million"
MAGNITUDE = re.compile(rf"[\s$]*({'|'.join(MAGNITUDES)})\b")

# What is no more than a space between boxes: "\quad", "$"; and "\text{ and }", which is its group.
SPACE = re.compile(r"\\(?:q?quad\b|[,;:! ()\[\]])|[\s$~]|\\text\s*\{([^{}]*)\}")

# "\boxed{3} or $x_2 = \boxed{5}$": what stands between boxes that are one answer, a list.
JOINT = re.compile(r"[,;]? ?(?:and|or)? ?(?:[a-zA-Z](?:_\{?\w\}?)? ?=)?")

# "\boxed{5}:\boxed{2}" and "\boxed{5}, or perhaps \boxed{6}": neither a list nor the last alone.
HEDGE = re.compile(rf"[:/]|(?:{'|'.join(map(re.escape, UNITS))})|,? ?(?:[a-z]+ or|or [a-z]+)")


@dataclass
class Box:
    """A box, from its backslash to its brace."""

    start: int
    end: int = 0  # 0: it was never closed
    content: str = ""
    is_part: bool = False  # of a larger value: \sqrt{\boxed{5}}


def boxes_of(text: str) -> list[Box]:
    r"""The boxes in order. A box around another one is left out: \boxed{x = \boxed{5}} is one of 5.

    >>> [box.content for box in boxes_of(r"\boxed{\{1, 2\}}, \boxed 3 and \fbox{\boxed{x_{4}}}")]
    ['\\{1, 2\\}', '3', 'x_{4}']
    """
    found: list[Box] = []
    braces: list[Box | None] = []  # those that are open; None is one of no box
    for token in TOKEN.finditer(text):
        if token[1]:
            found.append(Box(token.start(), token.end(), token[1].rstrip(".,")))
        elif token[0] == "}" and braces:
            box = braces.pop()
            if box and not (found and found[-1].start > box.start):
                box.content = text[box.start : token.start()].partition("{")[2].strip()
                box.end = token.end()
                found.append(box)
        elif token[0] == "{":
            braces.append(None)
        elif len(token[0]) > 2:  # \boxed{
            braces.append(Box(token.start()))
    found += [box for box in braces if box]
    for box in found:
        before = text[max(0, box.start - NEAR) : box.start]
        if before.endswith("{"):
            box.is_part = HOLDS_A_PART.search(before[:-1]) is not None
    return sorted(found, key=lambda box: box.start)


def boxed_answer(text: str, boxes: list[Box]) -> str:
    r"""What stands in the last box that is filled, and in those that are joined to it.

    A box that was never closed gives "", for then the text was cut off; so does one that is a part
    of a value, and one that is denied.

    >>> text = r"$x = \boxed{3}$ or $x = -\boxed{5}$"
    >>> boxed_answer(text, boxes_of(text))
    '3, -5'
    """
    found: list[str] = []
    start = len(text)  # of the box behind
    for box in reversed(boxes):
        if not box.end:
            return ""
        if box.content in ("", "?"):
            continue
        if found:
            between = plain(text[box.end : start])
            if HEDGE.fullmatch(between):
                return ""
            if not JOINT.fullmatch(between):
                break
        value, start = value_and_start(text, box)
        if not value:
            return ""
        found.insert(0, value)
    if len(set(found)) == 1:  # stated twice
        return found[0]
    return ", ".join(found)


def value_and_start(text: str, box: Box) -> tuple[str, int]:
    r"""What a box says, with a minus and a magnitude around it, and where that begins; "" for no
    answer."""
    before = text[max(0, box.start - NEAR) : box.start]
    behind = text[box.end : box.end + NEAR]
    minus = MINUS.search(before)
    is_denied = not minus and NO_ANSWER_BEFORE.search(before)
    if box.is_part or is_denied or NO_ANSWER_BEHIND.match(behind):
        return "", box.start
    magnitude = MAGNITUDE.match(behind)
    value = f"{box.content} {magnitude[1]}" if magnitude else box.content
    if not minus:
        return value, box.start
    sign = max(before.rfind("-"), before.rfind("−"))
    return "-" + value, box.start - len(before) + sign


def plain(between: str) -> str:
    """The words between two boxes, as far as these are near each other."""
    if len(between) > NEAR:
        return "..."
    words = SPACE.sub(lambda space: f" {space[1] or ''} ", between)
    return " ".join(words.split())
