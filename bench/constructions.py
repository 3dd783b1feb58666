"""How well a checkpoint rewrites wrong answers of its own, with assistance and without.

    python bench/constructions.py MODEL --data gsm8k_train.jsonl --name before \\
        --out results/gsm8k/constructions.json

Answers are sampled until there are --pairs pairs of a wrong answer and a right sibling; both
protocols ("assisted", and "unassisted", which is --synthesis instruct) rewrite the same pairs.
--out keeps what it holds and gains "assisted_NAME" and "unassisted_NAME", with a second copy as
"assisted" and "unassisted", which the next run replaces. Every construction goes into
OUT.NAME.jsonl beside it, to be read by hand.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import common  # noqa: F401  (it finds the project)
import torch

from augment import Construction, construct, grade_constructions, select_candidates
from data import load_problems
from rollout import Policy, answer_problems
from support.cli import run_main
from support.files import InputError, read_json, write_text
from support.metrics import construction_counts, construction_record, json_line
from support.settings import DTYPES, PRESETS, Settings, seed_of

PROTOCOLS = {"assisted": "assisted", "unassisted": "instruct"}  # name -> --synthesis


def collect_pairs(policy: Policy, wanted: int, settings: Settings) -> list[Construction]:
    """The first `wanted` pairs from the policy's answers to the problems, in their order."""
    problems = load_problems(settings.data, "train")
    pairs: list[Construction] = []
    for first in range(0, len(problems), settings.questions):
        some = problems[first : first + settings.questions]
        groups = answer_problems(policy, some, settings, seed_of(settings.seed, "rollout", first))
        pairs += select_candidates(groups, settings, seed_of(settings.seed, "construct", first))
        print(f"{first + len(some)} questions, {len(pairs)} pairs", flush=True)
        if len(pairs) >= wanted:
            break
    return pairs[:wanted]


def rewritten(policy: Policy, pairs: list[Construction], settings: Settings) -> list[Construction]:
    """What the policy makes of the pairs by settings.synthesis; the pairs stay as they are."""
    copies = [replace(pair) for pair in pairs]
    construct(policy, copies, settings, seed_of(settings.seed, "construct"))
    grade_constructions(copies, settings)
    return copies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="a Hugging Face folder or a hub name")
    parser.add_argument("--data", default="gsm8k")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--questions", type=int, default=32, help="asked at a time")
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument("--max-rows", type=int, default=256)
    parser.add_argument("--max-reply-tokens", type=int, default=600)
    parser.add_argument("--n-pos", type=int, default=2)
    parser.add_argument("--n-neg", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="auto", choices=DTYPES)
    parser.add_argument("--name", default="before")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if not args.out.parent.is_dir():
        raise InputError(f"--out: expected a file in a folder that exists, found {args.out}")

    preset = PRESETS["gsm8k"] | {"model": args.model, "data": args.data, "seed": args.seed}
    names = "questions max_new_tokens max_reply_tokens max_rows n_pos n_neg".split()
    settings = Settings(**{**preset, **{name: getattr(args, name) for name in names}})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = Policy.from_pretrained(args.model, device, args.dtype)
    pairs = collect_pairs(policy, args.pairs, settings)

    counts = read_json(args.out) if args.out.is_file() else {}
    lines = []
    for protocol, synthesis in PROTOCOLS.items():
        made = rewritten(policy, pairs, replace(settings, synthesis=synthesis))
        name = f"{protocol}_{args.name}"
        counts[name] = construction_counts(made)
        counts[protocol] = counts[name]  # the last one measured
        print(name, counts[name], flush=True)
        for construction in made:
            lines.append(json_line({"protocol": name, **construction_record(construction, 0)}))
    write_text(args.out, json.dumps(counts, indent=1) + "\n")
    write_text(args.out.with_suffix(f".{args.name}.jsonl"), "".join(lines))


if __name__ == "__main__":
    run_main(main)
