"""The study's arithmetic: intervals, pairs of seeds, verdicts, and which learning rate is taken."""

import json
import sys
from pathlib import Path

import pytest

from support.hub import InputError

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
    shown,
    verdict,
)


def record(method, seed, right, **changes):
    """A run that answers this share of the held-out problems."""
    summary = {"pass@1": right, "pass@8": 0.9, "DSR": 0.8, "ERR": 0.5, "reflections": 0.2, "mean_tokens": 30.0}
    train = {key: [0.0] * 30 + [0.5] * 10 for key in (
        "entropy length grad_norm_sampled grad_norm_ref grad_cosine ots_weight_prefix ots_weight_turn "
        "ots_weight_diagnosis ots_weight_correction parse_share ref_reward ref_flat_share tokens_generated"
    ).split()}  # fmt: skip
    curve = [
        {"step": s, "tokens_generated": 100 * s, "pass@1": right * s / 40, "DSR": 0.5, "ERR": None} for s in (0, 20, 40)
    ]
    final = {name: summary for name in ("trained", "greedy", "4", "5")}
    base = {"kind": "run", "method": method, "seed": seed, "lr": 1e-4, "steps": 40, "tokens": 4000, "flags": ""}
    return {**base, "final": final, "curve": curve, "train": train, **changes}


def test_an_interval_is_students():
    """Mean 3, standard deviation 1.5811, 5 values: 2.776 x 1.5811 / sqrt(5)."""
    middle, half = interval([1, 2, 3, 4, 5])
    assert middle == 3 and half == pytest.approx(1.963, abs=1e-3)
    assert shown([0.5, None]) == "50.0" and shown([None]) == "none" and shown([0.1, 0.3]) == "20.0 ± 127.1"


def test_differences_are_paired_by_seed_and_a_missing_run_leaves_its_pair_out():
    runs = [record("TAPO", s, 0.5 + 0.1 * s) for s in (0, 1, 2)] + [record("GRPO", s, 0.4 + 0.1 * s) for s in (2, 0)]
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
    start = {"kind": "coldstart", "name": "coldstart", "tokens": 0, "final": record("", 0, 0.3)["final"]}
    runs = by_method([start, *(record(m, s, 0.5 + 0.01 * s) for m in ("GRPO", "TAPO") for s in (0, 1))])
    rows = claim_table(runs, CLAIMS, "study", "the paper says").split("\n")[2:]
    assert len(rows) == len(CLAIMS) and "not confirmed here" in rows[0] and "not measured" in rows[1]
    rows = method_table(runs, COLUMNS).split("\n")[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| GRPO", "| TAPO", "| cold start"] and " 30.0 " in rows[2]
    assert "| 0.500 ± 0.000 |" in method_table(runs, MECHANICS)  # of the last ten steps


def test_a_policy_that_never_reflects_leaves_its_pair_out_and_no_table_fails():
    """ERR of nothing is None: hours of runs must not end without tables."""
    runs = [record(m, s, 0.5) for m in ("GRPO", "TAPO") for s in (0, 1, 2)]
    runs[0]["final"]["trained"] = runs[0]["final"]["trained"] | {"ERR": None}
    for key in ("err", "dsr-over-err"):
        assert len(differences(by_method(runs), CLAIMS[key])) == 2
    assert method_table(by_method(runs), COLUMNS)
    assert by_method([{"kind": "coldstart", "name": "coldstart"}]) == {}  # nothing but a cold start yet


def test_lines_of_other_settings_are_refused(tmp_path):
    """Their tables would mix runs of 20 and of 30 steps."""
    from study import METHODS, check_lines

    lines = tmp_path / "study.jsonl"
    run = record("TAPO", 0, 0.5, flags=METHODS["TAPO"].flags, steps=40)
    lines.write_text(json.dumps(run) + "\n" + json.dumps(run | {"kind": "tuning", "steps": 20}) + "\n")
    check_lines(lines, 40)
    with pytest.raises(InputError, match="30 steps of TAPO"):
        check_lines(lines, 30)
    lines.write_text(json.dumps(run | {"flags": "--algo tapo --no-ots"}) + "\n")
    with pytest.raises(InputError, match="no-ots"):
        check_lines(lines, 40)


def test_figures_are_the_same_for_the_same_lines(tmp_path):
    pytest.importorskip("matplotlib")
    from tables import write_tables

    runs = [record(m, s, 0.5 + 0.01 * s) for m in ("GRPO", "TAPO") for s in (0, 1)]
    a, b = ((write_tables(runs, tmp_path, "study"), (tmp_path / "study/dsr.svg").read_text()) for _ in range(2))
    assert a == b
    assert len(list((tmp_path / "study").glob("*.svg"))) == len(CLAIMS) + len(TRIED)
