r"""From the text of an answer to its tokens: one spelling for what looks alike.

    3\tfrac12\text{ cups}   becomes   3  \frac  1  2  cups
    2cosx                   becomes   2  \cos  x

Letters become words, functions or single variables here; no character is dropped but what the
table LAYOUT lists. What is not known is a token of its own, which the grammar refuses. Called by
grammar.py (read) and checker.py (spelling).
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from support.answers import words
from support.answers.words import FUNCTIONS, GREEK, GREEK_LETTERS, LAYOUT, SIGNS, TEXT


class Unread(ValueError):
    """An answer, or a part of it, that is not understood or would take too much work."""


@dataclass(frozen=True)
class Token:
    """A piece of an answer.

    kind   "number", "letter", "function", "word", "sign", or "break" between two lines
    text   the number in digits, the letter, the word in lower case, or a sign of the table SIGNS
    spaced whether a space stands before it
    """

    kind: str
    text: str
    spaced: bool = False


# ---------------------------------------------------------------- one alphabet

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
RESPELLED: list[tuple[str, Any]] = [
    # Unicode: 3½, x², 101₂, ∛8 and 5㎡.
    ("[¼-¾⅐-⅞]", lambda m: vulgar_fraction(m[0])),
    ("([㎜-㎞])([²³])", r"\1^\2"),
    ("㎡|㎥|㎢", lambda m: {"㎡": r"\text{m}^2", "㎥": r"\text{m}^3", "㎢": r"\text{km}^2"}[m[0]]),
    ("[⁰¹²³⁴-⁹⁺⁻ⁿ]+", lambda m: "^{" + m[0].translate(SUPERSCRIPTS) + "}"),
    ("[₀-₉]+", lambda m: "_{" + m[0].translate(SUBSCRIPTS) + "}"),
    ("√([0-9]+)", r"\\sqrt{\1}"),
    ("([∛∜])([0-9]+)", r"\1{\2}"),
    ("∛", r"\\sqrt[3]"),
    ("∜", r"\\sqrt[4]"),
    ("℃", "°"),
    (r"\\mathbb\s*\{?\s*R\s*\}?|ℝ", "(-∞,∞)"),
    # Words with full stops: 4:30 p.m., Rs. 20, 12 sq. units, 12 ft. long.
    (r"\b([aApP])\.?\s?[mM]\.(?![A-Za-z])", r"\1m"),
    (r"\b(Rs|sq|cu|approx|ft|in|oz|lbs?|cm|mi|yd|hrs?|mins?|secs?)\.(?=\s|$)", r"\1 "),
    # 12^{\text{th}} is 12th; 30^\circ and 30^{\circ} are 30°, and 20°C too.
    (r"(?<=[0-9])\s*\^\s*\{?\s*(?:\\text\s*\{)?\s*(st|nd|rd|th)\b\s*\}{0,2}", r"\1"),
    (r"\^\s*\{?\s*\\circ(?![A-Za-z])\s*\}?", "°"),
    (r"°\s*[CF](?![A-Za-z])", "°"),
    # What stands around an answer: **73**, '73' and "73." are 73.
    (r"^[\s*'\"`“”‘’\u200b\ufeff]+|[\s*'\"`“”‘’\u200b\ufeff]+$", ""),
]


def vulgar_fraction(character: str) -> str:
    value = Fraction(unicodedata.numeric(character)).limit_denominator(100)
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def respelled(text: str) -> str:
    for pattern, replacement in RESPELLED:
        text = re.sub(pattern, replacement, text)
    return unicodedata.normalize("NFKC", text)


# ---------------------------------------------------------------- pieces

# A comma of thousands: 1,234 but also 1{,}234, 1,\!234 and 1\,234; a plain space never joins.
TEX_COMMA = r"(?:,?\s*\\!\s*|\s*\{\s*,\s*\}\s*|\\,)"
PIECES = re.compile(
    rf"""
    (?P<code>   [0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} | 0[0-9]{{3,}} )       # 2021-03-04, 0160
  | (?P<repeat> [0-9]*\.[0-9]*\\(?:overline|bar|dot)\s*\{{?[0-9]+\}}?
                (?:[0-9]*\\dot\s*\{{?[0-9]\}}?)? )                     # 0.1\overline{{6}}
  | (?P<number> [0-9]{{1,3}}(?:(?:,|{TEX_COMMA})[0-9]{{3}})+(?![0-9])(?:\.[0-9]+)?
              | (?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+(?![0-9A-Za-z.]))? )
  | (?P<color>  {words.COLOR} )
  | (?P<text>   {TEXT}\s*\{{(?P<inside>[^{{}}]*)\}} )
  | (?P<bounds> \\(?:begin|end)\s*\{{[A-Za-z]+\*?\}} )                    # of a matrix
  | (?P<nobracket> \\(?:left|right)\s*\. )
  | (?P<line>   \\\\(?:\s*\[[^\]]*\])? | \n | \\q?quad(?![A-Za-z]) )
  | (?P<space>  [^\S\n]+ | ~ | \\[ ] | \$ | \\[()\[\]] )
  | (?P<command> \\[A-Za-z]+ | \\. )
  | (?P<letters> [A-Za-z]+ )
  | (?P<sign>   [<>!]= | \*\* | \S )
    """,
    re.VERBOSE | re.DOTALL,
)
PAIR = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")  # (1,200) is a pair; outside brackets 1,200 is one
COLUMNS = re.compile(r"(\\begin\s*\{array\})\s*\{[clr| ]*\}")


def tokenize(text: str) -> list[Token]:
    """The tokens of an answer; of nothing but layout there are none."""
    tokens: list[Token] = []
    text = COLUMNS.sub(r"\1", respelled(text))
    for token in pieces(text, in_text=False, before=tokens):
        tokens.append(token)
    while tokens and (tokens[-1].kind == "break" or tokens[-1].text in ".,;:"):
        tokens.pop()
    return tokens


def pieces(text: str, in_text: bool, before: list[Token]) -> Iterator[Token]:
    """The tokens of a part of an answer; `before` are those in front of it, as they grow."""
    spaced = in_text
    depth = 0
    position = 0
    while position < len(text):
        found = PIECES.match(text, position)
        assert found  # whatever a text holds is at least a sign or a space
        kind = found.lastgroup
        piece = found[0]
        position = found.end()
        if kind == "number" and depth and PAIR.match(piece):
            piece = piece.partition(",")[0]
            position = found.start() + len(piece)
        if kind in ("space", "nobracket", "color"):
            spaced = True
            continue
        if kind == "line":
            yield Token("break", "\n")
            spaced = True
            continue
        if kind in ("text", "inside"):
            yield from pieces(found["inside"], in_text=True, before=before)
            spaced = found["inside"].endswith(" ")
            continue
        if kind == "letters":
            yield from read_letters(piece, in_text, spaced, before)
        elif kind == "command" and piece in LAYOUT:
            spaced = spaced or piece != "\\!"
            continue
        else:
            depth += brackets(piece)
            if len(piece) == 2 and piece.isdigit() and before and is_before_two(before[-1]):
                yield Token("number", piece[0])  # \frac12
                piece = piece[1]
            yield Token(*single(str(kind), piece), spaced)
        spaced = False


def is_before_two(token: Token) -> bool:
    r"""Whether two arguments follow: TeX takes the two digits of \frac12 apart."""
    return token.text in ("\\frac", "\\binom")


def brackets(piece: str) -> int:
    """How many brackets a piece opens (1), closes (-1) or neither (0)."""
    return (piece in "([" or piece == "\\{") - (piece in ")]" or piece == "\\}")


def single(kind: str, piece: str) -> tuple[str, str]:
    """The kind and the text of a piece that is one token."""
    if kind == "number":
        return "number", re.sub(rf"{TEX_COMMA}|,", "", piece)
    if kind == "repeat":
        return "repeat", piece
    if kind == "code":
        return "code", piece
    if kind == "bounds":
        return "sign", re.sub(r"\s", "", piece)
    piece = SIGNS.get(piece, piece)
    if piece in GREEK:
        return "letter", piece
    if piece in GREEK_LETTERS:
        return "letter", GREEK_LETTERS[piece]
    if piece in FUNCTIONS.values() and piece not in ("π", "∞"):
        return "function", piece
    if piece in words.UNITS and piece not in "%°$":
        return "word", piece
    if piece == "\\$":
        return "word", "$"
    return "sign", piece


# ---------------------------------------------------------------- letters


def read_letters(letters: str, in_text: bool, spaced: bool, before: list[Token]) -> Iterator[Token]:
    """Letters as a word, as a function or as variables, by what stands before them."""
    last = before[-1] if before else None
    is_glued = last is not None and not spaced and ends_a_value(last)
    lower = letters.lower()
    if is_glued and is_glued_unit(letters, last):
        yield Token("word", letters, False)
    elif in_text and (len(letters) > 1 or is_unit_letter(letters, last)):
        yield word(letters, spaced)
    elif letters in FUNCTIONS:
        yield function(letters, spaced)
    elif not is_glued and lower in words.SEPARATORS:
        yield Token("sign", lower, spaced)
    elif not is_glued and can_precede_a_word(last) and words.is_word(letters):
        if words.GLUED_FUNCTION.fullmatch(letters):
            yield from variables(letters, spaced)
        else:
            yield word(letters, spaced)
    else:
        yield from variables(letters, spaced)


def word(letters: str, spaced: bool) -> Token:
    """A word, or what a word stands for: sin, and, minus, seven."""
    lower = letters.lower()
    if letters in FUNCTIONS:
        return function(letters, spaced)
    if lower in words.SEPARATORS:
        return Token("sign", lower, spaced)
    if lower in words.SIGN_WORDS:
        return Token("sign", words.SIGN_WORDS[lower], spaced)
    return Token("word", letters, spaced)


def function(letters: str, spaced: bool) -> Token:
    name = FUNCTIONS[letters]
    return Token("sign" if name in "π∞" else "function", name, spaced)


def variables(letters: str, spaced: bool) -> Iterator[Token]:
    """2cosx: its function and its variable; abc: three variables."""
    if words.GLUED_FUNCTION.fullmatch(letters):
        parts = words.FUNCTION_NAMES.findall(letters)
    else:
        parts = list(letters)
    for part in parts:
        if part in FUNCTIONS:
            yield function(part, spaced)
        else:
            yield Token("letter", part, spaced)
        spaced = False


def ends_a_value(token: Token) -> bool:
    return token.kind in ("number", "repeat", "letter") or token.text in (")", "}", "]", "π", "!")


def can_precede_a_word(token: Token | None) -> bool:
    """Not an operator or an opening brace: in \frac{abe}{2} the letters are variables."""
    if token is None or token.kind != "sign":
        return True
    return token.text not in {*"+-*/^_{±∓", "\\frac", "\\sqrt"}


def is_glued_unit(letters: str, last: Token | None) -> bool:
    """5cm and 12th; but 5in and 5m are products, as in LaTeX."""
    is_after_number = last is not None and last.kind in ("number", "repeat")
    return is_after_number and len(letters) > 1 and letters in words.UNITS and letters != "in"


def is_unit_letter(letter: str, last: Token | None) -> bool:
    r"""5\text{ m}: a unit; 3+2\text{i}: the imaginary unit."""
    return letter in words.ONE_LETTER_UNITS and last is not None and ends_a_value(last)


def spelling(text: str) -> tuple[str, ...]:
    """What answers are compared by that cannot be read: their tokens, words in lower case."""
    tokens = tokenize(text)
    return tuple(token.text.lower() if token.kind == "word" else token.text for token in tokens)
