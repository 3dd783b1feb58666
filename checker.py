r"""The answer checker: the final answer of a text, whether two answers are equal, and the reward.

The reward of the paper is 1 if the final answer is right, and 0 if it is not. The first rule is
that nothing is guessed: an answer is read whole, by the grammar in support/answers/, or it is not
read. One that is not read equals only its own spelling, but for spaces, $ and the case of words.
The other rules matter to whoever grades data of their own; all others can skip them:

Where      Within <answer>, where there is one. The last \boxed{}, unless another value is stated
           after it (which then counts); or else the last "#### 42", "The answer is 42" or
           "Answer: 42"; or else the last bold **42**. What was cut off or denied is no answer, also
           where a later sentence denies it ("So 42 is wrong."); nor is a box that is a part of its
           formula, (2, \boxed{5}), or has an equal beside it, "\boxed{5} and 6"; nor one after
           which the last sentence is "So it is 6." After "Wait, ..." it must be marked anew, come
           out of a calculation again ("6 * 7 = 42."), or be confirmed in words that
           support/answers/doubts.py knows ("That is right.").
Tolerance  None. A decimal is the exact fraction that it spells: 0.33 is not 1/3. What is no
           fraction is compared by its value to 50 and then at least 100 digits. A value need not be
           worked out: 99^2 + 99 + 1 equals 9901, so a copy of "Compute 99^2 + 99 + 1" is paid.
Variables  Two expressions are equal if their values are, where the letters are given values: all
           positive, all negative, each negative alone, so that |x| is not x.
Units      18 eggs, 5 cm and \$5 equal 18, 5 and 5, but 5 cm is not 5 m, and 18 cents are not \$18
           (a plain $ is no currency: it opens mathematics). Where a list has two units, none may
           be missing. "5 thousand" is 5000.
Percent    25% equals 25 (the sign is a unit) and 1/4 (its value), though 25 and 1/4 differ; only
           where it is the whole answer.
Names      x = 5 equals 5, and 5 equals y = 5, though x = 5 and y = 5 differ. x + y = 5 is an
           equation and not 5; 2x + 2y = 10 equals it, but 2x + 3 = 13 is not x = 5. x = 2 + 3 = 5
           equals 5; x = 2 + 3 = 6 equals only its own spelling. Of 2\pi ≈ 6.28 the left side is the
           value.
Lists      2, 3 equals 3, 2 and \{2, 3\}; \pm 2 is 2, -2; \{5\} is 5. A tuple is ordered: (2, 3) and
           (3, 2) differ. x = 1, y = 2 equals (1, 2), and so does y = 2, x = 1. x > 2 equals
           (2, \infty).
Numbers    1 2/3 is 5/3. Spaces never join: 12 345 is not read; 12,345 and 12\,345 are one number.
           101_2 is not 5. Ratios are not reduced, for 3:20 may be a time: 3:2 is not 6:4.
Words      The choices C, (C), C) and c are one, from A to J (but e and i are numbers); "(C) 42" is
           C beside a letter, and 42 beside any other answer. The variables R and r differ. "no
           solution" is the empty set. A bracket of words after an answer is left out: 18 eggs (9
           left). "5 (or 6)" is not read.
Refused    An answer that is nested more than 40 deep or has too many digits, like 9^9^9^9, and a
           comparison that takes too much work. Above 600 characters an answer equals only the very
           same text.

Nothing of a text is executed. Nothing runs against a clock either: a signal interrupts only the
main thread, and a thread cannot be stopped. So work is counted, and ends at a bound.

    python checker.py GOLD ANSWER        shows how both are read, and whether they are equal
"""

import sys
from dataclasses import dataclass

from support.answers.comparison import Comparison
from support.answers.extraction import extract_answer, visible
from support.answers.grammar import read, without_option
from support.answers.tokens import Unread, spelling
from tasks import Problem

__all__ = ["Grade", "extract_answer", "grade", "is_equal", "reward_of", "visible"]

MAX_LENGTH = 600  # characters of an answer that is read

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
        spelled = spelling(gold)
        if spelled == spelling(answer):
            return bool(spelled)
        texts = [without_option(gold, answer), without_option(answer, gold)]
        # Lists are paired greedily, by which the order can matter. Sorted, so that it does not.
        first, second = sorted(texts)
        return Comparison().same_answer(read(first), read(second))
    except Unread:
        return False


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
    if len(text) > MAX_LENGTH:
        return f"text (more than {MAX_LENGTH} characters)"
    try:
        return str(read(text))[:200]
    except Unread as reason:
        return f"text ({reason})"
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of very many digits"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
