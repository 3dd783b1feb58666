"""A problem, and the built-in ones: endless word problems on a ladder of five rungs.

A model of under a million weights learns them in minutes without a network. Each comes with its worked lines, so
that what a policy makes of its mistakes can be checked: the generator knows the first wrong line of any answer.
"""

import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    question: str
    answer: str
    solution: str | None = None  # worked lines; only the cold start and what is measured read them


@dataclass(frozen=True)
class Rung:
    """How hard a built-in problem is."""

    steps: tuple[int, int]  # operations, at least and at most
    limit: int  # every value lies in 1 .. limit - 1
    distractors: int  # sentences with a number that does not matter
    operations: str


RUNGS = {
    1: Rung((2, 3), 100, 0, "+-"),
    2: Rung((3, 4), 200, 0, "+-*/"),
    3: Rung((4, 5), 200, 1, "+-*/"),
    4: Rung((6, 7), 200, 1, "+-*/"),  # more steps than any problem of the rungs below
    5: Rung((4, 5), 400, 2, "+-*/"),  # larger values, more distractors
}
TRAINED = (1, 3)  # the rungs of "builtin"; the others are for testing

PEOPLE = {name: "She" for name in "Ava Cleo Emma Gia".split()} | {name: "He" for name in "Ben Dan Finn Hugo".split()}
THINGS = ["apples", "books", "cards", "coins", "eggs", "marbles", "pencils", "shells", "stamps", "stickers"]
STARTS = ["{name} has {n} {things}.", "{name} counts {n} {things} in a box.", "In the morning {name} has {n} {things}."]
EVENTS = {
    "+": ["{friend} gives {name} {n} more.", "{she} finds {n} more.", "{she} buys {n} more {things}."],
    "-": ["{she} gives {n} to {friend}.", "{she} loses {n} of them.", "{she} sells {n} {things}."],
    "*": ["{she} trades until there are {n} times as many.", "A week later {name} has {n} times as many {things}."],
    "/": ["{she} sorts them into {n} equal piles and keeps one pile.", "{name} keeps one of {n} equal shares."],
}
DISTRACTORS = ["{friend} has {n} {others}.", "{name} is {n} years old.", "The box is {n} cm wide."]
ENDS = ["How many {things} does {name} have now?", "How many {things} are left with {name}?"]
LINE = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")


def apply(a: int, op: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[op]


def builtin_problem(rng: random.Random, rung: Rung) -> Problem:
    """One problem of the rung. The worked lines are a chain: each starts with the last one's result, as in
    "12+7=19", "19-5=14"."""
    name, friend = rng.sample(list(PEOPLE), 2)
    things, others = rng.sample(THINGS, 2)
    words = {"name": name, "friend": friend, "things": things, "others": others, "she": PEOPLE[name]}
    value = rng.randrange(2, rung.limit)
    sentences, lines = [rng.choice(STARTS).format(n=value, **words)], []
    for _ in range(rng.randint(*rung.steps)):
        operands = {
            "+": range(1, min(rung.limit // 4, rung.limit - 1 - value) + 1),
            "-": range(1, min(rung.limit // 4, value - 1) + 1),
            "*": range(2, min(5, (rung.limit - 1) // value) + 1),
            "/": [n for n in range(2, 6) if value % n == 0],
        }
        op = rng.choice([op for op in rung.operations if operands[op]])
        n = rng.choice(operands[op])
        sentences.append(rng.choice(EVENTS[op]).format(n=n, **words))
        lines.append(f"{value}{op}{n}={apply(value, op, n)}")
        value = apply(value, op, n)
    for _ in range(rung.distractors):
        fact = rng.choice(DISTRACTORS).format(n=rng.randrange(2, 50), **words)
        sentences.insert(rng.randint(1, len(sentences)), fact)
    question = " ".join([*sentences, rng.choice(ENDS).format(**words)])
    return Problem(question, str(value), "\n".join([*lines, f"#### {value}"]))


def builtin_problems(split: str, seed: int, rungs: tuple[int, int] = TRAINED) -> Iterator[Problem]:
    """Endless problems without repeats, from the rungs of this range in turn. A question's checksum decides its
    split, so that whatever the seeds are, no problem of one split is ever in the other."""
    rng, seen, rung = random.Random(f"{split} {seed}"), set(), rungs[0]
    while True:
        problem = builtin_problem(rng, RUNGS[rung])
        checksum = zlib.crc32(problem.question.encode())
        if (checksum % 10 == 0) == (split == "test") and problem.question not in seen:
            seen.add(problem.question)
            yield problem
            rung = rung + 1 if rung < rungs[1] else rungs[0]


def spoil(problem: Problem, rng: random.Random) -> str:
    """A wrong answer to a built-in problem: one line has a slip, a wrong operation or a wrong operand, and
    the lines after it go on from the wrong value, as a model's would."""
    *steps, _ = (problem.solution or "").split("\n")
    parts = [LINE.fullmatch(step).groups() for step in steps]  # type: ignore[union-attr]
    while True:
        bad, value, lines = rng.randrange(len(parts)), int(parts[0][0]), []
        for i, (_, op, n, _) in enumerate(parts):
            slip, kind = 0, rng.randrange(4) if i == bad else None
            if kind == 0:
                op = rng.choice("+-*/")
            elif kind == 1:
                n = rng.choice(parts)[2]
            elif kind:
                slip = rng.choice((-10, -2, -1, 1, 2, 10))
            result = apply(value, op, int(n)) + slip
            lines.append(f"{value}{op}{n}={result}")
            value = result
        if value != int(problem.answer) and all(LINE.fullmatch(line) for line in lines):  # nothing below 0
            return "\n".join([*lines, f"#### {value}"])


def standing(lines: list[str]) -> list[int]:
    """Indices of the lines that an answer stands by: one that starts with "Wait, " takes back the last of them."""
    stand: list[int] = []
    for i, line in enumerate(lines):
        stand = stand[:-1] if line.startswith("Wait, ") else [*stand, i]
    return stand


def parting(wrong: list[str], right: list[str]) -> tuple[int, list[str]]:
    """(index of the line at which a wrong answer parts from a right one, the right lines from there on). Lines that
    either takes back itself do not count. An answer that stops too soon, or goes on too long, parts at its end."""
    stand, path = standing(wrong) or [len(wrong) - 1], [right[i] for i in standing(right)] or right
    same = next((k for k, (i, line) in enumerate(zip(stand, path, strict=False)) if wrong[i] != line), None)
    k = min(len(stand), len(path)) - 1 if same is None else same
    return stand[k], path[k:]


def correct(problem: Problem, wrong: str) -> tuple[str, str]:
    """(analysis, reflective answer) for a wrong answer to a built-in problem, as a perfect teacher writes them: each
    problem has one solution, so the first error is where the answer parts from it."""
    lines = wrong.split("\n")
    at, rest = parting(lines, (problem.solution or "").split("\n"))
    diagnosis = f"Wait, {lines[at]} is wrong."
    return f"{lines[at]} should be {rest[0]}.", "\n".join([*lines[: at + 1], diagnosis, *rest])


def is_sound(problem: Problem, text: str) -> bool:
    """Whether what an answer stands by is the solution, line by line; a right answer may be luck."""
    lines = text.split("\n")
    return "\n".join(lines[i] for i in standing(lines)) == problem.solution
