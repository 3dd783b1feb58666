"""Runs side by side: which measurement stands for equal steps, and which for equal tokens."""

import json

import pytest
from conftest import run_cli

from support import report
from support.hub import InputError
from support.report import side_by_side


def write_run(out, points):
    """points: (step, generated tokens, share of right answers)."""
    out.mkdir()
    rest = {"standard_error": 0.02, "DSR": 0.9, "ERR": None, "no_answer_share": 0.0, "truncated_share": 0.0}
    rest |= {f"{how}_{what}": 1 for how in ("direct", "reflective") for what in ("right", "wrong")} | {
        "mean_tokens": 30
    }
    lines = [{"stage": "eval", "step": s, "tokens_generated": t, "pass@1": p, **rest} for s, t, p in points]
    lines.insert(1, {"stage": "rl", "step": 1, "reward": 0.5})
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


def test_other_runs_stand_at_the_steps_and_at_the_tokens_of_the_first(tmp_path, monkeypatch, capsys):
    tapo = write_run(tmp_path / "tapo", [(0, 100, 0.3), (10, 1600, 0.6)])
    grpo = write_run(tmp_path / "grpo", [(0, 0, 0.3), (5, 500, 0.4), (10, 1000, 0.5), (15, 1520, 0.7), (20, 2000, 0.8)])
    columns = side_by_side([tapo, grpo])
    shown = {"before RL": 0.3, "tapo, step 10": 0.6, "grpo, step 10": 0.5, "grpo, step 15 (equal tokens)": 0.7}
    assert {name: summary["pass@1"] for name, summary in columns.items()} == shown
    code, out, _ = run_cli(monkeypatch, capsys, report.main, tapo, grpo)
    assert code == 0 and "grpo, step 15 (equal tokens)" in out and "70.0% (2.0)" in out


def test_runs_with_one_name_are_named_by_their_paths(tmp_path):
    outs = []
    for parent, right in (("a", 0.6), ("b", 0.9)):
        (tmp_path / parent).mkdir()
        outs.append(write_run(tmp_path / parent / "tapo", [(0, 0, 0.3), (10, 1600, right)]))
    columns = side_by_side(outs)
    assert [columns[f"{out}, step 10"]["pass@1"] for out in outs] == [0.6, 0.9]


def test_runs_from_other_policies_are_not_compared(tmp_path):
    runs = [write_run(tmp_path / n, [(0, 0, right), (5, 9, 0.5)]) for n, right in (("a", 0.3), ("b", 0.4))]
    with pytest.raises(InputError, match="starts from"):
        side_by_side(runs)


def test_a_folder_without_measurements_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        side_by_side([tmp_path])
    with pytest.raises(InputError, match="found 1"):
        side_by_side([write_run(tmp_path / "a", [(0, 0, 0.3)])])
