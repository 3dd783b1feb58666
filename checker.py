r"""The answer checker: the final answer of a text, whether two answers are equal, and the reward.

The reward of the paper is 1 if the final answer is right, and 0 if it is not. What counts as right
is a matter of policy, and these are the policies:

Tolerance  None. A decimal is the exact fraction that it spells: 0.33 is not 1/3. Irrational numbers
           and expressions with symbols are equal if they agree to 25 digits at three sample points.
Percent    25% equals 25 (the sign is a unit) and 1/4 (its value), though 25 and 1/4 differ.
Names      x = 5 equals 5, and 5 equals y = 5, though x = 5 and y = 5 differ.
Units      Units, currency and words behind a number count for nothing: $5 and 5 dollars equal 5.
Lists      2, 3 equals 3, 2 and \{2, 3\}. A tuple is ordered: (2, 3) and (3, 2) differ.
Refused    An answer of more than 600 characters, one that is nested too deeply, and one with too
           many digits, like 9^9^9^9 (the limits stand in support/latex.py). An answer that is
           refused, or that cannot be read, equals only its own spelling.

Nothing of a text is executed. Nothing runs against a clock either: a signal interrupts only the
main thread, and a thread cannot be stopped. So work that could explode is refused beforehand.

    python checker.py GOLD ANSWER        shows how both are read, and whether they are equal
"""

import re
import sys
from dataclasses import dataclass
from typing import Any

import sympy

from support.latex import MAX_LENGTH, PERCENT, REFUSALS, Node, read, samples
from tasks import Problem

MAX_PARTS = 50  # of a set or list whose order is free; a longer one must agree in order
PRECISION = 1e-25  # relative, of decimals that are computed to 30 digits
INFINITIES = {sympy.oo, -sympy.oo}
Parts = tuple[Any, ...]  # of a Node

# ---------------------------------------------------------------- extraction

# The end of a turn, "The answer is 4.<|im_end|>": what is written behind it does not count.
END = re.compile(r"(?<=\S)\s*(?:<\|[a-z_]+\|>|</s>|<eos>|<end_of_turn>)")

# "\boxed{" or "\fbox{"; or "\boxed 42" without braces, where the group is 42.
BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|([^\s{}$\\]+))")

# "#### 42", as the solutions of GSM8K end.
HASHES = re.compile(r"####[ \t]*([^\s#][^\n#]*)")

# The words before an answer. The answer itself is only looked ahead at, so that in "The answer is
# large: the answer is 42" both places are found.
SAID = re.compile(
    r"(?im)"
    r"(?:answer[*_ ]*(?:is\b|[:=])"  # "The answer is 42", "**Answer:** 42"
    r"|final answer[*_: ]*$"  # "**Final Answer**", and 42 in a line below
    r"|^[*_ ]*(?-i:A:))"  # "A: 42"
    r"[\s*_:]*"
    r"(?=(\S.{0,300}))"
)

# "In all **5 apples**"; but not "**Add:** 2 + 3", which is a heading.
BOLD = re.compile(r"(?<!\w)\*\*([-$\\(\d](?:[^*\n.:]|\.\d){0,200})\.?\*\*(?!\w)")

# "-1,250.75", "$3", "3/4", "25%" and ".5".
LAST_NUMBER = re.compile(r"([-−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?%?|[-−]?\.\d+)")

# What ends an answer: "42. I hope so", "42 (as above)", "42, because 6*7=42", "42, hence even".
REASON = re.compile(
    r"\.(?=\s|$)"
    r"|,?\s\(?(?:because|since|as|so|which|where)\b"
    r"|,(?=\s(?!and\b|or\b)[a-z]{3})",  # "2, 3, and 5" goes on
    re.IGNORECASE,
)

# "$42$", "\(42\)" and "**42**" are 42.
MARKUP = re.compile(r"\\[()\[\]]|\\?\$|\*\*")

# "The area of the square is 49": the answer stands behind the last of these words.
VERB = re.compile(r"\b(?:is|are|equals)\s")


def extract_answer(text: str, strict: bool = True) -> str | None:
    r"""The final answer that a text states, or None.

    In this order: the last \boxed{} or \fbox{}; the last "#### 42"; the last "the answer is 42",
    "Answer: 42" or line "A: 42"; the last bold **42**; with strict=False the last number, which
    pays for coincidences. What follows an end-of-turn mark does not count, nor what stands before
    </think>.

    >>> extract_answer(r"Hence 6 * 7 = 42, so \boxed{42}.")
    '42'
    >>> extract_answer("The answer is 42, because 6 * 7 = 42.")
    '42'
    >>> print(extract_answer("6 * 7 = 42"))
    None
    >>> extract_answer("6 * 7 = 42", strict=False)
    '42'
    """
    text = END.split(text, maxsplit=1)[0]
    text = text.rpartition("</think>")[2]
    last_box = max(text.rfind("\\boxed"), text.rfind("\\fbox"), 0)
    box = BOX.match(text, last_box)
    if box:
        return boxed_answer(text, box)
    marks = [HASHES, SAID, BOLD]
    if not strict:
        marks.append(LAST_NUMBER)
    for mark in marks:
        statements = mark.findall(text)
        for statement in reversed(statements[-3:]):  # the last one that holds an answer
            answer = answer_in(statement)
            if answer:
                return answer
    return None


def boxed_answer(text: str, box: re.Match[str]) -> str | None:
    """What stands in a box; None if it is empty or never closed, for then the text was cut off."""
    if box[1]:  # \boxed 42, without braces
        return box[1].rstrip(".,") or None
    content = text[box.end() :]
    depth = 1
    for brace in re.finditer(r"\\.|[{}]", content, re.DOTALL):
        if brace[0] == "{":
            depth += 1
        elif brace[0] == "}":
            depth -= 1
        if depth == 0:
            return content[: brace.start()].strip() or None
    return None


def answer_in(statement: str) -> str:
    """The answer in what follows a mark: up to the reasons, and behind the last "is"."""
    plain = MARKUP.sub("", statement)
    without_reasons = REASON.split(plain)[0]
    answer = VERB.split(without_reasons)[-1]
    return answer.strip(" *_\r\t,")


# ---------------------------------------------------------------- equality


def is_equal(gold: str | None, answer: str | None) -> bool:
    r"""Whether two answers have the same value. A missing one (None or empty) equals nothing.

    >>> is_equal("0.5", r"\frac{1}{2}"), is_equal("2, 3", "3 and 2"), is_equal("x = 5", "5 cm")
    (True, True, True)
    >>> is_equal("1/3", "0.33"), is_equal("(2, 3)", "(3, 2)"), is_equal(None, None)
    (False, False, False)
    """
    if not gold or not answer:
        return False
    if max(len(gold), len(answer)) > MAX_LENGTH:
        return gold == answer
    try:
        gold_value = read(gold)
        if gold_value == "":
            return False
        answer_value = read(answer)
        return bool(gold_value == answer_value or same(gold_value, answer_value))
    except (
        REFUSALS
    ):  # such as a division by zero; what cannot be read equals its own spelling above
        return False


def same(a: Any, b: Any) -> bool:
    """Whether two values that `read` returned are equal."""
    match a, b:
        case Node("name", (value, name)), Node("name", (other, other_name)):  # x = 5, x = 5.0
            return name == other_name and same(value, other)
        case (Node("name", (value, _)), other) | (other, Node("name", (value, _))):  # x = 5, 5
            return same(value, other)
        case Node("=" | "≠" | "<" | "≤"), Node(_, (_,)):
            return same_relation(a, b)
        case Node("{}" | "∪"), Node() if len(a.parts) == len(b.parts) <= MAX_PARTS:
            return a.kind == b.kind and same_in_any_order(a.parts, b.parts)
        case Node(), Node():  # tuples, intervals, ratios, matrices
            return a.kind == b.kind and same_in_order(a.parts, b.parts)
        case (sympy.Symbol(), sympy.Symbol()) | (str(), str()):  # the choices C and c
            return str(a).casefold() == str(b).casefold()
        case sympy.Expr(), sympy.Expr():
            return same_number(a, b)
    return False


def same_relation(a: Node, b: Node) -> bool:
    """2x + 3y = 6 and 4x + 6y = 12: left minus right side of one is a multiple of the other's."""
    (difference,) = a.parts
    (other,) = b.parts
    scale = samples(difference)[0] / samples(other)[0]
    if a.kind != b.kind:
        return False
    keeps_direction = a.kind in "=≠" or scale > 0  # x < 2 is not -x < -2
    return keeps_direction and same(difference, scale * other)


def same_in_order(parts: Parts, others: Parts) -> bool:
    return len(parts) == len(others) and all(map(same, parts, others))


def same_in_any_order(parts: Parts, others: Parts) -> bool:
    """1, 1, 2 and 2, 1, 1: each part stands as often in one list as in the other."""
    return all(how_often(p, parts) == how_often(p, others) for p in parts + others)


def how_often(value: Any, parts: Parts) -> int:
    return sum(same(value, part) for part in parts)


def same_number(a: sympy.Expr, b: sympy.Expr) -> bool:
    """Fractions and infinities exactly, everything else by its decimals."""
    are_fractions = a.is_Rational and b.is_Rational
    if are_fractions or {a, b} & INFINITIES:
        return a == b
    if (PERCENT in a.free_symbols) != (PERCENT in b.free_symbols):
        return same_for_a_percent_sign(a, b)
    return same_decimals(a, b)


def same_for_a_percent_sign(a: sympy.Expr, b: sympy.Expr) -> bool:
    """25% and 25, or 25% and 1/4."""
    values_of_percent = (sympy.Integer(1), sympy.Rational(1, 100))
    return any(same(a.subs(PERCENT, v), b.subs(PERCENT, v)) for v in values_of_percent)


def same_decimals(a: sympy.Expr, b: sympy.Expr) -> bool:
    r"""\sqrt{50} and 5\sqrt2, (x+1)^2 and x^2+2x+1: they agree at each sample point."""
    return all(map(agree, samples(a), samples(b)))


def agree(u: sympy.Expr, v: sympy.Expr) -> bool:
    return abs(u - v) <= PRECISION * max(abs(u), abs(v))


# ---------------------------------------------------------------- the grade of a text


@dataclass(frozen=True)
class Grade:
    """What a text is worth.

    right    what the checker says; selection, metrics and evaluation read it
    reward   what the policy is paid; only advantages read it, and what is logged as "reward"
    """

    right: bool
    reward: float


def reward_of(right: bool, text: str) -> float:
    """The reward of a text, 1 if its answer is right and 0 if not, as in the paper.

    Other rewards, for a format or a length, are made here; `right` stays what the checker says.
    """
    return float(right)


def grade(problem: Problem, text: str, strict: bool = True) -> Grade:
    """The grade of a whole answer text: by the problem's own verifier, or by its gold answer."""
    if problem.verify:
        right = problem.verify(text)
    else:
        answer = extract_answer(text, strict)
        right = is_equal(problem.answer, answer)
    return Grade(right, reward_of(right, text))


# ---------------------------------------------------------------- the command


def main(arguments: list[str]) -> int:
    """python checker.py GOLD ANSWER; ANSWER may be a whole solution that states its answer."""
    if len(arguments) != 2:
        usage = "usage: python checker.py GOLD ANSWER (exit code 0: equal, 1: different)"
        print(usage, file=sys.stderr)
        return 2
    gold, solution = arguments
    answer = extract_answer(solution) or solution
    for text in (gold, answer):
        value = str(read(text[:MAX_LENGTH]))
        print(f"{text[:80]!r} is read as {value[:200]}")
    equal = is_equal(gold, answer)
    print("equal" if equal else "different")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
