"""The folder of a run, and how the seconds of a step are counted.

    config.json          the settings
    metrics.jsonl        one record for each step and measurement, and every 20th update of the
                         cold start
    samples.jsonl        every construction
    checkpoints/step-N   a Hugging Face folder with the optimizer beside the weights;
                         step-0 is the policy that RL starts from

A checkpoint appears when it is whole: it is written under another name and then renamed. Every
random draw is seeded by (seed, purpose, step), so that no generator's state has to be saved.
Called by train.py and support/settings.py.
"""

import json
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from support.files import InputError, read_json, read_lines, write_text
from support.metrics import json_line


class RunFolder:
    """Where a run leaves what it makes. Nothing is written before `make` is called."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def refuse_if_used(self) -> None:
        """Raises InputError where there are files already: a run is never written over."""
        if self.path.is_dir() and any(self.path.iterdir()):
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

    def write_settings(self, settings: dict[str, Any]) -> None:
        write_text(self.path / "config.json", json.dumps(settings, indent=2) + "\n")

    def read_settings(self) -> dict[str, Any]:
        return read_json(self.path / "config.json")

    def log(self, file: str, *records: dict[str, Any]) -> None:
        """Append records to metrics.jsonl or samples.jsonl, one a line."""
        with (self.path / file).open("a", encoding="utf-8") as lines:
            lines.write("".join(map(json_line, records)))

    # ---------------------------------------------------------------- checkpoints

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint after this many steps is, or will be."""
        return self.path / "checkpoints" / f"step-{step}"

    def newest_checkpoint(self) -> Path:
        """The checkpoint after the most steps; raises InputError where there is none."""
        found = list(self.path.glob("checkpoints/step-*"))
        whole = [path for path in found if path.name.removeprefix("step-").isdigit()]
        if not whole:
            raise InputError(f"--resume: expected a checkpoint under {self.path}, found none")
        return max(whole, key=step_of)

    def checkpoint_to_resume(self, steps: int) -> Path:
        """The newest checkpoint of a run that is to have `steps` steps in all.

        Raises InputError where there is none, or where more steps are made already.
        """
        newest = self.newest_checkpoint()
        made = step_of(newest)
        if made > steps:
            raise InputError(f"--steps: expected {made} or more, already made, found {steps}")
        return newest

    def save(
        self,
        step: int,
        model: Any,
        tokenizer: Any,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        state: dict[str, Any],
    ) -> Path:
        """Write the checkpoint after `step` steps and return its folder.

        model: a module that has save_pretrained(folder)
        tokenizer: anything that has save(folder)
        state: what else the run has to know when it goes on, as JSON
        """
        folder = self.checkpoint(step)
        temporary = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        model.save_pretrained(temporary)
        tokenizer.save(temporary)
        moments = optimizer_tensors(model, optimizer) if optimizer else {}
        save_file(moments, temporary / "optimizer.safetensors")  # no pickle is ever loaded
        write_text(temporary / "trainer.json", json.dumps(state) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        return folder

    def restore(
        self,
        checkpoint: Path,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        needed: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Load the optimizer, drop what was logged after the checkpoint, return the saved state.

        needed: what the state must hold. The weights are read by whoever makes the model. Raises
        InputError for a checkpoint that is not whole, and then leaves the logs as they are.
        """
        state = read_json(checkpoint / "trainer.json")
        for key in needed:
            if key not in state:
                raise InputError(f"{checkpoint}: expected {key} in trainer.json, found none")
        parameters = dict(model.named_parameters())
        try:
            moments = load_file(checkpoint / "optimizer.safetensors")
            for name, tensor in moments.items():
                parameter_name, key = name.split(":")
                parameter = parameters[parameter_name]
                optimizer.state[parameter][key] = tensor.to(parameter.device)
        except (OSError, KeyError, SafetensorError) as error:
            raise InputError(f"{checkpoint}: expected a whole checkpoint ({error!r})") from None
        self.drop_logged_after(step_of(checkpoint))
        return state

    def drop_logged_after(self, step: int) -> None:
        """Take the records of later steps out of both logs.

        The cold start's stay: what they call a step is one of its own updates.
        """
        for file in ("metrics.jsonl", "samples.jsonl"):
            lines = []
            for record in read_lines(self.path / file):
                if record.get("stage") == "coldstart" or record["step"] <= step:
                    lines.append(json.dumps(record) + "\n")
            write_text(self.path / file, "".join(lines))


def step_of(checkpoint: Path) -> int:
    """How many RL steps were made before a checkpoint: 50 for .../checkpoints/step-50."""
    return int(checkpoint.name.removeprefix("step-"))


def optimizer_tensors(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """The optimizer's tensors by "parameter name:what", such as "model.norm.weight:exp_avg"."""
    names: dict[Any, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {}
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            tensors[f"{names[parameter]}:{key}"] = value.cpu().contiguous()
    return tensors


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
    """Ctrl-C within it is noted and not raised, so that a step can end: no half update is saved."""

    def __enter__(self) -> "Interrupts":
        self.came = False
        self.usual = signal.signal(signal.SIGINT, self.note)
        return self

    def note(self, number: int, frame: Any) -> None:
        self.came = True

    def __exit__(self, *_: Any) -> None:
        signal.signal(signal.SIGINT, self.usual)
