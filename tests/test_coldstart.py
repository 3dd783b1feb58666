"""The cold start: what its examples teach, whose mistakes they are made of, and how well it is
measured."""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from conftest import sentencepiece
from small_runs import make_run

import coldstart
from augment import Construction, Pair, parse_reply, synthesis_prompt
from checker import Grade
from coldstart import (
    SKILLS,
    builtin_examples,
    construction_examples,
    construction_report,
    example_text,
    examples_from,
    in_new_orders,
    is_worth_learning,
    own_examples,
    own_mistakes,
)
from data import load_problem_sets
from eval import evaluate
from rollout import Answer, Group, Policy, Rollout, Trajectory
from support.files import read_lines
from support.hinted import hinted_question
from support.metrics import fidelity
from support.reflection import is_reflective
from support.runs import RunFolder
from support.settings import Settings
from tasks import Problem, builtin, task_with_mistakes
from train import load_policy

ROOT = Path(__file__).parents[1]

# ---------------------------------------------------------------- examples for the tiny model


def tiny_examples(mix: str) -> tuple[Policy, Iterator[Trajectory]]:
    """A tiny model that knows nothing, and its examples from the first half of a cold start."""
    settings = Settings(stage="coldstart", coldstart_mix=mix)
    policy = load_policy(settings, None)
    return policy, builtin_examples(policy, [], builtin, settings, RunFolder("unused"))


def test_reflecting_examples_teach_to_repair_and_not_to_err():
    """The mistake stands in the prompt: no token of it is learned."""
    policy, examples = tiny_examples("0,1,0,0,0")
    tokenizer = policy.tokenizer
    for example in islice(examples, 50):
        given = tokenizer.decode(example.prompt_ids)
        diagnosis, *rest = tokenizer.decode(example.token_ids).strip().split("\n")
        assert diagnosis.startswith("Wait, ") and diagnosis.endswith(" is wrong.")
        mistake = diagnosis.removeprefix("Wait, ").removesuffix(" is wrong.")
        assert given.rstrip().endswith(mistake)
        assert rest[-1].startswith("#### ") and example.token_ids[-1] == tokenizer.end_id


def test_other_examples_teach_their_request_too():
    policy, examples = tiny_examples("1,0,1,1,1")
    some = list(islice(examples, 40))
    assert all(len(example.prompt_ids) == 1 for example in some)
    texts = [policy.tokenizer.decode(e.prompt_ids + e.token_ids) for e in some]
    for words in ("\nReflect:", "\nRewrite:", "\nAgain:", "?\nAnswer:"):
        assert any(words in text for text in texts)


def test_cold_start_examples_teach_the_formats_that_are_read_back():
    rng = random.Random(0)
    for problem in islice(builtin.problems("train", 0), 50):
        question = problem.question
        solution = problem.solution
        wrong = builtin.spoil(problem, rng)
        made = {skill: example_text(skill, problem, wrong, solution, "brief") for skill in SKILLS}
        assert made["solve"] == (question, solution)
        bare, reflective = made["reflect"]
        assert bare == question and is_reflective(reflective)

        formats = (("construct", "prefix", reflective), ("full", "full", solution))
        for skill, reconstruction, text in formats:
            request, reply = made[skill]
            assert request == synthesis_prompt(question, wrong, solution, "brief", reconstruction)
            parsed = parse_reply(reply)
            assert not parsed.refused and parsed.reconstruction == text
            assert "should be" in parsed.analysis

        request, answer = made["hinted"]
        assert request == hinted_question(question, solution, "brief") and answer == solution
        assert "wrong:" not in request  # the teacher sees no mistake


def test_own_mistakes_come_with_a_sound_right_sibling(learned, tmp_path):
    run = make_run(learned, tmp_path / "run")
    solved = [replace(p, solution=f"#### {p.answer}") for p in run.problems]
    mistakes = own_mistakes(run.policy, solved, run.settings, 0)
    assert len(mistakes) > 10
    for number, wrong, right in mistakes:
        problem = solved[number]
        assert right == problem.solution and wrong.split("\n")[-1] != problem.solution
    # with another line before it, every right answer of this policy is luck
    longer = [replace(p, solution="1+1=2\n" + p.solution) for p in solved]
    assert own_mistakes(run.policy, longer, run.settings, 0) == []


# ---------------------------------------------------------------- a checkpoint's own examples


def rounds_of(monkeypatch, folder: Path, learned: int = 1, **changes) -> Iterator[Trajectory]:
    """The examples of two rounds of 3 updates of 2. Each portion of questions gives two examples,
    whose prompt is the portion's number."""

    def examples_from(policy, problems, settings, number):
        examples = [([number], [token]) for token in (8, 9)]
        counts = {"questions": len(problems), "pairs": 4, "learned": learned}
        return {"examples": examples, "counts": counts}

    monkeypatch.setattr(coldstart, "examples_from", examples_from)
    settings = Settings(
        coldstart_updates=5,
        coldstart_batch=2,
        coldstart_rounds=2,
        coldstart_examples=6,
        questions=2,
    )
    settings = replace(settings, **changes)
    problems = [Problem(str(i), "1") for i in range(7)]
    run = RunFolder(folder)
    run.path.mkdir(exist_ok=True)
    return own_examples(Policy(None, None), problems, settings, run)


def test_each_round_learns_from_what_the_policy_of_its_moment_gave(tmp_path, monkeypatch, capsys):
    """Two portions of questions are enough for a round; its updates come before the next one."""
    examples = rounds_of(monkeypatch, tmp_path / "run")
    first = list(islice(examples, 6))
    assert capsys.readouterr().out == (
        "cold start, after 0 updates: 4 questions, 8 pairs, 2 learned\n"
    )
    second = list(islice(examples, 6))
    assert "after 3 updates: 3 questions, 8 pairs, 2 learned" in capsys.readouterr().out
    assert {example.prompt_ids[0] for example in first} == {0, 1}
    assert {example.prompt_ids[0] for example in second} == {2, 3}
    steps = [record["step"] for record in read_lines(tmp_path / "run/collected.jsonl")]
    assert steps == [0, 0, 3, 3]

    again = rounds_of(monkeypatch, tmp_path / "run")  # a run that is resumed: nothing is asked anew
    monkeypatch.setattr(coldstart, "examples_from", Mock(side_effect=AssertionError))
    assert list(islice(again, 12)) == first + second


@pytest.mark.parametrize(("questions", "portions"), [(3, {0, 1}), (2000, {0, 1, 2, 3})])
def test_a_round_asks_no_more_questions_than_it_may_or_than_there_are(
    tmp_path, monkeypatch, questions, portions
):
    """A policy that is seldom right would be asked the same questions again and again."""
    changes = {"coldstart_examples": 100, "coldstart_questions": questions, "coldstart_updates": 16}
    examples = rounds_of(monkeypatch, tmp_path / "run", **changes)
    assert {example.prompt_ids[0] for example in islice(examples, 16)} == portions


def test_each_pass_over_a_rounds_examples_has_an_order_of_its_own():
    size = 20
    examples = [Trajectory([i], [i]) for i in range(size)]
    orders = []
    for number in (0, 1):
        drawn = [e.prompt_ids[0] for e in islice(in_new_orders(examples, Settings(), number), 40)]
        orders += [drawn[:size], drawn[size:]]
    assert all(sorted(order) == list(range(size)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_an_example_longer_than_the_context_is_left_out(monkeypatch):
    problem = Problem("Q", "4")
    rollouts = [Rollout([1, 2], [3] * length, [0.0] * length, "stop") for length in (4, 5)]
    group = Group(problem, [Answer(rollout, "4", Grade(True, 1.0)) for rollout in rollouts])
    monkeypatch.setattr(coldstart, "answer_problems", lambda *_: [group])
    monkeypatch.setattr(coldstart, "construct", lambda *_: [])
    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=6))
    found = examples_from(Policy(model, None), [problem], Settings(), 0)
    assert found["examples"] == [([1, 2], [3] * 4)]


def test_a_cold_start_that_can_learn_no_construction_says_so(tmp_path, monkeypatch, capsys):
    """Users paid for TAPO and got GRPO, and nobody told them."""
    next(rounds_of(monkeypatch, tmp_path / "run", learned=0))
    err = capsys.readouterr().err
    assert "note: nothing that was constructed is worth learning from" in err
    next(rounds_of(monkeypatch, tmp_path / "other"))
    assert "note:" not in capsys.readouterr().err


@pytest.mark.parametrize("updates", [3, 8, 13])
def test_own_mistakes_come_in_the_second_half_however_long_it_is(updates, monkeypatch):
    """Every 4 updates from its first one on, whether or not that is a multiple of 4."""
    asked = {}

    def collected(number, updates_made, collect):
        assert number not in asked
        asked[number] = updates_made
        return []

    settings = Settings(coldstart_updates=updates, coldstart_batch=2, coldstart_refresh=4)
    folder = SimpleNamespace(collected=collected)
    task = task_with_mistakes("builtin")
    monkeypatch.setattr(coldstart, "as_trajectory", lambda *_: None)
    examples = coldstart.builtin_examples(Policy(None, None), [], task, settings, folder)
    list(islice(examples, 2 * updates))
    half = math.ceil(updates / 2)
    assert list(asked.values()) == list(range(half, updates, 4))


def construction(diagnosis: str, sibling: str = "2+2=4", **changes) -> Construction:
    parts = ["A plan.\n2+2=5", diagnosis, "2+2=4"]
    pair = Pair(0, Problem("Q", "4"), "A plan.\n2+2=5", sibling, [sibling])
    made = Construction(pair, kept=parts[0], parts=parts)
    made.y_ref = "\n".join(parts)
    made.grade = Grade(True, 1.0)
    made.prefix_tokens = 3
    made.diagnosis_tokens = 2
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("made", "is_learned"),
    [
        (construction("Wait, 2+2 is 4, not 5."), True),
        (construction("Wait, 2+2 is not 5."), False),  # it does not say what is right
        (construction("Wait, let us do it again."), False),  # it says nothing
        (construction("Wait, 7 is wrong."), False),  # it is about something else
        (construction("Wait, you wrote 5, and it is 4."), False),  # it speaks to somebody
        (construction("Wait, 2+2 is 5.", sibling="5-2"), False),  # no number is y+'s alone
        (construction("Wait, it is 4.", parts=["", "Wait, it is 4.", "2+2=4"]), False),
        (construction("Wait, 4.", parts=["2+2=5", "Wait, 4.", "Wait, no.\n2+2=4"]), False),
        (construction("Wait, it is 4.", parts=["2+2=5", "Wait, it is 4.", ""]), False),
        (construction("Wait, it is 4.", grade=Grade(False, 0.0)), False),
        (construction("Wait, it is 4.", prefix_tokens=0), False),
        (construction("Wait, it is 4.", diagnosis_tokens=0), False),
    ],
)
def test_learned_from_is_an_assisted_repair_that_says_what_is_right(made, is_learned):
    assert is_worth_learning(made, Settings(synthesis="assisted")) is is_learned


@pytest.mark.parametrize(
    ("diagnosis", "is_learned"),
    [
        ("Wait, 2+2 is not 5.", True),
        ("Wait, it is 4.", True),
        ("Wait, 7 is wrong.", False),
        ("Wait, let us do it again.", False),
        ("Wait, you wrote 5.", False),
    ],
)
def test_learned_from_is_an_unassisted_repair_that_is_concrete(diagnosis, is_learned):
    made = construction(diagnosis)
    assert is_worth_learning(made, Settings(synthesis="instruct")) is is_learned
    assert not is_worth_learning(replace(made, grade=Grade(False, 0.0)), Settings())


def test_of_rewrites_without_a_wrong_prefix_every_right_one_is_learned_from():
    settings = Settings(reconstruction="full")
    made = construction("It is 4.", prefix_tokens=0, diagnosis_tokens=0)
    assert is_worth_learning(made, settings)
    assert not is_worth_learning(replace(made, grade=Grade(False, 0.0)), settings)


def repaired() -> Construction:
    """As --synthesis assisted makes it."""
    diagnosis = "Wait, it should be 4."
    made = construction(diagnosis, analysis=diagnosis, reply=" 4.\n2+2=4")
    return replace(made, y_ref=made.kept + "\n\nWait, it should be" + made.reply)


def test_an_assisted_construction_teaches_the_papers_format_and_to_go_on(learned):
    tokenizer = Policy.from_pretrained(str(learned), "cpu").tokenizer
    made = repaired()
    settings = Settings(synthesis="assisted", coldstart_reflect=False)
    constructing, going_on = construction_examples(made, tokenizer, settings)

    request = synthesis_prompt("Q", made.pair.wrong, made.pair.sibling, "instruct", "prefix")
    assert constructing.prompt_ids == tokenizer.prompt(request)
    parsed = parse_reply(tokenizer.decode(constructing.token_ids))
    assert parsed == ("Wait, it should be 4.", made.y_ref, "")
    assert tokenizer.decode(going_on.prompt_ids).endswith("2+2=5\n\nWait, it should be")
    assert tokenizer.decode(going_on.token_ids) == " 4.\n2+2=4"
    for example in (constructing, going_on):
        assert example.token_ids[-1] == tokenizer.end_id
    alone = construction_examples(made, tokenizer, replace(settings, synthesis="instruct"))
    assert alone == [constructing]


def test_with_coldstart_reflect_a_construction_teaches_to_repair_the_mistake_too(learned):
    tokenizer = Policy.from_pretrained(str(learned), "cpu").tokenizer
    made = repaired()
    made.token_ids = [*tokenizer.encode(made.y_ref), tokenizer.end_id]
    made.prefix_tokens = len(tokenizer.encode(made.parts[0]))
    settings = Settings(synthesis="instruct")
    _, reflecting = construction_examples(made, tokenizer, settings)

    question = tokenizer.question_prompt("Q")
    assert reflecting.prompt_ids[: len(question)] == question
    given = tokenizer.decode(reflecting.prompt_ids)
    assert given.endswith(made.parts[0])  # the mistake is not learned
    assert tokenizer.decode(reflecting.token_ids).strip().startswith("Wait, it")
    assert reflecting.token_ids[-1] == tokenizer.end_id


def test_what_a_construction_teaches_has_the_spaces_of_its_reply_with_sentencepiece():
    """On its own the reply would begin with one more, and the analysis with one."""
    tokenizer = sentencepiece("Prepend")
    settings = Settings(synthesis="assisted", coldstart_reflect=False)
    examples = construction_examples(repaired(), tokenizer, settings)
    texts = [tokenizer.decode(e.prompt_ids + e.token_ids) for e in examples]
    assert "<|assistant|>\n<analysis>" in texts[0]
    assert texts[1].endswith("2+2=5\n\nWait, it should be 4.\n2+2=4")


# ---------------------------------------------------------------- how well it went


@pytest.mark.parametrize(
    ("y_ref", "verbatim", "quoted"),
    [
        ("8-2=6\n6+1=9\nWait, 6+1=9 is wrong.\n6+1=7\n#### 7", 1, 1),
        ("8-2=6\n6+1=9\nWait, 8-2=6 is wrong.\n6+1=7\n#### 7", 1, 0),  # it blames another line
        ("8-2=6\nWait, 8-2=6 is wrong.\n6+1=7\n#### 7", 0, 0),  # it turns too early
        ("8-2=6\n6+1=9\n9+1=10\nWait, 6+1=9 is wrong.\n6+1=7\n#### 7", 0, 1),  # and too late
        ("8-2=5\n6+1=9\nWait, 6+1=9 is wrong.\n6+1=7\n#### 7", 0, 1),  # not word for word
        ("8-2=6\n6+1=9", 0, 0),
    ],
)
def test_fidelity_is_a_verbatim_prefix_to_the_first_error_and_a_diagnosis_that_quotes_it(
    y_ref, verbatim, quoted
):
    problem = Problem("Q", "7", "8-2=6\n6+1=7\n#### 7")
    wrong = "8-2=6\n6+1=9\n9+1=10\n#### 10"
    made = Construction(Pair(0, problem, wrong, "", []), parsed=True, y_ref=y_ref)
    refused = replace(made, refused="truncated")
    expected = {"verbatim_share": verbatim, "quoted_share": quoted}
    assert fidelity([made, refused]) == expected


def test_the_report_counts_questions_by_their_right_answers(learned, tmp_path):
    run = make_run(learned, tmp_path / "run", report_questions=12)
    report = construction_report(run.policy, run.problems * 3, run.settings)
    by_right = report["groups_by_right_answers"]
    assert sum(by_right) == 12 and len(by_right) == 9
    right = sum(n * count for n, count in enumerate(by_right))
    assert report["reward"] == pytest.approx(right / 96) and report["parse_share"] > 0.5
    assert "verbatim_share" not in report  # nobody knows the first error of a file's problems


# ---------------------------------------------------------------- the one that the demo begins with


def test_the_cold_start_of_the_demo_can_do_what_its_metrics_say():
    folder = ROOT / "results" / "coldstart"
    settings = Settings(**json.loads((folder / "settings.json").read_text()))
    stated, measured_before = read_lines(folder / "metrics.jsonl")[-2:]
    assert (folder / "model.safetensors").stat().st_size < 4_000_000

    policy = Policy.from_pretrained(str(folder), "cpu")
    problems, held_out = load_problem_sets(settings)
    assert len(held_out) == measured_before["questions"]
    measured, _ = evaluate(policy, held_out, temperature=1.0, max_new_tokens=128)
    errors = measured["standard_error"], measured_before["standard_error"]
    assert abs(measured["pass@1"] - measured_before["pass@1"]) < 3 * math.hypot(*errors)

    # A quarter of the questions that were asked then: some 40 constructions instead of 161. Shares
    # near 0.8 have a standard error of 0.06 there.
    report = construction_report(policy, problems, replace(settings, report_questions=32))
    assert report["trajectories"] >= 20
    for name in ["right_share", "parse_share", "ref_right_share", "verbatim_share", "quoted_share"]:
        assert abs(report[name] - stated[name]) < 0.25, name
