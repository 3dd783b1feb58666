"""The folder of a run, what stops a run, and how the seconds of a step are counted.

    config.json               the settings
    metrics.jsonl             one record for each step and measurement, and every 20th update of
                              the cold start
    samples.jsonl             every construction, and of some in each step every token
    collected.jsonl           what the cold start collected from the policy, portion by portion
    checkpoints/coldstart-N   a Hugging Face folder with the optimizers beside the weights, after N
                              updates of the cold start
    checkpoints/step-N        the same after N steps of RL; step-0 is the policy that RL starts from

A checkpoint appears when it is whole: it is written under another name and then renamed. No random
generator's state has to be saved: every draw of RL is seeded by (seed, purpose, step), and the
cold start draws its examples again from the beginning (coldstart.skip).
Called by train.py, coldstart.py and support/settings.py.
"""

import fcntl
import json
import math
import os
import re
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer

from support.files import InputError, read_json, read_lines, write_text
from support.metrics import json_line
from support.trackers import Track

LOGS = ("metrics.jsonl", "samples.jsonl", "collected.jsonl")
locked: set[Path] = set()  # the folders in which this process trains


class RunFolder:
    """Where a run leaves what it makes. Nothing is written before `make` is called."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.saved_at = time.monotonic()  # when a checkpoint was last saved, or the run began
        self.track: Track | None = None  # sends metrics to TensorBoard or Weights & Biases too

    def refuse_if_used(self) -> None:
        """Raises InputError where there are files already: a run is never written over."""
        found = self.path.iterdir() if self.path.is_dir() else []
        if any(path.suffix != ".tmp" for path in found):
            advice = "choose another --out, or --resume"
            raise InputError(f"{self.path}: expected a new or empty folder, found files; {advice}")

    def make(self, resume: bool = False) -> None:
        """Make the folder; raises InputError where it has files, unless its run is resumed."""
        if not resume:
            self.refuse_if_used()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"--out: expected a folder that can be made, found {self.path} ({error})"
            raise InputError(message) from None
        self.lock()
        self.remove_temporary()

    def lock(self) -> None:
        """Keep every other process out until this one has ended, however it ends. Raises InputError
        where another one is in it: both would write the same logs."""
        path = self.path.resolve()
        if path in locked:
            return
        try:
            fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{self.path}: expected no other process, found one that trains there"
            raise InputError(message) from None
        except OSError:
            return  # a file system without locks
        locked.add(path)

    def write_settings(self, settings: dict[str, Any]) -> None:
        write_text(self.path / "config.json", json.dumps(settings, indent=2) + "\n")

    def read_settings(self) -> dict[str, Any]:
        """Raises InputError where no run was begun."""
        if not (self.path / "config.json").is_file():
            raise InputError(f"--resume: expected a run in {self.path}, found no config.json")
        return read_json(self.path / "config.json")

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Around all that writes: what ends it early is one line that says what is whole.

        Ctrl-C and SIGTERM become SystemExit; a folder that cannot be written becomes InputError.
        """
        try:
            yield
        except KeyboardInterrupt:
            self.remove_temporary()
            raise SystemExit(f"\nstopped; {self.what_is_whole()}") from None
        except (OSError, SafetensorError) as error:
            self.remove_temporary()  # a disk that is full has room again
            found = f"expected to write there, found {error}"
            raise InputError(f"{self.path}: {found}; {self.what_is_whole()}") from None

    def what_is_whole(self) -> str:
        found = self.checkpoints()
        if found:
            return f"{found[-1]} is whole, go on with --out {self.path} --resume"
        if (self.path / "config.json").is_file():
            return f"no checkpoint was made yet, begin again with --out {self.path} --resume"
        return "nothing was begun"

    def remove_temporary(self) -> None:
        """Remove what was being written when a run was killed, or when the disk was full.

        In a folder that cannot be written it stays; whoever writes there next will say so.
        """
        for path in self.path.glob("*.json*.tmp"):
            with suppress(OSError):
                path.unlink()
        for path in self.path.glob("checkpoints/*.tmp"):
            shutil.rmtree(path, ignore_errors=True)

    # ---------------------------------------------------------------- logs

    def log(self, file: str, *records: dict[str, Any]) -> None:
        """Append records to one of LOGS, one a line."""
        with (self.path / file).open("a", encoding="utf-8") as lines:
            lines.write("".join(map(json_line, records)))
        if self.track and file == "metrics.jsonl":
            for record in records:
                self.track(record)

    def logged(self, stage: str) -> list[dict[str, Any]]:
        """The records of a stage in metrics.jsonl, such as "rl" or "eval"."""
        records = read_lines(self.path / "metrics.jsonl")
        return [record for record in records if record["stage"] == stage]

    def collected(self, portion: int, step: int, collect: Callable[[], Any]) -> Any:
        """What the cold start collected from the policy as its portion of this number: it is
        collected once and written down, and read where a run that is resumed comes to it again.

        step: how many updates were made before it
        collect: makes what is collected, which JSON can hold
        """
        if portion not in self.portions:
            found = collect()
            record = {"stage": "coldstart", "step": step, "portion": portion, "collected": found}
            self.log("collected.jsonl", record)
            self.portions[portion] = found
        return self.portions[portion]

    @cached_property
    def portions(self) -> dict[int, Any]:
        """What was collected, by the number of the portion, as far as it is written down."""
        records = read_lines(self.path / "collected.jsonl")
        return {record["portion"]: record["collected"] for record in records}

    def drop_logged_after(self, checkpoint: Path | None) -> None:
        """Take out of the logs what was made after this checkpoint (None: all that was made), and
        lines that a kill has torn: it will be made again.

        What the cold start calls a step is one of its own updates.
        """
        last_update, last_step = position_of(checkpoint)
        for file in LOGS:
            lines = []
            for record in read_lines(self.path / file):
                of_coldstart = record.get("stage") == "coldstart"
                if record["step"] <= (last_update if of_coldstart else last_step):
                    lines.append(json.dumps(record) + "\n")
            if (self.path / file).is_file():
                write_text(self.path / file, "".join(lines))

    # ---------------------------------------------------------------- checkpoints

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint after this many steps is, or will be."""
        return self.path / "checkpoints" / f"step-{step}"

    def coldstart_checkpoint(self, update: int) -> Path:
        """Where the checkpoint after this many updates of the cold start is, or will be."""
        return self.path / "checkpoints" / f"coldstart-{update}"

    def checkpoints(self) -> list[Path]:
        """Those that are there, in the order in which they were made."""
        found = []
        for path in self.path.glob("checkpoints/*"):
            if re.fullmatch(r"(coldstart|step)-\d+", path.name):
                found.append(path)
        return sorted(found, key=position_of)

    def checkpoint_to_resume(self, steps: int) -> Path | None:
        """The newest checkpoint of a run that is to have `steps` steps in all; None for a run that
        was stopped before its first.

        Raises InputError where more steps are made already, and where a run that must have had
        checkpoints has lost them.
        """
        found = self.checkpoints()
        if not found:
            if self.logged("rl") or self.logged("eval"):
                raise InputError(f"--resume: expected a checkpoint under {self.path}, found none")
            return None
        made = step_of(found[-1])
        if made > steps:
            raise InputError(f"--steps: expected {made} or more, already made, found {steps}")
        return found[-1]

    def save(
        self,
        checkpoint: Path,
        model: Any,
        tokenizer: Any,
        optimizers: Sequence[Optimizer] = (),
        *,
        state: dict[str, Any],
        keep: int,
    ) -> Path:
        """Write a checkpoint, remove older ones, and return its folder.

        checkpoint: one of `checkpoint` or `coldstart_checkpoint`
        model: a module that has save_pretrained(folder)
        tokenizer: anything that has save(folder)
        state: what else the run has to know when it goes on, as JSON
        keep: how many of the newest stay, as in `remove_older`
        """
        temporary = checkpoint.with_name(checkpoint.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        model.save_pretrained(temporary)
        tokenizer.save(temporary)
        moments: dict[str, torch.Tensor] = {}
        for optimizer in optimizers:
            moments |= optimizer_tensors(model, optimizer)
        save_file(moments, temporary / "optimizer.safetensors")  # no pickle is ever loaded
        write_text(temporary / "trainer.json", json.dumps(state) + "\n")
        if checkpoint.exists():
            remove_checkpoint(checkpoint)
        temporary.rename(checkpoint)
        self.saved_at = time.monotonic()
        self.remove_older(keep)
        return checkpoint

    def remove_older(self, keep: int) -> None:
        """Keep step-0, the best by held-out accuracy, and the `keep` newest checkpoints (0: all).

        Once RL has begun, nobody goes on from those of the cold start.
        """
        found = self.checkpoints()
        of_rl = [path for path in found if not is_in_coldstart(path)]
        newest = (of_rl or found)[-keep:]
        stays = [*newest, self.checkpoint(0), self.checkpoint(self.best_step())]
        for path in found:
            if path not in stays:
                remove_checkpoint(path)

    def best_step(self) -> int:
        """The step with the best accuracy on the held-out problems, the first of equal ones."""
        measured = self.logged("eval")
        best = max(measured, key=lambda record: record["pass@1"], default={"step": 0})
        return best["step"]

    def save_is_due(self, minutes: float) -> bool:
        """Whether the last checkpoint is so many minutes old; 0: never."""
        return 0 < minutes <= (time.monotonic() - self.saved_at) / 60

    def restore(
        self,
        checkpoint: Path,
        model: torch.nn.Module,
        optimizers: Sequence[Optimizer],
        needed: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Load the optimizers and return the saved state.

        needed: what the state must hold. The weights are read by whoever makes the model. Raises
        InputError for a checkpoint that is not whole.
        """
        state = read_json(checkpoint / "trainer.json")
        for key in needed:
            if key not in state:
                raise InputError(f"{checkpoint}: expected {key} in trainer.json, found none")
        parameters = dict(model.named_parameters())
        owners = owners_of(optimizers)
        try:
            moments = load_file(checkpoint / "optimizer.safetensors")
            for name, tensor in moments.items():
                parameter_name, key = name.split(":")
                parameter = parameters[parameter_name]
                optimizer = owners[parameter]
                optimizer.state[parameter][key] = tensor.to(parameter.device)
        except (OSError, KeyError, SafetensorError) as error:
            raise InputError(f"{checkpoint}: expected a whole checkpoint ({error!r})") from None
        return state


def is_in_coldstart(checkpoint: Path) -> bool:
    return checkpoint.name.startswith("coldstart-")


def number_of(checkpoint: Path) -> int:
    """The number in its name: 50 for .../checkpoints/step-50."""
    return int(checkpoint.name.split("-")[1])


def step_of(checkpoint: Path) -> int:
    """How many RL steps were made before a checkpoint."""
    return 0 if is_in_coldstart(checkpoint) else number_of(checkpoint)


def position_of(checkpoint: Path | None) -> tuple[float, int]:
    """(updates of the cold start, steps of RL) that were made before a checkpoint, -1 steps where
    RL had not begun. Sorted by it, checkpoints stand in the order in which they were made.

    >>> position_of(None), position_of(Path("coldstart-40")), position_of(Path("step-3"))
    ((0, -1), (40, -1), (inf, 3))
    """
    if checkpoint is None:
        return 0, -1
    if is_in_coldstart(checkpoint):
        return number_of(checkpoint), -1
    return math.inf, number_of(checkpoint)


def remove_checkpoint(checkpoint: Path) -> None:
    """Under another name first, so that a kill never leaves half of it under its own."""
    removed = checkpoint.with_name(checkpoint.name + ".old.tmp")
    checkpoint.rename(removed)
    shutil.rmtree(removed)


def optimizer_tensors(model: torch.nn.Module, optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's tensors by "parameter name:what", such as "model.norm.weight:exp_avg"."""
    names: dict[Any, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {}
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            tensors[f"{names[parameter]}:{key}"] = value.cpu().contiguous()
    return tensors


def owners_of(optimizers: Sequence[Optimizer]) -> dict[torch.Tensor, Optimizer]:
    """Parameter -> the optimizer that moves it."""
    owners = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                owners[parameter] = optimizer
    return owners


class Laps:
    """The seconds that the phases of a step take, as a stopwatch with laps counts them."""

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.counted: dict[str, float] = defaultdict(float)

    def lap(self, name: str) -> None:
        """Count the seconds since the last lap, or since the start, as those of phase `name`."""
        now = time.perf_counter()
        self.counted[name] += now - self.last
        self.last = now

    @property
    def seconds(self) -> dict[str, float]:
        """Phase -> seconds, rounded to milliseconds."""
        return {name: round(value, 3) for name, value in self.counted.items()}


class Interrupts:
    """Ctrl-C or SIGTERM within it is noted, so that a step can end: no half update is saved. Who
    leaves it after that gets KeyboardInterrupt; so does a second signal, wherever it comes.
    """

    def __enter__(self) -> "Interrupts":
        self.came = False
        self.usual = {
            number: signal.signal(number, self.note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def note(self, number: int, frame: Any) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        for number, handler in self.usual.items():
            signal.signal(number, handler)
        if self.came and error is None:
            raise KeyboardInterrupt
