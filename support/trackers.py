"""A run's metrics in TensorBoard or Weights & Biases too (--track), where that is installed.

metrics.jsonl stays the source; what goes there is a copy of its numbers. Called by train.py
(tracker) and support/runs.py (RunFolder.log).
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Track = Callable[[Mapping[str, Any]], None]  # takes a record of metrics.jsonl


def tracker(name: str, folder: Path, settings: Mapping[str, Any]) -> Track | None:
    """What takes the records of the run in this folder; None where --track is "none"."""
    if name == "tensorboard":
        return to_tensorboard(folder)
    if name == "wandb":
        return to_wandb(folder, settings)
    return None


def to_tensorboard(folder: Path) -> Track:
    """Event files in the run's folder: tensorboard --logdir FOLDER"""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def track(record: Mapping[str, Any]) -> None:
        for name, value in numbers_of(record):
            writer.add_scalar(name, value, record["step"])
        writer.flush()

    return track


def to_wandb(folder: Path, settings: Mapping[str, Any]) -> Track:
    """A run in the project "nanotapo". When it is resumed, that is another one in the same
    group."""
    import wandb

    name = folder.resolve().name
    about = {"name": name, "group": name, "config": dict(settings)}
    run = wandb.init(project="nanotapo", dir=str(folder), **about)
    run.define_metric("*", step_metric="step")  # a cold start and RL both count from the start

    def track(record: Mapping[str, Any]) -> None:
        run.log(dict(numbers_of(record)) | {"step": record["step"]})

    return track


def numbers_of(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a record, each under its stage's name.

    >>> list(numbers_of({"stage": "rl", "step": 3, "loss": 0.5, "seconds": {"update": 2.0}}))
    [('rl/loss', 0.5), ('rl/seconds/update', 2.0)]
    """
    values = {name: value for name, value in record.items() if name not in ("stage", "step")}
    return flattened(str(record["stage"]), values)


def flattened(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers in a mapping and in those inside it, by path; what is no number is left out."""
    for name, value in values.items():
        path = f"{prefix}/{name}"
        if isinstance(value, Mapping):
            yield from flattened(path, value)
        elif isinstance(value, int | float):
            yield path, float(value)
