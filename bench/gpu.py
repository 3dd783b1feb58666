"""What a CUDA device makes of a model of Qwen2.5-0.5B's shape: agreement, speed, memory beside its
plan.

    python bench/gpu.py [--compile]
    python bench/gpu.py --plans    # needs no device

Random weights, a tokenizer of 508 tokens, bfloat16 compute. Agreement: log-probs under bfloat16
beside float32, and the sampler's beside the trainer's. Attention: a token of 1,024 answers and an
update of 16 examples, all of new lengths, without cuDNN's kernels (model.py) and with them. Then
GRPO steps of 16 questions x 8 answers x 256 tokens: seconds by phase, and the peak of allocated
memory beside what train.py plans, in GB.
--compile adds steps with --compile, whose first takes minutes. --plans prints instead what the
preset gsm8k needs, by its plan, and with which settings it fits cards of 16, 24 and 80 GB.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import torch
from scaling import planned

from coldstart import most_questions
from model import KVCache, Transformer
from rollout import PREFILL_TOKENS, Trajectory, draw, sample, sampling_probs
from support.logprobs import autocast, packed_logprobs, supervised_gradients
from support.packing import pack
from support.plan import Plan, plan_of
from support.settings import PRESETS, Settings

QWEN05: dict[str, Any] = dict(
    num_hidden_layers=24,
    hidden_size=896,
    intermediate_size=4864,
    num_attention_heads=14,
    num_key_value_heads=2,
    head_dim=64,
    vocab_size=151936,
    max_position_embeddings=4096,
    model_type="qwen2",
    rope_theta=1e6,
)
QWEN15: dict[str, Any] = QWEN05 | dict(num_hidden_layers=28, hidden_size=1536)
QWEN15 |= dict(intermediate_size=8960, num_attention_heads=12, head_dim=128)
SHAPES = {"Qwen2.5-0.5B": QWEN05, "Qwen2.5-1.5B": QWEN15}
CARDS = (16, 24, 80)  # GB
TRIED = {
    "max_rows": (16, 32, 64, 128, 256, 512, 1024),
    "micro_tokens": (1024, 2048, 4096, 8192, 16384),
}
LEAST: dict[str, Any] = dict(max_rows=16, micro_tokens=1024, checkpointing=True)
STEP: dict[str, Any] = dict(questions=16, k=8, max_new_tokens=256, max_rows=128, device="cuda")
CHANGES: list[dict[str, Any]] = [
    {"micro_tokens": 4096},
    {"micro_tokens": 16384},
    {"micro_tokens": 4096, "checkpointing": True},
]


@torch.no_grad()
def agreement(folder: Path) -> None:
    """Differences in nats, and the sampler's tokens a second."""
    model = Transformer.from_pretrained(folder).cuda()
    ids = torch.randint(0, 500, (4, 200), device="cuda")
    exact = model(ids).log_softmax(dim=-1)  # (B, T, V)
    with autocast(model):
        rounded = model(ids).float().log_softmax(dim=-1)  # (B, T, V)
    off = (exact - rounded).abs()
    print(
        f"bfloat16 beside float32: mean {off.mean():.4f}, largest {off.max():.3f} nats", flush=True
    )
    for _ in range(2):  # the first run warms up
        start = time.perf_counter()
        groups = sample(model, [[5] * 100] * 32, 8, stop_ids=[], max_new_tokens=256)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    print(f"sampler, 256 rows x 256 tokens: {256 * 256 / seconds:.0f} tokens/s", flush=True)
    answers = [answer for group in groups for answer in group][:16]
    packed = pack([Trajectory(a.prompt_ids, a.token_ids) for a in answers], model.device)
    with autocast(model):
        logp, _ = packed_logprobs(model, packed)  # (B, T)
    sampled = torch.tensor([answer.logprobs for answer in answers], device="cuda")  # (B, T)
    off = (logp - sampled).abs()
    print(
        f"sampler beside trainer: mean {off.mean():.4f}, largest {off.max():.3f} nats", flush=True
    )


def attention(folder: Path) -> None:
    """Seconds of a decode step and of an update without cuDNN's attention, as the product has it,
    and with it."""
    model = Transformer.from_pretrained(folder).cuda()
    rows: list[dict[str, Any]] = []
    for name, with_cudnn in (("without", False), ("with", True)):
        torch.backends.cuda.enable_cudnn_sdp(with_cudnn)
        seconds = {"token of 1,024 rows": decode_step(model), "update of 16": update(model)}
        rows.append({"cuDNN": name, **seconds})
    torch.backends.cuda.enable_cudnn_sdp(False)
    rows.append({"cuDNN": "ratio"} | {name: rows[1][name] / rows[0][name] for name in seconds})
    common.report("attention", rows)


@torch.no_grad()
def decode_step(model: Transformer, rows: int = 1024, steps: int = 20) -> float:
    """Mean seconds in which these rows get one more token, of 20 steps in which rows end, too."""
    cache = KVCache(model, rows, slots=512)
    cache.lengths.random_(100, 300)
    ids = torch.full((rows, 1), 5, device="cuda")
    with autocast(model):
        for step in range(-3, steps):  # the first three warm up
            if step == 0:
                torch.cuda.synchronize()
                start = time.perf_counter()
            cache.rows_in_use = rows - 2 * (step + 3)
            hidden = model.hidden_after(cache, ids[: cache.rows_in_use])[:, 0]  # (R, C)
            draw(sampling_probs(model.logits(hidden), 1.0), cache.lengths.new_zeros(len(hidden)))
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def update(model: Transformer, batches: int = 6) -> float:
    """Mean seconds of the gradients of 16 examples of 300 to 1,000 tokens; the first warms up."""
    rng = random.Random(0)
    for batch in range(batches + 1):
        if batch == 1:
            torch.cuda.synchronize()
            start = time.perf_counter()
        rows = [
            Trajectory([5] * rng.randint(200, 600), [5] * rng.randint(100, 400)) for _ in range(16)
        ]
        supervised_gradients(model, rows, 16384)
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / batches


def measure(folder: Path, out: str, change: dict[str, Any], steps: int) -> dict[str, Any]:
    """The last step's seconds, the plan and the peak."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run, step = common.make_step(folder, out, **{**STEP, **change})
    for _ in range(steps):
        start = time.perf_counter()
        metrics = step()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    return {
        "setting": ", ".join(f"{name} = {value}" for name, value in change.items()),
        "seconds": seconds,
        "sample": metrics["seconds"]["sample"],
        "update": metrics["seconds"]["update"],
        "plan GB": planned(run) / 1e9,
        "peak GB": torch.cuda.max_memory_allocated() / 1e9,
    }


def preset_plan(shape: dict[str, Any], **changes: Any) -> Plan:
    """The plan of the preset gsm8k, with changes, on a GPU and on prompts of GSM8K's length."""
    settings = Settings(**{**PRESETS["gsm8k"], **changes})
    return plan_of(
        settings,
        common.smollm2_config(**shape),
        device="cuda",
        prompt_tokens=200,
        request_tokens=260,
        held_out=settings.eval_problems,
        coldstart_questions=most_questions(settings),
        prefill_tokens=PREFILL_TOKENS,
    )


def largest(name: str, shape: dict[str, Any], card: int, **changes: Any) -> int | str:
    """The largest value of a setting whose plan leaves a tenth of the card free; the other settings
    are LEAST and the changes."""
    fitting = []
    for value in TRIED[name]:
        plan = preset_plan(shape, **{**LEAST, **changes, name: value})
        if plan.peak < 0.9 * card * 1e9:
            fitting.append(value)
    return max(fitting, default="none")


def plans() -> list[dict[str, Any]]:
    """For each shape and card: the peak as the preset is, the least, and the largest settings."""
    rows = []
    for model, shape in SHAPES.items():
        for card in CARDS:
            row: dict[str, Any] = {"model": model, "card GB": card}
            row["preset GB"] = preset_plan(shape).peak / 1e9
            row["least GB"] = preset_plan(shape, **LEAST).peak / 1e9
            row["--max-rows"] = largest("max_rows", shape, card)
            row["--micro-tokens"] = largest("micro_tokens", shape, card, checkpointing=False)
            row["with --checkpointing"] = largest("micro_tokens", shape, card)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--compile", action="store_true", help="measure steps with --compile too")
    parser.add_argument("--plans", action="store_true", help="print plans, measure nothing")
    options = parser.parse_args()
    if options.plans:
        common.report("plans", plans())
        return
    if not torch.cuda.is_available():
        parser.error("expected a CUDA device, found none")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        common.make_folder(folder, QWEN05)
        agreement(folder)
        attention(folder)
        changes = (
            [*CHANGES, {"micro_tokens": 4096, "compile": True}] if options.compile else CHANGES
        )
        for i, change in enumerate(changes):
            rows.append(measure(folder, f"{temporary}/{i}", change, 2 + ("compile" in change)))
            print(rows[-1], flush=True)
    common.report("gpu", rows)


if __name__ == "__main__":
    main()
