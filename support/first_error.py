"""Where a wrong answer goes wrong, by the log-probs of the policy that wrote it.

The policy reads the answer twice: after the bare question, and with a right answer in sight. The
first error is the first step with a number that the right answer makes less likely by more than
DOUBT, else the step with the largest fall. Words do not count: two answers that say the same differ
in them too. Ours, not the paper's;
results/gsm8k/README.md has what was tried beside it. Called by augment.py for --synthesis assisted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from support.logprobs import score
from support.steps import split_steps

DOUBT = 1.0  # nats


class Reading(NamedTuple):
    """An answer, and what it is read after."""

    answer: str
    alone: list[int]  # ids of the bare question's prompt
    informed: list[int]  # ids of a prompt that shows a right answer


@dataclass
class Row:
    """What is scored: an answer after one of the two."""

    prompt_ids: list[int]
    token_ids: list[int]


def up_to_first_errors(
    model: Any, tokenizer: Any, readings: Sequence[Reading], temperature: float, micro_tokens: int
) -> list[str]:
    """Each answer up to and including its first error, without white space at its end; "" for an
    empty one, and for one that does not fit into the model's context after its prompts."""
    steps = [step_tokens(reading, tokenizer) for reading in readings]
    alone = []
    informed = []
    for reading, tokens in zip(readings, steps, strict=True):
        token_ids = [token for step in tokens for token in step]
        alone.append(Row(reading.alone, token_ids))
        informed.append(Row(reading.informed, token_ids))
    context = model.config.max_position_embeddings
    fitting = []
    for i, row in enumerate(informed):
        if row.token_ids and len(row.prompt_ids) + len(row.token_ids) <= context:
            fitting.append(i)

    arguments = temperature, micro_tokens
    alone_logp = score(model, [alone[i] for i in fitting], *arguments)
    informed_logp = score(model, [informed[i] for i in fitting], *arguments)
    beginnings = [""] * len(readings)
    for i, before, after in zip(fitting, alone_logp, informed_logp, strict=True):
        drops = [a - b for a, b in zip(before, after, strict=True)]
        last = first_doubted(step_doubts(steps[i], drops, tokenizer))
        beginnings[i] = "".join(split_steps(readings[i].answer)[: last + 1]).rstrip()
    return beginnings


def step_tokens(reading: Reading, tokenizer: Any) -> list[list[int]]:
    """The token ids of each step of the answer after its question."""
    before = list(reading.alone)
    steps = []
    for step in split_steps(reading.answer):
        token_ids = tokenizer.encode(step, after=before)
        steps.append(token_ids)
        before += token_ids
    return steps


def step_doubts(steps: list[list[int]], drops: list[float], tokenizer: Any) -> list[float]:
    """For each step, the most nats by which the right answer makes a number of it less likely.

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
