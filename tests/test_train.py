"""The loop: what reaches the update, what is the same whatever the machine does, what a run leaves
behind."""

import json
import math
import pkgutil
import signal
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from unittest.mock import Mock

import pytest
import torch
from conftest import Killed, run_cli, small_model
from safetensors.torch import load_file
from small_runs import flags, make_run, same, sgd, step_report, take_steps, update_from, weights_of

import augment
import coldstart
import eval
import rollout
import tapo_loss
import train
from augment import (
    Construction,
    Pair,
    grade_constructions,
    is_eligible,
    select_candidates,
    synthesis_prompt,
)
from model import Transformer
from rollout import Rollout, Trajectory, answer_problems
from support import plan, runs
from support.cli import run_main
from support.files import InputError, read_lines
from support.logprobs import score
from support.metrics import construction_metrics, rollout_metrics
from support.optim import adamw
from support.runs import RunFolder
from support.settings import Settings, seed_of
from tasks import Problem, builtin
from train import advantages_of, load_start_model, problems_of_step, sampled_trajectories

SHORT_COLDSTART = {"coldstart_examples": 20, "coldstart_lr": 1e-4}


def constructed(ids: list[int], reward: float, **parts: int) -> Trajectory:
    """A constructed trajectory to a prompt of two tokens."""
    return Trajectory([1, 2], ids, reward, origin="constructed", **parts)


# ---------------------------------------------------------------- one step


def test_tapo_with_lambda_0_is_grpo_bit_for_bit(learned, tmp_path):
    runs = {
        "grpo": make_run(learned, tmp_path / "a", algo="grpo", questions=8),
        "zero": make_run(learned, tmp_path / "b", algo="tapo", questions=8, lambda_=0.0),
        "tapo": make_run(learned, tmp_path / "c", algo="tapo", questions=8),
    }
    metrics = {name: take_steps(run, 3) for name, run in runs.items()}
    after = {name: weights_of(run.policy.model) for name, run in runs.items()}

    # there was something to leave out
    assert sum(m["pairs"] for m in metrics["zero"]) > 10
    assert metrics["zero"][0]["ref_reward"] > 0

    assert same(after["grpo"], after["zero"])
    assert not same(after["grpo"], after["tapo"])
    start = load_file(learned / "model.safetensors")
    assert start.keys() == after["grpo"].keys() and not same(after["grpo"], start)


def test_the_update_does_not_depend_on_micro_batches(learned, tmp_path):
    """Trap 5, through the whole step: one pass, several, one row each."""
    results = []
    for tokens in (100_000, 200, 1):
        run = make_run(learned, tmp_path / str(tokens), micro_tokens=tokens, grad_clip=1e9)
        (metrics,) = take_steps(run, 1, sgd(run))
        results.append((metrics, weights_of(run.policy.model)))
    expected, expected_weights = results[0]
    for metrics, weights in results[1:]:
        assert metrics["loss"] == pytest.approx(expected["loss"], abs=1e-6)
        assert metrics["ots_weight"] == pytest.approx(expected["ots_weight"], rel=1e-4)
        for name, value in weights.items():
            assert torch.allclose(value, expected_weights[name], atol=1e-6), name


def test_token_ids_go_from_the_sampler_to_the_loss_untouched(learned, tmp_path, monkeypatch):
    """Trap 8: decode then encode again changes the tokens (TRL #5224)."""
    run = make_run(learned, tmp_path)
    drawn = []
    sample = rollout.sample

    def noting(*arguments, **settings):
        answers = sample(*arguments, **settings)
        drawn.append([list(r.token_ids) for group in answers for r in group])
        return answers

    update = Mock(return_value={})
    monkeypatch.setattr(rollout, "sample", noting)
    monkeypatch.setattr(augment, "sample", noting)
    monkeypatch.setattr(train, "update_policy", update)
    report = step_report(run, 0, adamw(run.policy.model.parameters(), 0.0))
    run.log(report, 1)
    (batch,) = (argument for argument in update.call_args.args if isinstance(argument, list))

    answers, _ = drawn  # and the replies to the synthesis prompts
    assert [t.token_ids for t in batch if t.origin == "sampled"] == answers
    made = read_lines(tmp_path / "samples.jsonl")
    rewritten = [t for t in batch if t.origin == "constructed"]
    assert [t.token_ids for t in rewritten] == [m["token_ids"] for m in made if not m["refused"]]
    assert rewritten
    for trajectory in rewritten:  # on the bare question, and ended
        question = report.groups[trajectory.question_number].problem.question
        assert trajectory.prompt_ids == run.policy.tokenizer.question_prompt(question)
        assert trajectory.token_ids[-1] == run.policy.tokenizer.end_id


def test_rewards_and_groups_stay_with_their_questions(learned, tmp_path):
    """Trap 6: every answer is graded against its own question's gold answer (prime-rl #600)."""
    run = make_run(learned, tmp_path, questions=8)
    problems = problems_of_step(run.problems, run.settings, 0)
    assert len({p.answer for p in problems}) > 1
    groups = answer_problems(run.policy, problems, run.settings, seed_of(0, "test"))
    for problem, group in zip(problems, groups, strict=True):
        assert group.problem is problem
        right = [answer.text.strip() == f"#### {problem.answer}" for answer in group.answers]
        assert [answer.grade.right for answer in group.answers] == right
        assert [answer.grade.reward for answer in group.answers] == [float(r) for r in right]
        assert group.n_right == sum(right)


def test_sampler_and_trainer_agree_on_the_logprobs(learned, tmp_path):
    for temperature in (0.6, 1.0):
        run = make_run(learned, tmp_path / str(temperature), temperature=temperature)
        (metrics,) = take_steps(run, 1)
        assert 0 < metrics["mismatch"] < 1e-4


def test_bfloat16_reaches_the_policy_and_the_starting_policy(learned, tmp_path):
    run = make_run(learned, tmp_path, dtype="bfloat16", kl_rows=4)
    run.save(0)
    (metrics,) = take_steps(run, 1)
    assert metrics["mismatch"] < 0.05
    assert run.policy.model.compute_dtype == torch.bfloat16
    assert load_start_model(run).compute_dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in run.policy.model.parameters())


def test_a_batch_that_can_teach_nothing_changes_nothing(learned, tmp_path):
    """All right or all wrong: no gradient, no optimizer step, no NaN."""
    run = make_run(learned, tmp_path, algo="grpo")
    before = weights_of(run.policy.model)
    ids = [3, run.policy.tokenizer.end_id]
    batch = [Trajectory([1, 2], ids, 1.0, i // 4, logprobs=[0.0, 0.0]) for i in range(8)]
    metrics = update_from(run, batch, adamw(run.policy.model.parameters(), 0.1), 0.1)
    assert metrics["loss"] is None and same(before, weights_of(run.policy.model))


def test_ots_of_a_diagnosis_is_of_answers_that_have_one(learned, tmp_path):
    """The first token after the prefix decides to reflect only where a reflection follows."""
    run = make_run(learned, tmp_path)
    prompt = run.policy.tokenizer.question_prompt("Say 2.")
    ids = run.policy.tokenizer.encode("#### 23")
    assert len(ids) >= 4
    turning = [
        Trajectory(
            prompt, ids, reward, 0, "constructed", prefix_tokens=1, diagnosis_tokens=diagnosis
        )
        for reward, diagnosis in ((0.0, 0), (1.0, 2))
    ]
    both = update_from(run, turning, sgd(run, lr=0.0), 0.0)
    without = [replace(trajectory, diagnosis_tokens=0) for trajectory in turning]
    none = update_from(run, without, sgd(run), 0.0)

    parts = {
        part: both[f"ots_weight_{part}"] for part in ("prefix", "turn", "diagnosis", "correction")
    }
    rest = len(ids) - 3  # tokens of the correction
    total = parts["prefix"] + 2 * parts["diagnosis"] + rest * parts["correction"]
    assert both["ots_weight"] == pytest.approx(total / len(ids), rel=1e-4)
    assert parts["turn"] != parts["diagnosis"]
    assert "ots_weight_turn" not in none and "ots_weight_prefix" in none


@pytest.mark.parametrize("ots", [True, False])
def test_tokens_that_are_written_down_are_those_of_the_update(learned, tmp_path, ots):
    run = make_run(learned, tmp_path / "run", m_max=2, ots=ots)  # so that all are kept
    report = step_report(run, 0, sgd(run))
    measured = run.log(report, 1)
    records = read_lines(tmp_path / "run" / "samples.jsonl")
    made = [record for record in records if "tokens" in record]
    assert 2 <= len(made) == len(report.constructed) <= train.TOKENS_KEPT

    tokenizer = run.policy.tokenizer
    weights = {"": [], "_prefix": [], "_diagnosis": []}
    for record in made:
        texts = [token[0] for token in record["tokens"]]
        assert "".join(texts) == tokenizer.decode(record["token_ids"]) == record["y_ref"]
        of_answer = [token[3] for token in record["tokens"]]
        after_prefix = record["prefix_tokens"]
        weights[""] += of_answer
        weights["_prefix"] += of_answer[:after_prefix]
        weights["_diagnosis"] += of_answer[after_prefix:][: record["diagnosis_tokens"]]
        assert f"Say {record['problem'][4]}" in record["request"]
    for part, of_part in weights.items():
        mean = sum(of_part) / len(of_part)
        assert mean == pytest.approx(measured[f"ots_weight{part}"], abs=1e-3)

    unmoved = make_run(learned, tmp_path / "unmoved").policy.model
    logprobs = score(unmoved, report.constructed, 1.0, run.settings.micro_tokens)
    advantages = advantages_of(report.constructed, run.settings)[:, 0].tolist()
    for record, expected, advantage in zip(made, logprobs, advantages, strict=True):
        written = [token[1] for token in record["tokens"]]
        assert written == pytest.approx(expected, abs=1e-3)
        assert record["advantage"] == pytest.approx(advantage, abs=1e-3)
    assert all(token[2] >= 0 for record in made for token in record["tokens"])


def test_tokens_are_written_down_of_the_first_few_that_were_not_refused(learned, tmp_path):
    runs = {
        "tapo": make_run(learned, tmp_path / "tapo", questions=13),
        "zero": make_run(learned, tmp_path / "zero", questions=13, lambda_=0.0),
    }
    for run in runs.values():
        take_steps(run, 1)
    records = read_lines(tmp_path / "tapo" / "samples.jsonl")
    made = [record for record in records if not record["refused"]]
    assert len(made) > train.TOKENS_KEPT and len(records) > len(made)
    with_tokens = [record for record in records if "tokens" in record]
    assert with_tokens == made[: train.TOKENS_KEPT]
    not_updated_from = read_lines(tmp_path / "zero" / "samples.jsonl")
    assert not_updated_from and not any("tokens" in record for record in not_updated_from)


def test_only_the_tokens_of_answers_with_an_advantage_move_the_policy(learned, tmp_path):
    """A right answer becomes likelier, a wrong one less likely."""
    run = make_run(learned, tmp_path, algo="grpo")
    tokenizer = run.policy.tokenizer
    prompt = tokenizer.question_prompt("Say 2.")
    batch = []
    for n, reward in ((2, 1.0), (4, 0.0)):
        ids = [*tokenizer.encode(f"#### {n}"), tokenizer.end_id]
        batch.append(Trajectory(prompt, ids, reward, logprobs=[0.0] * len(ids)))
    before = [sum(logprobs) for logprobs in score(run.policy.model, batch, 1.0, 1024)]
    update_from(run, batch, adamw(run.policy.model.parameters(), 1e-3), 1e-3)
    after = [sum(logprobs) for logprobs in score(run.policy.model, batch, 1.0, 1024)]
    assert after[0] > before[0] and after[1] < before[1]


def test_a_small_learning_rate_moves_almost_every_weight(learned, tmp_path):
    """Trap 9: at 1e-6 bfloat16 weights would move in 2% of the places (nanochat #808)."""
    run = make_run(learned, tmp_path, lr=1e-6, questions=8)
    before = weights_of(run.policy.model)
    take_steps(run, 1)
    after = weights_of(run.policy.model)
    moved = [
        (before[name] != after[name]).float().mean().item() for name in before if "layers" in name
    ]
    assert sum(moved) / len(moved) > 0.9


def test_several_updates_from_one_batch_clip(learned, tmp_path):
    (once,) = take_steps(make_run(learned, tmp_path / "a"), 1)
    (thrice,) = take_steps(make_run(learned, tmp_path / "b", updates=3, lr=3e-2), 1)
    assert "clip_low_share" not in once and "clip_high_share" not in once  # the ratio is 1
    assert thrice["clip_low_share"] > 0 and thrice["clip_high_share"] > 0


def test_the_clip_is_measured_where_it_can_act(learned, tmp_path, monkeypatch):
    """The first pass, in which every ratio is 1, halved the share of two updates."""
    shares = []
    surrogate = tapo_loss.clipped_surrogate

    def recorded(logp, old_logp, advantages, clip_low, clip_high):
        losses, clipped = surrogate(logp, old_logp, advantages, clip_low, clip_high)
        shares.append(clipped)
        return losses, clipped

    monkeypatch.setattr(tapo_loss, "clipped_surrogate", recorded)
    settings = {"updates": 2, "lr": 3e-2, "algo": "grpo", "micro_tokens": 100_000}
    run = make_run(learned, tmp_path, questions=8, **settings)
    (metrics,) = take_steps(run, 1)
    first, second = shares
    assert not first.any()
    tokens = metrics["length"] * 64  # of all answers, some of which have no advantage
    share = metrics["clip_low_share"] + metrics["clip_high_share"]
    assert share > second.sum().item() / tokens > 0


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
    after = []
    for folder, settings in (("plain", {}), ("changed", changes)):
        run = make_run(learned, tmp_path / folder, questions=8, **settings)
        take_steps(run, 2, start=Transformer.from_pretrained(learned))
        after.append(weights_of(run.policy.model))
    assert not same(*after)


def test_the_gradients_of_both_origins_add_up(learned, tmp_path):
    """|a + b|^2 = |a|^2 + |b|^2 + 2 |a| |b| cos(a, b), with a and b as they are alone."""
    measured = {}
    for name, changes in (("both", {}), ("sampled", {"lambda_": 0.0})):
        run = make_run(learned, tmp_path / name, questions=8, grad_clip=1e9, **changes)
        (measured[name],) = take_steps(run, 1, sgd(run, lr=0.0))
    both = measured["both"]
    a = both["grad_norm_sampled"]
    b = both["grad_norm_ref"]
    cosine = both["grad_cosine"]
    assert a == pytest.approx(measured["sampled"]["grad_norm"], rel=1e-4)
    assert b > 0 and abs(cosine) < 1
    squared = a * a + b * b + 2 * a * b * cosine
    assert both["grad_norm"] ** 2 == pytest.approx(squared, rel=1e-3)


@pytest.mark.parametrize("train_prefix", [False, True])
def test_the_wrong_prefix_pulls_at_the_policy_only_if_it_is_trained_on(
    learned, tmp_path, train_prefix
):
    after = []
    # The right row is prefix from end to end: which one it is may not matter.
    for prefix in ([5, 6, 7], [8, 9, 4]):
        run = make_run(learned, tmp_path / str(prefix), train_prefix=train_prefix, ots=False)
        batch = [constructed([5, 6, 7], 0.0), constructed(prefix, 1.0, prefix_tokens=3)]
        update_from(run, batch, sgd(run), 1.0)
        after.append(weights_of(run.policy.model))
    assert same(*after) is not train_prefix


def test_kl_to_the_start_is_zero_at_the_start_and_grows(learned, tmp_path):
    run = make_run(learned, tmp_path, lr=1e-2)
    metrics = take_steps(run, 2, start=Transformer.from_pretrained(learned))
    assert metrics[0]["kl"] == pytest.approx(0, abs=1e-5) and metrics[1]["kl"] > 1e-3


def test_the_kl_is_measured_on_answers_spread_over_all_questions(learned):
    """It was measured on the first answers, with 16 of them those to two questions."""
    model = Transformer.from_pretrained(learned)
    answers = [Trajectory([1, 2], [3 + number, 1]) for number in range(8)]
    scored = score(model, answers, 1.0, 1024)
    for number, answer in enumerate(answers):
        # all but the first, third, fifth and seventh come from another policy
        answer.logprobs = [x - number % 2 for x in scored[number]]
    measured = {}
    for rows in (3, 4, 8, 99):
        measured[rows] = train.kl_to_start(model, answers, Settings(kl_rows=rows))
    assert measured[4] == pytest.approx(0, abs=1e-6)
    assert measured[3] == pytest.approx((math.e - 2) / 3, abs=1e-5)  # the first, third and sixth
    assert measured[99] == measured[8]
    assert measured[8] == pytest.approx(0.5 * (math.e - 2), abs=1e-5)  # e^1 - 1 - 1 on half


def test_a_kl_term_without_rows_to_measure_it_on_logs_no_number(learned, tmp_path):
    run = make_run(learned, tmp_path, kl_coef=0.1, kl_rows=0)
    (metrics,) = take_steps(run, 1, start=Transformer.from_pretrained(learned))
    assert metrics["kl"] is None


def test_the_kl_term_is_on_sampled_rows_only(learned, tmp_path):
    """On constructed rows the estimate would not be of the KL: they are no samples of the
    policy."""
    vocabulary = Transformer.from_pretrained(learned).config.vocab_size
    start = small_model("qwen3", vocab_size=vocabulary)
    weights = {}
    for origin in ("constructed", "sampled"):
        for kl_coef in (0.0, 0.5):
            run = make_run(learned, tmp_path / f"{origin}{kl_coef}", kl_coef=kl_coef)
            batch = [
                Trajectory([1, 2], [3, 4 + i], float(i), 0, origin, logprobs=[0.0, 0.0])
                for i in range(2)
            ]
            update_from(run, batch, sgd(run), 1.0, start)
            weights[origin, kl_coef] = weights_of(run.policy.model)
    assert same(weights["constructed", 0.0], weights["constructed", 0.5])
    assert not same(weights["sampled", 0.0], weights["sampled", 0.5])


def test_questions_come_once_a_pass_and_in_a_new_order_each():
    size = 13
    problems = [Problem(f"Question {i}", "1") for i in range(size)]
    settings = Settings(questions=5)
    drawn = []
    for step in range(2 * size):
        drawn += [p.question for p in problems_of_step(problems, settings, step)]
    passes = [drawn[i * size : (i + 1) * size] for i in range(10)]
    expected = sorted(p.question for p in problems)
    assert all(sorted(questions) == expected for questions in passes)
    assert len({tuple(questions) for questions in passes}) > 8


# ---------------------------------------------------------------- a fork of the reward

ANSWERS = [  # to "Say 3.": {} is 3
    "#### {}",
    "It is asked to say a number.\n#### {}",
    "#### 9",
    "#### 8",
    "It is asked to say a number.\n#### 9",
    "#### {}",
]


def paid_by_length(right: bool, text: str) -> float:
    """Half for a right answer that is long, a quarter for a wrong one that is long."""
    if len(text) > 20:
        return 0.5 if right else 0.25
    return float(right)


def test_a_forked_reward_moves_advantages_and_nothing_that_counts_right_answers(
    learned, tmp_path, monkeypatch
):
    run = make_run(learned, tmp_path, k=len(ANSWERS), n_pos=3, n_neg=3)
    settings = run.settings
    tokenizer = run.policy.tokenizer
    problems = run.problems[:4]

    def written(model, prompts, n, **_):
        """Stands for the sampler: ANSWERS to each question."""
        answers = []
        for prompt in prompts:
            gold = tokenizer.decode(prompt)[len("Say ")]
            ids = [[*tokenizer.encode(a.format(gold)), tokenizer.end_id] for a in ANSWERS[:n]]
            answers.append([Rollout(prompt, i, [-1.0] * len(i), "stop") for i in ids])
        return answers

    monkeypatch.setattr(rollout, "sample", written)
    monkeypatch.setattr(eval, "sample", written)

    def outcome() -> dict[str, object]:
        groups = answer_problems(run.policy, problems, settings, 0)
        eligible = [is_eligible(group, settings) for group in groups]
        advantages = advantages_of(sampled_trajectories(groups), settings)  # (N, 1)
        summary, _ = eval.evaluate(run.policy, problems, samples=len(ANSWERS))
        pair = Pair(0, problems[0], "", "", [])
        constructions = [
            Construction(pair, y_ref=text.format(problems[0].answer)) for text in ANSWERS
        ]
        grade_constructions(constructions, settings)
        return {
            "advantages": advantages.view(len(problems), -1)[0].tolist(),
            "metrics": rollout_metrics(groups, eligible),
            "constructed": construction_metrics(constructions),
            "right": [group.n_right for group in groups],
            "pairs": select_candidates(groups, settings, 0),
            "summary": summary,
        }

    paid = outcome()
    monkeypatch.setattr("checker.reward_of", paid_by_length)
    forked = outcome()

    right = paid["advantages"][0]
    assert paid["advantages"] == pytest.approx([right, right, -right, -right, -right, right])
    short_right, long_right, short_wrong, _, long_wrong, _ = forked["advantages"]
    assert short_right > long_right > 0 > long_wrong > short_wrong
    for part, name in (("metrics", "reward"), ("constructed", "ref_reward")):
        assert paid[part].pop(name) == 3 / 6 and forked[part].pop(name) == 2.75 / 6

    assert paid["right"] == [3] * len(problems) and paid["metrics"]["eligible_share"] == 1.0
    assert paid["summary"]["pass@1"] == 0.5 and len(paid["pairs"]) == 3 * len(problems)
    for counted in ("metrics", "constructed", "right", "pairs", "summary"):
        assert forked[counted] == paid[counted], counted


# ---------------------------------------------------------------- the memory plan


def planned_calls(run: train.Run, monkeypatch, capsys) -> list[plan.Call]:
    """The calls of the sampler that the printed plan is of."""
    memory_plan = Mock(wraps=plan.memory_plan)
    monkeypatch.setattr(plan, "memory_plan", memory_plan)
    train.print_plan(run)
    assert capsys.readouterr().err.startswith("memory: about ")
    _, _, calls = memory_plan.call_args.args
    return calls


@pytest.mark.parametrize("longest_is", ["trained on", "held out"])
def test_the_memory_plan_is_of_the_longest_question(
    learned, tmp_path, monkeypatch, capsys, longest_is
):
    run = make_run(learned, tmp_path, eval_problems=2, m_max=3)
    long = Problem("Say 1 and then say 2.", "2")
    if longest_is == "trained on":
        run.problems.insert(3, long)
    else:
        run.held_out.append(long)
    tokenizer = run.policy.tokenizer
    request = synthesis_prompt(long.question, "", "", "brief", "prefix")
    question_tokens = len(tokenizer.question_prompt(long.question))
    request_tokens = len(tokenizer.prompt(request))
    assert request_tokens > question_tokens > len(tokenizer.question_prompt("Say 1."))
    assert planned_calls(run, monkeypatch, capsys) == [
        plan.Call(prompts=4, n=8, prompt=question_tokens, reply=48),
        plan.Call(len(run.held_out), 1, question_tokens, 48),
        plan.Call(4 * 3, 1, request_tokens + 2 * 48, 96),  # it holds two answers
    ]


@pytest.mark.parametrize(
    ("changes", "answered", "rewritten"),
    [
        ({"stage": "rl", "algo": "grpo"}, 4, None),  # nothing is constructed
        ({"stage": "rl", "algo": "sft"}, 4, 16),
        ({"stage": "all", "algo": "grpo", "eval_problems": 3}, 64, 256),  # own mistakes
        ({"stage": "all", "algo": "tapo", "report_questions": 100}, 100, 400),  # the report
    ],
)
def test_the_memory_plan_is_of_what_the_run_asks_at_once(
    learned, tmp_path, monkeypatch, capsys, changes, answered, rewritten
):
    run = make_run(learned, tmp_path, **changes)
    answering, _, *constructing = planned_calls(run, monkeypatch, capsys)
    assert answering.prompts == answered
    assert [call.prompts for call in constructing] == ([rewritten] if rewritten else [])


# ---------------------------------------------------------------- whole runs, by the command line


def test_a_run_leaves_what_it_promises(learned, tmp_path, monkeypatch, capsys):
    import transformers

    folder = tmp_path / "run"
    arguments = flags(learned, folder, steps=2, questions=13, show_every=1)
    code, out, err = run_cli(monkeypatch, capsys, train.main, *arguments)
    assert code == 0 and "\ndisk: checkpoints take 0.00 GB at most" in err
    for text in ("accuracy (standard error)", "DSR", "ERR", "before RL", "tapo, 2 steps"):
        assert text in out
    for text in ("wrong prefix", "diagnosis"):
        assert text in out

    assert json.loads((folder / "config.json").read_text())["k"] == 8
    logged = read_lines(folder / "metrics.jsonl")
    assert stages_of(logged) == [("eval", 0), ("rl", 1), ("rl", 2), ("eval", 2)]
    names = "reward right_share eligible_share truncated_share length entropy kl grad_norm"
    names += " ots_weight mismatch tokens_generated"
    names += " parse_share prefix_share left_at"
    for name in names.split():
        assert isinstance(logged[1][name], float | int), name
    assert set(logged[1]["seconds"]) == {"sample", "construct", "update"}

    samples = read_lines(folder / "samples.jsonl")
    names = "step problem gold wrong sibling reply analysis y_ref right reward refused token_ids"
    assert set(names.split()) <= set(samples[0])

    last = folder / "checkpoints/step-2"
    before = load_file(learned / "model.safetensors")
    after = load_file(last / "model.safetensors")
    assert before.keys() == after.keys() and not same(before, after)
    transformers.AutoModelForCausalLM.from_pretrained(last)
    transformers.AutoTokenizer.from_pretrained(last)


def test_four_steps_equal_two_and_resume_and_two(learned, tmp_path, monkeypatch, capsys):
    """Trap 9: optimizer or order lost on resume (TRL #3247)."""
    settings = {"steps": 4, "save_every": 2, "eval_every": 2, "eval_samples": 2}
    whole = tmp_path / "whole"
    cut = tmp_path / "cut"
    run_cli(monkeypatch, capsys, train.main, *flags(learned, whole, **settings))

    train_step = train.train_step

    def interrupted(policy, start, problems, optimizer, settings, step):
        if step == 2:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C in the middle of the third step
        return train_step(policy, start, problems, optimizer, settings, step)

    monkeypatch.setattr(train, "train_step", interrupted)
    code, _, _ = run_cli(monkeypatch, capsys, train.main, *flags(learned, cut, **settings))
    assert code == 1 and (cut / "checkpoints/step-3").is_dir()
    monkeypatch.setattr(train, "train_step", train_step)
    # measured before step 1 and after step 2, and three steps
    assert len(read_lines(cut / "metrics.jsonl")) == 5

    config = (cut / "config.json").read_text()
    again = ["--out", cut, "--resume"]  # its other settings are its own
    code, _, err = run_cli(monkeypatch, capsys, train.main, *again, "--steps", 2)
    assert code == 2 and "expected 3 or more" in err
    assert (cut / "config.json").read_text() == config  # nothing is changed by the refusal
    assert run_cli(monkeypatch, capsys, train.main, *again)[0] == 0

    assert_same_runs(whole, cut)


def stages_of(records: list[dict]) -> list[tuple[str, int]]:
    return [(record["stage"], record["step"]) for record in records]


def assert_same_runs(run, other) -> None:
    """Bit for bit: the last checkpoints, and all that was logged but the seconds."""
    for file in ("model.safetensors", "optimizer.safetensors"):
        ends = [load_file(RunFolder(path).checkpoints()[-1] / file) for path in (run, other)]
        assert same(*ends), file
    for file in ("metrics.jsonl", "samples.jsonl", "collected.jsonl"):
        logs = []
        for path in (run, other):
            records = read_lines(path / file)
            logs.append([{**record, "seconds": None} for record in records])
        assert logs[0] == logs[1], file
        assert not list(other.rglob("*.tmp"))


def coldstart_flags(learned, kind: str, out) -> list[str]:
    """A cold start of 8 updates and a step of RL, saved after each; kind: "builtin" or "own"."""
    if kind == "own":
        changes = {"stage": "all", "steps": 1, "questions": 5, **SHORT_COLDSTART}
        arguments = flags(learned, out, **changes)
    else:
        arguments = [
            "--out",
            str(out),
            *"--steps 1 --questions 2 --k 3 --n-pos 1 --n-neg 1".split(),
        ]
        arguments += "--max-new-tokens 8 --max-reply-tokens 8 --eval-problems 3".split()
    arguments += "--coldstart-updates 8 --coldstart-batch 3 --coldstart-refresh 2".split()
    return [*arguments, "--save-minutes", "1e-9"]


@pytest.fixture(scope="module")
def builtin_tokenizer():
    """A tokenizer for the built-in problems, trained once."""
    return coldstart.builtin_tokenizer(builtin, "brief")


@pytest.fixture
def quick(monkeypatch, builtin_tokenizer):
    """Cold starts on built-in problems with little of everything."""
    monkeypatch.setattr(coldstart, "TINY", {**coldstart.TINY, "hidden_size": 16})
    monkeypatch.setattr(coldstart, "MISTAKE_QUESTIONS", 4)
    monkeypatch.setattr(coldstart, "builtin_tokenizer", lambda task, synthesis: builtin_tokenizer)
    monkeypatch.setattr("data.TRAINING_COUNT", 40)


PLACES = {  # where a cold start is killed: in a function, and in which of its calls
    "a round": ("coldstart.answer_problems", 2),
    "an update": ("coldstart.supervised_gradients", 6),
    "a log": ("support.runs.RunFolder.log", 2),
    "a save": ("support.runs.save_file", 3),
    "the first save of RL": ("support.runs.save_file", 9),
    "the report": ("coldstart.construction_report", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["builtin", "own"])
def test_a_cold_start_that_is_killed_goes_on_bit_for_bit(
    learned, tmp_path, monkeypatch, capsys, quick, kind, place
):
    whole = tmp_path / "whole"
    cut = tmp_path / "cut"
    run_cli(monkeypatch, capsys, train.main, *coldstart_flags(learned, kind, whole))
    assert len(read_lines(whole / "collected.jsonl")) > 1

    name, last_call = PLACES[place]
    function = pkgutil.resolve_name(name)
    calls = []

    def killing(*arguments, **options):
        calls.append(place)
        if len(calls) == last_call:
            raise Killed
        return function(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(name, killing)
        with pytest.raises(Killed):
            run_cli(patched, capsys, train.main, *coldstart_flags(learned, kind, cut))
    code, _, err = run_cli(monkeypatch, capsys, train.main, "--out", cut, "--resume")
    assert code == 0, err
    assert_same_runs(whole, cut)


def test_a_cold_start_that_lost_what_it_collected_is_not_resumed(
    learned, tmp_path, monkeypatch, capsys
):
    """Another policy would collect other examples."""
    folder = tmp_path / "run"
    fail = Mock(side_effect=[1.0, 1.0, InputError("no memory")])
    monkeypatch.setattr(coldstart, "supervised_gradients", fail)
    run_cli(monkeypatch, capsys, train.main, *coldstart_flags(learned, "own", folder))
    portions = len(read_lines(folder / "collected.jsonl"))
    (folder / "collected.jsonl").unlink()
    code, _, err = run_cli(monkeypatch, capsys, train.main, "--out", folder, "--resume")
    expected = f"collected.jsonl: expected {portions} lines, found 0"
    assert code == 2 and portions > 1 and expected in err


@pytest.mark.parametrize(
    "place",
    [
        "coldstart.supervised_gradients",
        "coldstart.examples_from",
        "coldstart.construction_report",
        "train.train_step",
        "train.evaluate",
        "train.print_outcome",
    ],
)
def test_sigterm_stops_every_phase_with_one_line_and_what_is_made_stays(
    learned, tmp_path, monkeypatch, capsys, place
):
    whole = tmp_path / "whole"
    cut = tmp_path / "cut"
    run_cli(monkeypatch, capsys, train.main, *coldstart_flags(learned, "own", whole))
    function = pkgutil.resolve_name(place)

    def terminated(*arguments, **options):
        signal.raise_signal(signal.SIGTERM)
        return function(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(place, terminated)
        arguments = coldstart_flags(learned, "own", cut)
        patched.setattr("sys.argv", ["train.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            run_main(train.main)
    line = str(stop.value.code).strip()
    assert line.startswith("stopped; ") and line.endswith(f"with --out {cut} --resume")
    assert "\n" not in line
    if place == "coldstart.supervised_gradients":  # the update was made to its end
        assert "coldstart-1 is whole" in line
    if place == "coldstart.examples_from":  # no question was asked after the signal
        assert "no checkpoint was made yet" in line and not (cut / "collected.jsonl").exists()
    if place == "train.train_step":
        assert "step-1 is whole" in line
    assert run_cli(monkeypatch, capsys, train.main, "--out", cut, "--resume")[0] == 0
    assert_same_runs(whole, cut)


@pytest.mark.parametrize("stop", [Killed, KeyboardInterrupt])
def test_a_cold_start_that_is_stopped_in_its_second_round_keeps_the_first(
    learned, tmp_path, monkeypatch, capsys, stop
):
    """A checkpoint stands before the second is collected, which takes long."""
    whole = tmp_path / "whole"
    cut = tmp_path / "cut"
    changes = {"stage": "coldstart", "questions": 2, "coldstart_rounds": 2, "coldstart_updates": 4}
    changes |= SHORT_COLDSTART
    run_cli(monkeypatch, capsys, train.main, *flags(learned, whole, **changes))
    portions = read_lines(whole / "collected.jsonl")
    of_second = [record["portion"] for record in portions if record["step"] == 2]
    examples_from = coldstart.examples_from

    def stopping(policy, problems, settings, number):
        if number == of_second[1]:
            raise stop
        return examples_from(policy, problems, settings, number)

    with monkeypatch.context() as patched:
        patched.setattr(coldstart, "examples_from", stopping)
        with suppress(Killed):
            run_cli(patched, capsys, train.main, *flags(learned, cut, **changes))
    assert [path.name for path in RunFolder(cut).checkpoints()] == ["coldstart-2"]
    assert len(read_lines(cut / "collected.jsonl")) == of_second[1]

    learn = Mock(wraps=coldstart.supervised_gradients)
    monkeypatch.setattr(coldstart, "supervised_gradients", learn)
    assert run_cli(monkeypatch, capsys, train.main, "--out", cut, "--resume")[0] == 0
    assert learn.call_count == 2  # those of the second round
    assert_same_runs(whole, cut)


def test_ctrl_c_while_examples_are_made_loses_no_update(learned, tmp_path, monkeypatch):
    """On built-in problems new mistakes are collected where no round ends."""
    run = make_run(learned, tmp_path / "run", coldstart_updates=9, coldstart_batch=2)

    def stopped_examples(*_):
        yield from [Trajectory([1, 2], [3, 4])] * 6
        raise KeyboardInterrupt

    monkeypatch.setattr(coldstart, "examples_for", stopped_examples)
    with pytest.raises(KeyboardInterrupt):
        coldstart.coldstart(run.policy, run.problems, run.settings, run.folder)
    (checkpoint,) = run.folder.checkpoints()
    assert checkpoint.name == "coldstart-3"
    saved = Transformer.from_pretrained(checkpoint)
    assert same(weights_of(saved), weights_of(run.policy.model))


@pytest.mark.parametrize("write", [2, 5, 9, 14])
def test_a_full_disk_is_one_line_and_loses_nothing(learned, tmp_path, monkeypatch, capsys, write):
    """The write that fails leaves half a line, or half a checkpoint, behind."""
    whole = tmp_path / "whole"
    cut = tmp_path / "cut"
    settings = {"steps": 3, "save_every": 1}
    run_cli(monkeypatch, capsys, train.main, *flags(learned, whole, **settings))
    writes = []

    def filling(function):
        def write_or_fail(*arguments, **options):
            writes.append(function)
            if len(writes) == write:
                with (cut / "metrics.jsonl").open("a") as file:
                    file.write('{"stage": "rl", "st')
                raise OSError(28, "No space left on device")
            return function(*arguments, **options)

        return write_or_fail

    with monkeypatch.context() as patched:
        for name in ("write_text", "save_file"):
            patched.setattr(f"support.runs.{name}", filling(getattr(runs, name)))
        patched.setattr(RunFolder, "log", filling(RunFolder.log))
        code, _, err = run_cli(patched, capsys, train.main, *flags(learned, cut, **settings))
    last = err.strip().split("\n")[-1]
    assert code == 2 and last.startswith("error: ") and "No space left" in last
    assert "--resume" in last and "Traceback" not in err and not list(cut.rglob("*.tmp"))
    assert run_cli(monkeypatch, capsys, train.main, "--out", cut, "--resume")[0] == 0
    assert_same_runs(whole, cut)


@pytest.mark.parametrize("stage", ["rl", "coldstart"])
def test_a_finished_run_that_is_resumed_makes_and_logs_nothing_again(
    learned, tmp_path, monkeypatch, capsys, stage
):
    folder = tmp_path / "run"
    changes = {"stage": stage, "steps": 1, "coldstart_updates": 2, **SHORT_COLDSTART}
    _, out, _ = run_cli(monkeypatch, capsys, train.main, *flags(learned, folder, **changes))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    before.pop(folder / "config.json")  # it says that the run was resumed
    monkeypatch.setattr(train, "evaluate", Mock(side_effect=AssertionError("measured again")))
    for _ in range(2):
        code, again, _ = run_cli(monkeypatch, capsys, train.main, "--out", folder, "--resume")
        assert code == 0 and out.endswith(again) and "accuracy" in again
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    after.pop(folder / "config.json")
    assert after == before


def test_a_finished_run_goes_on_where_more_steps_are_asked_for(
    learned, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    run_cli(monkeypatch, capsys, train.main, *flags(learned, folder, steps=1))
    run_cli(monkeypatch, capsys, train.main, "--out", folder, "--resume", "--steps", 2)
    stages = [("eval", 0), ("rl", 1), ("eval", 1), ("rl", 2), ("eval", 2)]
    assert stages_of(read_lines(folder / "metrics.jsonl")) == stages


def test_a_run_that_lost_what_was_measured_before_rl_is_not_resumed(
    learned, tmp_path, monkeypatch, capsys
):
    """The policy of the checkpoint was measured then, and stood in the table as "before RL"."""
    given = flags(learned, tmp_path / "run", steps=1)
    assert run_cli(monkeypatch, capsys, train.main, *given)[0] == 0
    metrics = tmp_path / "run/metrics.jsonl"
    metrics.unlink()
    given = ("--out", tmp_path / "run", "--resume", "--steps", 2)
    code, _, err = run_cli(monkeypatch, capsys, train.main, *given)
    assert code == 2 and f"error: {metrics}: expected what was measured before" in err
    assert not metrics.exists()


def test_other_questions_are_refused_by_name_when_a_run_is_resumed(
    learned, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    run_cli(monkeypatch, capsys, train.main, *flags(learned, folder, steps=1))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for flag, value in (("--questions", 5), ("--seed", 3), ("--k", 6), ("--data", "builtin")):
        again = ["--out", folder, "--resume", flag, value]
        code, _, err = run_cli(monkeypatch, capsys, train.main, *again)
        assert code == 2 and f"error: {flag}: expected" in err and err.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_best_policy_that_was_measured_is_saved_and_stays(
    learned, tmp_path, monkeypatch, capsys
):
    accuracies = iter([0.1, 0.9, 0.2, 0.3, 0.4, 0.5])
    evaluate = train.evaluate

    def measured(*arguments, **options):
        summary, answers = evaluate(*arguments, **options)
        return summary | {"pass@1": next(accuracies)}, answers

    monkeypatch.setattr(train, "evaluate", measured)
    changes = {"steps": 5, "eval_every": 1, "save_every": 4}
    run_cli(monkeypatch, capsys, train.main, *flags(learned, tmp_path / "run", **changes))
    names = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    assert names == {"step-0", "step-1", "step-4", "step-5"}


@pytest.mark.slow
def test_the_builtin_cold_start_learns_from_nothing(tmp_path, monkeypatch, capsys):
    arguments = "--stage coldstart --coldstart-updates 40 --coldstart-batch 4 --eval-problems 4"
    code, out, _ = run_cli(monkeypatch, capsys, train.main, "--out", tmp_path, *arguments.split())
    logged = read_lines(tmp_path / "metrics.jsonl")
    losses = [record["loss"] for record in logged if record["stage"] == "coldstart"]
    assert [record["stage"] for record in logged[-2:]] == ["constructions", "eval"]
    assert code == 0 and "cold start" in out and losses[-1] < 0.8 * losses[0]
    saved = Transformer.from_pretrained(tmp_path / "checkpoints/step-0")
    assert saved.config.tie_word_embeddings


def test_a_finished_cold_start_is_not_lost_with_what_comes_after_it(
    learned, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    fail = Mock(side_effect=InputError("no memory"))
    monkeypatch.setattr(coldstart, "construction_report", fail)
    changes = {"stage": "all", "steps": 1, "coldstart_updates": 2, **SHORT_COLDSTART}
    arguments = flags(learned, folder, **changes)
    assert run_cli(monkeypatch, capsys, train.main, *arguments)[0] == 2
    monkeypatch.undo()
    assert run_cli(monkeypatch, capsys, train.main, "--out", folder, "--resume")[0] == 0
    assert (folder / "checkpoints/step-1").is_dir()
    logged = read_lines(folder / "metrics.jsonl")
    assert stages_of(logged)[-4:] == [("constructions", 0), ("eval", 0), ("rl", 1), ("eval", 1)]


def test_a_cold_start_on_other_problems_learns_from_verified_answers_of_its_own(
    learned, tmp_path, monkeypatch, capsys
):
    changes = {"stage": "coldstart", "coldstart_updates": 3, **SHORT_COLDSTART}
    arguments = flags(learned, tmp_path / "run", **changes)
    code, _, _ = run_cli(monkeypatch, capsys, train.main, *arguments)
    assert code == 0 and (tmp_path / "run/checkpoints/step-0/model.safetensors").is_file()

    # this policy's diagnoses name no number
    monkeypatch.setattr(coldstart, "is_concrete", lambda made: True)
    run = make_run(learned, tmp_path / "other", coldstart_examples=60)
    endless = coldstart.own_examples(run.policy, run.problems, run.settings, run.folder)
    examples = list(islice(endless, 60))
    tokenizer = run.policy.tokenizer
    assert all(example.token_ids[-1] == tokenizer.end_id for example in examples)
    texts = [tokenizer.decode(example.token_ids) for example in examples]
    assert {text.startswith("<analysis>") for text in texts} == {True, False}
    assert any("Wait" in text and not text.startswith("<") for text in texts)


def short_request(
    question: str, wrong: str, sibling: str, synthesis: str, reconstruction: str
) -> str:
    """The policy of `learned` has no room for the long ones."""
    return f"{question}\n{sibling}"


def test_an_assisted_run_goes_from_its_cold_start_through_its_steps(
    learned, tmp_path, monkeypatch, capsys
):
    """Two rounds of the cold start, the report of both protocols, a step, what was constructed."""
    changes = {"stage": "all", "synthesis": "assisted", "coldstart_updates": 4, "steps": 1}
    changes |= {"coldstart_rounds": 2, **SHORT_COLDSTART}
    monkeypatch.setattr(augment, "synthesis_prompt", short_request)
    # its right answers are one step long, of which nothing is shown; so another rule says here
    # which wrong answers are left alone
    monkeypatch.setattr(augment, "shows_something_new", lambda sibling, wrong: "4" not in wrong)
    folder = tmp_path / "run"
    arguments = flags(learned, folder, **changes)
    code, out, _ = run_cli(monkeypatch, capsys, train.main, *arguments)
    assert code == 0 and "cold start, after 2 updates: " in out
    logged = read_lines(folder / "metrics.jsonl")
    (report,) = [record for record in logged if record["stage"] == "constructions"]
    assert report["assisted"]["pairs"] == report["unassisted"]["pairs"] == report["pairs"]
    assert report["assisted"]["parsed"] == report["pairs"] > 0
    assert "constructed in all: 1 steps, " in out
    made = read_lines(folder / "samples.jsonl")
    assert made
    for record in made:
        assert record["wrong"].startswith(record["kept"]) and record["kept"]


def test_a_run_with_next_to_no_constructions_says_so_once(learned, tmp_path, capsys):
    """Users paid for TAPO and got GRPO, and nobody told them."""
    run = make_run(learned, tmp_path / "run")
    counts = {"stage": "rl", "pairs": 10, "trajectories": 3, "taught_rows": 2, "concrete": 0}
    for step in range(1, 7):
        run.folder.log("metrics.jsonl", {**counts, "step": step})
        train.warn_of_few_constructions(run)
        err = capsys.readouterr().err
        said = (
            "5 steps, 50 pairs, 15 trajectories, 10 with an advantage, "
            "0 with a concrete diagnosis: fewer than one pair in ten"
        )
        assert (said in err) is (step == 5)


@pytest.mark.parametrize(
    ("counts", "changes", "warns"),
    [
        ({"pairs": 0, "trajectories": 0, "taught_rows": 0, "concrete": 0}, {}, True),
        ({"pairs": 10, "trajectories": 3, "taught_rows": 2, "concrete": 1}, {}, False),
        (
            {"pairs": 9, "trajectories": 9, "taught_rows": 9, "concrete": 0},
            {"reconstruction": "full"},  # whose trajectories have no diagnosis
            False,
        ),
        ({"pairs": 9, "micro_reflective": 0}, {}, False),  # the lines of an older version
    ],
)
def test_the_warning_is_for_runs_that_could_be_better(
    learned, tmp_path, capsys, counts, changes, warns
):
    run = make_run(learned, tmp_path / "run", **changes)
    for step in range(1, 7):
        run.folder.log("metrics.jsonl", {"stage": "rl", **counts, "step": step})
        train.warn_of_few_constructions(run)
    assert ("fewer than one pair in ten" in capsys.readouterr().err) is warns


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--k -8", "--k"),
        ("--speed 9", "--speed"),
        ("--resume", "--resume"),
        ("--data gsm8k", "--model"),
        ("--n-pos 5 --n-neg 4", "n_pos + n_neg <= k"),
        ("--algo grpo --k 4 --model m --data d.jsonl", "n_pos + n_neg <= k"),
        ("--data builtin:6", "builtin:6"),
        ("--data builtin --synthesis assisted", "assisted: expected problems from a file"),
        ("--data nowhere.jsonl", "nowhere.jsonl"),
        ("--model ./nowhere --stage rl", "./nowhere"),
    ],
)
def test_bad_input_is_one_line_and_code_2_and_writes_nothing(
    arguments, says, tmp_path, monkeypatch, capsys
):
    """What the settings alone can say is wrong is in test_settings.py."""
    out = tmp_path / "run"
    code, printed, err = run_cli(monkeypatch, capsys, train.main, "--out", out, *arguments.split())
    assert code == 2 and printed == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and says in err
    assert not out.exists()


def test_a_run_is_never_written_over(learned, tmp_path, monkeypatch, capsys):
    arguments = flags(learned, tmp_path / "run", steps=1)
    run_cli(monkeypatch, capsys, train.main, *arguments)
    before = (tmp_path / "run/metrics.jsonl").read_text()
    code, _, err = run_cli(monkeypatch, capsys, train.main, *arguments)
    assert code == 2 and "choose another --out" in err and err.count("\n") == 1
    assert (tmp_path / "run/metrics.jsonl").read_text() == before
