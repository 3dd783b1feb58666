"""The cold start: what its examples teach, whose mistakes they are made of, and how well it is measured."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from test_train import make_run

from augment import Construction, Group
from coldstart import builtin_examples, construction_report, fidelity, own_mistakes
from support.runs import Config, Run
from tasks.builtin import Problem


def tiny_run(out: Path, mix: str) -> Run:
    return Run(Config(out=str(out), stage="coldstart", coldstart_mix=mix, eval_problems=3))


def test_reflecting_examples_teach_to_repair_and_not_to_err(tmp_path):
    """The mistake stands in the prompt: no token of it is learned."""
    run = tiny_run(tmp_path / "run", "0,1,0,0,0")
    for row in islice(builtin_examples(run), 50):
        given, learned = run.tokenizer.decode(row.prompt_ids), run.tokenizer.decode(row.token_ids)
        first, *rest = learned.strip().split("\n")
        assert first.startswith("Wait, ") and first.endswith(" is wrong.")
        assert given.rstrip().endswith(first[len("Wait, ") : -len(" is wrong.")])
        assert rest[-1].startswith("#### ") and row.token_ids[-1] == run.tokenizer.eos_id


def test_other_examples_teach_their_request_too(tmp_path):
    run = tiny_run(tmp_path / "run", "1,0,1,1,1")
    rows = list(islice(builtin_examples(run), 40))
    assert all(len(row.prompt_ids) == 1 for row in rows)
    texts = [run.tokenizer.decode(row.prompt_ids + row.token_ids) for row in rows]
    for words in ("\nReflect:", "\nRewrite:", "\nAgain:", "?\nAnswer:"):
        assert any(words in text for text in texts)


def test_own_mistakes_come_with_a_sound_right_sibling(learned, tmp_path):
    run = make_run(learned, tmp_path / "run")
    run.problems = [replace(p, solution=f"#### {p.answer}") for p in run.problems]
    mistakes = own_mistakes(run, 0)
    assert len(mistakes) > 10
    for problem, wrong, right in mistakes:
        assert right == problem.solution and wrong.split("\n")[-1] != problem.solution
    run.problems = [replace(p, solution="1+1=2\n" + p.solution) for p in run.problems]  # now all right ones are luck
    assert own_mistakes(run, 0) == []


@pytest.mark.parametrize(
    ("text", "verbatim", "quoted"),
    [
        ("8-2=6\n6+1=9\nWait, 6+1=9 is wrong.\n6+1=7\n#### 7", 1, 1),
        ("8-2=6\n6+1=9\nWait, 8-2=6 is wrong.\n6+1=7\n#### 7", 1, 0),  # it blames another line
        ("8-2=6\nWait, 8-2=6 is wrong.\n6+1=7\n#### 7", 0, 0),  # it turns too early
        ("8-2=6\n6+1=9\n9+1=10\nWait, 6+1=9 is wrong.\n6+1=7\n#### 7", 0, 1),  # and too late
        ("8-2=5\n6+1=9\nWait, 6+1=9 is wrong.\n6+1=7\n#### 7", 0, 1),  # not word for word
        ("8-2=6\n6+1=9", 0, 0),
    ],
)
def test_fidelity_is_a_verbatim_prefix_to_the_first_error_and_a_diagnosis_that_quotes_it(text, verbatim, quoted):
    groups = [Group(Problem("Q", "7", "8-2=6\n6+1=7\n#### 7"), [], [], [])]
    made = Construction(0, "Q", "7", "8-2=6\n6+1=9\n9+1=10\n#### 10", "", parsed=True, text=text)
    refused = replace(made, refused="truncated")
    assert fidelity(groups, [made, refused]) == {"verbatim_share": verbatim, "quoted_share": quoted}


def test_the_report_counts_questions_by_their_right_answers(learned, tmp_path):
    run = make_run(learned, tmp_path / "run", eval_problems=12)
    run.problems = run.problems * 3
    report = construction_report(run)
    assert sum(report["groups_by_right_answers"]) == 12 and len(report["groups_by_right_answers"]) == 9
    right = sum(n * count for n, count in enumerate(report["groups_by_right_answers"]))
    assert report["reward"] == pytest.approx(right / 96) and report["parse_share"] > 0.5
    assert "verbatim_share" not in report  # nobody knows the first error of a file's problems
