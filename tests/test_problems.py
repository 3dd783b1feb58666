"""The built-in ladder: problems that are right, mistakes that are mistakes, corrections at the first error."""

import random
import re
from itertools import islice

import pytest

from tasks.builtin import LINE, RUNGS, Problem, builtin_problems, correct, is_sound, parting, spoil


@pytest.mark.parametrize("number", RUNGS)
def test_problems_are_right_and_their_lines_are_a_chain(number):
    rung, operations = RUNGS[number], set()
    for problem in islice(builtin_problems("train", 1, (number, number)), 200):
        *steps, last = problem.solution.split("\n")
        assert rung.steps[0] <= len(steps) <= rung.steps[1] and last == f"#### {problem.answer}"
        value = None
        for step in steps:
            a, op, b, c = LINE.fullmatch(step).groups()
            assert value is None or value == a
            x, y = int(a), int(b)
            exact = {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[op]
            assert exact == int(c) and 0 < int(c) < rung.limit
            assert f" {b} " in problem.question or f" {b}." in problem.question
            operations.add(op)
            value = c
        assert value == problem.answer
        numbers = len(re.findall(r"\d+", problem.question))
        assert numbers == len(steps) + 1 + rung.distractors  # each fact's number is there, and no other
    assert operations == set(rung.operations)


def test_the_rungs_take_turns():
    steps = [p.solution.count("\n") for p in islice(builtin_problems("train", 0, (1, 4)), 40)]
    for i, count in enumerate(steps):
        low, high = RUNGS[i % 4 + 1].steps
        assert low <= count <= high


def test_train_and_test_problems_never_meet():
    """Disjoint for every pair of seeds, not by luck of one."""
    train = {p.question for seed in (0, 1, 2) for p in islice(builtin_problems("train", seed), 2000)}
    test = {p.question for seed in (0, 9) for p in islice(builtin_problems("test", seed), 1000)}
    assert len(test) > 1500 and not train & test


def test_spoiled_answers_are_wrong_and_corrected_at_their_first_error():
    rng = random.Random(0)
    for problem in islice(builtin_problems("train", 2, (1, 5)), 300):
        wrong = spoil(problem, rng)
        lines, right = wrong.split("\n"), problem.solution.split("\n")
        assert lines[-1] != f"#### {problem.answer}"
        at, rest = parting(lines, right)
        assert lines[:at] == right[:at] and lines[at] != right[at] and rest == right[at:]  # nothing before it was wrong
        analysis, reflective = correct(problem, wrong)
        told = [*lines[: at + 1], f"Wait, {lines[at]} is wrong.", *right[at:]]
        assert reflective.split("\n") == told  # word for word, the error included
        assert analysis == f"{lines[at]} should be {right[at]}."
        assert is_sound(problem, problem.solution) and is_sound(problem, reflective) and not is_sound(problem, wrong)


def test_an_error_that_the_answer_takes_back_itself_is_not_its_first():
    right = ["8-2=6", "6+1=7", "#### 7"]
    wrong = ["8-2=5", "Wait, 8-2=5 is wrong.", "8-2=6", "6+1=9", "#### 9"]
    assert parting(wrong, right) == (3, ["6+1=7", "#### 7"])
    false_alarm = ["8-2=6", "Wait, 8-2=6 is wrong.", "8-2=4", "4+1=5", "#### 5"]
    assert parting(false_alarm, right) == (2, right)
    taken_back = ["8-2=5", "Wait, 8-2=5 is wrong.", *right]  # y+ may have taken a detour itself
    assert parting(["8-2=6", "6+1=9", "#### 9"], taken_back) == (1, ["6+1=7", "#### 7"])


@pytest.mark.parametrize(
    "wrong", ["#### 3", "8-2=6", "nonsense", "", "Wait, what", "8-2=6\n6+1=7\n7+1=8\n8+1=9\n9+1=10"]
)
def test_answers_of_any_shape_can_be_corrected(wrong):
    """A sampled answer may have too few lines, or too many."""
    problem = Problem("Q", "7", "8-2=6\n6+1=7\n#### 7")
    lines = wrong.split("\n")
    at, rest = parting(lines, problem.solution.split("\n"))
    _, reflective = correct(problem, wrong)
    assert reflective.split("\n") == [*lines[: at + 1], f"Wait, {lines[at]} is wrong.", *rest] and rest[-1] == "#### 7"


def test_a_right_answer_by_luck_is_not_sound():
    problem = Problem("Q", "7", "8-2=6\n6+1=7\n#### 7")
    assert not is_sound(problem, "8-2=5\n5+1=7\n#### 7")
    assert is_sound(problem, "8-2=5\nWait, 8-2=5 is wrong.\n8-2=6\n6+1=7\n#### 7")
