"""Problems: from a file, from GSM8K, or from a problem family in tasks/.

A file holds one JSON object a line with a question, an answer and, where it is known, a solution.
How a question becomes a prompt is in support/tokenizer.py: Tokenizer.question_prompt puts it into
the checkpoint's chat template with an instruction (INSTRUCTION), or into a plain layout (PLAIN)
where the checkpoint has no template.
"""

import json
import os
import re
import urllib.request
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Any

from support.files import InputError, note, one_line, write_text
from support.settings import Settings
from tasks import Problem, rungs_of, task_of

GSM8K = (
    "https://raw.githubusercontent.com/openai/grade-school-math/master"
    "/grade_school_math/data/{split}.jsonl"
)
CACHE = Path(os.environ.get("NANOTAPO_CACHE", "~/.cache/nanotapo")).expanduser()
DEFAULT_COUNT = 1000  # problems of a family, which is endless
TRAINING_COUNT = 20_000  # the same for training

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors put it at the start of a file
CALCULATOR_MARK = re.compile(r"<<[^>]*>>")  # GSM8K: "16-3=<<16-3=13>>13"
HALF_A_CHARACTER = re.compile("[\\ud800-\\udfff]")  # JSON can spell it, no tokenizer can read it


def load_problems(name: str, split: str, count: int | None = None, seed: int = 0) -> list[Problem]:
    """The first `count` problems of a family, of "gsm8k" or of a JSON-lines file.

    name: "builtin" (the rungs that are trained on), "builtin:4" or "builtin:1-2" (these rungs),
        the same of another file in tasks/, "gsm8k", or the path of a file
    split: "train" or "test"; a file has one split, itself
    count: None takes all of a file, and DEFAULT_COUNT problems of a family, which is endless
    seed: of a family's problems
    Raises InputError that names the file and the line.
    """
    task = task_of(name)
    if task is not None:
        endless = task.problems(split, seed, rungs_of(name))
        return list(islice(endless, DEFAULT_COUNT if count is None else count))

    path = download_gsm8k(split) if name == "gsm8k" else Path(name)
    if not path.is_file():
        expected = "a JSON-lines file, 'gsm8k' or 'builtin'"
        raise InputError(f"{name}: no such problem file; expected {expected}")
    return read_problems(path.read_bytes(), path)[:count]


def read_problems(content: bytes, path: Path) -> list[Problem]:
    """The problems of a JSON-lines file; its path is for the message of an InputError."""
    problems = []
    lines = content.removeprefix(BYTE_ORDER_MARK).splitlines()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            problem = read_problem(line, f"{path}, line {number}")
            problems.append(problem)
    if not problems:
        raise InputError(f"{path}: expected problems, found an empty file")
    return problems


def read_problem(line: bytes, where: str) -> Problem:
    """One JSON line with "question" (or "problem"), "answer" and perhaps "solution".

    GSM8K has its solution in "answer": worked lines, then "#### " and the answer itself.
    where: the file and the line, for the message of an InputError.
    """
    try:
        # Numbers are taken as they are written: 0.50 and integers of any length stay so.
        record = json.loads(line, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(record).__name__}")

    value = record.get("question", record.get("problem"))
    question = read_text(value, "question", where)
    answer = read_text(record.get("answer"), "answer", where)
    solution = record.get("solution")
    if not isinstance(solution, str):
        solution = None
    if "####" in answer:
        worked = CALCULATOR_MARK.sub("", answer).strip()
        answer = worked.rsplit("####", 1)[1].strip()
        solution = solution or worked
        if not answer:
            raise InputError(f"{where}: expected an answer after '####', found nothing")
    return Problem(question, answer, solution)


def read_text(value: Any, field: str, where: str) -> str:
    """A field's text without white space around it."""
    is_text = isinstance(value, str) and value.strip() and not HALF_A_CHARACTER.search(value)
    if not is_text:
        raise InputError(f"{where}: expected a text in {field!r}, found {value!r}")
    return value.strip()


def download_gsm8k(split: str) -> Path:
    """The split's file from GSM8K's public repository, fetched once into NANOTAPO_CACHE."""
    path = CACHE / f"gsm8k_{split}.jsonl"
    if path.is_file():
        return path
    url = GSM8K.format(split=split)
    try:
        with urllib.request.urlopen(url, timeout=60) as reply:
            content = reply.read()
        read_problems(content, path)  # it can be the page of some portal
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, content.decode("utf-8"))
    except (OSError, HTTPException, ValueError) as error:
        reason = f"{url} could not be fetched ({one_line(error)})"
        raise InputError(f"gsm8k: {reason}; give a local file instead") from None
    return path


def load_problem_sets(settings: Settings) -> tuple[list[Problem], list[Problem]]:
    """(training problems, held-out problems) of a run.

    A file without --eval-data is cut: its last questions, a fifth of it at most, are held out. Held
    out problems are the same for every --seed. A question that stands in the file several times is
    one question: all its copies are held out, or none.
    """
    is_family = task_of(settings.data) is not None
    problems = load_problems(
        settings.data, "train", TRAINING_COUNT if is_family else None, settings.seed
    )
    if settings.eval_data or is_family or settings.data == "gsm8k":
        held_out = load_problems(
            settings.eval_data or settings.data, "test", settings.eval_problems
        )
        trained_on = {problem.question for problem in problems}
        shared = sum(problem.question in trained_on for problem in held_out)
        if shared:
            note(f"{shared} of {len(held_out)} held-out problems are trained on too")
        return problems, held_out
    questions = list(dict.fromkeys(problem.question for problem in problems))
    kept = len(questions) - min(settings.eval_problems, max(len(questions) // 5, 1))
    if kept < 1:
        raise InputError(
            f"{settings.data}: expected 2 questions or more, one of them to be held out, "
            f"found {len(questions)}"
        )
    training_questions = set(questions[:kept])
    training = [problem for problem in problems if problem.question in training_questions]
    held_out = [problem for problem in problems if problem.question not in training_questions]
    return training, held_out
