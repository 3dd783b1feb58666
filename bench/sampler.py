"""Our sampler beside transformers.generate: the same weights, prompts, lengths and greedy tokens,
in one run.

    python bench/sampler.py [--rounds 5] [--quick] [--only TEXT]

The shape is SmolLM2-135M's, float32, two threads. "16 = 2 x 8" is RL's case: 2 questions, 8 answers
each, which we prefill once a question; transformers repeats the prompt, as num_return_sequences
does. Ragged rows take prompt and answer lengths of the first GSM8K training problems (tokens of
SmolLM2's tokenizer, chat template and instruction included); where there are more answers than
rows, transformers goes batch by batch, ours refills its rows. transformers has its better cache,
dynamic or static, chosen by a first run. ours, other: useful tokens a second.

limit: the share of our time that its matrix products alone take (the same prepacked weights, the
same numbers of rows); sampled: our speed at temperature 1 in place of greedy, as in training.
"products alone" compares these products with F.linear's, in decode steps a second.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import common
import torch
import torch.nn.functional as F
import transformers
from torch import nn

import rollout
from model import Transformer
from support.prepacked import prepacked_weights

# of problems 1 to 64 of GSM8K's training split: question with template, worked solution with its
# end mark
PROMPTS = [
    87, 82, 109, 104, 75, 113, 110, 155, 160, 116, 124, 143, 89, 119, 79, 118,
    104, 128, 112, 112, 121, 98, 111, 105, 129, 142, 101, 135, 98, 103, 107, 112,
    164, 116, 91, 98, 96, 132, 119, 127, 93, 119, 114, 102, 117, 135, 92, 103,
    96, 106, 119, 111, 97, 108, 118, 83, 110, 110, 123, 137, 108, 145, 88, 138,
]  # fmt: skip
ANSWERS = [
    45, 45, 69, 96, 52, 120, 67, 96, 109, 284, 133, 109, 68, 62, 64, 138,
    93, 188, 112, 78, 63, 104, 75, 118, 46, 142, 73, 164, 56, 210, 97, 101,
    82, 106, 56, 73, 58, 126, 43, 100, 140, 75, 110, 90, 95, 94, 141, 71,
    36, 30, 90, 127, 60, 66, 99, 67, 103, 125, 150, 91, 122, 121, 85, 79,
]  # fmt: skip


class Lengths(transformers.StoppingCriteria):
    """Every row ends at its own length."""

    def __init__(self, width: int, lengths: list[int]):
        self.width = width
        self.lengths = torch.tensor(lengths)

    def __call__(self, input_ids, scores, **_):
        return input_ids.shape[1] - self.width >= self.lengths


def theirs(
    model, prompts: list[list[int]], lengths: list[int], rows: int, cache: str
) -> list[list[int]]:
    answers = []
    for i in range(0, len(prompts), rows):
        batch = prompts[i : i + rows]
        ends = lengths[i : i + rows]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in batch])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch])
        out = model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=max(ends),
            stopping_criteria=[Lengths(width, ends)],
            **({"cache_implementation": "static"} if cache == "static" else {}),
        )
        answers += [row[width : width + end].tolist() for row, end in zip(out, ends, strict=True)]
    return answers


@contextmanager
def room_for(lengths: list[int]) -> Iterator[None]:
    """Within it, answer i of sample() has room for lengths[i] tokens. No stop id could be relied on
    to end it there."""
    draft = rollout.Draft

    def draft_with_room(number: int, prompt: int, room: int) -> Any:
        return draft(number, prompt, lengths[number])

    rollout.Draft = draft_with_room
    try:
        yield
    finally:
        rollout.Draft = draft


def ours(
    model, prompts: list[list[int]], n: int, lengths: list[int], rows: int, temperature=0.0
) -> list[list[int]]:
    """sample() with every answer ended at its own length."""
    with room_for(lengths):
        groups = rollout.sample(
            model,
            prompts,
            n,
            stop_ids=[],
            max_new_tokens=max(lengths),
            temperature=temperature,
            max_rows=rows,
        )
    return [answer.token_ids for group in groups for answer in group]


def linear_layers(model: Transformer) -> list[nn.Linear]:
    """The layers of all blocks; the head is model.logits."""
    return [module for module in model.model.modules() if isinstance(module, nn.Linear)]


@torch.no_grad()
def limit(model: Transformer, prompts: list[list[int]], lengths: list[int], rows: int) -> None:
    """Only the matrix products: of all prompts at once, then of as many full steps as the tokens
    fill."""
    layers = linear_layers(model)

    def once(tokens: int, heads: int) -> None:
        for layer in layers:
            layer(torch.ones(tokens, layer.in_features))
        model.logits(torch.ones(heads, model.config.hidden_size))

    with prepacked_weights(model):
        once(sum(map(len, prompts)), len(prompts))
        for _ in range(round((sum(lengths) - len(lengths)) / rows)):
            once(rows, rows)


@torch.no_grad()
def measure_products(model: Transformer, rows: int, rounds: int) -> dict[str, Any]:
    """All matrix products of one decode step, from prepacked weights beside F.linear; steps a
    second."""
    layers = linear_layers(model)
    widths = {model.config.hidden_size, *(layer.in_features for layer in layers)}
    inputs = {width: torch.ones(rows, width) for width in widths}

    def prepacked() -> None:
        for layer in layers:
            layer(inputs[layer.in_features])
        model.logits(inputs[model.config.hidden_size])

    def plain() -> None:
        for layer in layers:
            F.linear(inputs[layer.in_features], layer.weight)
        F.linear(inputs[model.config.hidden_size], model.head)

    with prepacked_weights(model):
        seconds = common.medians({"ours": prepacked, "other": plain}, 4 * rounds)
    return {
        "setting": f"products alone, {rows} rows",
        "ours": 1 / seconds["ours"],
        "other": 1 / seconds["other"],
        "ratio": seconds["other"] / seconds["ours"],
    }


def settings() -> Iterator[tuple[str, int, int, list[int], list[int]]]:
    """(name, answers to a question, rows, prompt lengths, answer lengths)"""
    for questions, n in ((1, 1), (8, 1), (16, 1), (2, 8), (64, 1)):
        name = f"equal, {questions * n} = {questions} x {n}"
        yield name, n, questions * n, [64] * questions, [64] * questions * n
    for questions, n, rows in ((16, 1, 8), (32, 1, 16), (4, 8, 16), (64, 1, 64)):
        name = f"ragged, {questions * n} = {questions} x {n} in {rows} rows"
        yield name, n, rows, PROMPTS[:questions], ANSWERS[: questions * n]


def random_prompts(lengths: list[int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(1, 49152, (n,), generator=generator).tolist() for n in lengths]


def better_cache(other, prompts: list[list[int]], lengths: list[int], rows: int) -> str:
    """The one of transformers' caches with which the first tokens of the first rows take less
    time."""
    few = [min(length, 8) for length in lengths[:rows]]
    caches = {
        c: partial(theirs, other, prompts[:rows], few, rows, c) for c in ("dynamic", "static")
    }
    seconds = common.medians(caches, 2)
    return min(seconds, key=seconds.__getitem__)


def measure(setting, model, other, rounds: int, quick: bool) -> dict[str, Any]:
    name, n, rows, prompt_lengths, lengths = setting
    prompts = random_prompts(prompt_lengths)
    repeated = [p for p in prompts for _ in range(n)]
    cache = better_cache(other, repeated, lengths, rows)
    if quick:
        lengths = [max(2, length // 4) for length in lengths]
    runs = {
        "ours": partial(ours, model, prompts, n, lengths, rows),
        "other": partial(theirs, other, repeated, lengths, rows, cache),
    }
    if len(set(lengths)) == 1:
        runs["limit"] = partial(limit, model, prompts, lengths, rows)
        runs["sampled"] = partial(ours, model, prompts, n, lengths, rows, 1.0)
    pairs = list(zip(runs["ours"](), runs["other"](), strict=True))
    seconds = common.medians(runs, rounds)
    tokens = sum(lengths)
    row = {"setting": name, "ours": tokens / seconds["ours"], "other": tokens / seconds["other"]}
    row |= {"ratio": seconds["other"] / seconds["ours"], "cache": cache}
    row["same tokens"] = f"{sum(a == b for a, b in pairs)} of {len(pairs)}"
    if "limit" in seconds:
        row |= {"limit": seconds["limit"] / seconds["ours"], "sampled": tokens / seconds["sampled"]}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a 12M shape, one round")
    parser.add_argument("--only", default="", help="settings whose name holds this text")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    torch.manual_seed(0)
    shape = common.SMALL if options.quick else {}
    model = Transformer(common.smollm2_config(**shape)).requires_grad_(False)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(5)  # so that the best token is clearly the best
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        other = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    other.generation_config.eos_token_id = None
    other.generation_config.pad_token_id = 0

    rows: list[dict[str, Any]] = []
    for setting in settings():
        if options.only in setting[0] and (not options.quick or setting[2] == 16):
            rows.append(measure(setting, model, other, rounds, options.quick))
            print(rows[-1], file=sys.stderr, flush=True)
    if options.only in "products alone":
        rows += [measure_products(model, n, options.rounds) for n in (1, 8, 16, 64)]
    common.report("sampler", rows)


if __name__ == "__main__":
    main()
