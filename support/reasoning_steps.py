"""The reasoning steps of a checkpoint's answer: lines, with displayed formulas and code blocks
whole.

In this file and in support/assisted.py a step is a reasoning step, elsewhere a training step.
Called by support/assisted.py (where a wrong answer is cut, what is shown of a right one),
support/metrics.py (is a wrong prefix made of whole steps?) and support/diagnosis.py (does a
diagnosis name its numbers?).
"""

import re

NUMBER = re.compile(r"\d+(?:[.,]\d+)*|(?<![\w.])\.\d+")
THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
LIST_MARK = re.compile(
    r"^[\s*#>-]*(?:step\s+\d+\b|\d+[.):](?=\**[ \t]+\S))", re.IGNORECASE | re.MULTILINE
)
LATEX_COMMA = re.compile(r"\{,\}|,\\!|(?<=\d)\\,(?=\d{3}(?!\d))")  # in 1{,}000, 1,\!000 and 1\,000


def reasoning_steps(text: str) -> list[str]:
    r"""The reasoning steps of an answer; joined they are the answer again.

    A step is a line with the blank lines after it. A displayed formula, from \\[ to \\] or between
    two $$, is one step with the line that it begins on; so is a code block.

    >>> reasoning_steps("We add:\n\\[\n2+2=5\n\\]\n\nSo it is 5.")
    ['We add:\n', '\\[\n2+2=5\n\\]\n\n', 'So it is 5.']
    """
    steps: list[str] = []
    step = ""
    for line in text.splitlines(keepends=True):
        if not line.strip() and steps and not step:
            steps[-1] += line
            continue
        step += line
        if step.strip() and not is_open(step):
            steps.append(step)
            step = ""
    return [*steps, step] if step else steps


def is_open(step: str) -> bool:
    """Whether a formula or a code block has begun in it and not ended."""
    formula_is_open = step.rfind("\\[") > step.rfind("\\]")
    return formula_is_open or step.count("$$") % 2 == 1 or step.count("```") % 2 == 1


def whole_steps(answer: str, beginning: str) -> int:
    r"""How many steps of the answer the beginning is made of, white space at its end aside; 0 where
    it ends within a step.

    >>> whole_steps("2+2=5\nSo it is 5.", "2+2=5"), whole_steps("2+2=5\nSo it is 5.", "2+2")
    (1, 0)
    """
    text = ""
    for number, step in enumerate(reasoning_steps(answer), start=1):
        text += step
        if text.strip() == beginning.strip():
            return number
    return 0


def numbers_in(text: str) -> set[str]:
    """The numbers that stand in a text, in one spelling, without those that count its steps.

    >>> sorted(numbers_in("2. We have 12 + 30.50 = 42.5\\n### Step 3:\\nso $1,000.00 and $.50"))
    ['0.5', '1000', '12', '30.5', '42.5']
    """
    numbers = set()
    text = LATEX_COMMA.sub(",", text)
    for number in NUMBER.findall(LIST_MARK.sub("", text)):
        if THOUSANDS.fullmatch(number):
            number = number.replace(",", "")
        if "." in number:
            number = ("0" + number if number[0] == "." else number).rstrip("0").rstrip(".")
        numbers.add(number)
    return numbers
