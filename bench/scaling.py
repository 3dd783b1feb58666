"""The cost of a GRPO step as answers, lengths and questions grow: seconds by phase, and memory
beside its plan.

    python bench/scaling.py [--steps 3] [--quick]

Each setting changes one size of the first. other: the first setting's seconds times the growth of
that size, so that a ratio above 1 is better than linear. plan: what train.py prints before the
first step; peak: the process's largest resident size in a step (VmHWM, Linux) over what it held
before the model was made. GB.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common

from rollout import PREFILL_TOKENS
from support.plan import plan_of
from train import Run

BASE = {"questions": 2, "k": 8, "max_new_tokens": 64, "micro_tokens": 1024}
CHANGES: list[dict[str, Any]] = [
    {},
    {"k": 16},
    {"k": 32},
    {"max_new_tokens": 128},
    {"max_new_tokens": 256},
    {"questions": 4},
    {"questions": 8},
    {"micro_tokens": 4096},
    {"checkpointing": True},
]
FEW: list[dict[str, Any]] = [{}, {"max_new_tokens": 128}, {"checkpointing": True}]


def planned(run: Run) -> float:
    """Bytes at the peak of a GRPO run, as train.py plans them."""
    question = max((p.question for p in run.problems + run.held_out), key=len)
    plan = plan_of(
        run.settings,
        run.policy.model.config,
        device=run.policy.model.device.type,
        prompt_tokens=len(run.policy.tokenizer.question_prompt(question)),
        request_tokens=0,  # nothing constructs
        held_out=len(run.held_out),
        coldstart_questions=0,
        prefill_tokens=PREFILL_TOKENS,
    )
    return plan.peak


def measure(shape: str, change: dict[str, Any], steps: int) -> dict[str, Any]:
    """Median seconds of a step and of its phases, the plan and the peak, in this process."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        common.make_folder(folder, common.SHAPES[shape])
        before = common.status("VmRSS")
        run, step = common.make_step(folder, f"{temporary}/run", **{**BASE, **change})
        seconds: list[float] = []
        phases: list[dict[str, float]] = []
        peaks: list[int] = []

        def timed_step() -> None:
            start = time.perf_counter()
            phases.append(step()["seconds"])
            seconds.append(time.perf_counter() - start)

        for _ in range(steps + 1):  # the first warms up
            peaks.append(common.peak(timed_step))
        return {
            "seconds": statistics.median(seconds[1:]),
            "sample": statistics.median(p["sample"] for p in phases[1:]),
            "update": statistics.median(p["update"] for p in phases[1:]),
            "plan GB": planned(run) / 1e9,
            "peak GB": (max(peaks[1:]) - before) / 1e9,
        }


def measure_apart(shape: str, change: dict[str, Any], steps: int) -> dict[str, Any]:
    """The same in a process of its own."""
    one = json.dumps([shape, change])
    command = [sys.executable, __file__, "--one", one, "--steps", str(steps)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="the small shape, few settings, 1 step"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one setting, in a process of its own
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*json.loads(options.one), options.steps)))
        return
    steps = 1 if options.quick else options.steps
    settings = {"small": FEW} if options.quick else {"small": CHANGES, "SmolLM2": FEW}
    rows: list[dict[str, Any]] = []
    for shape, changes in settings.items():
        base_seconds = 0.0
        for change in changes:
            found = measure_apart(shape, change, steps)
            seconds = found.pop("seconds")
            base_seconds = base_seconds or seconds
            name = next(iter(change), "")
            grows = name in BASE and name != "micro_tokens"
            other = base_seconds * (change[name] / BASE[name] if grows else 1)
            setting = ", ".join(f"{k} = {v}" for k, v in (change or BASE).items())
            row = {"setting": f"{shape}, {setting}", "ours": seconds, "other": other}
            rows.append({**row, "ratio": other / seconds, **found})
            print(rows[-1], file=sys.stderr, flush=True)
    common.report("scaling", rows)


if __name__ == "__main__":
    main()
