"""The measures, against counting by hand."""

import itertools
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from conftest import run_cli, shared
from safetensors.torch import load_file, save_file

import eval as evaluation
from checker import Grade
from data import load_problems
from eval import (
    MeasuredAnswer,
    answers_to,
    evaluate,
    majority_score,
    pass_at_k,
    standard_error,
    summarize,
)
from rollout import Answer, Policy, Rollout
from support.files import read_lines
from support.summaries import format_table
from tasks import Problem


def answer(extracted: str | None, right: bool, reflective=False, finish="stop") -> MeasuredAnswer:
    return MeasuredAnswer("text", extracted, right, reflective, tokens=10, finish=finish)


# ---------------------------------------------------------------- measures


def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_answer():
    """The naive 1 - (1 - p)^k is biased: here 1 - 0.4^2 = 0.84 for 3 of 5."""
    for n, right, k in itertools.product(range(1, 7), range(7), range(1, 7)):
        if right <= n and k <= n:
            answers = [True] * right + [False] * (n - right)
            subsets = list(itertools.combinations(answers, k))
            share = sum(map(any, subsets)) / len(subsets)
            assert pass_at_k(n, right, k) == pytest.approx(share)
    with pytest.raises(ValueError, match="1 <= k <= n"):
        pass_at_k(4, 2, 5)


def test_the_majority_counts_equal_answers_as_one_and_shares_ties():
    def of(texts: list, right: set) -> float:
        return majority_score([answer(x, x in right) for x in texts], by_value=True)

    assert of(["1/2", "3", "0.5", "7", None, None, None], right={"1/2", "0.5"}) == 1.0
    assert of(["3", "1/2", "7", "0.5"], right={"3"}) == 0.0
    assert of(["3", "4"], right={"3"}) == 0.5
    assert of([None], right=set()) == 0.0


@pytest.mark.parametrize("order", [1, -1])
def test_a_wrong_answer_does_not_vote_for_a_right_one_that_it_equals(order):
    """25% equals 25 and 1/4, which differ: what equals a right answer may be wrong."""
    votes = [answer("25%", True), *[answer("0.25", False)] * 3][::order]
    assert majority_score(votes, by_value=True) == 0.0
    votes = [answer("0.25", False), *[answer("25%", True)] * 3][::order]
    assert majority_score(votes, by_value=True) == 1.0


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_problem_with_a_verifier_each_spelling_is_an_answer(order):
    votes = [answer("1+9", False), *[answer("3+7", True)] * 3][::order]
    assert majority_score(votes, by_value=False) == 1.0
    votes = [answer("3+7", True), *[answer("1+9", False)] * 3][::order]
    assert majority_score(votes, by_value=False) == 0.0
    assert majority_score([answer("3+7", True), answer("5+5", True)], by_value=False) == 1.0


def test_what_a_verifier_reads_need_not_be_marked_as_a_final_answer():
    verified = Problem("Q", "any", verify=lambda text: True)

    def extracted(text: str, problem: Problem, finish: str = "stop") -> str | None:
        move = Answer(Rollout([1], [2], [0.0], finish), text, Grade(True, 1.0))
        return evaluation.measured(move, problem, strict=True).extracted

    assert extracted(" MOVE: a1b2\n", verified) == "MOVE: a1b2"
    assert extracted("I move\n#### 17", verified) == "17"
    assert extracted(" MOVE: a1b2\n", Problem("Q", "5")) is None
    assert extracted("MOVE: a", verified, "length") is extracted(" \n", verified) is None


def test_the_standard_error_is_over_questions():
    assert standard_error([1.0, 0.0, 1.0, 0.0]) == pytest.approx(math.sqrt(1 / 3 / 4))
    assert standard_error([0.5]) is None


def test_dsr_and_err_come_from_the_2x2_table():
    problems = [Problem("a", "1"), Problem("b", "2")]
    to_the_first = [
        answer("1", True),
        answer("1", True, reflective=True),
        answer("3", False, reflective=True),
        answer(None, False, finish="length"),
    ]
    to_the_second = [
        answer("2", True),
        answer("5", False, reflective=True),
        answer("5", False, reflective=True),
        answer("2", True),
    ]
    s = summarize(problems, [to_the_first, to_the_second])
    assert s["direct_right"] == 3 and s["direct_wrong"] == 1
    assert s["reflective_right"] == 1 and s["reflective_wrong"] == 3
    assert s["DSR"] == 3 / 4  # of the right answers, those without a reflection
    assert s["ERR"] == 1 / 4  # of the reflections, those that end right
    assert s["pass@1"] == 0.5 and s["pass@4"] == 1.0 and s["pass@2"] == pytest.approx(5 / 6)
    assert s["maj@4"] == 0.5 * (1 + 0.5)
    assert s["truncated_share"] == s["no_answer_share"] == 1 / 8 and s["mean_tokens"] == 10


def test_rates_of_nothing_are_none_and_are_shown_so():
    s = summarize([Problem("a", "1")], [[answer("3", False)]])
    assert s["DSR"] is None and s["ERR"] is None and s["standard_error"] is None
    assert "none" in format_table({"before": s, "after": s})


# ---------------------------------------------------------------- the command


def test_command_line_prints_a_table_and_keeps_every_answer(learned, tmp_path, monkeypatch, capsys):
    out = tmp_path / "answers.json"
    problems = learned / "problems.jsonl"
    flags = ("--samples", 4, "--limit", 8, "--out", out, "--max-new-tokens", 16)
    arguments = (learned, "--data", problems, *flags)
    code, printed, _ = run_cli(monkeypatch, capsys, evaluation.main, *arguments)
    assert code == 0 and "accuracy (standard error)" in printed and "maj@4" in printed
    written = json.loads(out.read_text())
    answers = [a for problem in written["problems"] for a in problem["answers"]]
    assert len(written["problems"]) == 8 and len(answers) == 32
    assert written["summary"]["pass@1"] == sum(a["right"] for a in answers) / 32
    assert 0.1 < written["summary"]["pass@1"] < 0.8  # by construction of the model: about 0.475
    assert written["settings"]["temperature"] == 1.0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--limit", 0),
        ("--samples", 0),
        ("--tokens", 3),
        ("--out", "/nowhere/a.json"),
        ("--temperature", "nan"),
        ("--seed", 10**20),
    ],
)
def test_wrong_flags_end_with_one_line_and_code_2(learned, arguments, monkeypatch, capsys):
    given = (learned, "--data", learned / "problems.jsonl", *arguments)
    code, out, err = run_cli(monkeypatch, capsys, evaluation.main, *given)
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1


def test_a_question_without_room_is_named_before_the_first_is_answered(
    learned, tmp_path, monkeypatch, capsys
):
    """The command died at it after hours, and died there again when it went on."""
    data = tmp_path / "long.jsonl"
    questions = ["How many?", "How many " + "and " * 2000 + "so on?"]
    data.write_text("".join(json.dumps({"question": q, "answer": "2"}) + "\n" for q in questions))
    given = (learned, "--data", data, "--out", tmp_path / "answers.json")
    code, _, err = run_cli(monkeypatch, capsys, evaluation.main, *given)
    assert code == 2 and err.startswith(f"error: {data}: 'How many and and ")
    assert not partial_file(tmp_path).exists()


def test_a_file_that_cannot_be_written_is_one_line(learned, monkeypatch, capsys):
    """/proc is a folder in which nobody can make a file."""
    given = (learned, "--data", learned / "problems.jsonl", "--out", "/proc/answers.json")
    code, _, err = run_cli(monkeypatch, capsys, evaluation.main, *given)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("samples", [1, 2])  # greedy, and at temperature 1
@pytest.mark.parametrize("weight", [math.nan, 3e38])  # the latter is finite, unlike the logits
def test_a_model_whose_numbers_are_not_finite_has_no_score(
    learned, tmp_path, monkeypatch, capsys, samples, weight
):
    """It was 0.0%, with exit code 0."""
    folder = tmp_path / "model"
    shutil.copytree(learned, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = weight
    save_file(weights, folder / "model.safetensors")
    out = tmp_path / "answers.json"
    flags = ("--data", learned / "problems.jsonl", "--samples", samples, "--out", out)
    code, printed, err = run_cli(monkeypatch, capsys, evaluation.main, folder, *flags)
    assert code == 2 and printed == "" and not out.exists()
    error = err.splitlines()[-1]  # after the bar
    assert error.startswith("error: ") and "finite" in error


# ---------------------------------------------------------------- portion by portion


@pytest.fixture
def measure(learned, tmp_path, monkeypatch, capsys):
    """A function: the command on 16 problems in portions of 4; returns exit code, stderr, and the
    text of its file, if it is there."""
    out = tmp_path / "answers.json"

    def run(samples: int, *flags: object, killed_in: int | None = None):
        portions = []

        def killed(*arguments, **sampling):
            portions.append(sampling["problems_before"])
            if len(portions) == killed_in:
                raise KeyboardInterrupt
            return answers_to(*arguments, **sampling)

        sampling = ("--samples", samples, "--max-rows", 4 * samples, "--max-new-tokens", 16)
        given = (learned, "--data", learned / "problems.jsonl", "--out", out, *sampling, *flags)
        with monkeypatch.context() as patched:
            patched.setattr(evaluation, "answers_to", killed)
            code, _, err = run_cli(monkeypatch, capsys, evaluation.main, *given)
        return code, err, out.read_text() if out.exists() else "", portions

    return run


def partial_file(folder) -> Path:
    return folder / "answers.json.partial.jsonl"


@pytest.mark.parametrize("samples", [1, 2])  # greedy, and at temperature 1
def test_a_command_that_was_killed_goes_on_to_the_same_file(samples, measure, tmp_path):
    code, err, whole, portions = measure(samples)
    assert code == 0 and portions == [0, 4, 8, 12]
    accuracy = json.loads(whole)["summary"]["pass@1"]
    assert "16/16" in err and f"accuracy={accuracy:.1%}" in err
    assert not partial_file(tmp_path).exists()

    (tmp_path / "answers.json").unlink()
    code, _, text, _ = measure(samples, killed_in=3)
    assert code == 130 and text == ""
    settings, *records = read_lines(partial_file(tmp_path))
    assert settings["samples"] == samples
    assert [record["number"] for record in records] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert records == json.loads(whole)["problems"][:8]

    kept = partial_file(tmp_path).read_text()
    partial_file(tmp_path).write_text(kept[:-9])  # killed while it wrote the second portion
    code, err, again, portions = measure(samples)
    assert code == 0 and portions == [4, 8, 12] and again == whole
    assert not partial_file(tmp_path).exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--seed", 1), "expected seed 0, with which it was begun, found 1;"),
        (("--limit", 12), "expected limit None, with which it was begun, found 12;"),
    ],
)
def test_what_other_arguments_have_begun_is_refused(flags, said, measure, tmp_path):
    measure(2, killed_in=3)
    kept = partial_file(tmp_path).read_text()
    code, err, text, portions = measure(2, *flags)
    assert code == 2 and text == "" and portions == []
    assert err.startswith(f"error: {partial_file(tmp_path)}: {said}") and err.count("\n") == 1
    assert partial_file(tmp_path).read_text() == kept


def test_answers_to_other_problems_are_refused(measure, learned, tmp_path):
    """The file of the problems may have changed under its name."""
    measure(2, killed_in=3)
    kept = partial_file(tmp_path).read_text()
    partial_file(tmp_path).write_text(kept.replace('"answer": "2"', '"answer": "3"'))
    code, err, _, portions = measure(2)
    assert code == 2 and portions == [] and "expected what is asked now" in err


def test_a_command_that_answered_nothing_forbids_no_other(measure):
    assert measure(2, killed_in=1)[0] == 130
    assert measure(2, "--seed", 1)[0] == 0


@pytest.mark.parametrize("samples", [1, 2])  # greedy, and at temperature 1
def test_portions_answer_what_one_call_answers(samples, measure, learned):
    _, _, written, _ = measure(samples)
    problems = load_problems(str(learned / "problems.jsonl"), "test")
    policy = Policy.from_pretrained(str(learned), "cpu")
    temperature = float(samples > 1)
    summary, answers = evaluate(
        policy, problems, samples=samples, temperature=temperature, max_new_tokens=16
    )
    in_portions = json.loads(written)
    assert in_portions["summary"] == summary
    for record, group in zip(in_portions["problems"], answers, strict=True):
        assert [MeasuredAnswer(**answer) for answer in record["answers"]] == group


def test_smollm2_answers_gsm8k(smollm2, monkeypatch, capsys):
    problems = shared("data/gsm8k_test.jsonl")
    arguments = (smollm2, "--data", problems, "--limit", 2, "--max-new-tokens", 24)
    code, printed, _ = run_cli(monkeypatch, capsys, evaluation.main, *arguments)
    assert code == 0 and "2 questions x 1, temperature 0.0" in printed


# ---------------------------------------------------------------- a real checkpoint


@pytest.mark.slow
def test_greedy_answers_of_a_real_checkpoint_are_those_of_transformers(qwen):
    """30 problems of GSM8K, in transformers one at a time, so that nothing is padded there."""
    from transformers import AutoModelForCausalLM

    problems = load_problems(str(shared("data/gsm8k_test.jsonl")), "test", 30)
    policy = Policy.from_pretrained(str(qwen), "cpu")
    _, answers = evaluation.evaluate(policy, problems, max_new_tokens=160)
    theirs = AutoModelForCausalLM.from_pretrained(qwen, dtype=torch.float32)
    for problem, (ours,) in zip(problems, answers, strict=True):
        prompt = policy.tokenizer.question_prompt(problem.question)
        written = theirs.generate(torch.tensor([prompt]), max_new_tokens=160, do_sample=False)
        assert policy.tokenizer.decode(written[0, len(prompt) :].tolist()) == ours.text
