"""Runs side by side on their held-out problems: the first one, then each other at its steps and at its tokens.

    python report.py runs/demo/tapo runs/demo/grpo

Generating is what a step costs, and TAPO's constructions cost it too: so a comparison at equal steps stands beside
one at equal generated tokens. A run that is to be compared needs measurements on the way (--eval-every) and more steps
than the first.
"""

from pathlib import Path
from typing import Any

from data import ArgumentParser, run_main
from eval import format_table
from support.hub import InputError, read_lines


def measurements(out: Path) -> list[dict[str, Any]]:
    """The summaries on held-out problems that a run has logged, in the order of their steps, with the tokens that it
    has generated since RL began; raises InputError."""
    path = out / "metrics.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected the folder of a run")
    found = [r for r in read_lines(path) if r["stage"] == "eval"]
    if len(found) < 2:
        raise InputError(f"{path}: expected measurements before and after RL, found {len(found)}")
    start = found[0]["tokens_generated"]  # a cold start in the same run generates too
    return [r | {"tokens_generated": r["tokens_generated"] - start} for r in found]


def side_by_side(outs: list[Path]) -> dict[str, dict[str, Any]]:
    """Column, named by the run's folder -> summary: the first run before and after, then each other run at the step
    and at the number of generated tokens that come closest to the first one's last. Where two folders have one name,
    their paths name them."""
    names = [out.name for out in outs]
    if len(set(names)) < len(names):
        names = [str(out) for out in outs]
    first = measurements(outs[0])
    last = first[-1]
    columns = {"before RL": first[0], f"{names[0]}, step {last['step']}": last}
    for name, out in zip(names[1:], outs[1:], strict=True):
        found = measurements(out)
        if found[0]["pass@1"] != first[0]["pass@1"]:
            raise InputError(f"{out}: expected the policy, problems and seed that {outs[0]} starts from, found others")
        for what in ("step", "tokens_generated"):
            near = min(found, key=lambda r: abs(r[what] - last[what]))
            columns[f"{name}, step {near['step']}" + (" (equal tokens)" if what != "step" else "")] = near
    return columns


def main() -> None:
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs that started from one policy")
    columns = side_by_side(parser.parse_args().runs)
    print(format_table(columns))
    tokens = ", ".join(f"{column} {r['tokens_generated'] / 1e6:.2f}" for column, r in columns.items())
    print(f"\ngenerated tokens, million: {tokens}")


if __name__ == "__main__":
    run_main(main)
