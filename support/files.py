"""Reading and writing small files, and the error for wrong input.

Called by every part of the project: InputError is what all of it raises for what a user gave.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Something the user gave is wrong. The message is one line: what, where, expected, found."""


def one_line(error: BaseException) -> str:
    """What an error of another library says, without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def note(text: str) -> None:
    """One line on stderr about input that is taken, but perhaps not as its writer meant it."""
    print(f"note: {text}", file=sys.stderr)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises InputError when the file is missing or is not one."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        message = f"{path}: expected a file of a Hugging Face model folder ({error})"
        raise InputError(message) from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines log, none where the file is absent.

    A run that is killed while it writes can leave half a line at the end: it is left out.
    """
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def read_portions(
    path: Path, settings: dict[str, Any], asked: list[dict[str, Any]], size: int
) -> list[dict[str, Any]]:
    """What a command that was killed has left in a JSON-lines log: a line of settings, and records
    of the first things that it was asked, written `size` at a time.

    asked: what each record must begin with
    Only whole portions are taken: what is computed in other company would be rounded otherwise.
    Raises InputError where there are some and the settings, or what was asked, were others.
    """
    begun, *records = read_lines(path) or [{}]
    if len(records) < len(asked):
        records = records[: len(records) // size * size]
    for name, value in settings.items():
        if records and begun.get(name) != value:
            expected = f"{name} {begun.get(name)}, with which it was begun"
            raise InputError(f"{path}: expected {expected}, found {value}; remove it to begin anew")
    answered = [{name: record[name] for name in asked[0]} for record in records]
    if answered != asked[: len(records)]:
        raise InputError(
            f"{path}: expected what is asked now, found other; remove it to begin anew"
        )
    return records


def write_text(path: Path, text: str) -> None:
    """Write under a temporary name, then rename: a reader never sees half a file. What is no file,
    a pipe or a device, is written to as it is."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    path = Path(os.path.realpath(path))  # where it is a link, what it points to
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
