"""What two answers share, in tokens: where a constructed trajectory leaves its wrong answer.

Called by augment.py (measure) and coldstart.py (what of an example is given).
"""

import re
from collections.abc import Sequence
from typing import Any

from support.tokenizer import Tokenizer

REST_OF_NUMBER = re.compile(r"(?:[.,]?\d)+")


def common_prefix(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many items a and b share from the start."""
    shared = 0
    while shared < min(len(a), len(b)) and a[shared] == b[shared]:
        shared += 1
    return shared


def shared_tokens(y_ref: list[int], source: str, prompt: list[int], tokenizer: Tokenizer) -> int:
    """How many tokens y_ref shares with the text `source` from the start, both after the prompt."""
    shared = common_prefix(y_ref, tokenizer.encode(source, after=prompt))
    while next_is_shared(y_ref, shared, source, tokenizer):
        shared += 1
    return shared


def next_is_shared(y_ref: list[int], shared: int, source: str, tokenizer: Tokenizer) -> bool:
    """Whether the next token of y_ref repeats a text of `source` that is cut into other tokens
    there: a full stop with two line breaks after it in y_ref, with one in `source`. The beginning
    of another number is no such text: the token 5 does not repeat a part of 500."""
    before = tokenizer.decode(y_ref[:shared]).rstrip()
    with_next = tokenizer.decode(y_ref[: shared + 1]).rstrip()
    if len(with_next) <= len(before) or not source.startswith(with_next):
        return False
    place = len(with_next)
    number = rest_of_number(tokenizer.decode(y_ref), place)
    return not with_next[-1].isdigit() or number == rest_of_number(source, place)


def rest_of_number(text: str, place: int) -> str:
    """What of a number stands from a place on: ".5" of "2.5" from 1 on."""
    found = REST_OF_NUMBER.match(text, place)
    return found[0] if found else ""


def in_three(y_ref: list[int], prefix_tokens: int, tokenizer: Tokenizer) -> tuple[str, str, str]:
    """(prefix, the line after it, what follows); joined they are y_ref's text again."""
    prefix = tokenizer.decode(y_ref[:prefix_tokens])
    rest = tokenizer.decode(y_ref)[len(prefix) :]
    leading = len(rest) - len(rest.lstrip())  # white space: line breaks that the prefix lacks
    line = rest[:leading] + rest[leading:].split("\n")[0]
    return prefix, line, rest[len(line) :]
