"""The memory plan against numbers worked out by hand, and what it says where the device is too small."""

import json

import torch
from conftest import run_cli, small_config

import train
from support.plan import Call, device_memory, format_plan, memory_plan, plan_of
from support.runs import Run, parse_config

CALLS = [Call(4, 2, 10, 6), Call(3, 1, 4, 2)]
SIZES = {"max_rows": 8, "batch": 64, "checkpointing": False, "copy": True}


def test_what_is_kept_and_the_cache_are_counted_to_the_byte():
    config = small_config(tied=False)  # 97 tokens, width 32, 2 layers, 4 heads on 2 of width 8, inner width 48
    plan = memory_plan(config, CALLS, device="cpu", **SIZES)
    matrices = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48) + 97 * 32
    assert plan.kept == {"weights": 4 * (matrices + 97 * 32), "AdamW": 8 * (matrices + 97 * 32),
                         "starting policy": 4 * (matrices + 97 * 32)}  # fmt: skip
    assert plan.sampling["prepacked weights"] == 4 * matrices
    assert plan.sampling["KV cache"] == 8 * 16 * 2 * 2 * 16 * 4  # rows, slots, layers, k and v, width, bytes
    assert plan.update["chunk of logits"] == 3 * 4 * 64 * 97
    assert plan.peak == sum(plan.kept.values()) + max(sum(plan.sampling.values()), sum(plan.update.values()))


def test_checkpointing_a_gpu_and_a_tied_head_change_what_they_should():
    config = small_config()
    plain, kept = (memory_plan(config, CALLS, device="cpu", **{**SIZES, "checkpointing": c}) for c in (False, True))
    assert kept.update["activations"] < plain.update["activations"]
    cuda = memory_plan(config, CALLS, device="cuda", **SIZES)
    assert cuda.sampling["KV cache"] == plain.sampling["KV cache"] / 2 and "prepacked weights" not in cuda.sampling
    assert plain.update["gradient of the head"] == 2 * 97 * 32 * 4  # the head's, and the embedding's


def test_a_step_holds_each_question_once_and_constructions_where_they_are_made(learned, tmp_path):
    flags = ["--stage", "rl", "--model", str(learned), "--data", str(learned / "problems.jsonl"), "--questions", "2"]
    flags += "--k 8 --m-max 4 --max-new-tokens 32 --max-reply-tokens 4 --micro-tokens 100000 --device cpu".split()
    tokens = {}
    for algo in ("grpo", "tapo", "sft"):
        run = Run(parse_config([*flags, "--algo", algo, "--out", str(tmp_path / algo)]))
        question = max((p.question for p in run.problems), key=len)
        bare = len(run.tokenizer.question_prompt(question))
        one = memory_plan(run.model.config, CALLS, device="cpu", **{**SIZES, "batch": 1}).update["activations"]
        tokens[algo] = plan_of(run).update["activations"] / one
    assert tokens == {"grpo": 2 * (bare + 8 * 32), "tapo": 2 * (bare + 12 * 32), "sft": 2 * (bare + 12 * 32)}


def test_what_does_not_fit_is_said_with_the_setting_to_lower():
    plan = memory_plan(small_config(), CALLS, device="cpu", **{**SIZES, "batch": 10**4})
    assert "will not fit" not in format_plan(plan, 10**12)
    kept, update = sum(plan.kept.values()), sum(plan.update.values())
    assert "lower --micro-tokens" in format_plan(plan, int(kept + update - 1))
    large = memory_plan(small_config(), [Call(10**7, 1, 10, 6)], device="cpu", **{**SIZES, "max_rows": 10**7})
    assert "lower --max-rows" in format_plan(large, int(kept + update + 1))
    assert "smaller --model" in format_plan(plan, int(kept))
    assert device_memory(torch.device("cpu")) > 10**9


def test_a_run_prints_its_plan_before_its_first_step(learned, tmp_path, monkeypatch, capsys):
    data, out = learned / "problems.jsonl", tmp_path / "run"
    flags = ["--stage", "rl", "--model", learned, "--data", data, "--out", out, "--steps", 1, "--questions", 2]
    small = ["--max-new-tokens", 8, "--max-reply-tokens", 16, "--eval-problems", 2, "--checkpointing"]
    code, _, err = run_cli(monkeypatch, capsys, train.main, *flags, *small)
    assert code == 0 and err.startswith("memory: about ") and err.index("memory:") < err.index("tapo:")
    assert json.loads((out / "config.json").read_text())["checkpointing"] is True
