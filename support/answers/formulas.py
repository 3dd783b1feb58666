r"""Whether a box is all of what its formula says, or a part: "x = \boxed{3}", but not
"(20, \boxed{3})", "\boxed{3} - 2i", "\pi\boxed{3}", nor "\boxed{3} < x".

Of a formula it can be said what may stand beside its answer; of words (boxes.py) only what may not.
Each pattern has an example of what it finds. Called by boxes.py.
"""

import re
from dataclasses import dataclass

from support.answers.words import is_word

DOLLARS = re.compile(r"(?<!\\)\$\$?")  # of a formula, or of a sum of money
# What parts the lines and the columns of an aligned formula, and ends it; of a matrix the cells are
# parts of its value.
CELL = re.compile(r"\\\\|&|\\end\s*\{")
MATRIX = re.compile(r"\\begin\s*\{[a-zA-Z]?matrix\}")
LINE_MARK = re.compile(r"\A[\s#>*_•+-]*(?:\d+[.)]\s)?")  # "- ", "#### ", "2. "
TEXT = r"\\(?:text[a-z]*|math(?:rm|bf)|mbox|operatorname)\s*\{[^{}]*\}"  # "\text{ apples}"
WORDS = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}")  # what no formula has outside of TEXT
MATHEMATICS = re.compile(r"[=+<>^_]|\\[a-zA-Z]{2}")  # what words have not
ARROW = r"\\(?:implies|iff|to|(?:[Ll]ong)?(?:[Ll]eft)?[Rr]ightarrow)(?![a-zA-Z])|[=-]>|[⇒→⟹]"
RELATION = r"[≈≡∼≅]|\\(?:approx|equiv|sim|simeq|cong|coloneqq|in)(?![a-zA-Z])"
ORDER = r"\\[lg]e(?:q|qslant)?(?![a-zA-Z])"  # "\le", but not "\left"
SPACE = r"\\(?:[,;:! ]|enspace|space|q?quad)(?![a-zA-Z])|[\s~]"

# What only typesets, in front: "\left(", "\displaystyle", "\textbf{", "{\color{red}", "\$"; and
# "xed{", what is left of a command that begins out of sight.
LAYOUT_BEFORE = re.compile(
    r"(?:\\(?:left|[bB]igg?l?|displaystyle|bf|rm|it|large|Large|LARGE|[hH]uge)(?![a-zA-Z])"
    r"|\\(?:text[a-z]*|math[a-z]+|boldsymbol|bm|underline|boxed|fbox)(?=\s*\{)"
    r"|\\begin\s*\{[a-z]+\*?\}(?:\{[lcr|]+\})?|\A[a-z]{1,5}(?=\{)|\\color\s*\{[^{}]*\}"
    r"|\\renewcommand\{[^{}]*\}\{[^{}]*\}"
    rf"|{SPACE}|\\\$|\$|\*\*|[{{(\[])+\Z"
)
# What says that a value follows: "x =", "\therefore", "\text{Total: }", "\quad", "x \in", "is"; and
# "n \ge", but not "2 \le n \le".
LEADS_TO_VALUE = re.compile(
    rf"(?:\A|[=:;∴]|{RELATION}|{ARROW}|{TEXT},?|(?<![\\a-zA-Z])[a-zA-Z]{{2,}},?"
    r"|\\(?:therefore|because|q?quad|pounds|euro|hspace\{[^{}]*\})"
    r"|\\(?:stackrel|overset|underset)\{[^{}]*\}\{[^{}]*=[^{}]*\}"
    rf"|(?:\A|=|{ARROW})(?:(?!{ORDER})[^<>≤≥])*(?:{ORDER}|[≤≥]))\Z"
)

# What only typesets, behind, and the text after it: "\, \text{ apples}".
LAYOUT_AFTER = re.compile(rf"\A(?:{SPACE}|\\right(?![a-zA-Z])|\*\*|[}})\]])+")
LEADING_TEXT = re.compile(rf"\A[.,;]?\s*{TEXT}\s*")
MORE_OF_VALUE = re.compile(r"[-+−–]?\s*\d")  # "\text{ hours and }30"
# What may follow a value, perhaps after a comma or a full stop; for words there is LETTERS.
COMMANDS = (
    "tag checkmark square blacksquare Box qed because ldots dots pounds euro hspace pmod mod bmod"
    " nonumber notag renewcommand hfill huge Huge"
)
FOLLOWERS = [
    rf"=|{RELATION}|{ARROW}",  # "= 9 \cdot 2"
    rf"\\(?:{COMMANDS.replace(' ', '|')})",  # "\quad \blacksquare"
    r"(?:[<>]|\\(?:gt|lt|neq?))\s*0",  # "> 0"
    r"\(\s*(?:=|\\?mod\b|\\text|[a-zA-Z]{3}|[a-zA-Z]\s*[<>=\\])",  # "(= 9 + 9)", "(x > 0)"
    r"\[[a-z]+\]|\{?\s*\\rm\b|\\[dt]?frac\s*\{\s*\\(?:text|math)",  # "[cm]", "{\rm cm}"
    r"[%°€£✓✅]",
]
CONDITION = rf",(?:{SPACE})*[a-zA-Z](?:_\{{?\w+\}}?)?\s*(?:[<>=≤≥]|\\[gln]|\\in)"  # ", y = 3"
POWER = (
    r"\^\s*\{?\s*(?:\\circ|°|\\text|\\mathrm|\\prime|th|st|nd|rd|\*)"  # "^\circ", "^{\text{nd}}"
)
UNIT = r"[mgshL](?![a-zA-Z])|/\s*(?:\\text|[a-zA-Z]{2})|\\[%$]|\\(?:circ|degree)"  # "m", "/day"
MAY_FOLLOW = re.compile(
    rf"\A(?:[.,;:]*\s*\\?\Z|[.,;:]?\s*(?:{'|'.join(FOLLOWERS)})|{CONDITION}|{POWER}|{UNIT})"
)
LETTERS = re.compile(r"\A[.,;]?\s*([a-zA-Z]{2,})")
# On a line without the signs of a formula "\boxed{3}!" or "\boxed{3} 😊" is no part either.
OPERATOR = re.compile(r"\A(?:[-+−–±*/^_≤≥×·÷(|a-zA-Z0-9]|[<>](?![a-z/])|,\s*[-\d]|\\[a-zA-Z])")


@dataclass
class Formula:
    """What stands before and after a box in its formula, in one line and column of it."""

    before: str
    after: str
    is_marked: bool  # by $ ... $, \( ... \) or \[ ... \]; else it is a line without words


def formula_around(before: str, after: str) -> Formula | None:
    r"""The formula that a box stands in; None where it stands among words.

    before, after: what stands around it on its line

    >>> formula_around("so $x = ", " + 2$ eggs"), formula_around("so it is ", " eggs")
    (Formula(before='x = ', after=' + 2', is_marked=True), None)
    """
    is_marked = True
    inside = between_brackets(before, after) or between_dollars(before, after)
    line = before + after
    if inside is None and not re.search(r"\\[(\[]|\$", line) and is_formula(line):
        is_marked = False
        inside = LINE_MARK.sub("", before), after
    if inside is None:
        return None
    in_front, behind = inside
    if not MATRIX.search(in_front):
        in_front = CELL.split(in_front)[-1]
        behind = CELL.split(behind)[0]
    return Formula(in_front, behind, is_marked)


def between_brackets(before: str, after: str) -> tuple[str, str] | None:
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        start = before.rfind(opening)
        if start > before.rfind(closing):
            return before[start + 2 :], after.partition(closing)[0]
    return None


def between_dollars(before: str, after: str) -> tuple[str, str] | None:
    """None also where the $ are of sums of money: "$5 each is \\boxed{15}, $3 more"."""
    pieces = DOLLARS.split(before)
    pieces_after = DOLLARS.split(after)
    is_inside = len(pieces) % 2 == 0 and len(pieces_after) > 1
    if not is_inside or has_words(f"{pieces[-1]} {pieces_after[0]}"):
        return None
    return pieces[-1], pieces_after[0]


def is_formula(line: str) -> bool:
    return MATHEMATICS.search(re.sub(TEXT, "", line)) is not None and not has_words(line)


def has_words(formula: str) -> bool:
    r"""Whether words stand there that are not in a \text{}, as in no formula."""
    return WORDS.search(re.sub(TEXT, "", formula)) is not None


def is_all_of(formula: Formula) -> bool:
    r"""Whether a box is what its formula says.

    >>> is_all_of(Formula("x = ", r" \text{ eggs}", True))
    True
    >>> is_all_of(Formula("x = ", r" + \sqrt{2}", True))
    False
    """
    in_front = LAYOUT_BEFORE.sub("", formula.before)
    return bool(LEADS_TO_VALUE.search(in_front)) and may_follow(formula)


def may_follow(formula: Formula) -> bool:
    """Whether what stands after a box makes it no part."""
    behind = LAYOUT_AFTER.sub("", formula.after)
    text = LEADING_TEXT.match(behind)
    if text and not text[0].rstrip().endswith("{i}"):
        return not MORE_OF_VALUE.match(behind, text.end())
    letters = LETTERS.match(behind)
    if letters:
        return is_word(letters[1])
    if MAY_FOLLOW.match(behind):
        return True
    return not formula.is_marked and not OPERATOR.match(behind)
