"""Measure a model on a problem file: pass@1, pass@k, maj@k, and how the answers were reached (DSR,
ERR).

    python eval.py MODEL --data gsm8k --samples 8 --out answers.json

Problems are answered in portions that fill the sampler's rows, and with --out a command that was
killed goes on after its last portion when it is started again. What is drawn does not depend on
portions: it is what one call for all problems draws, up to the rounding of logits.

Inference is ordinary single-pass generation, no reflection prompt. Every answer falls into a 2x2
table, direct or reflective x right or wrong, and both of the paper's rates come from it [inferred:
the reading under which all its published figures add up]:

    DSR, direct solution rate       = right without a reflection / right
    ERR, effective reflection rate  = right with a reflection / with a reflection

Departure: what counts as a reflection is a list of phrases (support/reflection.py); the paper's
test is not public.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

import torch

from checker import extract_answer, is_equal
from data import load_problems
from rollout import Answer, Policy, check_sampling, graded, sample
from support.cli import ArgumentParser, progress_bar, run_main
from support.files import read_portions, write_text
from support.metrics import json_line
from support.reflection import is_reflective
from support.settings import DTYPE, DTYPES
from support.summaries import format_table, percent
from tasks import Problem


@dataclass
class MeasuredAnswer:
    """What the measures need of a graded answer, and --out writes down."""

    text: str
    extracted: str | None
    right: bool
    reflective: bool
    tokens: int
    finish: str


# ---------------------------------------------------------------- measures


def pass_at_k(n: int, right: int, k: int) -> float:
    """Chance that k of n answers, `right` of them right, hold a right one: 1 - C(n - right, k) /
    C(n, k).

    Unbiased, unlike 1 - (1 - right/n)^k. Source: Codex, eq. 1. With 1 right answer among 4, half of
    the 6 pairs of them hold it:

    >>> pass_at_k(n=4, right=1, k=2)
    0.5
    """
    if not 0 < k <= n:
        raise ValueError(f"pass@k: expected 1 <= k <= n = {n}, found {k}")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def majority_score(answers: list[MeasuredAnswer], by_value: bool) -> float:
    """1 where the most frequent answer is right; among tied ones, the share that is right.

    by_value: whether answers of one value are one answer. Not so where a problem has a verifier,
    which may find one spelling right and another wrong.
    """
    votes: list[list[MeasuredAnswer]] = []  # of each answer
    for answer in answers:
        if answer.extracted is None:
            continue
        same = [group for group in votes if is_same(group[0], answer, by_value)]
        if same:
            same[0].append(answer)
        else:
            votes.append([answer])
    most = max((len(group) for group in votes), default=0)
    winners = [group[0] for group in votes if len(group) == most]
    return sum(winner.right for winner in winners) / max(len(winners), 1)


def is_same(a: MeasuredAnswer, b: MeasuredAnswer, by_value: bool) -> bool:
    """Right answers and wrong ones are never the same, though 25% equals 25 and 1/4."""
    if a.right != b.right:
        return False
    if not by_value:
        return a.extracted == b.extracted
    return a.right or is_equal(a.extracted, b.extracted)


def standard_error(values: list[float]) -> float | None:
    """Of the mean over questions (answers to one question are not independent); None for one
    question."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def summarize(problems: list[Problem], answers: list[list[MeasuredAnswer]]) -> dict[str, Any]:
    """All measures of answers[i][j] to problems[i], with the same number of answers to each."""
    samples = len(answers[0])
    right_counts = [sum(answer.right for answer in group) for group in answers]
    pass_at_1 = [right / samples for right in right_counts]
    summary: dict[str, Any] = {"questions": len(problems), "samples": samples}
    summary["pass@1"] = sum(pass_at_1) / len(answers)
    summary["standard_error"] = standard_error(pass_at_1)
    powers = [2**i for i in range(1, samples.bit_length()) if 2**i < samples]
    for k in [*powers, samples] if samples > 1 else []:
        chances = [pass_at_k(samples, right, k) for right in right_counts]
        summary[f"pass@{k}"] = sum(chances) / len(answers)
    by_value = [problem.verify is None for problem in problems]
    majorities = list(map(majority_score, answers, by_value))
    summary[f"maj@{samples}"] = sum(majorities) / len(answers)
    return summary | how_answers_were_reached([answer for group in answers for answer in group])


def how_answers_were_reached(answers: list[MeasuredAnswer]) -> dict[str, Any]:
    """The 2x2 table, DSR, ERR, and shares of all answers.

    0/0 is None: DSR where no answer is right, ERR where none reflects.
    """
    direct = [answer for answer in answers if not answer.reflective]
    reflective = [answer for answer in answers if answer.reflective]
    direct_right = sum(answer.right for answer in direct)
    reflective_right = sum(answer.right for answer in reflective)
    right = direct_right + reflective_right
    lines = [line for answer in answers for line in answer.text.split("\n")]
    n = len(answers)
    return {
        "direct_right": direct_right,
        "direct_wrong": len(direct) - direct_right,
        "reflective_right": reflective_right,
        "reflective_wrong": len(reflective) - reflective_right,
        "DSR": direct_right / right if right else None,
        "ERR": reflective_right / len(reflective) if reflective else None,
        "reflective_share": len(reflective) / n,
        "reflections": sum(is_reflective(line) for line in lines) / n,  # lines that reflect
        "no_answer_share": sum(answer.extracted is None for answer in answers) / n,
        "truncated_share": sum(answer.finish == "length" for answer in answers) / n,
        "mean_tokens": sum(answer.tokens for answer in answers) / n,
    }


# ---------------------------------------------------------------- answering


def evaluate(
    policy: Policy, problems: list[Problem], **sampling: Any
) -> tuple[dict[str, Any], list[list[MeasuredAnswer]]]:
    """Answer every problem; returns (summary, answers[i][j]). **sampling: as in answers_to."""
    answers = answers_to(policy, problems, **sampling)
    return summarize(problems, answers), answers


def answers_to(
    policy: Policy,
    problems: list[Problem],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    max_new_tokens: int = 512,
    seed: int = 0,
    max_rows: int = 256,
    strict: bool = True,
    problems_before: int = 0,
) -> list[list[MeasuredAnswer]]:
    """`samples` graded answers to every problem: answers[i][j].

    problems_before: how many stand before these, where a list is answered portion by portion.
    """
    tokenizer = policy.tokenizer
    rollouts = sample(
        policy.model,
        [tokenizer.question_prompt(problem.question) for problem in problems],
        samples,
        stop_ids=tokenizer.stop_ids,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        max_rows=max_rows,
        prompts_before=problems_before,
    )
    groups = graded(problems, rollouts, tokenizer, strict)
    return [
        [measured(answer, group.problem, strict) for answer in group.answers] for group in groups
    ]


def measured(answer: Answer, problem: Problem, strict: bool) -> MeasuredAnswer:
    """Where a problem has a verifier, an unmarked answer that ended by itself counts as a whole."""
    extracted = extract_answer(answer.text, strict)
    if extracted is None and problem.verify is not None and answer.ended:
        extracted = answer.text.strip() or None
    return MeasuredAnswer(
        answer.text,
        extracted,
        answer.grade.right,
        is_reflective(answer.text),
        len(answer.rollout.token_ids),
        answer.rollout.finish,
    )


def record_of(problem: Problem, number: int) -> dict[str, Any]:
    """What is written down of a problem; its answers come after it."""
    record: dict[str, Any] = {"number": number + 1, "question": problem.question}
    return record | {"answer": problem.answer, "solution": problem.solution}


def answer_the_rest(
    policy: Policy,
    problems: list[Problem],
    records: list[dict[str, Any]],
    size: int,
    partial: Path | None,
    **sampling: Any,
) -> None:
    """Answer the problems that have no record yet, `size` at a time, and append their records to
    the list and to the file. **sampling: as in answers_to."""
    with progress_bar(len(problems), "eval", "problem", initial=len(records)) as bar:
        while len(records) < len(problems):
            first = len(records)
            portion = problems[first : first + size]
            answers = answers_to(policy, portion, problems_before=first, **sampling)
            for number, group in enumerate(answers, start=first):
                asked = record_of(problems[number], number)
                records.append(asked | {"answers": [asdict(answer) for answer in group]})
            if partial:
                with partial.open("a", encoding="utf-8") as file:
                    file.writelines(map(json_line, records[first:]))
            right = [answer["right"] for record in records for answer in record["answers"]]
            bar.set_postfix(refresh=False, accuracy=percent(sum(right) / len(right)))
            bar.update(len(portion))


# ---------------------------------------------------------------- the command


NO_STRICT = "take the last number where no answer is marked"
OUT = """write the summary and every answer to this JSON file; until all are there, they are kept
beside it in FILE.partial.jsonl, and the same command goes on from there"""


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Measure a model on a problem file.")
    add = parser.add_argument
    add("model", help="a Hugging Face folder or a hub name")
    add("--data", required=True, help="a JSON-lines file, 'gsm8k' or 'builtin' (their test splits)")
    add("--samples", type=int, default=1, help="answers a question")
    add("--limit", type=int, help="only so many problems, from the first on")
    add("--temperature", type=float, help="default: 0 (greedy) for one sample, 1 for several")
    add("--max-new-tokens", type=int, default=512)
    add("--max-rows", type=int, default=256, help="answers written at once")
    add("--seed", type=int, default=0)
    add("--dtype", default="auto", choices=DTYPES, help=DTYPE)
    add("--no-strict", dest="strict", action="store_false", help=NO_STRICT)
    add("--out", type=Path, help=OUT)
    return parser


def main() -> None:
    parser = make_parser()
    args = parser.parse_args()
    if args.limit is not None and args.limit < 1:
        parser.error(f"--limit: expected 1 or more, found {args.limit}")
    if args.out and (args.out.is_dir() or not args.out.parent.is_dir()):
        parser.error(f"--out: expected a file in a folder that exists, found {args.out}")
    if args.temperature is None:
        args.temperature = 1.0 if args.samples > 1 else 0.0
    check_sampling(args.samples, args.max_new_tokens, args.max_rows, args.temperature, args.seed)
    problems = load_problems(args.data, "test", args.limit)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = Policy.from_pretrained(args.model, device, args.dtype)
    context = policy.model.config.max_position_embeddings
    policy.tokenizer.check_prompts([problem.question for problem in problems], context, args.data)
    settings = vars(args) | {"out": str(args.out)}
    size = max(1, args.max_rows // args.samples)  # so many problems fill the sampler's rows
    records = []
    partial = None
    if args.out:
        partial = args.out.with_name(args.out.name + ".partial.jsonl")
        asked = [record_of(problem, number) for number, problem in enumerate(problems)]
        records = read_portions(partial, settings, asked, size)
        write_text(partial, "".join(map(json_line, [settings, *records])))
    answer_the_rest(
        policy,
        problems,
        records,
        size,
        partial,
        samples=args.samples,
        temperature=args.temperature,
        max_new_tokens=args.max_new_tokens,
        seed=args.seed,
        max_rows=args.max_rows,
        strict=args.strict,
    )
    answers = [[MeasuredAnswer(**answer) for answer in record["answers"]] for record in records]
    summary = summarize(problems, answers)
    drawn = f"{len(problems)} questions x {args.samples}, temperature {args.temperature}"
    print(f"{args.model} on {args.data}: {drawn}\n")
    print(format_table({"": summary}))
    if partial:
        written = {"settings": settings, "summary": summary, "problems": records}
        write_text(args.out, json.dumps(written, indent=1))
        partial.unlink()


if __name__ == "__main__":
    run_main(main)
