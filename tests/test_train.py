"""The loop: what reaches the update, what is the same whatever the machine does, what a run leaves behind."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import run_cli, small_model
from safetensors.torch import load_file

import train
from coldstart import own_examples
from data import Problem
from model import Transformer
from support.hub import InputError
from support.packing import Trajectory
from support.runs import Config, Run, parse_config
from train import problems_of, rl_step, taught, update_policy

SMALL = {"stage": "rl", "questions": 4, "max_new_tokens": 48, "max_reply_tokens": 96, "eval_problems": 3}
BOUNDS = {"n_pos": 1, "n_neg": 1, "lr": 1e-3, "warmup": 0, "show_every": 1000}


def make_run(learned: Path, out: Path, **changes) -> Run:
    settings = {"model": str(learned), "data": str(learned / "problems.jsonl"), "out": str(out), **SMALL, **BOUNDS}
    return Run(Config(**{**settings, **changes}))


def steps(run: Run, n: int) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """n RL steps: the weights after them and the metrics."""
    optimizer = run.optimizer(run.config.lr)
    metrics = [rl_step(run, step, optimizer, None) for step in range(n)]
    return {k: v.detach().clone() for k, v in run.model.state_dict().items()}, metrics


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


def test_tapo_with_lambda_0_is_grpo_bit_for_bit(learned, tmp_path):
    grpo, _ = steps(make_run(learned, tmp_path / "a", algo="grpo", questions=8), 3)
    zero, metrics = steps(make_run(learned, tmp_path / "b", algo="tapo", questions=8, lambda_=0.0), 3)
    tapo, _ = steps(make_run(learned, tmp_path / "c", algo="tapo", questions=8), 3)
    start = load_file(learned / "model.safetensors")
    assert sum(m["pairs"] for m in metrics) > 10 and metrics[0]["ref_reward"] > 0  # there was something to leave out
    assert same(grpo, zero)
    assert not same(grpo, tapo) and not same(grpo, start)


def test_the_update_does_not_depend_on_micro_batches(learned, tmp_path):
    """Trap 5, through the whole step: one pass, several, one row each."""
    results = []
    for tokens in (100_000, 200, 1):
        run = make_run(learned, tmp_path / str(tokens), micro_tokens=tokens, grad_clip=1e9)
        optimizer = torch.optim.SGD(run.model.parameters(), lr=1.0)
        metrics = rl_step(run, 0, optimizer, None)
        results.append((metrics, {k: v.detach().clone() for k, v in run.model.state_dict().items()}))
    for metrics, weights in results[1:]:
        assert metrics["loss"] == pytest.approx(results[0][0]["loss"], abs=1e-6)
        assert metrics["ots_weight"] == pytest.approx(results[0][0]["ots_weight"], rel=1e-4)
        for name, value in weights.items():
            assert torch.allclose(value, results[0][1][name], atol=1e-6), name


def test_token_ids_go_from_the_sampler_to_the_loss_untouched(learned, tmp_path, monkeypatch):
    """Trap 8: decode then encode again changes the tokens (TRL #5224)."""
    run, seen = make_run(learned, tmp_path), []

    def spy(run, rows, *rest):
        seen.extend(rows)
        return {}

    sampled = []
    answer = run.answer
    monkeypatch.setattr(run, "answer", lambda *a: sampled.extend(answer(*a)) or sampled)
    monkeypatch.setattr(train, "update_policy", spy)
    rl_step(run, 0, run.optimizer(0.0), None)
    ids = [r.token_ids for group in sampled for r in group.rollouts]
    assert [row.token_ids for row in seen if row.kind == "sampled"] == ids
    made = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    constructed = [row for row in seen if row.kind == "constructed"]
    assert [row.token_ids for row in constructed] == [m["token_ids"] for m in made if not m["refused"]]
    for row in constructed:  # on the bare question, and ended
        assert row.prompt_ids == run.tokenizer.question_prompt(sampled[row.group].problem.question)
        assert row.token_ids[-1] == run.tokenizer.eos_id


def test_rewards_and_groups_stay_with_their_questions(learned, tmp_path):
    """Trap 6: every answer is graded against its own question's gold answer (prime-rl #600)."""
    run = make_run(learned, tmp_path, questions=8)
    problems = problems_of(run, 0)
    assert len({p.answer for p in problems}) > 1
    for problem, group in zip(problems, run.answer(problems, "test"), strict=True):
        assert group.problem is problem
        assert group.rewards == [float(text.strip() == f"#### {problem.answer}") for text in group.texts]


def test_sampler_and_trainer_agree_on_the_logprobs(learned, tmp_path):
    for temperature in (0.6, 1.0):
        run = make_run(learned, tmp_path / str(temperature), temperature=temperature)
        _, (metrics,) = steps(run, 1)
        assert 0 < metrics["mismatch"] < 1e-4


def test_a_batch_that_can_teach_nothing_changes_nothing(learned, tmp_path):
    """All right or all wrong: no gradient, no optimizer step, no NaN."""
    run = make_run(learned, tmp_path, algo="grpo")
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    rows = [Trajectory([1, 2], [3, run.tokenizer.eos_id], 1.0, i // 4, logprobs=[0.0, 0.0]) for i in range(8)]
    metrics = update_policy(run, rows, run.optimizer(0.1), 0.1, None)
    assert metrics["loss"] is None and same(before, run.model.state_dict())


def test_a_step_without_a_row_to_train_on_is_skipped(learned, tmp_path):
    """OPSD, when no answer of the step has a right sibling."""
    run = make_run(learned, tmp_path, algo="opsd")
    assert update_policy(run, [], run.optimizer(0.1), 0.1, None) == {"trained_rows": 0, "loss": None, "grad_norm": None}


def test_ots_of_a_diagnosis_is_of_answers_that_have_one(learned, tmp_path):
    """The first token after the prefix decides to reflect only where a reflection follows."""
    run, rows = make_run(learned, tmp_path), []
    prompt, ids = run.tokenizer.question_prompt("Say 2."), run.tokenizer.encode("#### 23")
    assert len(ids) >= 4
    for reward, diagnosis in ((0.0, 0), (1.0, 2)):
        rows.append(Trajectory(prompt, ids, reward, 0, "constructed", prefix=1, diagnosis=diagnosis))
    both = update_policy(run, rows, torch.optim.SGD(run.model.parameters(), lr=0.0), 0.0, None)
    none = update_policy(
        run, [replace(r, diagnosis=0) for r in rows], torch.optim.SGD(run.model.parameters()), 0.0, None
    )
    parts = [both[f"ots_weight_{part}"] for part in ("prefix", "turn", "diagnosis", "correction")]
    rest = len(ids) - 3  # tokens of the correction
    assert both["ots_weight"] == pytest.approx((parts[0] + 2 * parts[2] + rest * parts[3]) / len(ids), rel=1e-4)
    assert parts[1] != parts[2] and "ots_weight_turn" not in none and "ots_weight_prefix" in none


def test_only_the_tokens_of_answers_with_an_advantage_move_the_policy(learned, tmp_path):
    """A right answer becomes likelier, a wrong one less likely."""
    run = make_run(learned, tmp_path, algo="grpo")
    prompt = run.tokenizer.question_prompt("Say 2.")
    answers = [[*run.tokenizer.encode(f"#### {n}"), run.tokenizer.eos_id] for n in (2, 4)]
    rows = [Trajectory(prompt, ids, float(i == 0), 0, logprobs=[0.0] * len(ids)) for i, ids in enumerate(answers)]
    before = [sum(logprobs) for logprobs in train.logprobs_of(run.model, run, rows)]
    update_policy(run, rows, run.optimizer(1e-3), 1e-3, None)
    after = [sum(logprobs) for logprobs in train.logprobs_of(run.model, run, rows)]
    assert after[0] > before[0] and after[1] < before[1]


def test_a_small_learning_rate_moves_almost_every_weight(learned, tmp_path):
    """Trap 9: at 1e-6 bfloat16 weights would move in 2% of the places (nanochat #808)."""
    run = make_run(learned, tmp_path, lr=1e-6, questions=8)
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    after, _ = steps(run, 1)
    used = {k: (before[k] != after[k]).float().mean().item() for k in before if "layers" in k}
    assert sum(used.values()) / len(used) > 0.9


def test_several_updates_from_one_batch_clip(learned, tmp_path):
    _, once = steps(make_run(learned, tmp_path / "a"), 1)
    _, thrice = steps(make_run(learned, tmp_path / "b", updates=3, lr=3e-2), 1)
    assert once[0]["clip_low_share"] == once[0]["clip_high_share"] == 0.0  # the ratio is 1 on policy
    assert thrice[0]["clip_low_share"] > 0 and thrice[0]["clip_high_share"] > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"dae": "off"},
        {"dae": "batch"},
        {"dae": "sampled"},
        {"train_prefix": False},
        {"algo": "sft"},
        {"algo": "opsd"},
        {"ots": False},
        {"loss": "dapo"},
        {"loss": "dr_grpo"},
        {"kl_coef": 0.1},
    ],
)
def test_each_setting_of_the_loss_changes_the_update(learned, tmp_path, changes):
    def two_steps(**settings):
        run = make_run(learned, tmp_path / str(settings), questions=8, **settings)
        optimizer, start = run.optimizer(1e-3), Transformer.from_pretrained(learned)
        for step in range(2):
            rl_step(run, step, optimizer, start)
        return run.model.state_dict()

    assert not same(two_steps(), two_steps(**changes))


def test_sft_trains_on_right_constructions_alone(learned, tmp_path, monkeypatch):
    run, seen, update = make_run(learned, tmp_path, algo="sft", questions=8), [], train.update_policy
    monkeypatch.setattr(train, "update_policy", lambda run, rows, *rest: seen.extend(rows) or update(run, rows, *rest))
    metrics = rl_step(run, 0, run.optimizer(0.0), None)
    made = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    right = [m["token_ids"] for m in made if m["reward"]]
    assert [row.token_ids for row in seen] == right and 0 < len(right) < len(made)
    assert metrics["trained_rows"] == len(right)


def test_sfts_gradient_is_that_of_the_mean_negative_log_prob(learned, tmp_path):
    run = make_run(learned, tmp_path, algo="sft", grad_clip=1e9)
    rows = [Trajectory([1, 2], ids, 1.0, 0, "constructed") for ids in ([3, 5, 1], [4, 1])]
    model = Transformer.from_pretrained(learned)
    losses = []
    for row in rows:
        logp = model(torch.tensor([row.prompt_ids + row.token_ids]))[0].log_softmax(dim=-1)
        losses.append(-torch.stack([logp[1 + t, token] for t, token in enumerate(row.token_ids)]).mean())
    torch.stack(losses).mean().backward()
    update_policy(run, rows, torch.optim.SGD(run.model.parameters(), lr=1.0), 1.0, None)
    before = load_file(learned / "model.safetensors")
    for name, p in model.named_parameters():
        moved = before[name] - run.model.state_dict()[name]
        assert torch.allclose(moved, p.grad, atol=1e-6), name


def test_the_teacher_scores_the_very_tokens_with_a_right_sibling_in_sight(learned, tmp_path):
    """OPSD: own answers are no siblings, and a question without a right answer teaches nothing."""
    run = make_run(learned, tmp_path, algo="opsd", questions=8)
    groups = run.answer(problems_of(run, 0), "test")
    rows = [
        Trajectory(r.prompt_ids, r.token_ids, reward, i, logprobs=r.logprobs)
        for i, group in enumerate(groups)
        for r, reward in zip(group.rollouts, group.rewards, strict=True)
    ]
    kept = taught(run, groups, rows, 0)
    expected = [row for row in rows if sum(groups[row.group].rewards) - row.reward > 0]
    assert [row.token_ids for row in kept] == [row.token_ids for row in expected] and 0 < len(kept) < len(rows)
    for row in kept:
        assert len(row.teacher_logprobs) == len(row.token_ids) and row.teacher_logprobs != row.logprobs


def test_the_gradients_of_both_kinds_add_up(learned, tmp_path):
    """|a + b|^2 = |a|^2 + |b|^2 + 2 |a| |b| cos(a, b), with a and b as they are alone."""
    alone = {}
    for name, changes in (("both", {}), ("sampled", {"lambda_": 0.0})):
        run = make_run(learned, tmp_path / name, questions=8, grad_clip=1e9, **changes)
        alone[name] = rl_step(run, 0, torch.optim.SGD(run.model.parameters(), lr=0.0), None)
    m = alone["both"]
    a, b = m["grad_norm_sampled"], m["grad_norm_ref"]
    assert a == pytest.approx(alone["sampled"]["grad_norm"], rel=1e-4) and b > 0 and abs(m["grad_cosine"]) < 1
    assert m["grad_norm"] ** 2 == pytest.approx(a * a + b * b + 2 * a * b * m["grad_cosine"], rel=1e-3)


def test_without_sampled_rows_no_gradient_is_called_theirs(learned, tmp_path):
    """SFT trains on constructions alone, in several micro-batches."""
    run = make_run(learned, tmp_path, algo="sft", micro_tokens=4)
    rows = [Trajectory([1, 2], [3, 4 + i], 1.0, 0, "constructed") for i in range(4)]
    metrics = update_policy(run, rows, run.optimizer(1e-3), 1e-3, None)
    assert metrics["grad_norm"] > 0 and "grad_norm_sampled" not in metrics


@pytest.mark.parametrize("train_prefix", [False, True])
def test_the_wrong_prefix_pulls_at_the_policy_only_if_it_is_trained_on(learned, tmp_path, train_prefix):
    after = []
    for prefix in ([5, 6, 7], [8, 9, 4]):  # the right row is prefix from end to end: which one may not matter
        run = make_run(learned, tmp_path / str(prefix), train_prefix=train_prefix, ots=False)
        rows = [
            Trajectory([1, 2], [5, 6, 7], 0.0, 0, "constructed"),
            Trajectory([1, 2], prefix, 1.0, 0, "constructed", prefix=3),
        ]
        update_policy(run, rows, torch.optim.SGD(run.model.parameters(), lr=1.0), 1.0, None)
        after.append(run.model.state_dict())
    assert same(*after) is not train_prefix


def test_kl_to_the_start_is_zero_at_the_start_and_grows(learned, tmp_path):
    run, start = make_run(learned, tmp_path, lr=1e-2), Transformer.from_pretrained(learned)
    optimizer = run.optimizer(1e-2)
    metrics = [rl_step(run, step, optimizer, start) for step in range(2)]
    assert metrics[0]["kl"] == pytest.approx(0, abs=1e-5) and metrics[1]["kl"] > 1e-3


def test_questions_come_once_a_pass_and_in_a_new_order_each(learned, tmp_path):
    run = make_run(learned, tmp_path, questions=5)
    size = len(run.problems)
    run.problems = [Problem(f"Question {i}", "1") for i in range(size)]
    drawn = [p.question for step in range(2 * size) for p in problems_of(run, step)]
    passes = [drawn[i * size : (i + 1) * size] for i in range(10)]
    assert all(sorted(p) == sorted(q.question for q in run.problems) for p in passes)
    assert len({tuple(p) for p in passes}) > 8


# ---------------------------------------------------------------- whole runs, through the command line


def flags(learned: Path, out: Path, **changes) -> list[str]:
    settings = {"model": learned, "data": learned / "problems.jsonl", "out": out, **SMALL, **BOUNDS, **changes}
    return [x for k, v in settings.items() for x in (f"--{k.replace('_', '-')}", str(v))]


def test_a_run_leaves_what_it_promises(learned, tmp_path, monkeypatch, capsys):
    import transformers

    code, out, _ = run_cli(
        monkeypatch, capsys, train.main, *flags(learned, tmp_path / "run", steps=2, questions=13, show_every=1)
    )
    assert code == 0
    for text in ("accuracy (standard error)", "DSR", "ERR", "before RL", "tapo, 2 steps", "wrong prefix", "diagnosis"):
        assert text in out
    assert json.loads((tmp_path / "run/config.json").read_text())["k"] == 8
    metrics = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [(m["stage"], m["step"]) for m in metrics] == [("eval", 0), ("rl", 1), ("rl", 2), ("eval", 2)]
    names = "reward eligible_share truncated_share entropy kl grad_norm clip_low_share clip_high_share ots_weight"
    for name in [*names.split(), "mismatch", "length", "tokens_generated", "parse_share", "prefix_share", "left_at"]:
        assert isinstance(metrics[1][name], float | int), name
    assert set(metrics[1]["seconds"]) == {"sample", "construct", "update"}
    samples = [json.loads(line) for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    assert {"wrong", "right", "reply", "analysis", "text", "reward", "refused"} <= set(samples[0])
    last = tmp_path / "run/checkpoints/step-2"
    assert not same(load_file(last / "model.safetensors"), load_file(learned / "model.safetensors"))
    transformers.AutoModelForCausalLM.from_pretrained(last)
    transformers.AutoTokenizer.from_pretrained(last)


def test_four_steps_equal_two_and_resume_and_two(learned, tmp_path, monkeypatch, capsys):
    """Trap 9: optimizer or order lost on resume (TRL #3247)."""
    settings = {"steps": 4, "save_every": 2, "eval_every": 2, "eval_samples": 2}
    run_cli(monkeypatch, capsys, train.main, *flags(learned, tmp_path / "whole", **settings))
    step = train.rl_step

    def interrupted(run, number, *rest):
        if number == 2:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C in the middle of the third step
        return step(run, number, *rest)

    monkeypatch.setattr(train, "rl_step", interrupted)
    code, _, _ = run_cli(monkeypatch, capsys, train.main, *flags(learned, tmp_path / "cut", **settings))
    assert code == 1 and (tmp_path / "cut/checkpoints/step-3").is_dir()
    monkeypatch.setattr(train, "rl_step", step)
    assert len((tmp_path / "cut/metrics.jsonl").read_text().splitlines()) == 5  # two before step 3, one of them at 2
    config = (tmp_path / "cut/config.json").read_text()
    again = ["--out", tmp_path / "cut", "--resume"]  # its other settings are its own
    code, _, err = run_cli(monkeypatch, capsys, train.main, *again, "--steps", 2)
    assert code == 2 and "expected 3 or more" in err  # and nothing is changed by the refusal:
    assert (tmp_path / "cut/config.json").read_text() == config
    assert run_cli(monkeypatch, capsys, train.main, *again)[0] == 0
    for file in ("model.safetensors", "optimizer.safetensors"):
        assert same(*(load_file(tmp_path / name / "checkpoints/step-4" / file) for name in ("whole", "cut")))
    logs = [
        [json.loads(x) for x in (tmp_path / n / "metrics.jsonl").read_text().splitlines()] for n in ("whole", "cut")
    ]
    assert [(m["stage"], m["step"]) for m in logs[0]] == [(m["stage"], m["step"]) for m in logs[1]]


def test_the_builtin_cold_start_learns_from_nothing(tmp_path, monkeypatch, capsys):
    arguments = [
        "--out",
        tmp_path,
        "--stage",
        "coldstart",
        "--coldstart-updates",
        40,
        "--coldstart-batch",
        4,
        "--eval-problems",
        4,
    ]
    code, out, _ = run_cli(monkeypatch, capsys, train.main, *arguments)
    logged = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [r["loss"] for r in logged if r["stage"] == "coldstart"]
    assert [r["stage"] for r in logged[-2:]] == ["constructions", "eval"]
    assert code == 0 and "cold start" in out and losses[-1] < 0.8 * losses[0]
    assert Transformer.from_pretrained(tmp_path / "checkpoints/step-0").config.tie_word_embeddings


def test_a_finished_cold_start_is_not_lost_with_what_comes_after_it(learned, tmp_path, monkeypatch, capsys):
    def fail(run):
        raise InputError("no memory")

    monkeypatch.setattr(train, "construction_report", fail)
    changes = {"stage": "all", "steps": 1, "coldstart_updates": 2, "coldstart_examples": 20, "coldstart_lr": 1e-4}
    assert run_cli(monkeypatch, capsys, train.main, *flags(learned, tmp_path / "run", **changes))[0] == 2
    assert run_cli(monkeypatch, capsys, train.main, "--out", tmp_path / "run", "--resume")[0] == 0
    assert (tmp_path / "run/checkpoints/step-1").is_dir()


def test_a_cold_start_on_other_problems_learns_from_verified_answers_of_its_own(learned, tmp_path, monkeypatch, capsys):
    changes = {"stage": "coldstart", "coldstart_updates": 3, "coldstart_examples": 20, "coldstart_lr": 1e-4}
    code, _, _ = run_cli(monkeypatch, capsys, train.main, *flags(learned, tmp_path / "run", **changes))
    assert code == 0 and (tmp_path / "run/checkpoints/step-0/model.safetensors").is_file()
    run = make_run(learned, tmp_path / "other", coldstart_examples=60)
    rows = own_examples(run)
    texts = [run.tokenizer.decode(row.token_ids) for row in rows]
    assert all(row.token_ids[-1] == run.tokenizer.eos_id for row in rows)
    assert {text.startswith("<analysis>") for text in texts} == {True, False}
    assert any("Wait" in text and not text.startswith("<") for text in texts)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--k", "-8"], "--k"),
        (["--k", "1", "--algo", "grpo"], "--k"),
        (["--coldstart-mix", ".,.,1,1,1"], "--coldstart-mix"),
        (["--data", "gsm8k"], "--model"),
        (["--n-pos", "5", "--n-neg", "4"], "n_pos + n_neg <= k"),
        (["--algo", "grpo", "--k", "4", "--model", "m", "--data", "d.jsonl"], "n_pos + n_neg <= k"),
        (["--steps", "many"], "--steps"),
        (["--speed", "9"], "--speed"),
        (["--algo", "ppo"], "--algo"),
        (["--lr", "nan"], "--lr"),
        (["--lambda", "inf"], "--lambda"),
        (["--coldstart-mix", "1,2"], "--coldstart-mix"),
        (["--data", "builtin:6"], "builtin:6"),
        (["--stage", "rl"], "--model"),
        (["--temperature", "0"], "--temperature"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--model", "./nowhere", "--stage", "rl"], "./nowhere"),
        (["--resume"], "--resume"),
    ],
)
def test_bad_input_is_one_line_and_code_2_and_writes_nothing(arguments, says, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    code, printed, err = run_cli(monkeypatch, capsys, train.main, "--out", out, *arguments)
    assert code == 2 and printed == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and says in err
    assert not out.exists()


def test_gradients_that_are_not_finite_are_skipped_and_said(learned, tmp_path):
    run = make_run(learned, tmp_path)
    optimizer, before = run.optimizer(1e-3), {k: v.clone() for k, v in run.model.state_dict().items()}
    for parameter in run.model.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    assert run.update([optimizer], 1e-3) is None
    assert same(before, run.model.state_dict()) and all(p.grad is None for p in run.model.parameters())


def test_a_run_is_never_written_over(learned, tmp_path, monkeypatch, capsys):
    arguments = flags(learned, tmp_path / "run", steps=1)
    run_cli(monkeypatch, capsys, train.main, *arguments)
    before = (tmp_path / "run/metrics.jsonl").read_text()
    code, _, err = run_cli(monkeypatch, capsys, train.main, *arguments)
    assert (
        code == 2
        and "choose another --out" in err
        and err.count("\n") == 1
        and (tmp_path / "run/metrics.jsonl").read_text() == before
    )


def test_a_preset_resumes_its_own_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("tiny", 1), ("gsm8k", 2)):
        (tmp_path / "runs" / name / "checkpoints/step-1").mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text(json.dumps({"out": f"runs/{name}", "seed": seed}))
    assert parse_config(["--preset", "gsm8k", "--resume"]).out == "runs/gsm8k"
    assert parse_config(["--resume"]).seed == 1


def test_presets_are_defaults_and_flags_win():
    config = parse_config(["--preset", "gsm8k", "--lambda", "0.5", "--no-ots", "--k", "16"])
    assert (config.data, config.synthesis, config.lambda_, config.ots, config.k) == ("gsm8k", "full", 0.5, False, 16)
    with pytest.raises(InputError):
        parse_config(["--pre", "gsm8k"])


def test_a_kl_term_without_rows_to_measure_it_on_logs_no_number(learned, tmp_path):
    run = make_run(learned, tmp_path, kl_coef=0.1, kl_rows=0)
    assert rl_step(run, 0, run.optimizer(0.0), Transformer.from_pretrained(learned))["kl"] is None


def test_the_kl_term_is_on_sampled_rows_only(learned, tmp_path):
    """On constructed rows the estimate would not be of the KL: they are no samples of the policy."""
    start, weights = small_model("qwen3", vocab_size=Transformer.from_pretrained(learned).config.vocab_size), []
    for kind, kl_coef in (("constructed", 0.0), ("constructed", 0.5), ("sampled", 0.0), ("sampled", 0.5)):
        run = make_run(learned, tmp_path / f"{kind}{kl_coef}", kl_coef=kl_coef)
        rows = [Trajectory([1, 2], [3, 4 + i], float(i), 0, kind, logprobs=[0.0, 0.0]) for i in range(2)]
        update_policy(run, rows, torch.optim.SGD(run.model.parameters(), lr=1.0), 1.0, start)
        weights.append(run.model.state_dict())
    assert same(weights[0], weights[1]) and not same(weights[2], weights[3])
