"""What a step measures: shares that count what they say, and nothing made up of nothing."""

import json
import math

import pytest
import torch

from augment import Construction, Pair
from checker import Grade
from rollout import Answer, Group, Rollout
from support.files import InputError
from support.metrics import (
    Means,
    construction_counts,
    construction_metrics,
    construction_record,
    counts_of_steps,
    gradient_metrics,
    gradients,
    is_concrete,
    json_line,
    rollout_metrics,
    whole_samples,
)
from support.reflection import is_reflective
from support.runs import RunFolder
from tasks import Problem

PROBLEM = Problem("Q?", "5")
RIGHT = Grade(right=True, reward=0.5)  # as a fork of the reward might pay it
WRONG = Grade(right=False, reward=0.0)


def answer(tokens: int, text: str, grade: Grade, finish: str = "stop") -> Answer:
    return Answer(Rollout([1], [2] * tokens, [-0.25] * tokens, finish), text, grade)


def construction(question: int, reward: float, **changes) -> Construction:
    fields = {"parsed": True, "grade": Grade(reward > 0, reward), **changes}
    return Construction(Pair(question, PROBLEM, "#### 6", "#### 5", ["#### 5"]), **fields)


# ---------------------------------------------------------------- answers and constructions


def test_answers_are_counted_by_what_is_right_and_by_what_was_paid():
    cut_off = answer(4, "Wait, that is", WRONG, "length")
    groups = [
        Group(PROBLEM, [answer(2, "#### 5", RIGHT), cut_off]),
        Group(PROBLEM, [answer(3, "#### 5", RIGHT)] * 2),
    ]
    assert rollout_metrics(groups, eligible=[True, False]) == {
        "reward": 1.5 / 4,
        "right_share": 3 / 4,
        "mixed_share": 1 / 2,
        "eligible_share": 1 / 2,
        "truncated_share": 1 / 4,
        "wrong_and_truncated": 1,
        "reflective_share": 1 / 4,
        "length": 12 / 4,
        "entropy": 0.25,
    }


def test_flat_groups_of_constructions_are_counted():
    """A G_ref whose rewards are all equal has no gradient (TAPO's weak point)."""
    rewards_of_question = {0: (1, 1, 1), 1: (1, 0), 2: (0,)}
    made = []
    for question, rewards in rewards_of_question.items():
        made += [construction(question, reward) for reward in rewards]
    made.append(construction(1, 0, parsed=False, refused="truncated"))
    metrics = construction_metrics(made)
    assert metrics["ref_flat_share"] == pytest.approx(2 / 3)
    assert metrics["kept_share"] == pytest.approx(6 / 7)


def repair(prefix: str, diagnosis: str, sibling: str = "#### 4", **changes) -> Construction:
    """A right rewriting of a wrong answer in three steps."""
    pair = Pair(0, PROBLEM, "3+3=6\n2+2=5\n#### 5", sibling, [sibling])
    fields = {"parsed": True, "grade": RIGHT, "prefix_tokens": 9, "diagnosis_tokens": 4, **changes}
    return Construction(pair, parts=[prefix, diagnosis, "2+2=4\n#### 4"], **fields)


STEPS = "3+3=6\n2+2=5"
ABOUT = "Wait, 2+2 is not 5."


@pytest.mark.parametrize(
    ("made", "counted"),
    [
        (repair(STEPS, ABOUT), "pairs, parsed, verbatim, diagnosis, concrete, right"),
        (repair("3+3=6\n2+2", ABOUT), "pairs, parsed, diagnosis, concrete, right"),
        (repair(STEPS, "Wait, no."), "pairs, parsed, verbatim, diagnosis, right"),
        (repair(STEPS, "4.", diagnosis_tokens=0), "pairs, parsed, verbatim, right"),
        (repair("", ABOUT, prefix_tokens=0), "pairs, parsed, right"),
        (repair(STEPS, ABOUT, grade=WRONG), "pairs, parsed, verbatim, diagnosis, concrete"),
        (repair(STEPS, ABOUT, refused="too long"), "pairs, parsed"),
        (repair(STEPS, ABOUT, refused="no <analysis>", parsed=False), "pairs"),
    ],
)
def test_what_a_construction_counts_as(made, counted):
    counts = construction_counts([made, made])
    names = ["pairs", "parsed", "verbatim", "diagnosis", "concrete", "right"]
    assert counts == {name: 2 * (name in counted.split(", ")) for name in names}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (repair(STEPS, ABOUT), True),
        (repair(STEPS, "Wait, 3+3 is not 6."), False),  # that is the step before
        (repair(STEPS, "Wait, it is 4."), True),  # y+ has it, y- has not
        (repair(STEPS + "\nSo that is it.", "Wait, no."), False),
        (repair(STEPS + "\nSo that is it.", "Wait, no.", sibling="#### 5"), True),  # no numbers
        (repair(STEPS, ABOUT, refused="too long"), False),
    ],
)
def test_a_diagnosis_is_concrete_that_names_a_number_of_the_step_or_of_what_is_right(
    made, expected
):
    assert is_concrete(made) is expected
    assert construction_metrics([made, made])["concrete"] == 2 * expected


def test_steps_that_an_older_version_logged_are_not_counted():
    """They do not say how many diagnoses were concrete."""
    step = {"pairs": 9, "trajectories": 7, "taught_rows": 5, "concrete": 3}
    old = {"pairs": 9, "micro_reflective": 1}
    assert counts_of_steps([old, step, step]) == {
        "steps": 2,
        "pairs": 18,
        "trajectories": 14,
        "with an advantage": 10,
        "with a concrete diagnosis": 6,
    }
    assert counts_of_steps([old])["pairs"] == 0


def test_a_construction_is_logged_whole_and_as_json():
    made = construction(3, 0.5, y_ref="#### 5", token_ids=[7, 8], parts=["", "", "#### 5"])
    record = construction_record(made, step=4)
    assert json.loads(json.dumps(record)) == record
    expected = {"step": 4, "problem": "Q?", "gold": "5", "question_number": 3, "wrong": "#### 6"}
    expected |= {"sibling": "#### 5", "y_ref": "#### 5", "token_ids": [7, 8]}
    expected |= {"right": True, "reward": 0.5, "parts": ["", "", "#### 5"]}
    assert expected.items() <= record.items()


@pytest.mark.parametrize(
    ("text", "reflective"),
    [
        ("2+2=5\nWait, that is off.", True),
        ("Hold on. Let me re-check.", True),
        ("I made a mistake above", True),
        ("so 2+2=5 is wrong", True),
        ("But wait, 2+2=4", True),
        ("2+2=5\n**Wait**, no", True),
        ("Let me double check that.", True),
        ("Let’s re-examine it", True),
        ("She waited for 3 hours; the weight is 5.", False),
        ("They had to wait 5 minutes", False),
        ("#### 5", False),
        ("He checks 3 items", False),
    ],
)
def test_a_reflection_is_a_phrase_and_not_a_word_that_looks_like_one(text, reflective):
    assert is_reflective(text) is reflective


# ---------------------------------------------------------------- the update


def test_means_are_of_all_micro_batches_and_of_what_was_counted():
    means = Means()
    ones = torch.ones(1, 2)
    means.add("a", torch.tensor([[1.0, 2.0]]), ones)
    means.add("a", torch.tensor([[9.0, 7.0]]), torch.tensor([[1.0, 0.0]]))
    means.add("b", torch.tensor([[1.0, 2.0]]), 0 * ones)  # no token of this part
    means.add("c", torch.tensor([[True, False]]), ones)  # a share
    assert means.result() == {"a": 4.0, "c": 0.5}
    assert Means().result() == {}


def test_gradients_of_two_losses_are_told_apart():
    line = torch.nn.Linear(2, 1, bias=False)
    line.weight.grad = torch.tensor([[3.0, 0.0]])
    from_sampled = gradients(line)
    line.weight.grad += torch.tensor([[-2.0, 2.0]])
    metrics = gradient_metrics(line, from_sampled)
    assert metrics["grad_norm_sampled"] == 3.0
    assert metrics["grad_norm_ref"] == pytest.approx(8**0.5)
    assert metrics["grad_cosine"] == pytest.approx(-(0.5**0.5))


def test_a_gradient_of_zeros_has_no_direction():
    line = torch.nn.Linear(2, 1, bias=False)
    line.weight.grad = torch.tensor([[3.0, 0.0]])
    metrics = gradient_metrics(line, gradients(line))
    assert metrics == {"grad_norm_sampled": 3.0, "grad_norm_ref": 0.0, "grad_cosine": None}


# ---------------------------------------------------------------- samples for the eye


def test_whole_samples_are_a_right_answer_a_wrong_one_and_a_construction():
    groups = [Group(PROBLEM, [answer(1, "#### 6", WRONG), answer(1, "#### 5", RIGHT)])]
    parts = ["2+2=5", "Wait, no.", "2+2=4\n#### 5"]
    made = [
        construction(0, 0.0, diagnosis_tokens=1, parts=["", "", "wrong"]),
        construction(0, 1.0, parts=["", "", "without a diagnosis"]),
        construction(0, 1.0, diagnosis_tokens=2, parts=parts),
    ]
    shown = whole_samples(groups, made, step=7)
    assert shown == (
        "--- step 7\n\n"
        "[sampled, reward 0.5, gold 5] Q?\n#### 5\n\n"
        "[sampled, reward 0, gold 5] Q?\n#### 6\n\n"
        "[constructed, reward 1] Q?\n"
        "  wrong prefix | 2+2=5\n"
        "     diagnosis | Wait, no.\n"
        "    correction | 2+2=4\n"
        "               | #### 5\n"
    )


def test_what_a_step_does_not_have_is_not_shown():
    groups = [Group(PROBLEM, [answer(1, "#### 6", WRONG)])]
    assert whole_samples(groups, [], step=1) == (
        "--- step 1\n\n[sampled, reward 0, gold 5] Q?\n#### 6\n"
    )


# ---------------------------------------------------------------- what is written down


def test_a_record_is_a_line_of_json():
    record = {"step": 3, "loss": -0.5, "kl": None, "seconds": {"sample": 0.25}}
    assert json_line(record) == json.dumps(record) + "\n"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["loss", "seconds", "parts"])
def test_a_metric_that_is_not_finite_is_named_and_not_written(tmp_path, value, field):
    """metrics.jsonl held a bare NaN, which is not JSON."""
    wrapped = {"loss": value, "seconds": {"update": value}, "parts": [1.0, value]}[field]
    folder = RunFolder(tmp_path)
    folder.log("metrics.jsonl", {"step": 1, "loss": 0.5})
    says = rf"step 2, {field}: expected finite numbers, found .*(nan|inf)"
    with pytest.raises(InputError, match=says):
        folder.log("metrics.jsonl", {"step": 2, "reward": 0.0, field: wrapped})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 0.5}\n'
