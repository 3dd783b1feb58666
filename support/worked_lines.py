"""Answers that are worked line by line, as those to the built-in problems: where one goes wrong,
and its correction.

An answer may take a line back itself: a line that starts with "Wait, ", as the cold start teaches
it, takes back the one before it. (Whether an answer reflects at all is another rule, with more
phrases, in support/reflection.py.) Called by augment.py (the diff of --synthesis brief),
coldstart.py (examples) and support/metrics.py (how faithful constructions are).
"""


def lines_not_taken_back(lines: list[str]) -> list[int]:
    """Indices of the lines that an answer still holds true.

    >>> lines_not_taken_back(["8-2=5", "Wait, 8-2=5 is wrong.", "8-2=6", "#### 6"])
    [2, 3]
    """
    kept: list[int] = []
    for i, line in enumerate(lines):
        if line.startswith("Wait, "):
            kept = kept[:-1]
        else:
            kept.append(i)
    return kept


def first_difference(wrong: list[str], right: list[str]) -> tuple[int, list[str]]:
    """(index of the first line in which a wrong answer differs from a right one, the right lines
    from there on).

    Lines that either takes back itself do not count. Where one ends sooner, they are taken to
    differ at its last line, and so are two that are equal.

    >>> first_difference(["1+1=2", "2+2=5", "#### 5"], ["1+1=2", "2+2=4", "#### 4"])
    (1, ['2+2=4', '#### 4'])
    """
    kept = lines_not_taken_back(wrong)
    if not kept:
        kept = [len(wrong) - 1]
    path = [right[i] for i in lines_not_taken_back(right)]
    if not path:
        path = right
    common = min(len(kept), len(path))
    shared = 0
    while shared < common - 1 and wrong[kept[shared]] == path[shared]:
        shared += 1
    at = kept[shared]
    return at, path[shared:]


def correct(solution: str, wrong: str) -> tuple[str, str]:
    """(analysis, reflective answer) for a wrong answer, as a perfect teacher writes them.

    For problems with one solution: the first error is where the answer differs from it.

    >>> correct("2+2=4\\n#### 4", "2+2=5\\n#### 5")
    ('2+2=5 should be 2+2=4.', '2+2=5\\nWait, 2+2=5 is wrong.\\n2+2=4\\n#### 4')
    """
    lines = wrong.split("\n")
    solution_lines = solution.split("\n")
    at, right_lines = first_difference(lines, solution_lines)
    mistake = lines[at]
    analysis = f"{mistake} should be {right_lines[0]}."
    kept = lines[: at + 1]
    diagnosis = f"Wait, {mistake} is wrong."
    return analysis, "\n".join([*kept, diagnosis, *right_lines])


def is_sound(solution: str | None, text: str) -> bool:
    """Whether what an answer holds true is the solution, line by line; a right answer may be
    luck."""
    lines = text.split("\n")
    kept = lines_not_taken_back(lines)
    kept_lines = [lines[i] for i in kept]
    return "\n".join(kept_lines) == solution
