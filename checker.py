r"""The answer checker: the final answer of a text, whether two answers are equal, and the reward.

The reward of the paper is 1 if the final answer is right, and 0 if it is not. What counts as right
is a matter of policy. The first policy is that nothing is guessed: an answer is read whole, by the
grammar in support/answers/, or it is not read. One that is not read equals only the same text, but
for spaces, $ and the case of words. The others:

Tolerance  None. A decimal is the exact fraction that it spells: 0.33 is not 1/3. What is no
           fraction is compared by its digits, 50 and then at least 100, at points where each letter
           is positive, negative, and negative alone.
Units      18 eggs, 5 cm and $5 equal 18, 5 and 5, but 5 cm is not 5 m, and 18 cents are not $18.
           Where two units stand in one list, none may be missing. "5 thousand" is 5000.
Percent    25% equals 25 (the sign is a unit) and 1/4 (its value), though 25 and 1/4 differ; only
           where it is the whole answer.
Names      x = 5 equals 5, and 5 equals y = 5, though x = 5 and y = 5 differ. x + y = 5 is an
           equation and not 5. x = 2 + 3 = 5 equals 5; x = 2 + 3 = 6 equals nothing.
Lists      2, 3 equals 3, 2 and \{2, 3\}. A tuple is ordered: (2, 3) and (3, 2) differ.
Spaces     never join numbers: 12 345 is two of them. 12,345 and 12\,345 are one.
Remarks    A bracket of words behind an answer is left out: 18 eggs (9 left). "5 (or 6)" is not read.
Refused    An answer of more than 600 characters, one that is nested more than 40 deep, one with too
           many digits, like 9^9^9^9, and a comparison that takes too much work.

Nothing of a text is executed. Nothing runs against a clock either: a signal interrupts only the
main thread, and a thread cannot be stopped. So work is counted, and ends at a bound.

    python checker.py GOLD ANSWER        shows how both are read, and whether they are equal
"""

import re
import sys
from dataclasses import dataclass
from typing import Any

import sympy

from support.answers import numbers
from support.answers.grammar import read
from support.answers.numbers import Work
from support.answers.tokens import Unread, spelling
from support.answers.values import Node
from support.answers.words import GREEK
from tasks import Problem

MAX_LENGTH = 600  # characters of an answer that is read
CHOICES = "ABCDEFGHIJ"  # of a multiple-choice question; C is c, but the variable R is not r
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
        first, second = sorted([gold, answer])  # so that the order makes no difference
        if spelling(first) == spelling(second):
            return bool(spelling(first))
        return Comparison(Work()).same_answer(read(first), read(second))
    except Unread:
        return False


@dataclass
class Comparison:
    """Whether two values that `read` returned are equal; its work is counted and has a bound."""

    work: Work

    def same_answer(self, a: Any, b: Any) -> bool:
        r"""Of whole answers: 25% may also be 25 or 1/4, C may be c, and \{5\} may be 5."""
        match a, b:
            case (Node("{}", (sympy.Expr() as value,)), other) | (
                other,
                Node("{}", (sympy.Expr() as value,)),
            ):
                return self.same_answer(value, other)
            case (Node("unit", (value, "%")), other) | (other, Node("unit", (value, "%"))):
                if isinstance(value, sympy.Expr) and isinstance(other, sympy.Expr):
                    hundredth = numbers.quotient(value, sympy.Integer(100))
                    return self.same(value, other) or self.same(hundredth, other)
            case sympy.Symbol(), sympy.Symbol():
                is_choice = a.name.upper() in CHOICES
                return a == b or (is_choice and a.name.upper() == b.name.upper())
        return self.same(a, b)

    def same(self, a: Any, b: Any) -> bool:
        self.work.spend(10)
        match a, b:
            case (Node("chain", sides), other) | (other, Node("chain", sides)):
                are_equal = all(self.same(side, sides[-1]) for side in sides)
                return are_equal and self.same(sides[-1], other)
            case sympy.Expr(), sympy.Expr():
                return numbers.equal_numbers(a, b, self.work)
            case Node("unit", (value, unit)), Node("unit", (other, other_unit)):
                return unit == other_unit and self.same(value, other)
            case (Node("unit", (value, unit)), other) | (other, Node("unit", (value, unit))):
                return unit != "%" and self.same(value, other)
            case Node("name" | "="), Node("name" | "="):
                return self.same_statement(a, b)
            case (Node("name", (value, _)), other) | (other, Node("name", (value, _))):
                return self.same(value, other)
            case Node("≠" | "<" | "≤"), Node():
                return a.kind == b.kind and self.same_relation(a.parts[0], b.parts[0], a.kind)
            case Node("{}"), Node("{}" | "()") if are_named(a.parts) and not any_named(b.parts):
                return self.same_in_order(a.parts, b.parts)
            case Node("{}" | "()"), Node("{}") if are_named(b.parts) and not any_named(a.parts):
                return self.same_in_order(a.parts, b.parts)
            case Node("{}" | "∪"), Node() if a.kind == b.kind:
                return self.same_in_any_order(a.parts, b.parts)
            case Node("text" | "base"), Node():
                return a == b
            case tuple(), tuple():  # the rows of matrices
                return self.same_in_order(a, b)
            case Node(), Node():  # tuples, intervals, ratios, matrices
                return a.kind == b.kind and self.same_in_order(a.parts, b.parts)
        return False

    def same_statement(self, a: Node, b: Node) -> bool:
        """x = 5 and 5 = x; y = 2x + 3 and 2x - y + 3 = 0, of which one is a multiple."""
        if a.kind == b.kind == "name" and a.parts[1] == b.parts[1]:
            return self.same(a.parts[0], b.parts[0])
        difference = as_difference(a)
        other = as_difference(b)
        if difference is None or other is None:
            return False
        return self.same_relation(difference, other, "=")

    def same_relation(self, a: sympy.Expr, b: sympy.Expr, sign: str) -> bool:
        """x < 2 is 2x < 4, but not -x < -2."""
        ratio = numbers.proportion(a, b, self.work)
        return bool(ratio > 0 if sign in "<≤" else ratio != 0)

    def same_in_order(self, parts: Parts, others: Parts) -> bool:
        return len(parts) == len(others) and all(map(self.same, parts, others))

    def same_in_any_order(self, parts: Parts, others: Parts) -> bool:
        """1, 1, 2 and 2, 1, 1: each part is paired with one of the other list."""
        if len(parts) != len(others) or not may_be_paired(parts, others):
            return False
        rest = list(others)
        for part in parts:
            places = (i for i, other in enumerate(rest) if self.same(part, other))
            place = next(places, None)
            if place is None:
                return False
            rest.pop(place)
        return True


def may_be_paired(parts: Parts, others: Parts) -> bool:
    """Not 5 dollars and 25 cents with 25 and 5: of two units none may be left out."""
    units = sorted(attribute(part, "unit") for part in parts)
    other_units = sorted(attribute(part, "unit") for part in others)
    are_mixed = len({*units, *other_units} - {""}) > 1
    return not are_mixed or units == other_units


def are_named(parts: Parts) -> bool:
    """x = 1, y = 2: the names differ, so that their order tells which is which."""
    names = {attribute(part, "name") for part in parts}
    return len(names) == len(parts) > 1 and "" not in names


def any_named(parts: Parts) -> bool:
    return any(attribute(part, "name") for part in parts)


def attribute(value: Any, kind: str) -> str:
    """The name or the unit of a value; empty if it has none."""
    return value.parts[1] if isinstance(value, Node) and value.kind == kind else ""


def is_letter(name: str) -> bool:
    """x, x_1 and \\theta; but not AB or f(x)."""
    letter = name.partition("_")[0]
    return len(letter) == 1 or letter in GREEK


def as_difference(statement: Node) -> sympy.Expr | None:
    """Left minus right side of an equation; of a name only if it is a single letter."""
    if statement.kind == "=":
        return statement.parts[0]
    value, name = statement.parts
    if not isinstance(value, sympy.Expr) or not is_letter(name):
        return None
    return numbers.total([sympy.Symbol(name), numbers.negative(value)])


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
        print(f"{text[:80]!r} is read as {described(text)}")
    equal = is_equal(gold, answer)
    print("equal" if equal else "different")
    return 0 if equal else 1


def described(text: str) -> str:
    """The value of an answer in words of this program, or why it has none."""
    try:
        return str(read(text[:MAX_LENGTH]))[:200]
    except Unread as reason:
        return f"text ({reason})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
