"""The cost of a GRPO step as answers, lengths and questions grow: seconds by phase, and memory beside its plan.

    python bench/scaling.py [--steps 3] [--quick]

Each setting changes one size of the first. other: the first setting's seconds times the growth of that size, so
that a ratio above 1 is better than linear. plan: what train.py prints before the first step; peak: the process's
largest resident size in a step (VmHWM, Linux) over what it held before the model was made. GB.
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

from support.plan import plan_of

BASE = {"questions": 2, "k": 8, "max_new_tokens": 64, "micro_tokens": 1024}
CHANGES: list[dict[str, Any]] = [
    {}, {"k": 16}, {"k": 32}, {"max_new_tokens": 128}, {"max_new_tokens": 256}, {"questions": 4}, {"questions": 8},
    {"micro_tokens": 4096}, {"checkpointing": True},
]  # fmt: skip


def measure(shape: str, change: dict[str, Any], steps: int) -> dict[str, Any]:
    """Median seconds of a step and of its phases, the plan and the peak, in this process."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        common.make_folder(folder, common.SHAPES[shape])
        before = common.status("VmRSS")
        run, step = common.make_step(folder, f"{temporary}/run", **{**BASE, **change})
        seconds, phases, peaks = [], [], []
        for _ in range(steps + 1):
            run.seconds.clear()
            start = time.perf_counter()
            peaks.append(common.peak(step))
            seconds.append(time.perf_counter() - start)
            phases.append(dict(run.seconds))
        return {
            "seconds": statistics.median(seconds[1:]),
            **{name: statistics.median(p[name] for p in phases[1:]) for name in ("sample", "update")},
            "plan GB": plan_of(run).peak / 1e9,
            "peak GB": (max(peaks[1:]) - before) / 1e9,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the small shape, fewer settings, one step")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one setting, in a process of its own
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*json.loads(options.one), options.steps)))
        return
    rows: list[dict[str, Any]] = []
    few = [{}, {"max_new_tokens": 128}, {"checkpointing": True}]
    for shape, changes in (("small", few if options.quick else CHANGES), ("SmolLM2", [] if options.quick else few)):
        first: dict[str, Any] = {}
        for change in changes:
            steps = "1" if options.quick else str(options.steps)
            command = [sys.executable, __file__, "--one", json.dumps([shape, change]), "--steps", steps]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(output.splitlines()[-1])
            first = first or dict(found)
            name = next(iter(change), "")
            growth = change[name] / BASE[name] if name in BASE and name != "micro_tokens" else 1
            setting = ", ".join(f"{k} = {v}" for k, v in (change or BASE).items())
            other = first["seconds"] * growth
            row = {"setting": f"{shape}, {setting}", "ours": found.pop("seconds"), "other": other}
            rows.append({**row, "ratio": other / row["ours"], **found})
            print(rows[-1], file=sys.stderr, flush=True)
    common.report("scaling", rows)


if __name__ == "__main__":
    main()
