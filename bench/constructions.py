"""How well a checkpoint rewrites wrong answers of its own, with assistance and without.

    python bench/constructions.py MODEL --data gsm8k_train.jsonl --name before \\
        --out results/gsm8k/constructions.json

Questions are answered, --questions at a time, until there are --pairs pairs of a wrong answer and a
right sibling, selected as for "assisted"; both protocols ("assisted", and "unassisted", which is
--synthesis instruct) rewrite the same pairs. --out keeps what it holds and gains "assisted_NAME"
and "unassisted_NAME", with a second copy as "assisted" and "unassisted", which the next run
replaces. All constructions go into OUT.NAME.jsonl beside it, to be read by hand. Until all are
there they stand in OUT.NAME.partial.jsonl, and the same command goes on from there.
"""

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import common  # noqa: F401  (it finds the project)
import torch

from augment import Construction, Pair, construct, grade_constructions, select_candidates
from data import load_problems
from rollout import Policy, answer_problems
from support.cli import run_main
from support.files import InputError, read_json, read_portions, write_text
from support.metrics import construction_counts, construction_record, json_line
from support.settings import DTYPES, PRESETS, Settings, seed_of
from tasks import Problem

PROTOCOLS = {"assisted": "assisted", "unassisted": "instruct"}  # name -> --synthesis
Record = dict[str, Any]


def portion_of(
    policy: Policy, problems: list[Problem], first: int, most: int, settings: Settings
) -> Record:
    """What some questions, of which the first is number `first`, give: at most so many pairs, and
    for both protocols counts and constructions, as JSON."""
    asked = problems[first : first + settings.questions]
    groups = answer_problems(policy, asked, settings, seed_of(settings.seed, "rollout", first))
    pairs = select_candidates(groups, settings, seed_of(settings.seed, "construct", first))[:most]
    portion = asked_of(asked, first)
    portion |= {"pairs": len(pairs), "counts": {}, "constructions": []}
    for protocol, synthesis in PROTOCOLS.items():
        made = rewritten(policy, pairs, replace(settings, synthesis=synthesis), first)
        portion["counts"][protocol] = construction_counts(made)
        for construction in made:
            record = construction_record(construction, 0)
            portion["constructions"].append({"protocol": protocol, **record})
    return portion


def asked_of(asked: list[Problem], first: int) -> Record:
    """What the record of a portion begins with."""
    return {"first": first, "questions": [problem.question for problem in asked]}


def rewritten(
    policy: Policy, pairs: list[Pair], settings: Settings, first: int
) -> list[Construction]:
    """What the policy makes of the pairs by settings.synthesis."""
    seed = seed_of(settings.seed, "construct", first)
    constructions = construct(policy, pairs, settings, seed)
    grade_constructions(constructions, settings)
    return constructions


def complete(
    policy: Policy,
    problems: list[Problem],
    portions: list[Record],
    wanted: int,
    settings: Settings,
    partial: Path,
) -> None:
    """Add portions to the list, and to the file, until they hold as many pairs as are wanted."""
    for first in range(len(portions) * settings.questions, len(problems), settings.questions):
        missing = wanted - sum(portion["pairs"] for portion in portions)
        if missing == 0:
            return
        portions.append(portion_of(policy, problems, first, missing, settings))
        with partial.open("a", encoding="utf-8") as file:
            file.write(json_line(portions[-1]))
        asked = first + len(portions[-1]["questions"])
        pairs = wanted - missing + portions[-1]["pairs"]
        print(f"{asked} questions, {pairs} of {wanted} pairs", flush=True)


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
    partial = args.out.with_suffix(f".{args.name}.partial.jsonl")
    begun_with = {name: str(value) for name, value in vars(args).items()}
    problems = load_problems(settings.data, "train")
    size = settings.questions
    firsts = range(0, len(problems), size)
    possible = [asked_of(problems[first : first + size], first) for first in firsts]
    portions = read_portions(partial, begun_with, possible, 1)
    write_text(partial, "".join(map(json_line, [begun_with, *portions])))
    complete(policy, problems, portions, args.pairs, settings, partial)

    counts = read_json(args.out) if args.out.is_file() else {}
    for protocol in PROTOCOLS:
        total: Counter[str] = Counter()
        for portion in portions:
            total.update(portion["counts"][protocol])
        counts[f"{protocol}_{args.name}"] = dict(total)
        counts[protocol] = dict(total)  # the last one measured
        print(f"{protocol}_{args.name}", dict(total))
    lines = []
    for portion in portions:
        for record in portion["constructions"]:
            named = record | {"protocol": f"{record['protocol']}_{args.name}"}
            lines.append(json_line(named))
    write_text(args.out, json.dumps(counts, indent=1) + "\n")
    write_text(args.out.with_suffix(f".{args.name}.jsonl"), "".join(lines))
    partial.unlink()


if __name__ == "__main__":
    run_main(main)
