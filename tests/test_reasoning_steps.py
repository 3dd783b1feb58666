"""Answers cut in steps: nothing is lost, and formulas and code stay whole."""

import random

import pytest

from support.reasoning_steps import numbers_in, reasoning_steps, whole_steps

FORMULA = "We add:\n\\[\n2+2=5\n\\]\n\nSo it is 5."
CODE = "In Python:\n```python\n\nx = 2 + 2\n\nprint(x)\n```\n```output\n5\n```\nIt is 5."


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("One.\n\nTwo.\n", ["One.\n\n", "Two.\n"]),
        ("\n\nOne.", ["\n\nOne."]),
        (FORMULA, ["We add:\n", "\\[\n2+2=5\n\\]\n\n", "So it is 5."]),
        ("$$\n2+2=5\n$$\nSo.", ["$$\n2+2=5\n$$\n", "So."]),
        ("\\[ 2+2=5 \\]\nSo.", ["\\[ 2+2=5 \\]\n", "So."]),
        ("Two cost $5.\nOne costs $3.", ["Two cost $5.\n", "One costs $3."]),
        ("```\nx = 1\ny = 2", ["```\nx = 1\ny = 2"]),  # cut off
        ("", []),
    ],
)
def test_a_step_is_a_line_a_formula_or_a_code_block(text, steps):
    assert reasoning_steps(text) == steps


def test_code_and_its_output_are_a_step_each():
    assert [step.strip()[:9] for step in reasoning_steps(CODE)] == [
        "In Python",
        "```python",
        "```output",
        "It is 5.",
    ]


def test_the_steps_of_any_text_are_the_text():
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(
            rng.choices(["a", "2=3", "\n", "\n\n", "\\[", "\\]", "```", "$$", " "], k=12)
        )
        steps = reasoning_steps(text)
        assert "".join(steps) == text
        assert all(steps) and (not text.strip() or all(step.strip() for step in steps))


def test_a_beginning_is_whole_steps_or_not():
    steps = reasoning_steps(FORMULA)
    beginnings = ["".join(steps[:n]) for n in (1, 2, 3)]
    assert [whole_steps(FORMULA, beginning) for beginning in beginnings] == [1, 2, 3]
    assert whole_steps(FORMULA, "We add:\n\\[\n2+2=5") == 0
    assert whole_steps(FORMULA, "We subtract:") == whole_steps(FORMULA, "") == 0


def test_numbers_have_one_spelling_each():
    assert numbers_in("$1,000 for 3 items at 2.50 each, x2.") == {"1000", "3", "2.5", "2"}
    assert numbers_in("5.00, 1,000.50 and 1,2 of 100") == {"5", "1000.5", "1,2", "100"}
    assert numbers_in(r"1{,}000 and 2{,}000{,}000 and 1,\!500") == {"1000", "2000000", "1500"}
    assert numbers_in(r"1\,000 and 1\,000\,000, but 5\,cm") == {"1000", "1000000", "5"}
    assert numbers_in(r"5\,1000") == {"5", "1000"}
    assert numbers_in("Pay $.50") == numbers_in("2*.5/2-.50") - {"2"} == {"0.5"}
    assert numbers_in("x.5") == numbers_in("...5") == {"5"}
    assert numbers_in("3..5") == numbers_in("3...5") == {"3", "5"}
    assert numbers_in("none") == set()


@pytest.mark.parametrize(
    "heading",
    [
        "### Step 4:",
        "**Step 4:**",
        "**Step 4**: Add 7.",
        "Step 4 - Add 7.",
        "4. Add 7.",
        "- 4) Add 7.",
    ],
)
def test_the_number_of_a_step_is_no_number_of_its_text(heading):
    assert numbers_in(f"So 7.\n{heading}\n") == {"7"}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1. Add 5.\n2) Subtract 3.", {"5", "3"}),
        ("**Step 3:** 4+4=8", {"4", "8"}),
        ("   - 4. So it is 9", {"9"}),
        ("45.\n", {"45"}),  # an answer that stands alone
        ("12.5 is half", {"12.5"}),
        ("So 7. It is 8", {"7", "8"}),
    ],
)
def test_what_counts_the_steps_of_a_list_is_no_number_of_it(text, numbers):
    assert numbers_in(text) == numbers
