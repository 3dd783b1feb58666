"""What the benchmarks share: the models' shape, medians of interleaved runs, the table and the JSON line."""

import gc
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
here = Path(__file__).resolve().parent
sys.path = [
    str(ROOT),
    *[p for p in sys.path if Path(p or ".").resolve() != here],
    str(here),
]  # our checker, not bench's
os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402

import train  # noqa: E402
from augment import TAGS  # noqa: E402
from data import PLAIN, Tokenizer  # noqa: E402
from model import Transformer  # noqa: E402
from support.hub import ModelConfig  # noqa: E402
from support.runs import Config, Run  # noqa: E402
from tasks.builtin import builtin_problems  # noqa: E402

torch.set_num_threads(2)
SMOLLM2: dict[str, Any] = dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
               num_key_value_heads=3, head_dim=64, vocab_size=49152, max_position_embeddings=8192,
               rope_theta=100000.0, rms_norm_eps=1e-5, tie_word_embeddings=True)  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "small": dict(num_hidden_layers=6, hidden_size=288, intermediate_size=768, head_dim=32, vocab_size=20480),
    "SmolLM2": {},
}  # fmt: skip


def smollm2_config(**changes: Any) -> ModelConfig:
    """The shape of SmolLM2-135M, whose speed does not depend on what its weights are."""
    return ModelConfig(**{**SMOLLM2, **changes})


def make_folder(folder: Path, shape: dict[str, Any]) -> None:
    """A model with random weights, a tokenizer and problems."""
    problems = list(islice(builtin_problems("train", 0), 64))
    tokenizer = Tokenizer.train([PLAIN.format(text=p.question) for p in problems], TAGS)
    torch.manual_seed(0)
    Transformer(smollm2_config(**shape, eos_token_id=tokenizer.eos_id)).save_pretrained(folder)
    tokenizer.save(folder)
    lines = [json.dumps({"question": p.question, "answer": p.answer}) for p in problems]
    (folder / "problems.jsonl").write_text("\n".join(lines) + "\n")


def make_step(folder: Path, out: str, **sizes: Any) -> tuple[Run, Callable[[], dict[str, Any]]]:
    """A run on that folder, and its next GRPO step: answers of exactly max_new_tokens, alternately right."""
    settings = {"stage": "rl", "algo": "grpo", "device": "cpu", "kl_rows": 0, "show_every": 10**9, "warmup": 0}
    data = {"model": str(folder), "data": str(folder / "problems.jsonl"), "eval_problems": 1, "out": out, "lr": 1e-6}
    run = Run(Config(**{**settings, **data, **sizes}))
    run.tokenizer.stop_ids = []
    answer, optimizer, steps = run.answer, run.optimizer(1e-6), count(1)

    def rewarded(*arguments: Any) -> list[Any]:
        groups = answer(*arguments)
        for group in groups:
            group.rewards = [float(i % 2) for i in range(len(group.rollouts))]
        return groups

    run.answer = rewarded  # type: ignore[method-assign]
    return run, lambda: train.rl_step(run, next(steps), optimizer, None)


def status(field: str) -> int:
    """Bytes of a field of /proc/self/status (Linux)."""
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]


def peak(run: Callable[[], Any]) -> int:
    """The largest resident size of the process while it ran, in bytes."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from what is held now
    run()
    return status("VmHWM")


def medians(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each run; in every round each goes once, so that a noisy minute hits all of them."""
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
    rounded = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    print(json.dumps({"bench": bench, "rows": rounded}), flush=True)
