"""What a step measures: numbers for metrics.jsonl, records for samples.jsonl, samples for the
terminal.

Called by train.py and coldstart.py. Accuracies and shares of questions read what the checker says
(right), means of rewards what was paid.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from support.reflection import is_reflective
from support.worked_lines import first_difference


def mean(values: Iterable[float]) -> float | None:
    """None of nothing: no share of nothing is made up."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


# ---------------------------------------------------------------- answers and constructions


def rollout_metrics(groups: Sequence[Any], eligible: list[bool]) -> dict[str, Any]:
    """Of all sampled answers. entropy is the Monte Carlo estimate, the mean of -log p, in nats a
    token."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    grades = [grade for group in groups for grade in group.grades]
    texts = [text for group in groups for text in group.texts]
    tokens = sum(len(rollout.token_ids) for rollout in rollouts)
    logprobs = sum(sum(rollout.logprobs) for rollout in rollouts)
    return {
        "reward": mean(grade.reward for grade in grades),
        "right_share": mean(grade.right for grade in grades),
        "mixed_share": mean(0 < group.right < len(group.grades) for group in groups),
        "eligible_share": mean(eligible),
        "truncated_share": mean(rollout.finish == "length" for rollout in rollouts),
        "reflective_share": mean(is_reflective(text) for text in texts),
        "length": tokens / len(rollouts),
        "entropy": -logprobs / tokens,
    }


def construction_metrics(constructions: Sequence[Any]) -> dict[str, Any]:
    """Shares are of pairs, from ref_reward on of the trajectories that were made of them.

    ref_flat_share is of questions that have a trajectory: those whose G_ref has no variance and so,
    with DAE, no gradient.
    """
    made = [c for c in constructions if not c.refused]
    rewards_of_question = defaultdict(set)
    for c in made:
        rewards_of_question[c.group].add(c.grade.reward)
    return {
        "pairs": len(constructions),
        "parse_share": mean(c.parsed for c in constructions),
        "kept_share": mean(not c.refused for c in constructions),
        "refused": dict(Counter(c.refused for c in constructions if c.refused)),
        "ref_reward": mean(c.grade.reward for c in made),
        "ref_right_share": mean(c.grade.right for c in made),
        "ref_flat_share": mean(len(rewards) == 1 for rewards in rewards_of_question.values()),
        "prefix_share": mean(c.prefix_share for c in made),
        "left_at": mean(c.left_at for c in made),
        "diagnosis_share": mean(c.diagnosis_tokens > 0 for c in made),
        "copied_share": mean(c.copied_share for c in made),
    }


def fidelity(constructions: Sequence[Any]) -> dict[str, float | None]:
    """Shares of the constructions to built-in problems that hold the wrong answer word for word up
    to its first wrong line and then turn, and whose diagnosis quotes that line.
    """
    verbatim = []
    quoted = []
    for made in constructions:
        if made.refused:
            continue
        wrong = made.wrong.split("\n")
        at, _ = first_difference(wrong, (made.problem.solution or "").split("\n"))
        kept = wrong[: at + 1]
        lines = made.y_ref.split("\n")
        turn = lines[at + 1] if len(lines) > at + 1 else ""
        verbatim.append(lines[: at + 1] == kept and is_reflective(turn))
        quoted.append(any(is_reflective(line) and wrong[at] in line for line in lines))
    return {"verbatim_share": mean(verbatim), "quoted_share": mean(quoted)}


def construction_record(construction: Any, step: int) -> dict[str, Any]:
    """A construction as a line of samples.jsonl."""
    problem = construction.problem
    record = {name: value for name, value in vars(construction).items() if name != "problem"}
    grade = asdict(record.pop("grade"))
    named = {"step": step, "problem": problem.question, "gold": problem.answer}
    return named | record | grade


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
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def gradient_metrics(model: nn.Module, from_sampled: list[Tensor]) -> dict[str, float | None]:
    """Norms of the gradients of sampled and of constructed trajectories, and their cosine: below 0
    they pull apart.

    from_sampled: the gradients when those of the constructed ones had not been added yet.
    """
    totals = [p.grad for p in model.parameters() if p.grad is not None]
    differences = [total - part for total, part in zip(totals, from_sampled, strict=True)]
    sampled = torch.cat([g.flatten() for g in from_sampled])
    constructed = torch.cat([g.flatten() for g in differences])
    norm_sampled = sampled.norm().item()
    norm_constructed = constructed.norm().item()
    cosine = None
    if norm_sampled > 0 and norm_constructed > 0:
        product = torch.dot(sampled, constructed).item()
        cosine = product / (norm_sampled * norm_constructed)
    return {
        "grad_norm_sampled": norm_sampled,
        "grad_norm_ref": norm_constructed,
        "grad_cosine": cosine,
    }


# ---------------------------------------------------------------- samples for the eye


def format_parts(parts: Sequence[str]) -> str:
    """A constructed trajectory with its parts named: wrong prefix, diagnosis, correction."""
    lines = []
    for name, text in zip(("wrong prefix", "diagnosis", "correction"), parts, strict=True):
        first_line, *other_lines = text.split("\n")
        lines.append(f"  {name:>12} | {first_line}")
        lines += [f"  {'':>12} | {line}" for line in other_lines]
    return "\n".join(lines)


def whole_samples(groups: Sequence[Any], constructions: Sequence[Any], step: int) -> str:
    """A right answer, a wrong one, and a right construction with a diagnosis, if any."""
    blocks = [f"--- step {step}"]
    blocks += sampled_block(groups, right=True)
    blocks += sampled_block(groups, right=False)
    for made in constructions:
        if made.grade.right and made.diagnosis_tokens:
            heading = f"[constructed, reward {made.grade.reward:g}]"
            parts = format_parts(made.parts)
            blocks.append(f"{heading} {made.problem.question}\n{parts}")
            break
    return "\n\n".join(blocks) + "\n"


def sampled_block(groups: Sequence[Any], right: bool) -> list[str]:
    """The first answer that is right, or the first that is wrong; empty where there is none."""
    for group in groups:
        for text, grade in zip(group.texts, group.grades, strict=True):
            if grade.right == right:
                problem = group.problem
                heading = f"[sampled, reward {grade.reward:g}, gold {problem.answer}]"
                return [f"{heading} {problem.question}\n{text}"]
    return []
