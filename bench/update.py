"""Log-probs and entropies of a micro-batch, chunk by chunk (ours) beside full logits: time and peak
memory.

    python bench/update.py [--rounds 5] [--quick]

Both get the same hidden states (width 576, float32, two threads) and give log-probs, entropies and,
in the rows marked "train", the gradients of hidden states and head. Memory is the growth of the
process's peak (VmHWM, Linux) over what it held before, head and its gradient's place not counted;
seconds are medians of interleaved runs.
"""

import argparse
import sys
from functools import partial
from typing import Any

import common
import torch

from support.logprobs import token_logprobs

WIDTH = 576


def ours(hidden, head, ids, mask):
    predictors = torch.arange(ids.shape[1] - 1)[None]
    return token_logprobs(hidden[0], head, predictors, ids[:, 1:], mask[:, 1:])


def full(hidden, head, ids, _):
    """The usual way: all logits, their log-softmax, and the entropy from it without gradient."""
    logp = (hidden[:, :-1] @ head.T).log_softmax(dim=-1)
    with torch.no_grad():
        entropy = -(logp.exp() * logp).sum(dim=-1)
    return logp.gather(-1, ids[:, 1:, None])[..., 0], entropy


def run(way, batch, train: bool):
    with torch.set_grad_enabled(train):
        logp, entropy = way(*batch)
    if train:
        logp.sum().backward()
    return logp.detach(), entropy.detach()


def memory_of(way) -> int:
    """Bytes by which the process's peak grows while it goes this way."""
    before = common.status("VmRSS")
    return common.peak(way) - before


def measure(V: int, tokens: int, train: bool, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    head = (0.02 * torch.randn(V, WIDTH)).requires_grad_()
    hidden = torch.randn(1, tokens + 1, WIDTH, requires_grad=True)
    head.grad = torch.zeros_like(head)
    batch = (hidden, head, torch.randint(V, (1, tokens + 1)), torch.ones(1, tokens + 1))
    ways = {"ours": partial(run, ours, batch, train), "other": partial(run, full, batch, train)}
    results = zip(ways["ours"](), ways["other"](), strict=True)
    error = max((a - b).abs().max().item() for a, b in results)
    memory = {name: memory_of(way) for name, way in ways.items()}
    seconds = common.medians(ways, rounds)
    return {
        "setting": f"{'train' if train else 'score'}, {tokens} tokens, V = {V}",
        **seconds,
        "ratio": seconds["other"] / seconds["ours"],
        "ours GB": memory["ours"] / 1e9,
        "other GB": memory["other"] / 1e9,
        "largest difference": error,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    few = "512 and 1,024 tokens of the small vocabulary, one round"
    parser.add_argument("--quick", action="store_true", help=few)
    options = parser.parse_args()
    rows = []
    for V in (49152,) if options.quick else (49152, 151936):
        for tokens in (512, 1024) if options.quick else (512, 1024, 2048, 4096):
            for train in (False, True):
                rows.append(measure(V, tokens, train, 1 if options.quick else options.rounds))
                print(rows[-1], file=sys.stderr, flush=True)
    common.report("update", rows)


if __name__ == "__main__":
    main()
