"""An ablation over seeds: two groups of runs, how each ended, and their paired difference.

    python bench/paired.py runs/turn runs/ots    # runs/turn-0 beside runs/ots-0, ...-1

A run belongs to a group by its folder's name, to a pair by its seed: the two had the same questions
in the same order, were measured on the same problems, and differ in what was changed. ± is the 95%
interval from Student's t over seeds.
"""

import argparse
from pathlib import Path
from statistics import mean

import common  # noqa: F401  (finds the product)
from tables import shown, table

from support.cli import run_main
from support.files import InputError, read_lines
from support.runs import RunFolder
from support.summaries import Summary, measurements

LAST_STEPS = 10
# measure -> (name, factor, digits)
MEASURES = {
    "pass@1": ("right, %", 100, 1),
    "DSR": ("DSR, %", 100, 1),
    "ERR": ("ERR, %", 100, 1),
    "reflections": ("reflections an answer", 1, 3),
    "mean_tokens": ("tokens of an answer", 1, 1),
}
OF_STEPS = {
    "ots_weight_turn": (f"OTS weight of the turn, last {LAST_STEPS} steps", 1, 3),
    "ref_right_share": (f"right constructions, %, last {LAST_STEPS} steps", 100, 1),
    "ref_flat_share": (f"groups G_ref of equal rewards, %, last {LAST_STEPS} steps", 100, 1),
}


def outcomes(group: Path) -> dict[int, Summary]:
    """Seed -> measures after RL, of the runs whose folders are named GROUP-..."""
    found = {}
    for folder in sorted(group.parent.glob(group.name + "-*")):
        seed = RunFolder(folder).read_settings()["seed"]
        steps = [line for line in read_lines(folder / "metrics.jsonl") if line["stage"] == "rl"]
        summary = measurements(folder)[-1]
        for name in OF_STEPS:
            values = [line.get(name) for line in steps[-LAST_STEPS:]]
            known = [value for value in values if value is not None]
            summary[name] = mean(known) if known else None
        found[seed] = summary
    return found


def comparison(changed: Path, baseline: Path) -> str:
    """The table of two groups. Raises InputError where they have no seed in common."""
    ours = outcomes(changed)
    theirs = outcomes(baseline)
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        raise InputError(
            f"{changed}-*, {baseline}-*: expected runs with the same seeds, found "
            f"{sorted(ours)} and {sorted(theirs)}"
        )
    rows = []
    for name, (title, factor, digits) in (MEASURES | OF_STEPS).items():
        pairs = [(ours[seed][name], theirs[seed][name]) for seed in seeds]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        columns = [[b for _, b in pairs], [a for a, _ in pairs], [a - b for a, b in both]]
        rows.append([title, *[shown(values, factor, digits) for values in columns]])
    head = [f"{len(seeds)} seeds", baseline.name, changed.name, "difference"]
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("changed", type=Path, help="runs/turn for runs/turn-0, runs/turn-1, ...")
    parser.add_argument("baseline", type=Path)
    options = parser.parse_args()
    print(comparison(options.changed, options.baseline))


if __name__ == "__main__":
    run_main(main)
