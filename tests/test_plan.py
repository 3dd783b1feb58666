"""The memory plan against numbers worked out by hand, and what it says where memory is short."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from conftest import run_cli, small_config

import train
from support.plan import (
    Call,
    Sizes,
    coldstart_cost,
    device_memory,
    disk_bytes,
    format_cost,
    format_disk,
    format_plan,
    memory_plan,
    plan_of,
)
from support.settings import Settings, parse_settings

CALLS = [Call(4, 2, 10, 6), Call(3, 1, 4, 2)]
SIZES = {"device": "cpu", "micro_tokens": 64, "prefill_tokens": 1000}


def plan_for(config, calls=CALLS, settings=None, **changes):
    settings = settings or Settings(max_rows=8)
    return memory_plan(settings, config, calls, **{**SIZES, **changes})


def matrices_of(vocabulary: int) -> int:
    """Of small_config: width 32, 2 layers, 4 heads on 2 of width 8, inner width 48."""
    return 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48) + vocabulary * 32


def test_what_is_kept_and_the_cache_are_counted_to_the_byte():
    plan = plan_for(small_config(tied=False))
    numbers = matrices_of(97) + 97 * 32
    kept = {"weights": 4 * numbers, "AdamW": 8 * numbers, "starting policy": 4 * numbers}
    assert plan.kept == kept
    # rows, slots, layers, k and v, width, bytes
    assert plan.sampling["KV cache"] == 8 * 16 * 2 * 2 * 16 * 4
    assert plan.update["chunk of logits"] == 3 * 4 * 64 * 97
    on_top = max(sum(plan.sampling.values()), sum(plan.update.values()))
    assert plan.peak == sum(plan.kept.values()) + on_top


def test_the_starting_policy_is_counted_where_the_kl_needs_it():
    plans = [
        plan_for(small_config(), settings=Settings(kl_rows=rows, kl_coef=coefficient))
        for rows, coefficient in ((0, 0.0), (1, 0.0), (0, 0.1))
    ]
    weights = plans[0].kept["weights"]
    assert [plan.kept["starting policy"] for plan in plans] == [0, weights, weights]


def test_prepacked_weights_are_counted_where_they_are_made():
    """On a CPU, of a model that is large enough for them to pay."""
    large = plan_for(small_config(vocab_size=10**6))
    assert large.sampling["prepacked weights"] == 4 * matrices_of(10**6)
    for plan in (plan_for(small_config()), plan_for(small_config(vocab_size=10**6), device="cuda")):
        assert plan.sampling["prepacked weights"] == 0
        assert "prepacked" not in format_plan(plan, 10**12)


def test_bfloat16_on_a_cpu_halves_what_is_computed_and_the_copies():
    config = small_config(vocab_size=10**6)
    plain = plan_for(config)
    rounded = plan_for(config, settings=Settings(max_rows=8, dtype="bfloat16"))
    assert rounded.kept == plain.kept
    assert rounded.sampling["KV cache"] == plain.sampling["KV cache"] / 2
    assert rounded.sampling["prepacked weights"] == plain.sampling["prepacked weights"] / 2
    on_gpu = plan_for(config, settings=Settings(max_rows=8, dtype="float32"), device="cuda")
    assert on_gpu.sampling["KV cache"] == plain.sampling["KV cache"]


def test_checkpointing_a_gpu_and_a_tied_head_change_what_they_should():
    plain = plan_for(small_config())
    recomputed = plan_for(small_config(), settings=Settings(max_rows=8, checkpointing=True))
    assert recomputed.update["activations"] < plain.update["activations"]
    cuda = plan_for(small_config(), device="cuda")
    assert cuda.sampling["KV cache"] == plain.sampling["KV cache"] / 2
    assert cuda.sampling["bfloat16 weights"] == cuda.kept["weights"] / 2
    assert plain.sampling["bfloat16 weights"] == plain.update["bfloat16 weights"] == 0
    assert plain.update["gradient of the head"] == 2 * 97 * 32 * 4  # the head's, the embedding's


def tokens_of(settings: Settings, **changes) -> float:
    """Tokens of the largest micro-batch, from its activations."""
    sizes = {"device": "cpu", "prompt_tokens": 11, "request_tokens": 0, "held_out": 3}
    sizes |= {"coldstart_questions": 0, "prefill_tokens": 1000, **changes}
    plan = plan_of(settings, small_config(max_position_embeddings=256), **sizes)
    one = plan_for(small_config(), settings=settings, micro_tokens=1)
    return plan.update["activations"] / one.update["activations"]


def test_a_step_holds_each_question_once_and_constructions_where_they_are_made():
    flags = "--stage rl --model m --data d.jsonl --questions 2 --k 8 --m-max 4 --max-new-tokens 32"
    flags += " --max-reply-tokens 4 --micro-tokens 100000 --device cpu --algo "
    tokens = {
        algo: tokens_of(parse_settings((flags + algo).split())) for algo in ("grpo", "tapo", "sft")
    }
    assert tokens == {
        "grpo": 2 * (11 + 8 * 32),
        "tapo": 2 * (11 + 12 * 32),
        "sft": 2 * (11 + 12 * 32),
    }


def test_one_row_longer_than_a_micro_batch_still_goes():
    """A synthesis prompt holds two answers; the cold start learns a whole one after it. No row is
    longer than the context of 256."""
    settings = Settings(micro_tokens=1, max_new_tokens=32, max_reply_tokens=40)
    nothing_constructed = replace(settings, stage="rl", algo="grpo")
    assert tokens_of(nothing_constructed, request_tokens=20) == 11 + 32
    without_coldstart = replace(settings, stage="rl")
    assert tokens_of(without_coldstart, request_tokens=20) == 20 + 2 * 32 + 40
    assert tokens_of(settings, request_tokens=20) == 20 + 3 * 32 + 40
    assert tokens_of(settings, request_tokens=10**6) == 256


def test_the_cold_start_asks_more_questions_at_once():
    sizes = {"device": "cpu", "prompt_tokens": 11, "request_tokens": 0, "prefill_tokens": 1000}
    caches = []
    for stage in ("rl", "all"):
        plan = plan_of(
            Settings(stage=stage, algo="grpo", questions=2, k=8, max_rows=10**4),
            small_config(),
            held_out=3,
            coldstart_questions=64,
            **sizes,
        )
        caches.append(plan.sampling["KV cache"])
    assert caches[1] == caches[0] * 32


def test_what_does_not_fit_is_said_with_the_setting_to_lower():
    plan = plan_for(small_config(), micro_tokens=10**4)
    assert "will not fit" not in format_plan(plan, 10**12)
    kept, update = sum(plan.kept.values()), sum(plan.update.values())
    assert "lower --micro-tokens" in format_plan(plan, int(kept + update - 1))
    many = Settings(max_rows=10**7)
    large = plan_for(small_config(), [Call(10**7, 1, 10, 6)], settings=many)
    assert "lower --max-rows" in format_plan(large, int(kept + update + 1))
    assert "smaller --model" in format_plan(plan, int(kept))
    assert device_memory(torch.device("cpu")) > 10**9


def test_a_run_prints_its_plan_before_its_first_step(learned, tmp_path, monkeypatch, capsys):
    data = learned / "problems.jsonl"
    out = tmp_path / "run"
    flags = ["--stage", "rl", "--model", learned, "--data", data, "--out", out]
    flags += "--steps 1 --questions 2 --max-new-tokens 8 --max-reply-tokens 16".split()
    flags += "--eval-problems 2 --checkpointing".split()
    code, _, err = run_cli(monkeypatch, capsys, train.main, *flags)
    assert code == 0 and "memory: about " in err
    assert err.index("memory:") < err.index("tapo:")
    assert json.loads((out / "config.json").read_text())["checkpointing"] is True


def test_the_disk_is_counted_for_all_checkpoints_that_there_can_be_at_once():
    """step-0 without an optimizer, two new ones, the best, and one that is being written."""
    weights = 4 * matrices_of(97)
    assert disk_bytes(Settings(keep=2), small_config()) == weights + 4 * 3 * weights
    every = Settings(keep=0, steps=100, save_every=10)  # and by --save-minutes, and the best
    assert disk_bytes(every, small_config()) == weights + 102 * 3 * weights
    by_steps = Settings(keep=0, steps=100, save_every=10, save_minutes=0)
    assert disk_bytes(by_steps, small_config()) == weights + 12 * 3 * weights


def test_a_disk_that_is_too_small_is_said_before_the_start(tmp_path):
    assert "will not fit" not in format_disk(10**6, tmp_path)
    assert "lower --keep" in format_disk(10**18, tmp_path)


def cost_for(config, device="cuda", problems=10**6, **changes):
    sizes = {"coldstart_questions": 9, "coldstart_rounds": 2}
    sizes |= {"coldstart_updates": 5, "coldstart_batch": 4}
    sizes |= {
        "questions": 5,
        "report_questions": 4,
        "k": 8,
        "m_max": 3,
        "max_new_tokens": 30,
        "max_reply_tokens": 50,
    }
    return coldstart_cost(
        Settings(**{**sizes, **changes}),
        config,
        device=device,
        problems=problems,
        prompt_tokens=10,
        request_tokens=40,
    )


def test_a_cold_start_samples_answers_and_constructions_of_its_questions_at_most():
    cost = cost_for(small_config())
    assert cost.questions == 2 * 10  # asked 5 at a time
    assert cost.sampled == (20 + 4) * (8 * 30 + 3 * 50)  # 4 for the report
    assert cost_for(small_config(), problems=4).questions == 2 * 5  # there are no more


def test_an_update_of_the_cold_start_takes_six_flop_a_parameter_and_token():
    """The longest has two answers of 30 in its request of 40, an analysis and an answer."""
    cost = cost_for(small_config())
    assert cost.trained == 5 * 4 * (40 + 3 * 30 + 50)
    assert cost.flop == 6 * matrices_of(97) * cost.trained
    assert cost_for(small_config(), checkpointing=True).flop == 8 * matrices_of(97) * cost.trained


def test_larger_models_write_slower_and_smaller_ones_no_faster():
    large = small_config(vocab_size=10**8 // 3)
    assert cost_for(small_config()).token_rate == 7500
    assert cost_for(small_config(), device="cpu").token_rate == 90
    assert cost_for(large).token_rate == pytest.approx(7500 * 0.5e9 / matrices_of(10**8 // 3))


def test_the_minutes_of_a_cold_start_are_said_with_the_rates_behind_them():
    """450,001 tokens at 7,500 a second are a moment more than a minute."""
    cost = cost_for(small_config())._replace(sampled=450_001, trained=700_000, flop=10.8e15)
    first, second = format_cost(cost).splitlines()
    assert first == (
        "cold start: at most 20 questions, 450,001 tokens written: 2 min at 7,500 tokens/s"
    )
    assert second == ("  its updates: 700,000 tokens, 10,800 TFLOP: 3 min at 60 TFLOP/s")


@pytest.mark.parametrize(
    ("changes", "is_said"),
    [
        ({"stage": "all"}, True),
        ({"stage": "rl"}, False),
        ({"stage": "all", "resume": True}, False),
        ({"stage": "all", "data": "builtin"}, False),
    ],
)
def test_the_cold_start_is_costed_where_one_on_own_answers_lies_ahead(
    learned, tmp_path, capsys, changes, is_said
):
    fixed = {"model": str(learned), "data": str(learned / "problems.jsonl"), "device": "cpu"}
    settings = Settings(**{**fixed, "stage": "rl", "out": str(tmp_path / "run")})
    run, _ = train.open_run(settings)
    run.settings = replace(settings, **changes)
    train.print_plan(run)
    assert ("cold start: " in capsys.readouterr().err) == is_said


@pytest.fixture
def gpu(monkeypatch):
    """bench/gpu.py. The number of threads that it sets is undone, for the sake of other tests."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "bench")
    threads = torch.get_num_threads()
    module = import_module("gpu")
    torch.set_num_threads(threads)
    return module


def test_the_shapes_of_the_benchmark_have_the_parameters_that_were_published(gpu):
    """494,032,768 and 1,543,714,304, of which norms and biases are not counted."""
    published = {"Qwen2.5-0.5B": 494_032_768, "Qwen2.5-1.5B": 1_543_714_304}
    for model, shape in gpu.SHAPES.items():
        counted = Sizes(small_config(**shape, tied=True), "cuda").weights / 4
        assert counted == pytest.approx(published[model], rel=2e-4)


def test_a_setting_in_the_table_of_cards_fits_and_the_next_one_does_not(gpu):
    rows = {(row["model"], row["card GB"]): row for row in gpu.plans()}
    assert len(rows) == 2 * 3
    row = rows["Qwen2.5-0.5B", 16]
    assert row["--max-rows"] == 128
    assert row["--micro-tokens"] == "none"
    assert row["with --checkpointing"] == 8192
    for name, value in (("max_rows", 128), ("micro_tokens", 8192)):
        peaks = [
            gpu.preset_plan(gpu.QWEN05, **{**gpu.LEAST, name: size}).peak
            for size in (value, 2 * value)
        ]
        assert peaks[0] < 0.9 * 16e9 <= peaks[1]
    assert rows["Qwen2.5-1.5B", 24]["--max-rows"] == "none"
    assert rows["Qwen2.5-1.5B", 24]["least GB"] > 24.7  # four times 6.17 GB are kept all the time
