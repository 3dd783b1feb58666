"""Measurements as tables, and runs side by side on their held-out problems.

Of runs side by side, the first stands there before and after RL, every other one at its steps and
at its tokens: generating is what a step costs, and TAPO's constructions cost it too, so that a
comparison at equal steps stands beside one at equal generated tokens. The other runs need
measurements on the way (--eval-every) and more steps than the first. Called by train.py and eval.py
(format_table), report.py and support/page.py.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from support.files import InputError, read_lines

Summary = dict[str, Any]  # the measures of one evaluation, as eval.py makes them
LAST_STEPS = 10  # of RL, over which the measures of single steps are averaged

# ---------------------------------------------------------------- a table of summaries


def percent(share: float | None) -> str:
    if share is None:  # a rate of nothing, such as ERR without reflections
        return "none"
    return f"{share:.1%}"


def right_and_wrong(summary: Summary, how: str) -> str:
    right = summary[how + "_right"]
    wrong = summary[how + "_wrong"]
    return f"{right} / {wrong}"


def rows_of(summary: Summary) -> dict[str, str]:
    """A summary's measures, named and written out for a table."""
    accuracy = percent(summary["pass@1"])
    error = summary["standard_error"]
    if error is not None:
        accuracy += f" ({100 * error:.1f})"
    of_several = [name for name in summary if "@" in name and not name.endswith("@1")]
    return {
        "accuracy (standard error)": accuracy,
        **{name: percent(summary[name]) for name in of_several},  # pass@k and maj@k
        "DSR: right answers without a reflection": percent(summary["DSR"]),
        "ERR: reflections that end right": percent(summary["ERR"]),
        "direct: right / wrong": right_and_wrong(summary, "direct"),
        "reflective: right / wrong": right_and_wrong(summary, "reflective"),
        "without an answer": percent(summary["no_answer_share"]),
        "truncated": percent(summary["truncated_share"]),
        "mean length (tokens)": f"{summary['mean_tokens']:.1f}",
    }


def format_table(columns: dict[str, Summary]) -> str:
    """Summaries side by side as a Markdown table, one column each."""
    written = [rows_of(summary) for summary in columns.values()]
    lines = [["", *columns]]
    for name in written[0]:
        lines.append([name, *[rows[name] for rows in written]])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(format_line(line, widths) for line in lines)


def format_line(cells: list[str], widths: list[int]) -> str:
    """One line of a table: the name on the left, numbers on the right."""
    padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    padded[0] = cells[0].ljust(widths[0])
    row = " | ".join(padded)
    return f"| {row} |"


# ---------------------------------------------------------------- runs side by side


def logged_measurements(out: Path) -> list[Summary]:
    """The summaries on held-out problems that a run has logged, in the order of their steps.

    tokens_generated counts from the start of RL: a cold start in the same run generates too.
    Raises InputError where there is no run.
    """
    path = out / "metrics.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected the folder of a run")
    found = [record for record in read_lines(path) if record["stage"] == "eval"]
    before_rl = found[0]["tokens_generated"] if found else 0
    for summary in found:
        summary["tokens_generated"] -= before_rl
    return found


def measurements(out: Path) -> list[Summary]:
    """logged_measurements, of which there must be one before RL and one after."""
    found = logged_measurements(out)
    if len(found) < 2:
        where = out / "metrics.jsonl"
        raise InputError(f"{where}: expected measurements before and after RL, found {len(found)}")
    return found


def last_steps(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last LAST_STEPS steps of RL among the lines of metrics.jsonl."""
    return [record for record in records if record["stage"] == "rl"][-LAST_STEPS:]


def mean_of(records: Sequence[dict[str, Any]], name: str) -> float | None:
    """Mean of a metric over the records that have it; None where none has."""
    values = [record[name] for record in records if record.get(name) is not None]
    return mean(values) if values else None


def nearest(summaries: list[Summary], target: Summary, measure: str) -> Summary:
    """The summary whose measure comes closest to the target's."""

    def distance(summary: Summary) -> float:
        return abs(summary[measure] - target[measure])

    return min(summaries, key=distance)


def title_of(name: str, summary: Summary) -> str:
    return f"{name}, step {summary['step']}"


def names_of(outs: list[Path]) -> list[str]:
    """A run's name is its folder's, or the whole path where two folders have one name."""
    names = [out.absolute().name for out in outs]
    if len(set(names)) < len(names):
        names = [str(out) for out in outs]
    return names


def side_by_side(outs: list[Path]) -> dict[str, Summary]:
    """Title of a column -> summary. Every other run stands there twice: where its steps, and where
    its generated tokens, come closest to those at the end of the first run.

    Raises InputError for runs that did not start from the same policy, problems and seed.
    """
    names = names_of(outs)
    baseline = measurements(outs[0])
    before = baseline[0]
    after = baseline[-1]
    columns = {"before RL": before, title_of(names[0], after): after}
    for name, out in zip(names[1:], outs[1:], strict=True):
        found = measurements(out)
        for measure in ("questions", "samples", "pass@1", "mean_tokens"):
            expected = f"{measure} {before[measure]} before RL, as in {outs[0]}"
            if found[0][measure] != before[measure]:
                reason = "another policy, other problems or another seed"
                raise InputError(f"{out}: expected {expected}, found {found[0][measure]}: {reason}")
        at_steps = nearest(found, after, "step")
        columns[title_of(name, at_steps)] = at_steps
        at_tokens = nearest(found, after, "tokens_generated")
        columns[title_of(name, at_tokens) + " (equal tokens)"] = at_tokens
    return columns


def comparison(outs: list[Path]) -> str:
    """Runs side by side as a table, with the tokens that each had generated by then."""
    columns = side_by_side(outs)
    generated = []
    for title, summary in columns.items():
        millions = summary["tokens_generated"] / 1e6
        generated.append(f"{title} {millions:.2f}")
    return f"{format_table(columns)}\n\ngenerated tokens, million: {', '.join(generated)}"
