"""Where a wrong answer y- goes wrong, as far as its right siblings and the policy itself can tell.

The first error is the first reasoning step of y- with a number that neither the question nor any
right answer of the group has. In about one answer of five there is no such number. Then the
policy's own log-probs decide: it reads y- twice, after the bare question and with y+ in sight, and
the first error is the first step with a number that y+ makes less likely by more than DOUBT, else
the step with the largest fall. Words do not count: two answers that say the same differ in them
too.

Ours, not the paper's; results/gsm8k/README.md has how often it is right, and what was tried beside
it. Called by augment.py for --synthesis assisted.
"""

from dataclasses import dataclass
from typing import Any

from rollout import Trajectory
from support.logprobs import score
from support.reasoning_steps import numbers_in, reasoning_steps

DOUBT = 1.0  # nats


@dataclass
class Reading:
    """A wrong answer, and what it is read after."""

    answer: str
    alone: list[int]  # ids of the bare question's prompt
    informed: list[int]  # ids of a prompt that shows y+


# ---------------------------------------------------------------- by its numbers


def up_to_strange_number(answer: str, given: list[str]) -> str:
    """The answer up to and including the first step with a number that none of the given texts has,
    without white space at its end; "" where there is no such step."""
    steps = reasoning_steps(answer)
    last = first_strange(steps, given)
    return "" if last is None else "".join(steps[: last + 1]).rstrip()


def first_strange(steps: list[str], given: list[str]) -> int | None:
    """The first step with a number that none of the given texts has; None where there is none.

    >>> steps = ["2+2=4", "4+1=6", "So it is 6."]
    >>> first_strange(steps, ["2+2, then 1 more?", "2+2=4, 4+1=5"])
    1
    >>> first_strange(steps, ["2+2, then 1 more?", "2+2=4, 4+1=5", "not 6"])
    """
    known = {number for text in given for number in numbers_in(text)}
    for place, step in enumerate(steps):
        if numbers_in(step) - known:
            return place
    return None


# ---------------------------------------------------------------- by the policy's log-probs


def up_to_doubted_number(
    model: Any, tokenizer: Any, reading: Reading, temperature: float, micro_tokens: int
) -> str:
    """The answer up to and including the first step that is doubted, without white space at its
    end; "" for an empty answer, and for one that does not fit into the model's context."""
    steps = reasoning_steps(reading.answer)
    token_ids = step_tokens(steps, reading.alone, tokenizer)
    answer_ids = [token for step in token_ids for token in step]
    longest = len(reading.informed) + len(answer_ids)
    if not answer_ids or longest > model.config.max_position_embeddings:
        return ""
    rows = [Trajectory(reading.alone, answer_ids), Trajectory(reading.informed, answer_ids)]
    alone, informed = score(model, rows, temperature, micro_tokens)
    drops = [a - b for a, b in zip(alone, informed, strict=True)]
    last = first_doubted(step_doubts(token_ids, drops, tokenizer))
    return "".join(steps[: last + 1]).rstrip()


def step_tokens(steps: list[str], prompt: list[int], tokenizer: Any) -> list[list[int]]:
    """The token ids of each step, as the steps stand after the prompt."""
    before = list(prompt)
    found = []
    for step in steps:
        token_ids = tokenizer.encode(step, after=before)
        found.append(token_ids)
        before += token_ids
    return found


def step_doubts(steps: list[list[int]], drops: list[float], tokenizer: Any) -> list[float]:
    """For each step, the most nats by which y+ makes a number of it less likely.

    drops: log-prob alone minus log-prob informed, for each token of the steps
    """
    doubts = []
    position = 0
    for step in steps:
        doubt = 0.0
        for token in step:
            if any(character.isdigit() for character in tokenizer.decode([token])):
                doubt = max(doubt, drops[position])
            position += 1
        doubts.append(doubt)
    return doubts


def first_doubted(doubts: list[float]) -> int:
    """The first step that is doubted by more than DOUBT, else the one that is doubted most.

    >>> first_doubted([0.1, 2.5, 4.0]), first_doubted([0.1, 0.6, 0.2])
    (1, 1)
    """
    for step, doubt in enumerate(doubts):
        if doubt > DOUBT:
            return step
    return doubts.index(max(doubts))
