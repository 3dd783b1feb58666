"""The examples in the docstrings are true."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FOLDERS = (".", "support", "support/answers", "tasks", "bench")


def files_with_examples() -> list[Path]:
    """The modules of the project in whose text an example stands."""
    files = []
    for folder in FOLDERS:
        for path in sorted((PROJECT / folder).glob("*.py")):
            if ">>>" in path.read_text(encoding="utf-8"):
                files.append(path.relative_to(PROJECT))
    return files


FILES = files_with_examples()


def test_many_modules_have_examples():
    """Else the search above would be broken, and nothing be checked."""
    assert len(FILES) >= 8


@pytest.mark.parametrize("path", FILES, ids=str)
def test_the_examples_of_a_module_are_true(path, monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "bench")  # whose files import each other by bare names
    parts = [part for part in path.with_suffix("").parts if part not in ("bench", "__init__")]
    outcome = doctest.testmod(import_module(".".join(parts)))
    assert outcome.attempted > 0 and outcome.failed == 0
