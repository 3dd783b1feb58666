"""Runs that are killed, stopped, or out of disk at random moments, resumed, and compared with one
that was never touched: weights, optimizers, metrics, samples and what was collected, bit for bit.

    python bench/faults.py            # 20 of each signal in the cold start and in RL: half an hour
    python bench/faults.py --quick    # 6 kills: some minutes

The last line is JSON: how many runs were killed, how many of those ended identical. Exits with 1
where one did not, or where a full disk lost something. POSIX only (signals, RLIMIT_FSIZE).
"""

import argparse
import json
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import report  # first: it finds the code beside this folder
from safetensors.torch import load_file

import coldstart
import support.files
import support.runs
import support.tokenizer
import support.weights
import train
from augment import TAGS, format_reply, synthesis_prompt
from model import Transformer
from rollout import Trajectory
from support.cli import run_main
from support.files import read_lines
from support.hub import ModelConfig
from support.logprobs import supervised_gradients
from support.optim import adamw, clipped_update
from support.settings import TINY
from support.tokenizer import PLAIN, Tokenizer

Signal = signal.Signals
SHAPE = TINY | {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
EVERY_UPDATE = "--device cpu --save-minutes 0.0001 --show-every 4"  # saves after each
SMALL = "--questions 4 --k 4 --n-pos 1 --n-neg 1 --max-new-tokens 16 --max-reply-tokens 80"
COLDSTART = "--coldstart-updates 24 --coldstart-batch 4 --coldstart-refresh 4 --coldstart-warmup 2"
# Runs of a few seconds. {start}: the folder that make_start makes.
RUNS = {
    "cold start": f"--stage coldstart {COLDSTART} {SMALL} --eval-problems 8",
    "cold start, own examples": f"--stage coldstart --model {{start}} --data {{start}}/data.jsonl "
    f"{COLDSTART} --coldstart-lr 1e-4 --coldstart-examples 80 {SMALL} --eval-problems 8",
    "RL": "--stage rl --model {start} --data {start}/data.jsonl --lr 1e-3 --warmup 0 --steps 16 "
    f"--eval-every 3 --eval-problems 8 {SMALL}",
}


# ---------------------------------------------------------------- a policy to start from


def make_start(folder: Path) -> None:
    """A small policy that is right now and then, and constructs; and its problems in data.jsonl.

    It answers "Say 3." with a number from 1 to 4.
    """
    rng = random.Random(0)
    texts = [request_and_answer(rng) for _ in range(200)]
    tokenizer = Tokenizer.train([PLAIN.format(text=text) + answer for text, answer in texts], TAGS)
    size = tokenizer.inner.get_vocab_size()
    torch.manual_seed(0)
    model = Transformer(ModelConfig(vocab_size=size, eos_token_id=tokenizer.end_id, **SHAPE))
    optimizer = adamw(model.parameters(), 1e-2)
    for _ in range(120):
        batch = []
        for _ in range(16):
            text, answer = request_and_answer(rng)
            token_ids = [*tokenizer.encode(answer), tokenizer.end_id]
            batch.append(Trajectory(tokenizer.prompt(text), token_ids))
        supervised_gradients(model, batch, 4096)
        clipped_update(model, [optimizer], 1e-2, 1.0)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    with (folder / "data.jsonl").open("w") as file:
        for number in range(64):
            n = number % 4 + 1
            question = f"Say {n}." + " Go on." * (number // 4)  # no question stands there twice
            file.write(json.dumps({"question": question, "answer": str(n)}) + "\n")


def request_and_answer(rng: random.Random) -> tuple[str, str]:
    """A question with an answer that is often wrong, or a synthesis prompt with its reply."""
    n = rng.randint(1, 4)
    wrong = rng.choice([i for i in range(1, 5) if i != n])
    question = f"Say {n}." + " Go on." * rng.randrange(16)
    if rng.random() < 0.5:
        return question, f"#### {n if rng.random() < 0.3 else rng.randint(1, 4)}"
    reply = format_reply("A slip.", f"#### {wrong}\nWait, that is wrong.\n#### {n}")
    return synthesis_prompt(question, f"#### {wrong}", f"#### {n}", "brief", "prefix"), reply


# ---------------------------------------------------------------- one run, in a process


def start_run(flags: list[str], full_after: int = 0) -> subprocess.Popen[str]:
    """train.py with these flags, on a disk that is full after so many writes (0: never)."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--writes", str(full_after), *flags]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=pipe)


def run_counting_writes(flags: list[str], full_after: int) -> None:
    """In the process of start_run. The number of its writes is the last line that it prints.

    The write at which the disk is full is cut off in the middle, and all that come after it fail.
    """
    writes = 0

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes == full_after:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
            return function(*arguments, **options)

        return counted

    for module in (support.runs, support.tokenizer, support.weights, support.files):
        for name in ("write_text", "save_file"):
            if hasattr(module, name):
                setattr(module, name, counting(getattr(module, name)))
    folder = support.runs.RunFolder
    folder.log = counting(folder.log)  # type: ignore[method-assign]
    coldstart.TINY = SHAPE  # type: ignore[attr-defined]
    torch.set_num_threads(1)  # several processes may share the machine
    sys.argv = ["train.py", *flags]
    run_main(train.main)
    print(writes, flush=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> float:
    """When the file was there, by time.monotonic."""
    while not path.exists() and process.poll() is None:
        time.sleep(0.005)
    return time.monotonic()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code, stdout, stderr."""
    out, err = process.communicate()
    return process.returncode, out, err


def resume(out: Path) -> list[str]:
    """Go on to the end; returns what is wrong with how it went."""
    code, _, err = finish(start_run(["--out", str(out), "--resume"]))
    return [] if code == 0 else [f"resumed: exit code {code}\n{err}"]


# ---------------------------------------------------------------- what is compared


def differences(out: Path, expected: Path) -> list[str]:
    """The names of what is not bit for bit the same in two finished runs."""
    found = []
    for file in ("model.safetensors", "optimizer.safetensors"):
        tensors = load_file(last_checkpoint(out) / file)
        others = load_file(last_checkpoint(expected) / file)
        same = tensors.keys() == others.keys()
        if not same or not all(torch.equal(tensors[name], others[name]) for name in tensors):
            found.append(file)
    for file in ("metrics.jsonl", "samples.jsonl", "collected.jsonl"):
        if without_seconds(out / file) != without_seconds(expected / file):
            found.append(file)
    return found + [str(path) for path in out.rglob("*.tmp")]


def last_checkpoint(out: Path) -> Path:
    return support.runs.RunFolder(out).checkpoints()[-1]


def without_seconds(file: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in read_lines(file)]


# ---------------------------------------------------------------- faults


class Reference:
    """A run that was never touched."""

    def __init__(self, folder: Path, name: str):
        self.name = name
        self.folder = folder / name.replace(", ", "-").replace(" ", "-")
        self.flags = shlex.split(RUNS[name].format(start=folder / "start") + " " + EVERY_UPDATE)
        self.out = self.folder / "whole"
        process = start_run(["--out", str(self.out), *self.flags])
        begun = wait_for(self.out / "config.json", process)
        code, out, err = finish(process)
        if code:
            raise SystemExit(f"{name}: exit code {code}\n{err}")
        self.seconds = time.monotonic() - begun
        self.writes = int(out.split()[-1])

    def killed(self, number: Signal, rng: random.Random, out: Path) -> list[str]:
        """Kill a run at a random moment and resume it; returns what is wrong afterwards.

        A run that ended before the signal came is made again.
        """
        process = start_run(["--out", str(out), *self.flags])
        wait_for(out / "config.json", process)
        time.sleep(rng.uniform(0, 0.95 * self.seconds))
        process.send_signal(number)
        code, printed, err = finish(process)
        if printed.rstrip().endswith("\n" + str(self.writes)):
            return self.killed(number, rng, out.with_name(out.name + "-again"))
        wrong = []
        if number == Signal.SIGTERM and ("--resume" not in err or "Traceback" in err):
            wrong.append(f"stopped with exit code {code}\n{err}")
        return wrong + resume(out) + differences(out, self.out)

    def out_of_disk(self, rng: random.Random, out: Path) -> list[str]:
        """Fill the disk at a random write and resume; returns what is wrong afterwards."""
        flags = ["--out", str(out), *self.flags]
        full_after = rng.randint(2, self.writes)  # the first is config.json: a run must have begun
        code, _, err = finish(start_run(flags, full_after))
        wrong = []
        line = err.strip().split("\n")[-1]
        if code != 2 or "error: " not in line or "Traceback" in err or list(out.rglob("*.tmp")):
            wrong.append(f"full disk: exit code {code}\n{err}")
        return wrong + resume(out) + differences(out, self.out)


def main() -> None:
    if sys.argv[1:2] == ["--writes"]:
        run_counting_writes(sys.argv[3:], int(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="6 kills, one full disk for each run")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "start").mkdir()
        make_start(folder / "start")
        for name in RUNS:
            rows += rows_of(Reference(folder, name), rng, args.quick)
    report("faults in detail", rows)
    kills = [row for row in rows if row["fault"] != "full disk"]
    numbers = {name: sum(row[name] for row in kills) for name in ("tried", "identical")}
    result = {"bench": "faults", "kills": numbers["tried"], "identical": numbers["identical"]}
    print(json.dumps(result))
    sys.exit(any(row["tried"] != row["identical"] for row in rows))


def rows_of(reference: Reference, rng: random.Random, quick: bool) -> list[dict[str, Any]]:
    """A row for each kind of fault, tried on one of RUNS: 20 kills by each signal in both kinds of
    cold start together and in RL; 10 full disks in all, and a few more."""
    kills = 1 if quick else (20 if reference.name == "RL" else 10)
    faults = {"SIGKILL": kills, "SIGTERM": kills, "full disk": 1 if quick else 4}
    rows = []
    for fault, tried in faults.items():
        identical = 0
        for number in range(tried):
            out = reference.folder / f"{fault}-{number}".replace(" ", "-")
            if fault == "full disk":
                wrong = reference.out_of_disk(rng, out)
            else:
                wrong = reference.killed(Signal[fault], rng, out)
            identical += not wrong
            for text in wrong:
                print(f"{reference.name}, {fault} {number}: {text}", flush=True)
        row = {"run": reference.name, "fault": fault, "tried": tried, "identical": identical}
        print(row, flush=True)
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
