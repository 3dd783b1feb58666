r"""Brackets and lists: the tokens of an answer as nested parts, and the cutting of a level.

Called by grammar.py and quantities.py.
"""

from dataclasses import dataclass
from typing import Any

from support.answers.tokens import Token, Unread

MAX_DEPTH = 40  # nested brackets

# ---------------------------------------------------------------- brackets

CLOSING = {
    "(": (")", "]"),
    "[": ("]", ")"),
    "{": ("}",),
    "\\{": ("\\}",),
    "\\lfloor": ("\\rfloor",),
    "\\lceil": ("\\rceil",),
} | {
    f"\\begin{{{name}}}": (f"\\end{{{name}}}",)
    for name in "matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix array smallmatrix".split()
}
BAR = "\\mid"


@dataclass(frozen=True)
class Group:
    """What stands between two brackets; it is a part of an answer, as a Token is."""

    opening: str
    closing: str
    parts: tuple["Part", ...]
    spaced: bool = False
    kind: str = "group"
    word: str = ""  # as of a Token: it is none

    @property
    def text(self) -> str:
        return self.opening


Part = Token | Group


def nest(tokens: list[Token]) -> list[Part]:
    """The tokens, with everything between two brackets made a Group."""
    levels: list[tuple[Token | None, list[Part]]] = [(None, [])]
    for token in tokens:
        opening, parts = levels[-1]
        is_sign = token.kind == "sign"
        if is_sign and opening and closes(opening, token, parts):
            levels.pop()
            group = Group(opening.text, token.text, tuple(parts), opening.spaced)
            levels[-1][1].append(group)
        elif is_sign and (token.text in CLOSING or opens_a_bar(token, levels)):
            if len(levels) > MAX_DEPTH:
                raise Unread("nested too deep")
            levels.append((token, []))
        else:
            parts.append(token)
    if len(levels) > 1:
        raise Unread("a bracket is not closed")
    return levels[0][1]


def closes(opening: Token, token: Token, parts: list[Part]) -> bool:
    if opening.text == BAR:
        return token.text == BAR and bool(parts) and not is_operator(parts[-1])
    return token.text in CLOSING[opening.text]


def opens_a_bar(token: Token, levels: list[tuple[Token | None, list[Part]]]) -> bool:
    r"""|x| is a size; the bar of \{x | x > 3\} is not opened."""
    opening, parts = levels[-1]
    if token.text != BAR:
        return False
    is_set_builder = bool(opening and opening.text == "\\{" and parts)
    return not is_set_builder


def is_operator(part: Part) -> bool:
    return part.kind == "sign" and part.text in {*"+-*/^±=<>≤≥", "\\frac"}


# ---------------------------------------------------------------- cutting a level


def cut(parts: list[Part], signs: str | set[str]) -> tuple[list[list[Part]], list[str]]:
    """The parts between signs, and these signs."""
    pieces: list[list[Part]] = [[]]
    found = []
    for part in parts:
        if part.kind in ("sign", "break") and part.text in signs:
            found.append(part.text)
            pieces.append([])
        else:
            pieces[-1].append(part)
    return pieces, found


SEPARATORS = {",", "and", "or", "\n"}


def cut_list(parts: list[Part]) -> tuple[list[list[Part]], set[str]]:
    r"""The items of a list, and what separates them; "2, 3, and 5" has two signs in one place."""
    pieces, signs = cut(parts, SEPARATORS)
    items = [pieces[0]]
    separator = ""
    for sign, piece in zip(signs, pieces[1:], strict=True):
        separator += sign
        if not piece:
            continue
        if separator.count(",") > 1:
            raise Unread("two commas without a value between them")
        items.append(piece)
        separator = ""
    if separator.strip("\n") or not items[0]:
        raise Unread("a list that begins or ends with a comma")
    return items, set(signs)


def count(parts: list[Part], signs: str) -> int:
    """How often one of the signs stands in the parts, in brackets too, but not those of a set."""
    found = 0
    for part in parts:
        if not isinstance(part, Group):
            found += part.text in signs
        elif part.opening != "\\{":
            found += count(list(part.parts), signs)
    return found


def replaced(parts: list[Part], old: str, new: str) -> list[Part]:
    """The parts with another sign, in brackets too, but not in those of a set."""
    found: list[Part] = []
    for part in parts:
        if isinstance(part, Group) and part.opening != "\\{":
            inner = tuple(replaced(list(part.parts), old, new))
            found.append(Group(part.opening, part.closing, inner, part.spaced))
        elif part.text == old:
            found.append(Token("sign", new, part.spaced))
        else:
            found.append(part)
    return found


# ---------------------------------------------------------------- a place in a level


@dataclass
class Cursor:
    """A place in the parts of an expression."""

    parts: list[Part]
    position: int = 0

    def peek(self, ahead: int = 0) -> Any:
        place = self.position + ahead
        return self.parts[place] if 0 <= place < len(self.parts) else END

    def take(self) -> Any:
        part = self.peek()
        self.position += 1
        return part

    def back(self) -> None:
        self.position -= 1

    def rest(self) -> list[Part]:
        return self.parts[self.position :]

    def word(self, ahead: int = 0) -> str:
        """The next word in lower case; empty if something else is next."""
        return str(self.peek(ahead).word)

    def next_is(self, *signs: str) -> bool:
        part = self.peek()
        return part.kind == "sign" and part.text in signs

    def starts_a_factor(self) -> bool:
        r"""Whether a product goes on without a sign: 2x, 2(3), 2\sqrt3, 3!5!; not 1 2 or 1{0}."""
        part = self.peek()
        if part.kind == "number":
            return self.peek(-1).text == "!" and self.peek(1).text == "!"
        if isinstance(part, Group):
            is_number = part.text == "{" and bool(part.parts) and part.parts[0].kind == "number"
            return not is_number
        if part.kind in ("letter", "function"):
            return True
        return part.text in ("π", "\\frac", "\\binom") and part.kind == "sign"

    def are_numbers(self, *places: int) -> bool:
        r"""Whether the two arguments of a \frac are plain numbers."""
        return all(is_plain_number(self.peek(place)) for place in places)

    def is_plain_fraction(self) -> bool:
        """Whether 2/3 follows after a space."""
        top, sign, bottom = (self.peek(place) for place in range(3))
        return (
            top.kind == "number"
            and top.spaced
            and sign.text == "/"
            and bottom.kind == "number"
            and top.text.isdigit()
            and bottom.text.isdigit()
        )


END = Token("end", "")


def is_plain_number(part: Part) -> bool:
    if isinstance(part, Group):
        return len(part.parts) == 1 and is_plain_number(part.parts[0])
    return part.kind == "number" and part.text.isdigit()
