"""Worked lines: where an answer goes wrong, how it is corrected, and whether it is sound."""

import random
from itertools import islice

import pytest

from support.worked_lines import correct, first_difference, is_sound
from tasks.builtin import problems, spoil

RIGHT = ["8-2=6", "6+1=7", "#### 7"]
SOLUTION = "\n".join(RIGHT)


def test_spoiled_answers_are_wrong_and_corrected_at_their_first_error():
    rng = random.Random(0)
    for problem in islice(problems("train", 2, (1, 5)), 300):
        wrong = spoil(problem, rng)
        lines = wrong.split("\n")
        right = problem.solution.split("\n")
        assert lines[-1] != f"#### {problem.answer}"

        at, rest = first_difference(lines, right)
        assert lines[:at] == right[:at]  # nothing before it was wrong
        assert lines[at] != right[at] and rest == right[at:]

        analysis, reflective = correct(problem.solution, wrong)
        told = [*lines[: at + 1], f"Wait, {lines[at]} is wrong.", *right[at:]]
        assert reflective.split("\n") == told  # word for word, the error included
        assert analysis == f"{lines[at]} should be {right[at]}."

        assert is_sound(problem.solution, problem.solution)
        assert is_sound(problem.solution, reflective)
        assert not is_sound(problem.solution, wrong)


def test_an_error_that_the_answer_takes_back_itself_is_not_its_first():
    wrong = ["8-2=5", "Wait, 8-2=5 is wrong.", "8-2=6", "6+1=9", "#### 9"]
    assert first_difference(wrong, RIGHT) == (3, ["6+1=7", "#### 7"])
    false_alarm = ["8-2=6", "Wait, 8-2=6 is wrong.", "8-2=4", "4+1=5", "#### 5"]
    assert first_difference(false_alarm, RIGHT) == (2, RIGHT)


def test_a_right_answer_may_have_taken_a_detour_itself():
    taken_back = ["8-2=5", "Wait, 8-2=5 is wrong.", *RIGHT]
    wrong = ["8-2=6", "6+1=9", "#### 9"]
    assert first_difference(wrong, taken_back) == (1, ["6+1=7", "#### 7"])


def test_answers_that_end_too_soon_differ_at_their_last_line():
    assert first_difference(["8-2=6"], RIGHT) == (0, RIGHT)
    assert first_difference(["8-2=6", "6+1=7"], RIGHT) == (1, ["6+1=7", "#### 7"])
    assert first_difference([*RIGHT, "7+1=8"], RIGHT) == (2, ["#### 7"])
    assert first_difference(["Wait, what"], RIGHT) == (0, RIGHT)


@pytest.mark.parametrize(
    "wrong", ["#### 3", "8-2=6", "nonsense", "", "Wait, what", "8-2=6\n6+1=7\n7+1=8\n8+1=9\n9+1=10"]
)
def test_answers_of_any_shape_can_be_corrected(wrong):
    """A sampled answer may have too few lines, or too many."""
    lines = wrong.split("\n")
    at, rest = first_difference(lines, RIGHT)
    _, reflective = correct(SOLUTION, wrong)
    assert reflective.split("\n") == [*lines[: at + 1], f"Wait, {lines[at]} is wrong.", *rest]
    assert rest[-1] == "#### 7"


def test_a_right_answer_by_luck_is_not_sound():
    assert not is_sound(SOLUTION, "8-2=5\n5+1=7\n#### 7")
    assert is_sound(SOLUTION, "8-2=5\nWait, 8-2=5 is wrong.\n8-2=6\n6+1=7\n#### 7")
    assert not is_sound(None, SOLUTION)  # nobody knows the lines of a file's problem
