"""What a step measures: numbers for metrics.jsonl, records for samples.jsonl, samples for the
terminal.

Called by train.py, augment.py, coldstart.py and support/runs.py. Accuracies and shares of
questions read what the checker says (right), means of rewards what was paid.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from support.diagnosis import is_concrete, is_micro_reflective
from support.files import InputError
from support.reasoning_steps import whole_steps
from support.reflection import is_reflective
from support.worked_lines import first_difference

if TYPE_CHECKING:  # augment.py and rollout.py import this module, directly or not
    from augment import Construction
    from rollout import Group, Trajectory
    from support.tokenizer import Tokenizer


def mean(values: Iterable[float]) -> float | None:
    """None of nothing: no share of nothing is made up."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


def json_line(record: dict[str, Any]) -> str:
    """A record as a line of JSON, which knows no NaN; raises InputError that names the field."""
    for name, value in record.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            where = f"step {record.get('step')}, {name}"
            raise InputError(f"{where}: expected finite numbers, found {value}") from None
    return json.dumps(record) + "\n"


# ---------------------------------------------------------------- answers and constructions


def rollout_metrics(groups: Sequence[Group], eligible: list[bool]) -> dict[str, Any]:
    """Of all sampled answers. entropy is the Monte Carlo estimate, the mean of -log p, in nats a
    token; wrong_and_truncated counts the answers to eligible questions that are not rewritten
    because they were cut off (unless --rewrite-truncated asks for it)."""
    answers = [answer for group in groups for answer in group.answers]
    of_eligible = [group for group, is_one in zip(groups, eligible, strict=True) if is_one]
    tokens = sum(len(answer.rollout.token_ids) for answer in answers)
    logprobs = sum(sum(answer.rollout.logprobs) for answer in answers)
    return {
        "reward": mean(answer.grade.reward for answer in answers),
        "right_share": mean(answer.grade.right for answer in answers),
        "mixed_share": mean(is_mixed(group) for group in groups),
        "eligible_share": mean(eligible),
        "truncated_share": mean(not answer.ended for answer in answers),
        "wrong_and_truncated": sum(count_wrong_and_truncated(group) for group in of_eligible),
        "reflective_share": mean(is_reflective(answer.text) for answer in answers),
        "length": tokens / len(answers),
        "entropy": -logprobs / tokens,
    }


def count_wrong_and_truncated(group: Group) -> int:
    return sum(not answer.ended and not answer.grade.right for answer in group.answers)


def is_mixed(group: Group) -> bool:
    """Whether it holds right and wrong answers."""
    return 0 < group.n_right < len(group.answers)


def construction_metrics(constructions: Sequence[Construction]) -> dict[str, Any]:
    """Shares are of pairs, from ref_reward on of the trajectories that were made of them.

    ref_flat_share is of questions that have a trajectory: those whose G_ref has no variance and so,
    with DAE, no gradient.
    """
    made = [c for c in constructions if not c.refused]
    rewards_of_question = defaultdict(set)
    for c in made:
        rewards_of_question[c.pair.question_number].add(c.grade.reward)
    return {
        "pairs": len(constructions),
        "parse_share": mean(c.parsed for c in constructions),
        "kept_share": mean(not c.refused for c in constructions),
        "trajectories": len(made),
        "concrete": sum(is_concrete(c) for c in constructions),
        "refused": dict(Counter(c.refused for c in constructions if c.refused)),
        "ref_reward": mean(c.grade.reward for c in made),
        "ref_right_share": mean(c.grade.right for c in made),
        "ref_flat_share": mean(len(rewards) == 1 for rewards in rewards_of_question.values()),
        "prefix_share": mean(c.prefix_share for c in made),
        "left_at": mean(c.left_at for c in made),
        "diagnosis_share": mean(c.diagnosis_tokens > 0 for c in made),
        "copied_share": mean(c.copied_share for c in made),
    }


def construction_counts(constructions: Sequence[Construction]) -> dict[str, int]:
    """Of so many pairs: replies that parsed ("assisted": that ended by themselves); trajectories
    whose prefix is one reasoning step of the wrong answer or more, word for word and whole; that
    have a diagnosis right after it; one that is concrete (is_concrete); that are right.

    With --synthesis assisted the program sees to "verbatim", and begins the diagnosis.
    """
    made = [c for c in constructions if not c.refused]
    return {
        "pairs": len(constructions),
        "parsed": sum(c.parsed for c in constructions),
        "verbatim": sum(whole_steps(c.pair.wrong, c.parts[0]) > 0 for c in made),
        "diagnosis": sum(is_micro_reflective(c) for c in made),
        "concrete": sum(is_concrete(c) for c in made),
        "right": sum(c.grade.right for c in made),
    }


def format_counts(counts: Mapping[str, int]) -> str:
    """Counts in a line: "12 pairs, 10 parsed"."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def counts_of_steps(records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What some steps constructed, from their lines in metrics.jsonl."""
    constructed = [record for record in records if "concrete" in record]
    names = {
        "pairs": "pairs",
        "trajectories": "trajectories",
        "with an advantage": "taught_rows",
        "with a concrete diagnosis": "concrete",
    }
    counts = {"steps": len(constructed)}
    for shown, name in names.items():
        counts[shown] = sum(record[name] for record in constructed)
    return counts


WARNING_STEPS = 5  # after which too few constructions are warned of
TOO_FEW = (
    "fewer than one pair in ten gave a trajectory whose diagnosis names a number of the step "
    "before it, or one that only the right answer has. The others are trained on too, but hardly "
    "say what is wrong: TAPO then costs more than GRPO and teaches little else. Without pairs, no "
    "question was eligible (eligible_share in metrics.jsonl: --n-pos right and --n-neg wrong "
    "answers), the answers were cut off (truncated_share), or with --synthesis assisted the right "
    "ones showed nothing new before their result. With pairs, see `refused` there and "
    "the replies in samples.jsonl, and try a cold start with more examples, another --synthesis or "
    "a stronger --model"
)


def warning_of_few(records: Sequence[Mapping[str, Any]]) -> str:
    """What to say where fewer than one in ten of the pairs of the last steps gave a concrete
    diagnosis; "" where all is well, or too early to tell. records: the steps of RL so far."""
    counts = counts_of_steps(records[-WARNING_STEPS:])
    useful = counts["with a concrete diagnosis"]
    if counts["steps"] < WARNING_STEPS or useful >= max(counts["pairs"], 1) / 10:
        return ""
    return f"{format_counts(counts)}: {TOO_FEW}"


def fidelity(constructions: Sequence[Construction]) -> dict[str, float | None]:
    """How faithful the constructions to built-in problems are, whose first wrong line is known.

    verbatim_share: of the trajectories, those that hold the wrong answer word for word up to and
    including that line and then turn; quoted_share: those whose diagnosis quotes it.
    """
    verbatim = []
    quoted = []
    for made in constructions:
        if made.refused:
            continue
        wrong = made.pair.wrong.split("\n")
        solution = (made.pair.problem.solution or "").split("\n")
        at, _ = first_difference(wrong, solution)
        mistake = wrong[at]
        lines = made.y_ref.split("\n")
        is_kept = lines[: at + 1] == wrong[: at + 1]
        after_it = lines[at + 1 : at + 2]  # a line, or none
        reflections = [line for line in lines if is_reflective(line)]
        verbatim.append(is_kept and after_it != [] and after_it[0] in reflections)
        quoted.append(any(mistake in line for line in reflections))
    return {"verbatim_share": mean(verbatim), "quoted_share": mean(quoted)}


def construction_record(construction: Construction, step: int) -> dict[str, Any]:
    """A construction as a line of samples.jsonl. Of a reply that the program began, with what was
    kept of y- and the first words of a diagnosis, the whole text is there."""
    pair = construction.pair
    asked = {
        "step": step,
        "problem": pair.problem.question,
        "gold": pair.problem.answer,
        "question_number": pair.question_number,
        "wrong": pair.wrong,
        "sibling": pair.sibling,
    }
    made = dict(vars(construction))
    del made["pair"]
    if construction.kept and construction.y_ref:
        made["reply"] = construction.y_ref
    grade = asdict(made.pop("grade"))
    return asked | made | grade


def token_record(trajectory: Trajectory, tokenizer: Tokenizer) -> dict[str, Any]:
    """What a line of samples.jsonl also says of a trajectory that was trained on: its advantage,
    and its tokens as [text, log-prob, entropy, OTS weight].

    The texts join to y_ref's. Log-prob and entropy are in nats, under the policy before the update
    and after the bare question; the weight is OTS's own, also with --no-ots. Nothing where no
    update has measured it (--lambda 0).
    """
    if not trajectory.token_measures:
        return {}
    tokens = []
    texts = tokenizer.pieces(trajectory.token_ids)
    for text, measures in zip(texts, trajectory.token_measures, strict=True):
        tokens.append([text, *[round(measure, 3) for measure in measures]])
    return {"advantage": round(trajectory.advantage, 3), "tokens": tokens}


# ---------------------------------------------------------------- the update


class Means:
    """Means over tokens that come micro-batch by micro-batch."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor, where: Tensor) -> None:
        """Count values (B, T) where (B, T) is 1."""
        total = (values * where).sum()
        count = where.sum()
        self.sums[name] = self.sums.get(name, 0) + total
        self.counts[name] = self.counts.get(name, 0) + count

    def result(self) -> dict[str, float]:
        """Name -> mean; a name under which nothing was counted is left out."""
        means = {}
        for name, count in self.counts.items():
            if count > 0:
                means[name] = (self.sums[name] / count).item()
        return means


def gradients(model: nn.Module) -> list[Tensor]:
    """A copy of all gradients there are."""
    copies = []
    for p in model.parameters():
        if p.grad is not None:
            copies.append(p.grad.clone())
    return copies


def gradient_metrics(model: nn.Module, from_sampled: list[Tensor]) -> dict[str, float | None]:
    """Norms of the gradients of sampled and of constructed trajectories, and their cosine: below 0
    they pull apart. The cosine is None where a norm is 0, and each is None where it is not finite:
    then the update is skipped, and the run goes on.

    from_sampled: the gradients when those of the constructed ones had not been added yet.
    """
    parameters = model.parameters()
    totals = [p.grad for p in parameters if p.grad is not None]
    differences = [total - part for total, part in zip(totals, from_sampled, strict=True)]
    sampled = torch.cat([g.flatten() for g in from_sampled])
    constructed = torch.cat([g.flatten() for g in differences])
    norm_sampled = sampled.norm().item()
    norm_constructed = constructed.norm().item()
    cosine = None
    if norm_sampled > 0 and norm_constructed > 0:
        product = torch.dot(sampled, constructed).item()
        cosine = product / (norm_sampled * norm_constructed)
    measured = {
        "grad_norm_sampled": norm_sampled,
        "grad_norm_ref": norm_constructed,
        "grad_cosine": cosine,
    }
    return {name: finite_or_none(value) for name, value in measured.items()}


def finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


# ---------------------------------------------------------------- samples for the eye


def format_parts(parts: Sequence[str], has_diagnosis: bool) -> str:
    """A constructed trajectory with its parts named."""
    prefix, line, rest = parts
    if has_diagnosis:
        named = {"wrong prefix": prefix, "diagnosis": line, "correction": rest}
    else:
        named = {"wrong prefix": prefix, "no diagnosis": f"{line}\n{rest}".strip()}
    lines = []
    for name, text in named.items():
        if not text:
            continue
        first_line, *other_lines = text.split("\n")
        lines.append(f"  {name:>12} | {first_line}")
        for line in other_lines:
            lines.append(f"  {'':>12} | {line}")
    return "\n".join(lines)


def seen_of_sibling(record: Mapping[str, Any]) -> str:
    """What to add to the name of y+, for a line of samples.jsonl; "" where the policy saw all."""
    is_assisted = bool(record.get("kept"))  # lines of earlier versions lack it, and the request
    is_whole = record["sibling"] in record.get("request", "")
    return "; shown to the policy up to its result" if is_assisted and not is_whole else ""


def format_construction(record: Mapping[str, Any]) -> str:
    """A line of samples.jsonl in full: what went in, and the trajectory or the refused reply."""
    step = record["step"]
    gold = record["gold"]
    seen = seen_of_sibling(record)
    blocks = [
        f"--- step {step}",
        f"[question, gold {gold}] {record['problem']}",
        f"[wrong answer y-]\n{record['wrong']}",
        f"[right sibling y+{seen}]\n{record['sibling']}",
    ]
    if record["refused"]:
        blocks.append(f"[refused: {record['refused']}; the reply]\n{record['reply']}")
    else:
        outcome = "right" if record["right"] else "wrong"
        parts = format_parts(record["parts"], record["diagnosis_tokens"] > 0)
        blocks.append(f"[trajectory y_ref, ends {outcome}]\n{parts}")
    return "\n\n".join(blocks) + "\n"


def whole_samples(groups: Sequence[Group], constructions: Sequence[Construction], step: int) -> str:
    """A right answer, a wrong one, and a right construction with a diagnosis, if any."""
    blocks = [f"--- step {step}"]
    blocks += sampled_block(groups, right=True)
    blocks += sampled_block(groups, right=False)
    for made in constructions:
        if made.grade.right and made.diagnosis_tokens:
            reward = made.grade.reward
            heading = f"[constructed, reward {reward:g}]"
            parts = format_parts(made.parts, has_diagnosis=True)
            blocks.append(f"{heading} {made.pair.problem.question}\n{parts}")
            break
    return "\n\n".join(blocks) + "\n"


def sampled_block(groups: Sequence[Group], right: bool) -> list[str]:
    """The first answer that is right, or the first that is wrong; empty where there is none."""
    for group in groups:
        for answer in group.answers:
            if answer.grade.right == right:
                problem = group.problem
                reward = answer.grade.reward
                heading = f"[sampled, reward {reward:g}, gold {problem.answer}]"
                return [f"{heading} {problem.question}\n{answer.text}"]
    return []
