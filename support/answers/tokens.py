r"""From the text of an answer to its tokens: one spelling for what looks alike.

    3\tfrac12\text{ cups}   becomes   3  \frac  1  2  cups
    2cosx                   becomes   2  \cos  x

Letters become words, functions or single variables here. What is left out is listed: layout, the
$ around formulas, quotes and asterisks around an answer, a full stop after it. What is not known
is a token of its own, which the grammar refuses.

Called by grammar.py (tokenize) and checker.py (spelling).
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

    kind   "number", "letter", "function", "word", "sign", "break" between two lines; "repeat", a
           repeating decimal; "code", what is neither: 2021-03-04, 0160 and sinab
    text   the number in digits, the letter, the word as it is written, or the sign
    spaced whether a space stands before it
    """

    kind: str
    text: str
    spaced: bool = False

    @property
    def word(self) -> str:
        """The word in lower case; empty for what is no word."""
        return self.text.lower() if self.kind == "word" else ""


# ---------------------------------------------------------------- one alphabet

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
RESPELLED: list[tuple[str, Any]] = [
    (r"[^\S\n]+", " "),
    # Unicode: 3½, x², 101₂, ∛8 and 5㎡.
    ("[¼-¾⅐-⅞]", lambda m: vulgar_fraction(m[0])),
    ("([㎜-㎞])([²³])", r"\1^\2"),
    ("㎡|㎥|㎢", lambda m: {"㎡": r"\text{m}^2", "㎥": r"\text{m}^3", "㎢": r"\text{km}^2"}[m[0]]),
    ("[⁰¹²³⁴-⁹⁺⁻ⁿ]+", lambda m: "^{" + m[0].translate(SUPERSCRIPTS) + "}"),
    ("[₀-₉]+", lambda m: "_{" + m[0].translate(SUBSCRIPTS) + "}"),
    ("([√∛∜])([0-9]+)", r"\1{\2}"),
    ("∛", r"\\sqrt[3]"),
    ("∜", r"\\sqrt[4]"),
    (r"\\mathbb ?\{? ?R ?\}?|ℝ", "(-∞,∞)"),
    # Words with full stops: 4:30 p.m., Rs. 20, 12 sq. units, 12 ft. long.
    (r"\b([aApP])\.? ?[mM]\.(?![A-Za-z])", r"\1m"),
    (r"(?<=:[0-5][0-9])([aApP][mM])\b", r" \1"),  # 4:30pm
    # 5:00 PM is 5 PM, and 5:00 is 5.
    (r"^([0-9]{1,2}):00(?= ?(?:\\(?:text|mathrm) ?\{ ?)?(?:[aApP][mM])? ?\}?$)", r"\1"),
    (r"\bUS ?(?=\\?\$)", ""),  # US$5
    (r"\\pmod ?([0-9]+)", r"\\pmod{\1}"),
    (r"(?<=[0-9]) (mm|cm|m|km|ft)([23])\b", r" \\text{\1}^\2"),  # 12 cm2
    (r"\b(Rs|sq|cu|approx|ft|in|oz|lbs?|cm|mi|yd|hrs?|mins?|secs?)\.(?=\s|$)", r"\1 "),
    # 18 dollars a day are 18 dollars per day.
    (r" an? (?=(?:second|minute|hour|day|week|month|year|piece|pound|gallon|mile)\b)", " per "),
    # 12^{\text{th}} is 12th; 30^\circ and 30^{\circ} are 30°, and 20°C is 20° Celsius.
    (r"(?<=[0-9])\^ ?\{? ?(?:\\(?:text|mathrm) ?\{ ?(st|nd|rd|th) ?\}|\{?(th)) ?\}?", r"\1\2"),
    (r"\^ ?\{? ?\\circ(?![A-Za-z]) ?\}?|º|(?<=[0-9])\^ ?(?:o(?![A-Za-z])|\{ ?o ?\})", "°"),
    ("℃", "°C"),
    (r"° ?\\(?:text|mathrm) ?\{ ?([CF]) ?\}", r"°\1"),
    (r"° ?([CF])(?![A-Za-z])", lambda m: {"C": "° Celsius", "F": "° Fahrenheit"}[m[1]]),
    # Units of one letter at the end, after a space: 5 m, 144 m^3, 9.8 m/s^2.
    (r"(?<=[0-9]) ([mgshL])(?=(?:\^\{?[23]\}?)?(?:/[a-z]+(?:\^\{?2\}?)?)?[ .$]*$)", r"\\text{ \1}"),
    # 60\frac{\text{km}}{\text{h}} is 60 km per h.
    (
        r"(?<=[0-9]) ?\\[dt]?frac ?\{ ?\\(?:text|mathrm) ?\{([a-z ]+)\} ?\}"
        r" ?\{ ?\\(?:text|mathrm) ?\{([a-z ]+)\} ?\}",
        r"\\text{ \1 per \2}",
    ),
    (r"\{ ?([^{}]+?) ?\\choose ?([^{}]+?) ?\}", r"\\binom{\1}{\2}"),
    (r"^([^{}]+?) ?\\choose ?([^{}]+)$", r"\\binom{\1}{\2}"),
    (r"\+ ?/ ?[-−–]", "±"),
    ("(?<=[0-9]) ?x ?(?=10 ?\\^)", "*"),  # 6.02 x 10^23
    # Nouns that are not of small letters alone: 12 T-shirts, 12 children's books, 12 TVs.
    (
        r"(?<=[0-9]) ([A-Za-z]+(?:-[A-Za-z]{3,}|['’]s)|[A-Z]{2,3}s)(?=\.?$|,? )",
        lambda m: joined(m[1]),
    ),
    # What stands around an answer: **73**, '73' and "73" are 73.
    (r"^(?:[\s*\u200b\ufeff]|\\ )+|[\s*\u200b\ufeff\\]+$", ""),
    (r"""(?s)^(?:'(.*)'|"(.*)"|`(.*)`|“(.*)”|‘(.*)’)$""", lambda m: m[m.lastindex]),
    ("(?<=[a-z]{3}s)['’](?= [a-z]{2})|(?<=[a-z]{2})['’](?=s [a-z]{2})", ""),  # the farmers' market
]

# 2e-3 is 0.002, but in e^2 - 2e - 3 and \frac{2e-1}{3} e is Euler's number.
EULER = re.compile(r"e ?\^|\{[^{}]*[0-9]e[-+]?[0-9]")


def vulgar_fraction(character: str) -> str:
    value = Fraction(unicodedata.numeric(character)).limit_denominator(100)
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def joined(spelling: str) -> str:
    """A counted noun in one word, as "12 Tshirts"; not where a piece of it changes the number, as
    in "5 twenty-fifths"."""
    pieces = re.split("[-'’]", spelling)
    if any(words.changes_a_value(piece.lower()) for piece in pieces):
        return " " + spelling
    return f"\\text{{ {''.join(pieces)}}}"


def respelled(text: str) -> str:
    for pattern, replacement in RESPELLED:
        text = re.sub(pattern, replacement, text)
    if EULER.search(text):
        text = re.sub("(?<=[0-9])e(?=[-+]?[0-9])", " e ", text)
    return "".join(compatible(character) for character in text)


def compatible(character: str) -> str:
    """The plain form of wide and similar letters; but 2ᵏ is not 2k."""
    is_raised = unicodedata.decomposition(character).startswith(("<super>", "<sub>"))
    return character if is_raised else unicodedata.normalize("NFKC", character)


# ---------------------------------------------------------------- pieces

# A comma of thousands: 1{,}234, 1,\!234 and 1\,234; a plain space never joins.
TEX_COMMA = r"(?:,?\s*\\!\s*|\s*\{\s*,\s*\}\s*|\\,)"
PIECES = rf"""
    (?P<code>     [0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} | 0[0-9]{{3,}} )    # 2021-03-04, 0160
  | (?P<repeat>   [0-9]*\.[0-9]*\\(?:overline|bar|dot)\s*(?:\{{[0-9]+\}}|[0-9](?![0-9]))
                  (?:[0-9]*\\dot\s*\{{?[0-9]\}}?)? )                   # 0.1\overline{{6}}
  | (?P<number>   [0-9]{{1,3}}(?:COMMA[0-9]{{3}})+(?![0-9])(?:\.[0-9]+)?
                | (?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)
                  (?:[eE](?:-?[0-9]+|\+[0-9]{{2,}})(?![0-9A-Za-z.]))? )
  | (?P<text>     {TEXT}\s*\{{[^{{}}]*\}} )
  | (?P<bounds>   \\(?:begin|end)\s*\{{[A-Za-z]+\*?\}} )               # of a matrix
  | (?P<break>    \\\\(?:\s*\[[^\]]*\])? | \n | \\q?quad(?![A-Za-z]) )
  | (?P<space>    [^\S\n]+ | ~ | \\[ ] | \$ | \\[()\[\]] | {words.COLOR} | \\(?:left|right)\s*\. )
  | (?P<nothing>  \\! )
  | (?P<letters>  [A-Za-z]+ )
  | (?P<sign>     \\[A-Za-z]+ | \\. | [<>!]= | \*\* | \S )
"""
# Inside brackets a plain comma is none of thousands: (1,200) is a pair.
OUTSIDE = re.compile(PIECES.replace("COMMA", f"(?:,|{TEX_COMMA})"), re.VERBOSE | re.DOTALL)
INSIDE = re.compile(PIECES.replace("COMMA", TEX_COMMA), re.VERBOSE | re.DOTALL)
COLUMNS = re.compile(r"(\\begin\s*\{array\})\s*\{[clr| ]*\}")


def tokenize(text: str) -> list[Token]:
    """The tokens of an answer; of nothing but layout there are none."""
    tokens: list[Token] = []
    add_tokens(tokens, COLUMNS.sub(r"\1", respelled(text)), in_text=False)
    return without_punctuation(tokens)


def without_punctuation(tokens: list[Token]) -> list[Token]:
    """Without a full stop or comma at the end; "1, 3, 5, ..." goes on, and is left as it is."""
    while tokens and tokens[-1].kind == "break":
        tokens.pop()
    ends = [token.text for token in tokens[-2:]]
    if ends and ends[-1] in ".,;:" and ends != [".", "."]:
        tokens.pop()
    return tokens


def scan(text: str) -> Iterator[tuple[str, str]]:
    """The pieces of a text, each with the name of its pattern."""
    depth = 0
    position = 0
    while position < len(text):
        found = (INSIDE if depth > 0 else OUTSIDE).match(text, position)
        assert found and found.lastgroup  # whatever stands in a text is at least a sign or a space
        piece = found[0]
        depth += piece in ("(", "[", "\\{", "\\lbrace", "\\langle")
        depth -= piece in (")", "]", "\\}", "\\rbrace", "\\rangle")
        position = found.end()
        yield found.lastgroup, piece


def add_tokens(tokens: list[Token], text: str, in_text: bool) -> None:
    r"""Add the tokens of a part of an answer to those in front of it; in_text: it is in \text{}."""
    spaced = in_text
    for kind, piece in scan(text):
        if piece in LAYOUT or kind == "nothing":
            continue
        if kind == "space" or piece in words.SPACES:
            spaced = True
        elif kind == "text":
            inside = piece.partition("{")[2][:-1]
            add_tokens(tokens, inside, in_text=True)
            spaced = inside.endswith(" ")
        else:
            last = tokens[-1] if tokens else None
            if kind == "letters":
                tokens.extend(read_letters(piece, in_text, spaced, last))
            else:
                tokens.extend(plain_tokens(kind, piece, spaced, last))
            spaced = kind == "break"


def plain_tokens(kind: str, piece: str, spaced: bool, last: Token | None) -> list[Token]:
    r"""A number or a sign; TeX takes the two digits of \frac12 apart."""
    if kind == "sign":
        return [sign(piece, spaced)]
    if kind == "break":
        return [Token("break", "\n")]
    if kind == "bounds":
        return [Token("sign", re.sub(r"\s", "", piece), spaced)]
    is_behind_frac = last is not None and last.text in ("\\frac", "\\binom")
    if is_behind_frac and len(piece) == 2 and piece.isdigit():
        return [Token("number", piece[0], spaced), Token("number", piece[1])]
    if kind == "number":
        return [Token("number", re.sub(rf"{TEX_COMMA}|,", "", piece), spaced)]
    return [Token(kind, piece, spaced)]


def sign(piece: str, spaced: bool) -> Token:
    """A sign or a command, under the name that the tables give it."""
    name = SIGNS.get(piece, piece)
    if name in GREEK or name in GREEK_LETTERS:
        return Token("letter", GREEK_LETTERS.get(name, name), spaced)
    if name in words.UNITS and name not in "%°":
        return Token("word", name, spaced)
    is_function = name in FUNCTIONS.values() and name not in "π∞"
    return Token("function" if is_function else "sign", name, spaced)


# ---------------------------------------------------------------- letters


def read_letters(letters: str, in_text: bool, spaced: bool, last: Token | None) -> list[Token]:
    """Letters as a word, as a function or as variables, by the token before them."""
    is_glued = last is not None and not spaced and ends_a_value(last)
    is_word = words.is_word(letters)
    if last and not spaced and is_glued_unit(letters, last):
        return [Token("word", letters)]
    if last and last.text == "/" and len(letters) > 1 and letters in words.UNITS:
        return [Token("word", letters, spaced)]  # 5 miles/hour
    if in_text and (len(letters) > 1 or is_unit_letter(letters, last)):
        return [word(letters, spaced)]
    if letters in FUNCTIONS:
        return [function(letters, spaced)]
    if not is_glued and letters.lower() in words.SEPARATORS:
        return [Token("sign", letters.lower(), spaced)]
    if is_glued or not is_word or words.glued_functions(letters):
        return variables(letters, spaced)
    if last and last.text in ("+", "-", "*", "±"):
        return [Token("code", letters, spaced)]  # 5 + apples
    return [word(letters, spaced)] if can_precede_a_word(last) else variables(letters, spaced)


def word(letters: str, spaced: bool) -> Token:
    """A word, or what a word stands for: sin, and, minus."""
    lower = letters.lower()
    if letters in FUNCTIONS:
        return function(letters, spaced)
    if lower in words.SEPARATORS:
        return Token("sign", lower, spaced)
    if lower in words.SIGN_WORDS:
        return Token("sign", words.SIGN_WORDS[lower], spaced)
    return Token("word", letters, spaced)


def function(letters: str, spaced: bool) -> Token:
    name = FUNCTIONS.get(letters, "\\" + letters)
    return Token("sign" if name in "π∞" else "function", name, spaced)


def variables(letters: str, spaced: bool) -> list[Token]:
    """2cosx: its function and its variable; abc: three variables; sinab: not clear."""
    if words.GREEK_WORD.fullmatch(letters):
        return [Token("letter", "\\" + letters, spaced)]
    parts = words.glued_functions(letters)
    if not parts and words.FUNCTION_INSIDE.search(letters):
        return [Token("code", letters, spaced)]
    found = []
    for part in parts or letters:
        is_function = len(part) > 1
        found.append(function(part, spaced) if is_function else Token("letter", part, spaced))
        spaced = False
    return found


def ends_a_value(token: Token) -> bool:
    return token.kind in ("number", "repeat", "letter") or token.text in (")", "}", "]", "π", "!")


def can_precede_a_word(token: Token | None) -> bool:
    r"""Not an operator or an opening brace: in \frac{abe}{2} the letters are variables."""
    if token is None or token.kind != "sign":
        return True
    return token.text not in {*"+-*/^_{±", "\\frac", "\\sqrt"}


def is_glued_unit(letters: str, last: Token) -> bool:
    """5cm and 12th; but 2mg, 5in and 2st are products."""
    if last.kind not in ("number", "repeat"):
        return False
    if letters in words.ORDINALS:
        return letters == ordinal(last.text)
    return letters in words.GLUED_UNITS


def ordinal(number: str) -> str:
    """The ending of 1st, 2nd, 3rd, 4th, 11th, 21st."""
    if number.endswith(("11", "12", "13")):
        return "th"
    return {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")


def is_unit_letter(letter: str, last: Token | None) -> bool:
    r"""5\text{ m}: a unit; 3+2\text{i}: the imaginary unit."""
    return letter in words.ONE_LETTER_UNITS and last is not None and ends_a_value(last)


def spelling(text: str) -> tuple[str, ...]:
    """What answers are compared by that cannot be read: their tokens, words in lower case."""
    return tuple(token.word or token.text for token in tokenize(text))
