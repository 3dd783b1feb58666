"""The built-in problems: endless word problems on a ladder of five rungs.

A model of under a million weights learns them in minutes, without a network. Each comes with its
worked lines, so that what a policy makes of its mistakes can be checked: the first wrong line of
any answer is known.

The worked lines are a chain, as in "12+7=19", "19-5=14", "#### 14": each starts with the result of
the line before it.

Called through tasks.task_of("builtin"), by data.py and by the cold start.
"""

import operator
import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tasks import Problem


@dataclass(frozen=True)
class Rung:
    """How hard a problem is."""

    length: tuple[int, int]  # operations in a problem, at least and at most
    limit: int  # every value lies in 1 .. limit - 1
    distractors: int  # sentences with a number that does not matter
    signs: str  # the operations that occur


RUNGS = {
    1: Rung((2, 3), limit=100, distractors=0, signs="+-"),
    2: Rung((3, 4), limit=200, distractors=0, signs="+-*/"),
    3: Rung((4, 5), limit=200, distractors=1, signs="+-*/"),
    # for testing: more operations than any problem of the rungs below
    4: Rung((6, 7), limit=200, distractors=1, signs="+-*/"),
    # for testing: larger values, more distractors
    5: Rung((4, 5), limit=400, distractors=2, signs="+-*/"),
}
TRAINED = (1, 3)  # the lowest and the highest rung of "builtin"

PRONOUNS = {
    "Ava": "She",
    "Cleo": "She",
    "Emma": "She",
    "Gia": "She",
    "Ben": "He",
    "Dan": "He",
    "Finn": "He",
    "Hugo": "He",
}
THINGS = [
    "apples",
    "books",
    "cards",
    "coins",
    "eggs",
    "marbles",
    "pencils",
    "shells",
    "stamps",
    "stickers",
]
STARTS = [
    "{name} has {n} {things}.",
    "{name} counts {n} {things} in a box.",
    "In the morning {name} has {n} {things}.",
]
EVENTS = {
    "+": [
        "{friend} gives {name} {n} more.",
        "{she} finds {n} more.",
        "{she} buys {n} more {things}.",
    ],
    "-": ["{she} gives {n} to {friend}.", "{she} loses {n} of them.", "{she} sells {n} {things}."],
    "*": [
        "{she} trades until there are {n} times as many.",
        "A week later {name} has {n} times as many {things}.",
    ],
    "/": [
        "{she} sorts them into {n} equal piles and keeps one pile.",
        "{name} keeps one of {n} equal shares.",
    ],
}
DISTRACTORS = ["{friend} has {n} {others}.", "{name} is {n} years old.", "The box is {n} cm wide."]
ENDS = ["How many {things} does {name} have now?", "How many {things} are left with {name}?"]

LINE = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")  # a worked line: no value is below 0
FUNCTIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}

# What can be wrong in a line of a spoiled answer. A wrong result stands here twice: it is drawn as
# often as the other two together.
SLIPS = ("sign", "operand", "result", "result")
RESULT_ERRORS = (-10, -2, -1, 1, 2, 10)


@dataclass(frozen=True)
class Operation:
    """What one worked line does to the value before it."""

    sign: str
    operand: int
    error: int = 0  # what a slip in the arithmetic adds to the result


def problems(split: str, seed: int, rungs: tuple[int, int] = TRAINED) -> Iterator[Problem]:
    """Endless problems without repeats, from the rungs of this range in turn."""
    rng = random.Random(f"{split} {seed}")
    lowest, highest = rungs
    rung = lowest
    used = set()
    while True:
        problem = draw_problem(rng, RUNGS[rung])
        question = problem.question
        in_split = is_for_testing(question) == (split == "test")
        if in_split and question not in used:
            used.add(question)
            yield problem
            rung = rung + 1 if rung < highest else lowest


def is_for_testing(question: str) -> bool:
    """Whether a question belongs to the split "test".

    Its checksum decides, so that no problem of one split is ever in the other, whatever the seeds
    are.
    """
    return zlib.crc32(question.encode()) % 10 == 0


def draw_problem(rng: random.Random, rung: Rung) -> Problem:
    """A problem of the rung with its worked lines."""
    words = draw_words(rng)
    value = rng.randrange(2, rung.limit)
    start = rng.choice(STARTS)
    sentences = [start.format(n=value, **words)]
    lines = []
    for _ in range(rng.randint(*rung.length)):
        operation = draw_operation(rng, rung, value)
        event = rng.choice(EVENTS[operation.sign])
        sentences.append(event.format(n=operation.operand, **words))
        lines.append(worked_line(value, operation))
        value = result_of(value, operation)
    for _ in range(rung.distractors):
        distractor = rng.choice(DISTRACTORS)
        sentence = distractor.format(n=rng.randrange(2, 50), **words)
        place = rng.randint(1, len(sentences))
        sentences.insert(place, sentence)
    end = rng.choice(ENDS)
    sentences.append(end.format(**words))
    lines.append(f"#### {value}")
    return Problem(" ".join(sentences), str(value), "\n".join(lines))


def draw_words(rng: random.Random) -> dict[str, str]:
    """Who and what a problem is about, by the placeholders of its sentences."""
    name, friend = rng.sample(list(PRONOUNS), 2)
    things, others = rng.sample(THINGS, 2)
    return {
        "name": name,
        "friend": friend,
        "things": things,
        "others": others,
        "she": PRONOUNS[name],
    }


def draw_operation(rng: random.Random, rung: Rung, value: int) -> Operation:
    """An operation of the rung on this value whose result is whole and in 1 .. limit - 1."""
    largest = rung.limit - 1
    most = rung.limit // 4  # of what is added or taken away
    operands = {
        "+": range(1, min(most, largest - value) + 1),
        "-": range(1, min(most, value - 1) + 1),
        "*": range(2, min(5, largest // value) + 1),
        "/": [n for n in range(2, 6) if value % n == 0],
    }
    possible = [sign for sign in rung.signs if operands[sign]]
    sign = rng.choice(possible)
    operand = rng.choice(operands[sign])
    return Operation(sign, operand)


def result_of(value: int, operation: Operation) -> int:
    """The value behind the operation; a division that does not come out is rounded down."""
    function = FUNCTIONS[operation.sign]
    return function(value, operation.operand) + operation.error


def worked_line(value: int, operation: Operation) -> str:
    """The operation as a worked line: "12+7=19"."""
    return f"{value}{operation.sign}{operation.operand}={result_of(value, operation)}"


def spoil(problem: Problem, rng: random.Random) -> str:
    """A wrong answer to a problem of this family.

    One line has a slip, and the lines after it go on from the wrong value, as a model's would.
    """
    solution = problem.solution or ""
    *lines, _ = solution.split("\n")
    operations = [read_line(line)[1] for line in lines]
    start, _ = read_line(lines[0])
    while True:
        spoiled = with_one_slip(operations, rng)
        value = start
        wrong_lines = []
        for operation in spoiled:
            wrong_lines.append(worked_line(value, operation))
            value = result_of(value, operation)
        # A slip can leave the answer as it was, or lead below 0, which no worked line shows.
        is_wrong = value != int(problem.answer)
        if is_wrong and all(LINE.fullmatch(line) for line in wrong_lines):
            return "\n".join([*wrong_lines, f"#### {value}"])


def read_line(line: str) -> tuple[int, Operation]:
    """(the value before a worked line, its operation)."""
    found = LINE.fullmatch(line)
    assert found is not None, line
    return int(found[1]), Operation(sign=found[2], operand=int(found[3]))


def with_one_slip(operations: list[Operation], rng: random.Random) -> list[Operation]:
    """The same operations, one of them drawn to go wrong."""
    at = rng.randrange(len(operations))
    slip = rng.choice(SLIPS)
    if slip == "sign":
        wrong = replace(operations[at], sign=rng.choice("+-*/"))
    elif slip == "operand":
        # the number of any line, as by someone who mixes up the facts of the question
        taken = rng.choice(operations)
        wrong = replace(operations[at], operand=taken.operand)
    else:
        wrong = replace(operations[at], error=rng.choice(RESULT_ERRORS))
    return [*operations[:at], wrong, *operations[at + 1 :]]
