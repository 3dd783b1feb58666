"""Even numbers to be written as a sum of two primes: problems with many right answers.

An example of a family with a verifier of its own (README, "Where forks go"). It has the least that
a family needs, one rung and neither solutions nor mistakes, so that a run needs a --model to start
from.
"""

import random
import re
from collections.abc import Iterator
from functools import partial

from tasks import Problem

RUNGS = range(1, 2)
TRAINED = (1, 1)


def problems(split: str, seed: int, rungs: tuple[int, int] = TRAINED) -> Iterator[Problem]:
    rng = random.Random(f"{split} {seed}")
    while True:
        number = 2 * rng.randrange(4, 500)
        if (number % 10 == 0) == (split == "test"):  # no number is in both splits
            yield Problem(
                f"Write {number} as a sum of two primes, as p+q.",
                answer="any two primes with this sum",
                verify=partial(is_prime_sum, number),
            )


def is_prime_sum(number: int, text: str) -> bool:
    """Whether the text marks one sum of two primes, and it is this number."""
    marked = re.findall(r"(?:####|\\boxed\{) *(\d{1,4}) *\+ *(\d{1,4})", text)
    if len(marked) != 1:
        return False
    parts = [int(part) for part in marked[0]]
    return sum(parts) == number and all(is_prime(part) for part in parts)


def is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))
