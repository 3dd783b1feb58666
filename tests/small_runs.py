"""Runs that start from the model of conftest.learned, and steps of theirs.

Apart from conftest.py, so that the tests of single modules do not need train.py.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from model import Transformer
from rollout import Trajectory
from support.optim import adamw
from support.settings import Settings
from train import (
    Run,
    StepReport,
    advantages_of,
    open_run,
    problems_of_step,
    train_step,
    update_policy,
)

# Runs small enough that a step of theirs takes a tenth of a second.
SMALL_RUN = {
    "stage": "rl",
    "questions": 4,
    "max_new_tokens": 48,
    "max_reply_tokens": 96,
    "eval_problems": 3,
    "report_questions": 3,
    "n_pos": 1,
    "n_neg": 1,
    "lr": 1e-3,
    "warmup": 0,
    "show_every": 1000,
}


def small_settings(learned: Path, out: Path, **changes) -> dict[str, object]:
    """Settings of a run that starts from `learned`, by name."""
    paths = {"model": str(learned), "data": str(learned / "problems.jsonl"), "out": str(out)}
    return {**paths, **SMALL_RUN, **changes}


def make_run(learned: Path, out: Path, **changes) -> Run:
    run, _ = open_run(Settings(**small_settings(learned, out, **changes)))
    return run


def flags(learned: Path, out: Path, **changes) -> list[str]:
    """The same settings as a command line."""
    arguments = []
    for name, value in small_settings(learned, out, **changes).items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    return arguments


def weights_of(model: Transformer) -> dict[str, Tensor]:
    """A copy of the model's weights by name."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def step_report(
    run: Run, step: int, optimizer: Optimizer, start: Transformer | None = None
) -> StepReport:
    """One step of the run's own, number `step`."""
    problems = problems_of_step(run.problems, run.settings, step)
    return train_step(run.policy, start, problems, optimizer, run.settings, step)


def take_steps(
    run: Run, count: int, optimizer: Optimizer | None = None, start: Transformer | None = None
) -> list[dict[str, Any]]:
    """The first `count` steps of the run; returns their metrics."""
    if optimizer is None:
        optimizer = adamw(run.policy.model.parameters(), run.settings.lr)
    metrics = []
    for step in range(count):
        report = step_report(run, step, optimizer, start)
        metrics.append(run.log(report, step + 1))
    return metrics


def update_from(
    run: Run, batch: list[Trajectory], optimizer: Optimizer, lr: float, start=None
) -> dict[str, Any]:
    """The update that a step makes from this batch; returns its metrics."""
    advantages = advantages_of(batch, run.settings)  # (N, 1)
    return update_policy(run.policy, start, batch, advantages, optimizer, run.settings, lr)


def sgd(run: Run, lr: float = 1.0) -> Optimizer:
    """An optimizer whose steps are the gradients themselves, times lr."""
    return torch.optim.SGD(run.policy.model.parameters(), lr=lr)
