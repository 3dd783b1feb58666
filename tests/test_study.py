"""The arithmetic of the study and of ablations: intervals, pairs of seeds, verdicts, which learning
rate is taken; and that a long measurement goes on where it was killed."""

import json
import sys
from pathlib import Path

import pytest
from conftest import Killed, run_cli

import augment
from support.files import InputError, read_lines

sys.path.append(str(Path(__file__).parents[1] / "bench"))
from tables import (
    CLAIMS,
    COLUMNS,
    MECHANICS,
    TRIED,
    by_method,
    claim_table,
    differences,
    interval,
    method_table,
    same_rate_table,
    shown,
    verdict,
)

ROOT = Path(__file__).parents[1]
MEASURED = (
    "entropy length grad_norm_sampled grad_norm_ref grad_cosine ots_weight_prefix ots_weight_turn "
    "ots_weight_diagnosis ots_weight_correction parse_share ref_reward ref_flat_share "
    "tokens_generated"
).split()


def record(method, seed, right, **changes):
    """A run that answers this share of the held-out problems."""
    summary = {"pass@1": right, "pass@8": 0.9, "DSR": 0.8, "ERR": 0.5}
    summary |= {"reflections": 0.2, "mean_tokens": 30.0}
    curve = []
    for step in (0, 20, 40):
        point = {"step": step, "tokens_generated": 100 * step, "pass@1": right * step / 40}
        curve.append(point | {"DSR": 0.5, "ERR": None})
    base = {"kind": "run", "method": method, "seed": seed, "lr": 1e-4, "steps": 40}
    base |= {"tokens": 4000, "flags": ""}
    base["final"] = {name: summary for name in ("trained", "greedy", "4", "5")}
    base["curve"] = curve
    base["train"] = {key: [0.0] * 30 + [0.5] * 10 for key in MEASURED}
    return base | changes


def records(methods, seeds):
    """Runs of each method with each seed: the higher the seed, the more is right."""
    return [record(method, seed, 0.5 + 0.01 * seed) for method in methods for seed in seeds]


def test_an_interval_is_students():
    """Mean 3, standard deviation 1.5811, 5 values: 2.776 x 1.5811 / sqrt(5)."""
    middle, half = interval([1, 2, 3, 4, 5])
    assert middle == 3 and half == pytest.approx(1.963, abs=1e-3)
    assert shown([0.5, None]) == "50.0"
    assert shown([None]) == "none"
    assert shown([0.1, 0.3]) == "20.0 ± 127.1"


def test_differences_are_paired_by_seed_and_a_missing_run_leaves_its_pair_out():
    runs = [record("TAPO", seed, 0.5 + 0.1 * seed) for seed in (0, 1, 2)]
    runs += [record("GRPO", seed, 0.4 + 0.1 * seed) for seed in (2, 0)]
    assert differences(by_method(runs), CLAIMS["equal-steps"]) == pytest.approx([10, 10])


@pytest.mark.parametrize(
    ("values", "sign", "expected"),
    [
        ([3.0, 3.1, 2.9], 1, "confirmed here"),
        ([3.0, 3.1, 2.9], -1, "reversed here"),
        ([-3.0, -3.1, -2.9], -1, "confirmed here"),
        ([9.0, -8.0, 1.0], 1, "not confirmed here"),
        ([0.0, 0.0, 0.0], 1, "not confirmed here"),  # no difference is no confirmation
        ([3.0], 1, "not measured"),
    ],
)
def test_a_verdict_needs_an_interval_on_one_side_of_zero(values, sign, expected):
    assert verdict(values, sign) == expected


def test_tables_have_a_row_a_claim_and_a_row_a_method_and_show_what_is_missing():
    start = {"kind": "coldstart", "name": "coldstart", "tokens": 0}
    start["final"] = record("", 0, 0.3)["final"]
    runs = by_method([start, *records(("GRPO", "TAPO"), seeds=(0, 1))])
    rows = claim_table(runs, CLAIMS, "study").split("\n")[2:]
    assert len(rows) == len(CLAIMS)
    assert "not confirmed here" in rows[0]
    assert "not measured" in rows[1]
    rows = method_table(runs, COLUMNS).split("\n")[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| GRPO", "| TAPO", "| cold start"]
    assert " 30.0 " in rows[2]
    assert "| 0.500 ± 0.000 |" in method_table(runs, MECHANICS)  # of the last ten steps


def test_a_policy_that_never_reflects_leaves_its_pair_out_and_no_table_fails():
    """ERR of nothing is None: hours of runs must not end without tables."""
    runs = [record(m, s, 0.5) for m in ("GRPO", "TAPO") for s in (0, 1, 2)]
    runs[0]["final"]["trained"] = runs[0]["final"]["trained"] | {"ERR": None}
    for key in ("err", "dsr-over-err"):
        assert len(differences(by_method(runs), CLAIMS[key])) == 2
    assert method_table(by_method(runs), COLUMNS)
    nothing_but_a_cold_start = [{"kind": "coldstart", "name": "coldstart"}]
    assert by_method(nothing_but_a_cold_start) == {}


def test_methods_are_compared_at_each_learning_rate_that_both_have():
    """A rate of its own can be all that a method differs by."""
    runs = records(("GRPO", "TAPO"), seeds=(0, 1))
    for run in records(("TAPO",), seeds=(0, 1)):
        runs.append(run | {"kind": "other rate", "lr": 2e-4})
    assert same_rate_table(runs).count("\n") == 2  # TAPO alone has 2e-4
    for seed in (0, 1):
        runs.append(record("GRPO", seed, 0.3, kind="other rate", lr=2e-4))
    rows = same_rate_table(runs).split("\n")[2:]
    assert [row.split(" | ")[:4] for row in rows] == [
        ["| TAPO minus GRPO", "0.0001", "2", "0.0 ± 0.0"],
        ["| TAPO minus GRPO", "0.0002", "2", "20.5 ± 6.4"],
    ]
    assert by_method(runs)["TAPO"][0]["lr"] == 1e-4  # the other tables are of the chosen rates


def test_each_of_two_methods_is_run_at_the_rate_of_the_other(tmp_path):
    from study import METHODS, at_other_rates

    lines = tmp_path / "study.jsonl"
    runs = [record("TAPO", 0, 0.5), record("GRPO", 0, 0.5, lr=2e-4)]
    for method in ("TAPO, little construction", "GRPO, little construction"):
        runs.append(record(method, 0, 0.5))
    lines.write_text("".join(json.dumps(run) + "\n" for run in runs))
    specs = at_other_rates(METHODS, lines, steps=40)
    assert {(spec.method, spec.lr, spec.kind) for spec in specs} == {
        ("TAPO", 2e-4, "other rate"),
        ("GRPO", 1e-4, "other rate"),
    }
    assert [spec.seed for spec in specs] == [*range(5), *range(5)]


def test_lines_of_other_settings_are_refused(tmp_path):
    """Their tables would mix runs of 20 and of 30 steps."""
    from study import METHODS, check_lines

    lines = tmp_path / "study.jsonl"
    run = record("TAPO", 0, 0.5, flags=METHODS["TAPO"].flags, steps=40)
    tuning = run | {"kind": "tuning", "steps": 20}
    lines.write_text(json.dumps(run) + "\n" + json.dumps(tuning) + "\n")
    check_lines(lines, 40)
    with pytest.raises(InputError, match="30 steps of TAPO"):
        check_lines(lines, 30)
    lines.write_text(json.dumps(run | {"flags": "--algo tapo --no-ots"}) + "\n")
    with pytest.raises(InputError, match="no-ots"):
        check_lines(lines, 40)


def test_figures_are_the_same_for_the_same_lines(tmp_path):
    pytest.importorskip("matplotlib")
    from tables import write_tables

    runs = records(("GRPO", "TAPO"), seeds=(0, 1))
    figure = tmp_path / "study/dsr.svg"
    table = write_tables(runs, tmp_path, "study")
    drawn = figure.read_text()
    assert write_tables(runs, tmp_path, "study") == table
    assert figure.read_text() == drawn
    assert len(list((tmp_path / "study").glob("*.svg"))) == len(CLAIMS) + len(TRIED)


def write_run(
    folder: Path, seed: int, right: float, turn: float | None = None, steps: int = 2
) -> None:
    """A run that was measured after two steps, as far as bench/paired.py reads it."""
    summary = {"stage": "eval", "tokens_generated": 0, "DSR": 0.5, "ERR": None, "reflections": 0.25}
    summary["mean_tokens"] = 40.0
    step = {"stage": "rl", "ots_weight_turn": turn, "ref_right_share": 1.0, "ref_flat_share": None}
    records = [
        summary | {"step": 0, "pass@1": 0.1},
        step | {"step": 1},
        step | {"step": 2},
        summary | {"step": 2, "pass@1": right},
    ]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"seed": seed, "steps": steps}))
    lines = [json.dumps(record) for record in records]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def test_an_ablation_is_paired_by_seed(tmp_path):
    from paired import comparison

    for seed, (base, changed) in enumerate([(0.50, 0.53), (0.60, 0.61), (0.40, 0.42)]):
        write_run(tmp_path / f"base-{seed}", seed, base, turn=0.1)
        write_run(tmp_path / f"new-{seed}", seed, changed, turn=1.0 if seed else None)
    write_run(tmp_path / "new-7", 7, 0.99)  # no partner: in neither column
    write_run(tmp_path / "new-old-0", 0, 0.99)  # of another group
    (tmp_path / "new-notes.txt").write_text("no run")
    rows = {line.split(" | ")[0]: line for line in comparison(*folders(tmp_path)).splitlines()}
    half = 4.303 * 0.01 / 3**0.5  # differences of 3, 1 and 2 points
    assert rows["| right, %"].endswith(f"| 52.0 ± 23.7 | 2.0 ± {100 * half:.1f} |")
    weight = rows["| weight that OTS gives the turn, last 10 steps (2 seeds)"]
    assert weight.endswith("| 0.100 ± 0.000 | 1.000 ± 0.000 | 0.900 ± 0.000 |")
    assert "| ERR, %" not in rows  # none of the runs has it


def folders(parent: Path) -> tuple[Path, Path]:
    return parent / "new", parent / "base"


def test_groups_that_cannot_be_compared_are_refused(tmp_path):
    from paired import comparison

    write_run(tmp_path / "base-0", 0, 0.5)
    write_run(tmp_path / "new-1", 1, 0.5)
    with pytest.raises(InputError, match=r"same seeds, found \[1\] and \[0\]"):
        comparison(*folders(tmp_path))
    write_run(tmp_path / "new-2", 1, 0.5)
    with pytest.raises(InputError, match=r"new-2: expected one run of each seed"):
        comparison(*folders(tmp_path))
    write_run(tmp_path / "stopped-0", 0, 0.5, steps=30)
    with pytest.raises(InputError, match=r"after all 30 steps, found the last at 2"):
        comparison(tmp_path / "stopped", tmp_path / "base")


def test_the_tables_of_the_worked_ablation_are_those_of_its_runs():
    from paired import comparison

    runs = ROOT / "results" / "ablation"
    guide = (runs / "README.md").read_text(encoding="utf-8")
    pairs = "turn ots, turn-sampled sampled, ots grpo, hot ots, hot-light ots".split(", ")
    for changed, baseline in map(str.split, pairs):
        assert comparison(runs / changed, runs / baseline) in guide


# ---------------------------------------------------------------- bench/constructions.py


def test_a_measurement_of_constructions_goes_on_where_it_was_killed(
    learned, tmp_path, monkeypatch, capsys
):
    import constructions

    # the right answers of this policy are one step long, of which nothing is shown
    monkeypatch.setattr(augment, "shows_something_new", lambda sibling, wrong: True)

    def measure(out: Path) -> None:
        flags = f"{learned} --data {learned / 'problems.jsonl'} --out {out} --pairs 7 --questions 1"
        sizes = "--max-new-tokens 12 --max-reply-tokens 60 --n-pos 1 --n-neg 1"
        run_cli(monkeypatch, capsys, constructions.main, *flags.split(), *sizes.split())

    whole = tmp_path / "whole.json"
    measure(whole)
    counts = json.loads(whole.read_text())
    assert counts["assisted_before"] == counts["assisted"] and counts["assisted"]["pairs"] == 7
    assert len(read_lines(tmp_path / "whole.before.jsonl")) == 14  # both protocols

    one_portion = constructions.portion_of
    asked = []

    def killing(policy, problems, first, most, settings):
        asked.append(first)
        if len(asked) == 2:
            raise Killed
        return one_portion(policy, problems, first, most, settings)

    cut = tmp_path / "cut.json"
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(constructions, "portion_of", killing)
        measure(cut)
    assert not cut.exists()
    measure(cut)
    assert cut.read_text() == whole.read_text()
    lines = (tmp_path / "cut.before.jsonl").read_text()
    assert lines == (tmp_path / "whole.before.jsonl").read_text()
    assert asked == [0, 1] and not (tmp_path / "cut.before.partial.jsonl").exists()
