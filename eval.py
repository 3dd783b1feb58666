"""Measure a model on a problem file: pass@1, pass@k, maj@k, and how the answers were reached.

    python eval.py MODEL --data gsm8k --samples 8 --out answers.json

Inference is ordinary single-pass generation, no reflection prompt. Every answer falls into a
2x2 table, direct or reflective x right or wrong, and both of the paper's rates come from it [inferred: the
reading under which all its published figures add up]:

    DSR, direct solution rate       = right without a reflection / right
    ERR, effective reflection rate  = right with a reflection / with a reflection
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

import torch

from augment import is_reflective
from checker import extract_answer, is_equal
from data import ArgumentParser, Problem, Tokenizer, load_problems, run_main
from model import Transformer
from rollout import sample
from support.hub import write_text


@dataclass
class Answer:
    """One graded answer."""

    text: str
    extracted: str | None
    right: bool
    reflective: bool
    tokens: int
    finish: str


def pass_at_k(n: int, right: int, k: int) -> float:
    """Chance that k of n answers, `right` of them right, hold a right one: 1 - C(n-right, k) / C(n, k).

    Unbiased, unlike 1 - (1 - right/n)^k. Source: Codex, eq. 1.
    """
    if not 0 < k <= n:
        raise ValueError(f"pass@k: expected 1 <= k <= n = {n}, found {k}")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def majority_is_right(answers: list[Answer], gold: str) -> float:
    """1 where the most frequent extracted answer is right; answers that are tied share the vote."""
    votes: list[tuple[str, int]] = []
    for text in (a.extracted for a in answers if a.extracted is not None):
        same = next((i for i, (other, _) in enumerate(votes) if other == text or is_equal(other, text)), None)
        if same is None:
            votes.append((text, 1))
        else:
            votes[same] = (votes[same][0], votes[same][1] + 1)
    most = max((count for _, count in votes), default=0)
    best = [text for text, count in votes if count == most]
    return sum(is_equal(gold, text) for text in best) / len(best) if best else 0.0


def standard_error(per_question: list[float]) -> float | None:
    """Of the mean over questions (answers to one question are not independent); None for one question."""
    n = len(per_question)
    return stdev(per_question) / math.sqrt(n) if n > 1 else None


def summarize(problems: list[Problem], answers: list[list[Answer]]) -> dict[str, Any]:
    """All measures of answers[i][j] to problems[i], with the same number of answers each. No share of
    nothing is made up: DSR without right answers and ERR without reflections are None."""
    flat = [a for group in answers for a in group]
    n, k = len(flat), len(answers[0])
    rates = [sum(a.right for a in group) / k for group in answers]
    ks = sorted({2**i for i in range(k.bit_length()) if 2**i <= k} | {k})
    table = {
        f"{how}_{what}": sum(a.reflective == (how == "reflective") and a.right == (what == "right") for a in flat)
        for how in ("direct", "reflective")
        for what in ("right", "wrong")
    }
    right = table["direct_right"] + table["reflective_right"]
    reflective = table["reflective_right"] + table["reflective_wrong"]
    return {
        "questions": len(problems),
        "samples": k,
        "pass@1": sum(rates) / len(rates),
        "standard_error": standard_error(rates),
        **{
            f"pass@{i}": sum(pass_at_k(k, sum(a.right for a in g), i) for g in answers) / len(answers)
            for i in ks
            if i > 1
        },
        f"maj@{k}": sum(majority_is_right(g, p.answer) for g, p in zip(answers, problems, strict=True)) / len(answers),
        **table,
        "DSR": table["direct_right"] / right if right else None,
        "ERR": table["reflective_right"] / reflective if reflective else None,
        "reflective_share": reflective / n,
        "reflections": sum(is_reflective(line) for a in flat for line in a.text.split("\n")) / n,
        "no_answer_share": sum(a.extracted is None for a in flat) / n,
        "truncated_share": sum(a.finish == "length" for a in flat) / n,
        "mean_tokens": sum(a.tokens for a in flat) / n,
    }


def evaluate(
    model: Transformer,
    tokenizer: Tokenizer,
    problems: list[Problem],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    max_new_tokens: int = 512,
    seed: int = 0,
    max_rows: int = 256,
    strict: bool = True,
) -> tuple[dict[str, Any], list[list[Answer]]]:
    """Answer every problem `samples` times; returns (summary, answers[i][j])."""
    rollouts = sample(
        model,
        [tokenizer.question_prompt(p.question) for p in problems],
        samples,
        stop_ids=tokenizer.stop_ids,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        max_rows=max_rows,
    )

    def grade(problem: Problem, token_ids: list[int], finish: str) -> Answer:
        text = tokenizer.decode(token_ids)
        found = extract_answer(text, strict)
        right = is_equal(problem.answer, found)
        return Answer(text, found, right, is_reflective(text), len(token_ids), finish)

    answers = [
        [grade(problem, r.token_ids, r.finish) for r in group]
        for problem, group in zip(problems, rollouts, strict=True)
    ]
    return summarize(problems, answers), answers


def rows_of(summary: dict[str, Any]) -> dict[str, str]:
    """A summary's measures, named and written out for a table."""

    def percent(value: float | None) -> str:
        return "none" if value is None else f"{100 * value:.1f}%"

    error = summary["standard_error"]
    rows = {
        "accuracy (standard error)": percent(summary["pass@1"]) + ("" if error is None else f" ({100 * error:.1f})")
    }
    rows |= {key: percent(value) for key, value in summary.items() if "@" in key and not key.endswith("@1")}
    rows["DSR: right answers without a reflection"] = percent(summary["DSR"])
    rows["ERR: reflections that end right"] = percent(summary["ERR"])
    for how in ("direct", "reflective"):
        rows[f"{how}: right / wrong"] = f"{summary[f'{how}_right']} / {summary[f'{how}_wrong']}"
    rows["without an answer"] = percent(summary["no_answer_share"])
    rows["truncated"] = percent(summary["truncated_share"])
    rows["mean length (tokens)"] = f"{summary['mean_tokens']:.1f}"
    return rows


def format_table(columns: dict[str, dict[str, Any]]) -> str:
    """Summaries side by side as a Markdown table, one column each."""
    rows = [rows_of(summary) for summary in columns.values()]
    cells = [["", *columns], *([name, *(row[name] for row in rows)] for name in rows[0])]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| "
        + " | ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        + " |"
        for line in cells
    )


def main() -> None:
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="a Hugging Face folder or a hub name")
    parser.add_argument("--data", required=True, help="a JSON-lines file, 'gsm8k' or 'builtin' (their test splits)")
    parser.add_argument("--samples", type=int, default=1, help="answers a question")
    parser.add_argument("--limit", type=int, help="only the first problems")
    parser.add_argument("--temperature", type=float, help="default: 0 (greedy) for one sample, 1 for several")
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument("--max-rows", type=int, default=256, help="answers in work at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lenient", action="store_true", help="take the last number where no answer is marked")
    parser.add_argument("--out", type=Path, help="write the summary and every answer to this JSON file")
    args = parser.parse_args()
    if args.limit is not None and args.limit < 1:
        parser.error(f"--limit: expected 1 or more, found {args.limit}")
    if args.out and (args.out.is_dir() or not args.out.parent.is_dir()):
        parser.error(f"--out: expected a file in a folder that exists, found {args.out}")
    problems = load_problems(args.data, "test", args.limit)
    model = Transformer.from_pretrained(args.model)
    tokenizer = Tokenizer.from_pretrained(args.model, model.config.vocab_size)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    temperature = args.temperature if args.temperature is not None else float(args.samples > 1)
    summary, answers = evaluate(
        model,
        tokenizer,
        problems,
        samples=args.samples,
        temperature=temperature,
        max_new_tokens=args.max_new_tokens,
        seed=args.seed,
        max_rows=args.max_rows,
        strict=not args.lenient,
    )
    print(f"{args.model} on {args.data}: {len(problems)} questions x {args.samples}, temperature {temperature}\n")
    print(format_table({"": summary}))
    if args.out:
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()} | {
            "temperature": temperature
        }
        records = [asdict(p) | {"answers": [asdict(a) for a in g]} for p, g in zip(problems, answers, strict=True)]
        write_text(args.out, json.dumps({"settings": settings, "summary": summary, "problems": records}, indent=1))


if __name__ == "__main__":
    run_main(main)
