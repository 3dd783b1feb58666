"""Our answer checker beside the graders installed from PyPI, on one file of labelled cases.

    python bench/graders.py [CASES.jsonl] [--quick]

CASES has lines {"gold", "pred", "equal", "kind"[, "hard"][, "policy"][, "pred_repeat"]};
pred_repeat = [prefix, unit, n, suffix] stands for prefix + unit * n + suffix, null for an empty
text. Cases marked policy are timed but not scored. --quick takes every tenth.

Each grader gets the same texts. Math-Verify reads what stands between delimiters: it gets $...$,
which scored best of bare text, \\boxed{...} and $...$; its own limit of 5 s a parse stays on.
MathRuler (which executes text through parse_expr), if it is installed, gets the bare texts. Times
are wall seconds of one call on one core, each case once, our caches emptied before each.
"""

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from checker import is_equal
from support.answers import grammar
from support.cli import run_main
from support.files import InputError

ROOT = Path(__file__).resolve().parents[1]
Grader = Callable[[str, str], bool]


def ours(gold: str, answer: str) -> bool:
    return is_equal(gold, answer)


def graders() -> dict[str, Grader]:
    """Ours first, then whatever is installed."""
    found: dict[str, Grader] = {"ours": ours}
    if importlib.util.find_spec("math_verify"):
        import logging

        import math_verify

        logging.getLogger("math_verify").setLevel(logging.CRITICAL)
        found["math-verify"] = lambda gold, answer: bool(
            math_verify.verify(math_verify.parse(f"${gold}$"), math_verify.parse(f"${answer}$"))
        )
    if importlib.util.find_spec("mathruler"):
        from mathruler.grader import grade_answer

        found["mathruler"] = lambda gold, answer: bool(grade_answer(answer, gold))
    return found


def load_cases(path: Path, step: int) -> list[dict[str, Any]]:
    """Every step-th case of a file; raises InputError with the number of a line that is none."""
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    numbered = [(number, line) for number, line in lines if line.strip()]
    cases = []
    for number, line in numbered[::step]:
        try:
            case = json.loads(line)
            repeated = case.get("pred_repeat") or [case["pred"] or "", "", 0, ""]
            prefix, unit, count, suffix = repeated
            case["pred"] = prefix + unit * count + suffix
            case["gold"] = case["gold"] or ""
            cases.append(case | {"equal": case["equal"], "kind": case["kind"]})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}, line {number}: expected a case with gold, pred, equal and kind ({error})"
            ) from None
    return cases


def measure(grader: Grader, cases: list[dict[str, Any]]) -> tuple[list[bool], list[float]]:
    """Verdicts and seconds, one of each a case; a grader that raises says "different"."""
    verdicts, seconds = [], []
    for case in cases:
        grammar.read.cache_clear()
        start = time.perf_counter()
        try:
            verdicts.append(grader(case["gold"], case["pred"]))
        except Exception:  # another grader's failure is a result here
            verdicts.append(False)
        seconds.append(time.perf_counter() - start)
    return verdicts, seconds


def groups_of(case: dict[str, Any]) -> list[str]:
    """The rows of the table that a scored case belongs to."""
    if case.get("policy"):
        return []
    if case["kind"] == "adversarial":
        return ["adversarial"]
    return ["all but adversarial", "hard" if case.get("hard") else "plain", case["kind"]]


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = ROOT.parent / "shared" / "checker" / "equal.jsonl"
    parser.add_argument(
        "cases", nargs="?", type=Path, default=default, help="labelled cases, JSON lines"
    )
    parser.add_argument("--quick", action="store_true", help="every tenth case")
    options = parser.parse_args()
    if not options.cases.is_file():
        parser.error(f"{options.cases}: no such file of labelled cases")
    cases = load_cases(options.cases, 10 if options.quick else 1)

    table: dict[str, dict[str, float]] = {}
    rows = defaultdict(list)
    for name, grader in graders().items():
        grader("1", "1")  # imports and grammars are loaded before the clock runs
        verdicts, seconds = measure(grader, cases)
        right = defaultdict(list)
        for case, verdict in zip(cases, verdicts, strict=True):
            for group in groups_of(case):
                right[group].append(verdict == case["equal"])
        scored = [(c, v) for c, v in zip(cases, verdicts, strict=True) if groups_of(c)]
        table[name] = {
            f"% right: {group} ({len(right[group])})": 100 * statistics.mean(right[group])
            for group in right
        }
        table[name] |= {
            "wrong answers accepted": sum(
                verdict and not case["equal"] for case, verdict in scored
            ),
            "ms mean": 1000 * statistics.mean(seconds),
            "ms p99": 1000 * percentile(seconds, 0.99),
            "ms worst": 1000 * max(seconds),
            "cases over 1 s": sum(s > 1 for s in seconds),
        }
    print(
        f"{options.cases.name}: {len(cases)} cases\n{'':40}"
        + "".join(f"{name:>14}" for name in table)
    )
    for setting in table["ours"]:
        print(f"{setting:40}" + "".join(f"{table[name][setting]:14.2f}" for name in table))
        for name in list(table)[1:]:
            mine, other = table["ours"][setting], table[name][setting]
            rows[name].append(
                {
                    "setting": f"{setting}, against {name}",
                    "ours": round(mine, 3),
                    "other": round(other, 3),
                    "ratio": round(mine / other, 4) if other else None,
                }
            )
    print(json.dumps({"bench": "checker", "rows": [row for name in rows for row in rows[name]]}))


if __name__ == "__main__":
    run_main(main)
