"""What a construction says of the mistake, by the numbers in it.

The mistake is the last step of the wrong prefix. What is said here are cheap signs that a diagnosis
speaks of it, and no proofs: far fewer say what is wrong (results/gsm8k/README.md, section 4).
Called by coldstart.py (what is learned from) and support/metrics.py (what is counted).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.reasoning_steps import numbers_in, reasoning_steps

if TYPE_CHECKING:  # augment.py imports support/metrics.py, which imports this module
    from augment import Construction


def is_micro_reflective(construction: Construction) -> bool:
    """Whether it is what TAPO wants to train on: a wrong prefix with a diagnosis after it."""
    has_parts = construction.prefix_tokens > 0 and construction.diagnosis_tokens > 0
    return not construction.refused and has_parts


def is_concrete(construction: Construction) -> bool:
    """Whether the diagnosis names a number of the mistake or one that y+ has and y- has not, if
    there are any, and a correction follows."""
    if not is_micro_reflective(construction):
        return False
    prefix, diagnosis, correction = construction.parts
    numbers = numbers_of_mistake(prefix) | right_numbers(construction)
    names_one = not numbers or bool(numbers & numbers_in(diagnosis))
    return names_one and prefix != "" and correction != ""


def names_what_is_right(construction: Construction) -> bool:
    """Whether the diagnosis names a number that y+ has and y- has not."""
    _, diagnosis, _ = construction.parts
    return bool(right_numbers(construction) & numbers_in(diagnosis))


def numbers_of_mistake(prefix: str) -> set[str]:
    last_step = reasoning_steps(prefix)[-1:]  # none of an empty prefix
    return numbers_in("".join(last_step))


def right_numbers(construction: Construction) -> set[str]:
    """The numbers that y+ has and y- has not."""
    return numbers_in(construction.pair.sibling) - numbers_in(construction.pair.wrong)
