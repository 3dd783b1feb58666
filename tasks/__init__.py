"""A problem, and the built-in problem families: endless problems that are made and not read.

A file tasks/<family>.py is a family, and its name is what --data takes: "builtin" is
tasks/builtin.py. What such a file has to hold is written down in Task. Nothing else has to be
changed for a new one.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from random import Random
from typing import Any, Protocol, cast

from support.files import InputError


@dataclass(frozen=True)
class Problem:
    """A question and how its answers are judged.

    solution: worked lines; only the cold start and measurements read them, RL never does
    verify: for a question with many right answers: whether a whole answer's text is right.
        None: the checker compares what the text answers with `answer`
    """

    question: str
    answer: str
    solution: str | None = None
    verify: Callable[[str], bool] | None = None


class Task(Protocol):
    """What the module of a problem family holds. Its problems stand on a ladder, rung by rung."""

    # The numbers of the ladder's rungs: a range, or a dict from a number to what the rung is.
    RUNGS: dict[int, Any] | range

    # The lowest and the highest rung that the family's name alone means; others are for testing.
    TRAINED: tuple[int, int]

    def problems(self, split: str, seed: int, rungs: tuple[int, int]) -> Iterator[Problem]:
        """Endless problems of a split, "train" or "test", from the lowest to the highest rung.

        Whatever the seeds are, no problem of one split may ever be in the other.
        """

    def spoil(self, problem: Problem, rng: Random) -> str:
        """A wrong answer to one of these problems, which the cold start learns to correct.

        A family may lack it; then its problems need no solution, and a policy's cold start learns
        from its own answers. With it, a model can start from random weights.
        """


def task_of(name: str) -> Task | None:
    """The family that "builtin", "builtin:4" or "builtin:1-2" names; None where there is none."""
    family = family_of(name)
    if not family.isidentifier() or family.startswith("_"):
        return None
    module = f"{__name__}.{family}"
    if find_spec(module) is None:
        return None
    return cast(Task, import_module(module))


def task_with_mistakes(name: str) -> Task | None:
    """The family of that name if it can write mistakes and has solutions, else None."""
    task = task_of(name)
    return task if hasattr(task, "spoil") else None


def rungs_of(name: str) -> tuple[int, int]:
    """The lowest and the highest rung that "builtin", "builtin:4" or "builtin:1-2" names.

    Raises InputError for rungs that the family has not, and for a name that is no family's.
    """
    family = family_of(name)
    task = task_of(name)
    if task is None:
        raise InputError(f"{name}: expected a problem family, a file in tasks/, found none")
    if name == family:
        return task.TRAINED
    lowest = min(task.RUNGS)
    highest = max(task.RUNGS)
    named = re.fullmatch(r"(\d+)(?:-(\d+))?", name.removeprefix(f"{family}:"))
    if named is not None:
        low = int(named[1])
        high = int(named[2] or named[1])
        if lowest <= low <= high <= highest:
            return low, high
    expected = f"{family}:{lowest}-{highest}"
    raise InputError(f"{name}: no such problems; the built-in rungs are {expected}")


def family_of(name: str) -> str:
    """The part of a name before its rungs: "builtin" of "builtin:1-2"."""
    return name.split(":")[0]
