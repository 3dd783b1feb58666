r"""Whether a box is all of what its formula says, or a part: "x = \boxed{3}", but not
"(20, \boxed{3})", "\boxed{3} - 2i", "\pi\boxed{3}", nor "\boxed{3} < x".

Of a formula it can be said what may stand beside its answer; of words (boxes.py) only what may not.
Each pattern has an example of what it finds. Called by boxes.py.
"""

import re

DOLLARS = re.compile(r"(?<!\\)\$\$?")
CELL = re.compile(r"\\\\|&")  # what parts the lines and the columns of an aligned formula
TEXT = r"\\(?:text[a-z]*|mathrm|mathbf|mbox|operatorname)\s*\{[^{}]*\}"  # "\text{ apples}"
WORD = r"(?<![\\a-zA-Z])[a-zA-Z]{2,}"
WORDS = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}")
MATHEMATICS = re.compile(r"[=+<>^_]|\\[a-zA-Z]{2}")
ARROW = r"\\(?:implies|iff|to|(?:[Ll]ong)?(?:[Ll]eft)?[Rr]ightarrow)(?![a-zA-Z])|[=-]>|[⇒→]"

# What a line begins with: "- ", "#### ", "2. ".
LINE_MARK = re.compile(r"\A[\s#>*_•+-]*(?:\d+[.)]\s)?")

# What means nothing in front of a box: "\left(", "\displaystyle", "\textbf{", "{\color{red}", "\$";
# and "xed{", what is left of a command that begins out of sight.
NOTHING_BEFORE = re.compile(
    r"(?:\\(?:left|[bB]igg?l?|displaystyle|bf|rm|it|large|Large|LARGE|huge)(?![a-zA-Z])"
    r"|\\(?:text[a-z]*|math[a-z]+|boldsymbol|bm|underline|boxed|fbox|color\s*\{[^{}]*\})(?=\s*\{)"
    r"|\A[a-z]{1,5}(?=\{)|\\color\s*\{[^{}]*\}|\\[,;:! $]|\*\*|[\s{(\[~])+\Z"
)
# What says that a value follows: "x =", "\therefore", "\text{Total: }", "\quad", "x \in"; and
# "n \ge", but not "2 \le n \le".
VALUE_FOLLOWS = re.compile(
    rf"(?:\A|[=:;≈≡]|{ARROW}|{TEXT},?|{WORD},?|∴"
    r"|\\(?:approx|equiv|therefore|because|q?quad|in|pounds|euro|hspace\{[^{}]*\})"
    r"|\A(?:(?!\\[lg]e)[^<>≤≥=])*(?:\\[lg]e(?:q|qslant)?|[≤≥]))\Z"
)
# What may follow a value: nothing, "\text{ cm}", "cm^2", "= 9 \cdot 2", "^\circ", ", y = 3".
NOTHING_AFTER = re.compile(r"\A(?:\\[,;:! ]|\\right(?![a-zA-Z])|\*\*|[\s})\]~])+")
GOES_ON = re.compile(
    rf"\A(?:[.,;:]*\s*\\?\Z|[.,;:]?\s*(?:=|≈|{ARROW}|\\(?:approx|q?quad|(?:text|mathrm)(?!\{{i\}})|mbox|tag|checkmark"
    r"|square|blacksquare|qed|because|l?dots|pounds|euro|hspace|pmod|bmod)"
    r"|\(\s*(?:\\?mod\b|\\text|[a-zA-Z]{3})|[a-zA-Z]{2}|[%°€£✓✅])|\\[%$]|\\(?:circ|degree)"
    r"|\^\s*\{?\s*(?:\\circ|°|\\text|\\mathrm|\\prime|th|st|nd|rd|\*)"
    r"|[mgshL](?![a-zA-Z])|/\s*(?:\\text|[a-zA-Z]{2})|,\s*[a-zA-Z](?:_\{?\w+\}?)?\s*=)"
)


def formula_around(before: str, after: str) -> tuple[str, str] | None:
    r"""What stands before and after a box in its formula, or on its line where that has no words;
    None where it stands among words.

    before, after: what stands around it on its line

    >>> formula_around("so $x = ", " + 2$ eggs"), formula_around("so it is ", " eggs")
    (('x = ', ' + 2'), None)
    """
    inside = None
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        start = before.rfind(opening)
        if start > before.rfind(closing):
            inside = before[start + 2 :], after.partition(closing)[0]
    pieces = DOLLARS.split(before)
    pieces_after = DOLLARS.split(after)
    if inside is None and len(pieces) % 2 == 0 and len(pieces_after) > 1:
        inside = pieces[-1], pieces_after[0]
    if inside is None and len(pieces) == len(pieces_after) == 1:
        line = re.sub(TEXT, "", f"{before} {after}")
        if MATHEMATICS.search(line) and not WORDS.search(line):
            inside = LINE_MARK.sub("", before), after
    if inside is None:
        return None
    return CELL.split(inside[0])[-1], CELL.split(inside[1])[0]


def is_all_of(before: str, after: str) -> bool:
    r"""Whether a box with this before and after it in its formula is what the formula says.

    >>> is_all_of("x = ", r" \text{ eggs}"), is_all_of("x = ", r" + \sqrt{2}")
    (True, False)
    """
    in_front = NOTHING_BEFORE.sub("", before)
    behind = NOTHING_AFTER.sub("", after)
    return bool(VALUE_FOLLOWS.search(in_front) and GOES_ON.match(behind))
