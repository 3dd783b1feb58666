"""What the benchmarks share: the models' shape, medians of interleaved runs, table, JSON line."""

import gc
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the code beside this folder, whatever is installed
os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402

import train  # noqa: E402
from augment import TAGS  # noqa: E402
from model import Transformer  # noqa: E402
from support.hub import ModelConfig  # noqa: E402
from support.optim import adamw  # noqa: E402
from support.settings import Settings  # noqa: E402
from support.tokenizer import PLAIN, Tokenizer  # noqa: E402
from tasks import builtin  # noqa: E402

if "OMP_NUM_THREADS" not in os.environ:  # torch heeds it
    torch.set_num_threads(2)
SMOLLM2: dict[str, Any] = dict(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    head_dim=64,
    vocab_size=49152,
    max_position_embeddings=8192,
    rope_theta=100000.0,
    rms_norm_eps=1e-5,
    tie_word_embeddings=True,
)
SMALL: dict[str, Any] = dict(
    num_hidden_layers=6, hidden_size=288, intermediate_size=768, head_dim=32
)
SHAPES: dict[str, dict[str, Any]] = {"small": {**SMALL, "vocab_size": 20480}, "SmolLM2": {}}


def smollm2_config(**changes: Any) -> ModelConfig:
    """The shape of SmolLM2-135M, whose speed does not depend on what its weights are."""
    return ModelConfig(**{**SMOLLM2, **changes})


def make_folder(folder: Path, shape: dict[str, Any]) -> None:
    """A model with random weights, a tokenizer and problems."""
    problems = list(islice(builtin.problems("train", 0, builtin.TRAINED), 64))
    tokenizer = Tokenizer.train([PLAIN.format(text=p.question) for p in problems], TAGS)
    torch.manual_seed(0)
    Transformer(smollm2_config(**shape, eos_token_id=tokenizer.end_id)).save_pretrained(folder)
    tokenizer.save(folder)
    lines = [json.dumps({"question": p.question, "answer": p.answer}) for p in problems]
    (folder / "problems.jsonl").write_text("\n".join(lines) + "\n")


def make_step(
    folder: Path, out: str, **sizes: Any
) -> tuple[train.Run, Callable[[], dict[str, Any]]]:
    """A run on that folder, and its next GRPO step: answers of exactly max_new_tokens, alternately
    wrong and right. The step returns its metrics."""
    fixed: dict[str, Any] = dict(
        stage="rl",
        algo="grpo",
        model=str(folder),
        data=str(folder / "problems.jsonl"),
        out=out,
        device="cpu",
        lr=1e-6,
        warmup=0,
        kl_rows=0,
        eval_problems=1,
    )
    settings = Settings(**{**fixed, **sizes})
    run, _ = train.open_run(settings)
    run.policy.tokenizer.stop_ids = []
    run.problems = [replace(problem, verify=every_other_is_right()) for problem in run.problems]
    optimizer = adamw(run.policy.model.parameters(), settings.lr)
    numbers = count(1)

    def step() -> dict[str, Any]:
        number = next(numbers)
        problems = train.problems_of_step(run.problems, settings, number)
        report = train.train_step(run.policy, None, problems, optimizer, settings, number)
        return run.log(report, number)

    return run, step


def every_other_is_right() -> Callable[[str], bool]:
    """A problem's verifier that calls its answers wrong and right in turns, whatever they say."""
    verdicts = cycle((False, True))
    return lambda text: next(verdicts)


def status(field: str) -> int:
    """Bytes of a field of /proc/self/status (Linux)."""
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None, field
    return 1024 * int(found[1])


def peak(run: Callable[[], Any]) -> int:
    """The largest resident size of the process while it ran, in bytes."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from what is held now
    run()
    return status("VmHWM")


def medians(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each run; in every round each goes once, so that a noisy minute hits all of
    them."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(bench: str, rows: list[dict[str, Any]]) -> None:
    """A Markdown table, then the same rows as one JSON line."""
    names = list(dict.fromkeys(name for row in rows for name in row))

    def cell(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str("" if value is None else value)

    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(cell(row.get(name)) for name in names) + " |")
    rounded = [
        {name: round(x, 4) if isinstance(x, float) else x for name, x in row.items()}
        for row in rows
    ]
    print(json.dumps({"bench": bench, "rows": rounded}), flush=True)
