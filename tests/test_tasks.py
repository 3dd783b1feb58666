"""The problem families: how one is found; and the built-in ladder: its problems are right, and its
mistakes are mistakes."""

import random
import re
import sys
from itertools import islice

import pytest

import tasks
from data import load_problems
from support.files import InputError
from tasks import Problem, builtin, rungs_of, task_of
from tasks.builtin import LINE, RUNGS, problems, spoil

# ---------------------------------------------------------------- families

COUNTING = """
from itertools import count

from tasks import Problem

RUNGS = range(1, 13)
TRAINED = (2, 3)


def problems(split, seed, rungs=TRAINED):
    for n in count(seed):
        yield Problem(f"{split} {rungs}: name a multiple of {n}", str(n), None, lambda text: True)


def spoil(problem, rng):
    return "nothing"
"""


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """A family whose file is added while the tests run, as a fork adds one to tasks/."""
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    yield
    sys.modules.pop("tasks.counting", None)
    if hasattr(tasks, "counting"):
        del tasks.counting


def test_a_file_in_tasks_is_a_family_of_its_name(counting):
    task = task_of("counting")
    assert task is task_of("counting:1-2")
    assert task.spoil(Problem("Q", "1"), random.Random(0)) == "nothing"
    two = load_problems("counting", "test", 2, seed=5)
    assert [problem.answer for problem in two] == ["5", "6"]
    assert two[0].question == "test (2, 3): name a multiple of 5"
    assert two[0].verify("10")


def test_the_rungs_of_every_family_are_named_and_checked(counting):
    assert rungs_of("counting") == (2, 3)
    assert rungs_of("counting:1") == (1, 1)
    assert rungs_of("counting:4-12") == (4, 12)
    for name in ("counting:0", "counting:13", "counting:3-2", "counting:", "counting:1-2-3"):
        says = f"{name}: no such problems; the built-in rungs are counting:1-12"
        with pytest.raises(InputError, match=says):
            rungs_of(name)


@pytest.mark.parametrize(
    "name",
    [
        "gsm8k",
        "counting",  # the file of the fixture above is gone
        "builtins",
        "builtin.py",
        "../builtin",
        "tasks.builtin",
        "data/problems.jsonl",
        "__init__",
        "Built in",
        ":1",
        "",
    ],
)
def test_a_name_without_a_file_in_tasks_is_no_family(name):
    assert task_of(name) is None
    with pytest.raises(InputError, match="expected a problem family"):
        rungs_of(name)


def test_the_built_in_family_is_found_and_whole():
    assert task_of("builtin") is builtin is task_of("builtin:4")
    assert rungs_of("builtin") == builtin.TRAINED == (1, 3)
    assert rungs_of("builtin:4") == (4, 4) and rungs_of("builtin:1-5") == (1, 5)


# ---------------------------------------------------------------- the built-in ladder


@pytest.mark.parametrize("number", RUNGS)
def test_problems_are_right_and_their_lines_are_a_chain(number):
    rung = RUNGS[number]
    signs = set()
    for problem in islice(problems("train", 1, (number, number)), 200):
        *lines, last = problem.solution.split("\n")
        assert rung.length[0] <= len(lines) <= rung.length[1]
        assert last == f"#### {problem.answer}"
        value = None
        for line in lines:
            before, sign, operand, result = LINE.fullmatch(line).groups()
            assert value is None or value == before
            x, y = int(before), int(operand)
            exact = {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[sign]
            assert exact == int(result) and 0 < int(result) < rung.limit
            assert f" {operand} " in problem.question or f" {operand}." in problem.question
            signs.add(sign)
            value = result
        assert value == problem.answer
        numbers = re.findall(r"\d+", problem.question)
        # each fact's number is there, and no other
        assert len(numbers) == len(lines) + 1 + rung.distractors
    assert signs == set(rung.signs)


def test_the_rungs_take_turns():
    for i, problem in enumerate(islice(problems("train", 0, (1, 4)), 40)):
        low, high = RUNGS[i % 4 + 1].length
        assert low <= problem.solution.count("\n") <= high


def test_train_and_test_problems_never_meet():
    """Disjoint for every pair of seeds, not by luck of one."""
    train = {p.question for seed in (0, 1, 2) for p in islice(problems("train", seed), 2000)}
    test = {p.question for seed in (0, 9) for p in islice(problems("test", seed), 1000)}
    assert len(test) > 1500 and not train & test


QUESTION = (
    "In the morning Ben has 79 pencils. Cleo gives Ben 24 more. Ben is 44 years old. "
    "He buys 47 more pencils. He buys 26 more pencils. "
    "He sorts them into 4 equal piles and keeps one pile. How many pencils are left with Ben?"
)
SOLUTION = "79+24=103\n103+47=150\n150+26=176\n176/4=44\n#### 44"
SPOILED = [
    "79+24=103\n103+47=150\n150+26=176\n176/4=34\n#### 34",  # a wrong result
    "79+24=103\n103+47=150\n150+26=175\n175/4=43\n#### 43",
    "79+24=103\n103+26=129\n129+26=155\n155/4=38\n#### 38",  # a wrong operand
    "79+24=103\n103*47=4841\n4841+26=4867\n4867/4=1216\n#### 1216",  # a wrong sign
]


def test_a_seed_means_the_same_problems_and_the_same_mistakes_in_every_version():
    """Else a published figure would no longer be of the problems that its command names."""
    (problem,) = islice(problems("train", 1, (3, 3)), 1)
    assert problem == Problem(QUESTION, "44", SOLUTION)
    rng = random.Random(0)
    assert [spoil(problem, rng) for _ in SPOILED] == SPOILED


def test_spoiled_answers_are_wrong_and_go_on_from_one_slip():
    rng = random.Random(0)
    for problem in islice(problems("train", 2, (1, 5)), 300):
        right = problem.solution.split("\n")
        wrong = spoil(problem, rng).split("\n")
        assert len(wrong) == len(right) and wrong[-1] != right[-1]
        parted = [a != b for a, b in zip(wrong, right, strict=True)].index(True)
        value = None
        for i, line in enumerate(wrong[:-1]):
            before, sign, operand, result = LINE.fullmatch(line).groups()
            assert value is None or value == before
            if i != parted:  # only there is the reckoning or the fact wrong
                assert [sign, operand] == list(LINE.fullmatch(right[i]).groups()[1:3])
                x, y = int(before), int(operand)
                assert int(result) == {"+": x + y, "-": x - y, "*": x * y, "/": x // y}[sign]
            value = result
        assert wrong[-1] == f"#### {value}"
