"""Runs side by side: which measurement stands for equal steps, and which for equal tokens."""

import json

import pytest
from conftest import run_cli

import report
from support.files import InputError
from support.summaries import format_table, side_by_side


def summary_of(share: float) -> dict:
    """The measures of an evaluation with this share of right answers."""
    summary = {
        "questions": 300,
        "samples": 1,
        "pass@1": share,
        "standard_error": 0.02,
        "DSR": 0.9,
        "ERR": None,
        "mean_tokens": 30,
    }
    summary |= {"no_answer_share": 0.0, "truncated_share": 0.0, "reflective_share": 0.1}
    for how in ("direct", "reflective"):
        summary |= {f"{how}_right": 1, f"{how}_wrong": 1}
    return summary


def write_run(out, points):
    """points: (step, generated tokens, share of right answers)."""
    out.mkdir()
    lines = []
    for step, tokens, share in points:
        where = {"stage": "eval", "step": step, "tokens_generated": tokens}
        lines.append(where | summary_of(share))
    lines.insert(1, {"stage": "rl", "step": 1, "reward": 0.5})
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


def test_a_table_lines_up_and_names_every_measure():
    several = {"pass@2": 0.5, "maj@2": 0.25, "maj@1": 0.5}
    before = summary_of(0.123) | several
    after = summary_of(0.5) | several | {"standard_error": None}
    lines = format_table({"before": before, "after": after}).split("\n")
    assert len({len(line) for line in lines}) == 1 and set(lines[1]) == set("|- ")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert rows[0] == ["", "before", "after"]
    assert rows[2] == ["accuracy (standard error)", "12.3% (2.0)", "50.0%"]
    assert ["ERR: reflections that end right", "none", "none"] in rows
    assert ["direct: right / wrong", "1 / 1", "1 / 1"] in rows
    # pass@1 is the accuracy, and so is the vote of one answer
    assert [row[0] for row in rows if "@" in row[0]] == ["pass@2", "maj@2"]


def test_other_runs_stand_at_the_steps_and_at_the_tokens_of_the_first(
    tmp_path, monkeypatch, capsys
):
    tapo = write_run(tmp_path / "tapo", [(0, 100, 0.3), (10, 1600, 0.6)])
    points = [(0, 0, 0.3), (5, 500, 0.4), (10, 1000, 0.5), (15, 1520, 0.7), (20, 2000, 0.8)]
    grpo = write_run(tmp_path / "grpo", points)
    columns = side_by_side([tapo, grpo])
    shown = {"before RL": 0.3, "tapo, step 10": 0.6}
    shown |= {"grpo, step 10": 0.5, "grpo, step 15 (equal tokens)": 0.7}
    assert {name: summary["pass@1"] for name, summary in columns.items()} == shown
    code, out, _ = run_cli(monkeypatch, capsys, report.main, tapo, grpo)
    assert code == 0 and "grpo, step 15 (equal tokens)" in out and "70.0% (2.0)" in out
    assert "\ngenerated tokens, million: before RL 0.00, tapo, step 10 0.00, " in out


def test_runs_with_one_name_are_named_by_their_paths(tmp_path):
    outs = []
    for parent, right in (("a", 0.6), ("b", 0.9)):
        (tmp_path / parent).mkdir()
        outs.append(write_run(tmp_path / parent / "tapo", [(0, 0, 0.3), (10, 1600, right)]))
    columns = side_by_side(outs)
    assert [columns[f"{out}, step 10"]["pass@1"] for out in outs] == [0.6, 0.9]


def test_runs_from_other_policies_are_not_compared(tmp_path, monkeypatch, capsys):
    runs = [
        write_run(tmp_path / name, [(0, 0, right), (5, 9, 0.5)])
        for name, right in (("a", 0.3), ("b", 0.4))
    ]
    with pytest.raises(InputError, match=r"expected pass@1 0.3 before RL.*found 0.4"):
        side_by_side(runs)
    code, out, err = run_cli(monkeypatch, capsys, report.main, *runs)
    assert code == 0 and "page.html" in out  # the page has all that is true of each alone
    assert "no table of these runs" in err and "another policy, other problems" in err


@pytest.mark.parametrize("measure", ["questions", "samples", "mean_tokens"])
def test_runs_that_were_measured_otherwise_are_not_compared(tmp_path, measure):
    """With few problems two runs on other ones often start from the same accuracy."""
    runs = [write_run(tmp_path / name, [(0, 0, 0.3), (5, 9, 0.5)]) for name in "ab"]
    side_by_side(runs)
    path = runs[1] / "metrics.jsonl"
    records = [json.loads(line) | {measure: 7} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(InputError, match=f"{runs[1]}: expected {measure} .* found 7"):
        side_by_side(runs)


def test_a_folder_without_measurements_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        side_by_side([tmp_path])
    with pytest.raises(InputError, match="found 1"):
        side_by_side([write_run(tmp_path / "a", [(0, 0, 0.3)])])
