r"""The boxes of a text, \boxed{42}: what the last one holds, and whether that is the answer.

Whoever boxes a part of a value, "2\boxed{5}", or denies it, "it is not \boxed{5}", has stated none.
Each pattern has an example of what it finds. Of the text before the first and after the last box of
an answer only their own lines are read; what joins two boxes, "or", may stand on a line between.

Called by extraction.py.
"""

import re
from dataclasses import dataclass, replace

from support.answers.comparison import Comparison
from support.answers.doubts import DENIED, WRONG
from support.answers.formulas import formula_around, is_all_of
from support.answers.grammar import read
from support.answers.tokens import Unread
from support.answers.words import UNITS

NEAR = 100  # characters around a box or a bold number that are looked at

# A box, or "\boxed 42" without braces, where the group is 42; or an escaped sign, or a brace.
TOKEN = re.compile(
    r"\\(?:boxed|fbox)\s*(?:\{|([^\s{}$\\]+))|\\(?!\\(?:boxed|fbox)).|[{}]", re.DOTALL
)

# What may stand around a box and means nothing: "\(", "$", "{", "**", "<b>".
OPENING = re.compile(r"(?:\\[,;:! (\[$]|\\left\b|[\s${(\[~]|\*\*|<[^<>]*>)+\Z")
CLOSING = re.compile(r"\A(?:\\[,;:! )\]$]|\\right\b|\\text\s*\{|[\s$})\]~]|\*\*|</[^<>]*>)+")

# What may stand between a minus and its number: a formula begins, a bracket, "\,", "\textbf{".
FONT = r"\\(?:text|math)(?:bf|it|rm|sf|tt)\{|\\boldsymbol\{|\\color\{\w+\}"
GLUE = rf"(?:\\[,;:!(\[$]|\\left\b|{FONT}|[${{(\[~]|\*\*)*"
# "10 - \boxed{5}", "x-\boxed{5}"; and "Answer:-\boxed{5}", which may be a dash.
DIFFERENCE = re.compile(
    rf"(?:[\w)}}:]|(?:[\d)}}]|\b[a-z])\s+)[-−]{GLUE}\Z|(?:[\d)}}]|\b[a-z])\s*[-−]\s+\Z",
    re.IGNORECASE,
)
# "-\boxed{5}", "-$\boxed{5}$", "= - \boxed{5}", "minus \boxed{5}". A dash in front of a space,
# after words or at the start of a line, "- $\boxed{5}$", is no minus.
MINUS = re.compile(
    rf"(?<![-−])[-−]{GLUE}\Z|(?<=[=({{&$])\s*[-−]\s+\Z|\b(?:minus|negative)[\s$*]+\Z", re.IGNORECASE
)

# "2\boxed{5}", "x\boxed{5}", "3 * \boxed{5}": glued to the box, or an operator between spaces.
GLUED_BEFORE = re.compile(
    r"(?:(?<![a-zA-Z\\])[a-zA-Z]|\d)(?:\\[,;:!]|[{(])*\Z|[\w)}$](?:\s+\*\s+|\*)\$?\Z|\w_\Z"
)
# "3 + \boxed{5}", "\sqrt{\boxed{5}}", "\frac{1}{\boxed{5}}", "is not \boxed{5}", "x > \boxed{5}",
# "(2, \boxed{5})", "Suppose the answer is \boxed{5}", "Suppose x = \boxed{5}", "Let's try
# \boxed{5}", "A common mistake is \boxed{5}".
BEFORE = re.compile(
    r"(?:[\w)}$]\s*[+×·÷/]|[±∓≠^]|(?:\b[a-z]|[\d)}$])\s*[<>]"
    r"|\\(?:pm|mp|times|cdot|div|neq?|lt|gt)|\\not\s*="
    r"|\\[dtc]?frac(?:\{(?:[^{}]|\{[^{}]*\})*\}|\d)?"
    r"|\\sqrt(?:\[[^\]]*\])?|√|\\log(?:_.)?|\\binom\{[^{}]*\}|\+/-"
    r"|(?:\bnot|\bcannot|n['’]t)(?: be)?(?: equal(?: to)?)?"
    r"|\binstead of|\brather than|\bnever|[(\[]\s*[-−]?[\d.]+,"
    r"|(?<!\bI )\b(?:suppose|assume)(?: that)?[\s$]*[a-z] ?(?:=|is|equals)|\blet['’]?s try"
    r"|\b(?:common|usual|typical|frequent) (?:mistake|error)(?: is|:)?"
    r"|\b(?:some|one|many|others|people|students)(?: \w+)? (?:would|might|may|could)"
    r" (?:say|think|guess|get|answer)"
    r"|\bmy (?:first|initial) (?:guess|attempt|try|thought)(?: is| was|:)?"
    rf"|\b{WRONG} (?:value|result|alternative|choice|option)s?(?: is| are| would be|:)?"
    rf"|(?:{DENIED})(?: is| would be|:)?)\Z",
    re.IGNORECASE,
)

# "\boxed{5}x + 3", "\boxed{5}-3", "\boxed{5}_3", "\boxed{5}π", "\boxed{5}:3", "\boxed{5}(x + 1)",
# "\boxed{5},000", "\boxed{5} 1/2"; but "\boxed{5}m" has a unit.
GLUED_AFTER = re.compile(
    r"(?![mgshL](?![a-zA-Z]))[a-zA-Z](?![a-zA-Z])|[-−.:]\d|_\{?\d|[π²³½¼¾]|,\d{3}"
    r"|\([a-z] ?[-+−]|\s\d+/\d+(?![^\n]*=)"
)
# "\boxed{36}\pi", "\boxed{5}^2", "\boxed{5} + 3", "\boxed{5} is wrong"; but not "\boxed{45}^\circ".
AFTER = re.compile(
    r"\^(?!\s*\{?\s*(?:\\circ|°|\\text|\\mathrm|\\prime|th|st|nd|rd|\*))"
    r"|[+×·÷/*][\s$]*[\d(]|\+\s*[a-z]\b|[-−]\s*\\(?:sqrt|frac|pi)|and a half\b(?! of)"
    r"|\\(?:pi|cdot|times|div|sqrt|[dtc]?frac|pm|ln|log|sin|cos)(?![a-z])"
    rf"|[.]?\?|(?:is|was) (?:{WRONG}|impossible)\b"
    r"|(?:is not|was not|isn['’]t|wasn['’]t) the (?:\w+ )?answer\b"
    r"|(?:cannot|can['’]t) be (?:right|correct|the answer)\b|does(?:n['’]t| not) work\b"
    r"|\((?:wrong|incorrect|rejected|extraneous)\b|[✗❌]|,[\s$]*[-−]?[\d.]+[)\]]"
)
# "\boxed{3} or $x = -2$", "\boxed{3} (or maybe 4)", "\boxed{3}. Alternatively, 4": an integer
# beside the box, with no more after it; but not "or 2 dozen", "or 6 / 2", "or 2(9) = 18".
ALTERNATIVE = r"(?:or else|or|(?:or,? )?(?:maybe|perhaps|possibly|probably|alternatively)),?"
GAP = r"(?:[\s$*}]|\\[(\[$])+"
NO_MORE = r"(?=(?:[\s$*}]|\\[)\]])*(?:[;!?)]|\.(?!\d)|,(?![\s$]*\d)|(?:if|depending)\b|\Z))"
OR_AFTER = re.compile(
    rf"[.,;—–]* ?\(?{ALTERNATIVE}{GAP}(?:[a-z] ?= ?)?([-−]?\d+){NO_MORE}", re.IGNORECASE
)
# "\boxed{3} and 4"; but not "\boxed{3} and y = 4"
AND_AFTER = re.compile(rf"[,;]? ?and{GAP}([-−]?\d+){NO_MORE}", re.IGNORECASE)
# "4 or \boxed{3}", "x = -2 or maybe x = \boxed{3}"
OR_BEFORE = re.compile(
    r"(?:[a-zA-Z] ?= ?)?(?<![\d./^\\}])(?<!boxed )([-−]?\d+)(?:[\s$*]|\\\))*,?"
    r" or(?: maybe| perhaps)?[\s$]*(?:[a-zA-Z] ?= ?)?\Z"
)
# "13 + 15, or \boxed{28}" and "12x = 360 or x = \boxed{30}": what ends so in front of the number
# says that the box follows from it; "x = 4 or x = \boxed{3}", with a name alone, does not.
TERM_OF = re.compile(r"(?:[+×*·÷/]|\\(?:cdot|times|div))\s*\Z")
SIDE_OF = re.compile(r"=\s*\Z")
NAME_OF = re.compile(r"(?<![\w})^-])[a-zA-Z]+\s*=\s*\Z")
# "4 and \boxed{3}"; but not "x = 4 and y = \boxed{3}"
AND_BEFORE = re.compile(
    r"(?<![=+*×/-] )(?<![\w.^/\\}=+*×-])([-−]?\d+)(?:[\s$*]|\\\))* and[\s$]*\Z", re.IGNORECASE
)

# "\quad", "\text{ or }" and more than one space, in the text beside a box.
SPOKEN = re.compile(r"\\q?quad\b|\\[,;: ]|\\text\s*\{([^{}]*)\}|\s{2,}")
DIGITS = re.compile(r"[-−]?(?:\\?\$)?[\d.,]+")  # "18", "-\$1,800"

# What is no more than a space between boxes: "\quad", "$"; and "\text{ and }", which is its group.
SPACE = re.compile(r"\\(?:q?quad\b|[,;:! ()\[\]])|[\s$~]|\\text\s*\{([^{}]*)\}")

# Another box in front of this one, and behind it.
ANOTHER_BEFORE = re.compile(r"\A.*\\(?:boxed|fbox).*\}")
ANOTHER_AFTER = re.compile(r"\\(?:boxed|fbox).*\Z")

# "6 * 7 = 42. ", "<<6*7=42>>", "= 42 (": a value in front of the box.
SAID_BEFORE = re.compile(r"(?:=|\A)\s*([-−]?[\d.,]*\d)(?:[.,\s(—–]|>>)*\Z")

# "\boxed{3} or $x_2 = \boxed{5}$": what stands between boxes that are one answer, a list.
JOINT = re.compile(r"[,;]? ?(?:and|or)? ?(?:[a-zA-Z](?:_\{?\w\}?)? ?=)?")

# "\boxed{7/2}, or \boxed{3.5}": one value in two forms, where the two are equal.
OR = re.compile(r"[,;]? ?or")

# "\boxed{5}:\boxed{2}", "\boxed{2} hours and \boxed{30} minutes", "\boxed{5} or perhaps \boxed{6}":
# neither a list nor the last one alone.
HEDGE = re.compile(
    rf"[:/|&]|to|\((?:or|and)|maybe|perhaps|(?:{'|'.join(map(re.escape, UNITS))}),?(?: and)?"
    r"|,? ?(?:[a-z]+ or|or (?!equivalently)[a-z]+)"
)


@dataclass
class Box:
    """A box, from its backslash to its brace."""

    start: int
    end: int = 0  # after its brace
    content: str = ""
    is_closed: bool = False


def boxes_of(text: str) -> list[Box]:
    r"""The boxes in order. A box around another one is left out: \boxed{x = \boxed{5}} is one of 5.

    >>> [box.content for box in boxes_of(r"\boxed{\{1, 2\}}, \boxed 3 and \fbox{\boxed{x_{4}}}")]
    ['\\{1, 2\\}', '3', 'x_{4}']
    """
    found: list[Box] = []
    braces: list[Box | None] = []  # those that are open; None is one of no box
    for token in TOKEN.finditer(text):
        if token[1]:
            found.append(Box(token.start(), token.end(), token[1].rstrip(".,"), True))
        elif token[0] == "}" and braces:
            box = braces.pop()
            if box and not (found and found[-1].start > box.start):
                box.content = text[box.start : token.start()].partition("{")[2].strip()
                box.end = token.end()
                box.is_closed = True
                found.append(box)
        elif token[0] == "{":
            braces.append(None)
        elif len(token[0]) > 2:  # \boxed{
            braces.append(Box(token.start()))
    found += [box for box in braces if box]
    return sorted(found, key=lambda box: box.start)


def boxed_answer(text: str, boxes: list[Box]) -> str:
    r"""What stands in the last box that is filled, and in those that are joined to it.

    A box that was never closed gives "", for then the text was cut off; so does one that is a part
    of a value, and one that is denied.

    >>> text = r"$x = \boxed{3}$ or $x = -\boxed{5}$"
    >>> boxed_answer(text, boxes_of(text))
    '3, -5'
    """
    found: list[str] = []  # from the last one on
    start = len(text)  # of the box after
    for box in reversed(boxes):
        if not box.is_closed:
            return ""
        if box.content in ("", "?"):
            continue
        if found:
            between = text[box.end : start]
            words = plain(between)
            if HEDGE.fullmatch(words):
                return ""
            is_repeated = between != "" and box.content == found[-1]
            is_on_another_line = "\n" in between
            is_apart = words == "" and (is_on_another_line or is_repeated)
            is_other_form = OR.fullmatch(words) and is_same_number(box.content, found[-1])
            if is_apart or is_other_form or not JOINT.fullmatch(words):
                break  # the boxes from here on are one answer, without this one
        value, start = value_and_start(text, box)
        if not value:
            return ""
        found.append(value)
    return ", ".join(reversed(found))


def value_and_start(text: str, box: Box) -> tuple[str, int]:
    """What a box says, with a minus in front of it, and where that begins; "" for no answer."""
    before, after = around(text, box.start, box.end)
    is_glued = GLUED_AFTER.match(after) or GLUED_BEFORE.search(before) or DIFFERENCE.search(before)
    minus = MINUS.search(before)
    in_front = before[: minus.start()] if minus else before
    value = "-" + box.content if minus else box.content
    is_part = is_glued or is_part_of_formula(value, in_front, after)
    if is_part or not is_whole(value, in_front, after):
        return "", box.start
    return value, box.start - len(minus[0]) if minus else box.start


def is_part_of_formula(value: str, before: str, after: str) -> bool:
    """Whether a formula says more than the box in it.

    Other boxes beside it are left to boxed_answer, which looks at what joins them; and the value
    itself may stand before it: "6 * 7 = 42, \\boxed{42}".
    """
    formula = formula_around(before, after)
    if formula is None:
        return False
    in_front = ANOTHER_BEFORE.sub("", formula.before)
    behind = ANOTHER_AFTER.sub("", formula.after)
    is_joined_before = in_front != formula.before and JOINT.fullmatch(plain(in_front))
    is_joined_behind = behind != formula.after and JOINT.fullmatch(plain(behind))
    said = SAID_BEFORE.search(in_front)
    if is_joined_before or (said and is_same_number(said[1], value)):
        in_front = ""
    if is_joined_behind:
        behind = ""
    return not is_all_of(replace(formula, before=in_front, after=behind))


def around(text: str, start: int, end: int) -> tuple[str, str]:
    """What stands before and after a place of a text, on its line and near it.

    >>> around("one\\ntwo 5 three", 8, 9)
    ('two ', ' three')
    """
    before = text[max(0, start - NEAR) : start].rpartition("\n")[2]
    after = text[end : end + NEAR].partition("\n")[0]
    return before, after


def is_whole(content: str, before: str, after: str) -> bool:
    r"""Whether no operator, rival or denial stands beside a box or a bold number.

    What is glued to it, 2\boxed{5}, and a minus, 10 - \boxed{5}, are left to value_and_start.

    before, after: what stands around it

    >>> is_whole("5", "It is **", "**."), is_whole("5", "It is not **", "**.")
    (True, False)
    """
    next_words = CLOSING.sub("", after)
    last_words = OPENING.sub("", before)
    is_part = AFTER.match(next_words) or BEFORE.search(last_words)
    rivals = rivals_of(content, spoken(last_words), spoken(next_words))
    return not is_part and all(is_same_number(rival, content) for rival in rivals)


def rivals_of(content: str, before: str, after: str) -> list[str]:
    """The numbers before and after a box that an "or", or an "and" beside a number, makes its
    equals."""
    found = [OR_AFTER.match(after)]
    or_before = OR_BEFORE.search(before)
    if or_before and not leads_to_box(before[: or_before.start(1)]):
        found.append(or_before)
    if DIGITS.fullmatch(content):
        found += [AND_BEFORE.search(before), AND_AFTER.match(after)]
    return [rival[1] for rival in found if rival]


def leads_to_box(before: str) -> bool:
    """Whether a number after this is a part of what the box follows from, and no rival of it."""
    is_side = SIDE_OF.search(before) and not NAME_OF.search(before)
    return bool(TERM_OF.search(before) or is_side)


def spoken(text: str) -> str:
    r"""A part of a line with the words of its formulas, as "4 or x =" for "4\quad\text{or} x ="."""
    return SPOKEN.sub(lambda space: f" {(space[1] or '').strip()} ", text).replace("  ", " ")


def is_same_number(number: str, content: str) -> bool:
    r"""Whether a box has the value of the number: 2^{10} that of 1024, \$18 that of 18.

    A content with more characters than are looked at around a box is not read.
    """
    if len(content) > NEAR:
        return False
    try:
        return Comparison().same_answer(read(number), read(content))
    except Unread:
        return False


def is_joint(between: str) -> bool:
    """Whether two bold numbers with this between them are one answer, a list or a ratio."""
    words = plain(between)
    is_joined = HEDGE.fullmatch(words) or JOINT.fullmatch(words)
    return words != "" and "\n" not in between and is_joined is not None


def plain(between: str) -> str:
    """The words between two boxes, as far as these are near each other."""
    if len(between) > NEAR:
        return "..."
    words = SPACE.sub(lambda space: f" {space[1] or ''} ", between)
    return " ".join(words.split())
