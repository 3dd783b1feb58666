"""An ablation over seeds: two groups of runs, how each ended, and their paired difference.

    python bench/paired.py runs/turn runs/ots    # runs/turn-0 beside runs/ots-0, ...-1

A run belongs to a group by its folder's name, to a pair by its seed: the two had the same questions
in the same order, were measured on the same problems, and differ in what was changed. ± is the 95%
interval from Student's t over seeds. A measure that some run lacks, such as ERR without
reflections, is of the pairs in which both have it.
"""

import argparse
from pathlib import Path

import common  # noqa: F401  (finds the product)
from tables import shown, table

from support.cli import run_main
from support.files import InputError, read_json, read_lines
from support.summaries import LAST_STEPS, Summary, last_steps, mean_of, measurements

# measure -> (name, factor, digits): after RL, and as means of its last steps
MEASURES = {
    "pass@1": ("right, %", 100, 1),
    "DSR": ("DSR, %", 100, 1),
    "ERR": ("ERR, %", 100, 1),
    "reflections": ("reflections an answer", 1, 3),
    "mean_tokens": ("tokens of an answer", 1, 1),
}
OF_STEPS = {
    "ots_weight_turn": (f"weight that OTS gives the turn, last {LAST_STEPS} steps", 1, 3),
    "ref_right_share": (f"right constructions, %, last {LAST_STEPS} steps", 100, 1),
    "grad_norm_ref": (f"gradient norm of lambda L_ref, last {LAST_STEPS} steps", 1, 3),
    "ref_flat_share": (f"groups G_ref of equal rewards, %, last {LAST_STEPS} steps", 100, 1),
}


def outcomes(group: Path) -> dict[int, Summary]:
    """Seed -> measures after RL, of the runs in folders that are named GROUP-0, GROUP-1, ...

    Raises InputError for two runs of one seed, and for one that is not done.
    """
    found: dict[int, Summary] = {}
    for folder in sorted(group.parent.glob(group.name + "-*")):
        if not folder.name.removeprefix(group.name + "-").isdigit():
            continue  # another group, whose name begins like this one's
        settings = read_json(folder / "config.json")
        seed = settings["seed"]
        if seed in found:
            raise InputError(f"{folder}: expected one run of each seed, found another of {seed}")
        summary = measurements(folder)[-1]
        if summary["step"] != settings["steps"]:
            expected = f"a measurement after all {settings['steps']} steps"
            raise InputError(f"{folder}: expected {expected}, found the last at {summary['step']}")
        steps = last_steps(read_lines(folder / "metrics.jsonl"))
        found[seed] = summary | {name: mean_of(steps, name) for name in OF_STEPS}
    return found


def comparison(changed: Path, baseline: Path) -> str:
    """The table of two groups. Raises InputError where they have no seed in common, and where two
    runs of a pair made different numbers of steps."""
    ours = outcomes(changed)
    theirs = outcomes(baseline)
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        raise InputError(
            f"{changed}-*, {baseline}-*: expected runs with the same seeds, found "
            f"{sorted(ours)} and {sorted(theirs)}"
        )
    for seed in seeds:
        steps = theirs[seed]["step"]
        if ours[seed]["step"] != steps:
            found = f"{ours[seed]['step']} with seed {seed}"
            raise InputError(f"{changed}-*: expected {steps} steps as in {baseline}, found {found}")
    rows = []
    for name, (title, factor, digits) in (MEASURES | OF_STEPS).items():
        pairs = [(ours[seed][name], theirs[seed][name]) for seed in seeds]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        if both:
            columns = [[b for _, b in both], [a for a, _ in both], [a - b for a, b in both]]
            title += "" if len(both) == len(seeds) else f" ({len(both)} seeds)"
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
