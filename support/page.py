"""The page of some runs: what they logged, as one HTML file that needs nothing else.

    page.html           the frame: text, style, and the script that filters constructions
    support/curves.py   the figures
    this file           reads runs, and writes what differs from page to page

Whatever a model wrote is data here. It reaches the page as JSON without a "<" (`json_for_html`),
which the script shows as text; all else that is not ours goes through `escaped`. Called by
report.py.
"""

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from support.curves import SECTIONS, can_draw, figure_html
from support.files import InputError, read_json, read_lines
from support.metrics import seen_of_sibling
from support.reflection import is_reflective
from support.summaries import (
    Summary,
    last_steps,
    logged_measurements,
    mean_of,
    rows_of,
    side_by_side,
    title_of,
)

MOST_CONSTRUCTIONS = 400  # of a run, on the page
CONSTRUCTION_BYTES = 3_000_000  # of all runs together
QUIET_MINUTES = 30  # without a new line, after which a run that is not done seems to have stopped
TEMPLATE = Path(__file__).with_name("page.html")
Record = dict[str, Any]

# ---------------------------------------------------------------- reading a run


@dataclass
class RunLog:
    """What a run has logged so far."""

    name: str
    settings: Record  # empty where the run has no config.json
    records: list[Record]  # every line of metrics.jsonl
    measurements: list[Summary]  # those on held-out problems
    constructions: list[Record]  # as the page shows them (shown_construction)
    quiet_minutes: float = 0.0  # since metrics.jsonl got its last line

    def steps_made(self) -> int:
        return max([r["step"] for r in self.records if r["stage"] == "rl"], default=0)

    def steps_planned(self) -> int:
        """Of RL, which a cold start alone has none of."""
        is_cold_start = self.settings.get("stage") == "coldstart"
        return 0 if is_cold_start else self.settings.get("steps", 0)

    def is_done(self) -> bool:
        """Whether its last step was made and measured."""
        if not self.measurements:
            return False
        return self.measurements[-1]["step"] >= self.steps_planned()

    def goes_on(self) -> bool:
        """Whether more is to be expected. A run that was killed cannot say so: it is quiet."""
        return not self.is_done() and self.quiet_minutes < QUIET_MINUTES

    def state(self) -> str:
        """How far it has come, in words."""
        algo = self.settings.get("algo", "unknown method")
        name = self.name if self.name == algo else f"{self.name} ({algo})"
        said = f"{name}: {self.steps_made()} of {self.steps_planned()} steps"
        if self.settings.get("model"):
            said += f" on {self.settings['data']} problems, from {self.settings['model']}"
        if self.is_done():
            return said
        said += f", last line written {self.quiet_minutes:.0f} minutes ago"
        return said if self.goes_on() else said + " (it seems to have stopped)"


def read_run(path: Path, name: str) -> RunLog:
    """Raises InputError where there is no run, or one whose constructions lack what is needed."""
    measurements = logged_measurements(path)
    settings = {}
    if (path / "config.json").is_file():
        settings = read_json(path / "config.json")
    records = read_lines(path / "metrics.jsonl")
    samples = read_lines(path / "samples.jsonl")
    add_tokens_of_steps(records, samples, settings)
    constructions = []
    for number, made in enumerate(samples, 1):
        try:
            constructions.append(shown_construction(name, made))
        except KeyError as missing:
            where = f"{path / 'samples.jsonl'}, line {number}"
            expected = f"expected {missing}, which runs of earlier versions lack"
            raise InputError(f"{where}: {expected}; found none") from None
    quiet_seconds = time.time() - (path / "metrics.jsonl").stat().st_mtime
    return RunLog(name, settings, records, measurements, constructions, quiet_seconds / 60)


def add_tokens_of_steps(records: list[Record], samples: list[Record], settings: Record) -> None:
    """Give each step of RL its `tokens`: how many were generated, by what for."""
    if "questions" not in settings:
        return
    answers = settings["questions"] * settings["k"]
    of_replies: dict[int, int] = defaultdict(int)
    for made in samples:
        of_replies[made["step"]] += made.get("reply_tokens", 0)
    for record in [record for record in records if record["stage"] == "rl"]:
        record["tokens"] = {"answers": round(record["length"] * answers)}
        if record["step"] in of_replies:
            record["tokens"]["constructions"] = of_replies[record["step"]]


# ---------------------------------------------------------------- the page


def page_of(runs: Sequence[RunLog], folders: list[Path], refresh: int | None = None) -> str:
    """The whole page. folders: where the runs lie; refresh: seconds until it loads itself again,
    while a run goes on."""
    shown = shown_constructions(runs)
    data = {"example": example_of(runs), "constructions": shown}
    names = ", ".join(run.name for run in runs)
    meta = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escaped(names),
        refresh=meta,
        status=escaped(status_of(runs, refresh)),
        findings=findings_of(runs, folders),
        curves=curves_of(runs),
        settings=settings_tables(runs),
        shown=escaped(said_of_shown(runs, shown)),
        data=json_for_html(data),
    )


def escaped(text: str) -> str:
    """Any text as HTML that shows it; half a surrogate pair, which no file can hold, as "?"."""
    return escape(text.encode("utf-8", "replace").decode("utf-8"))


def json_for_html(value: Any) -> str:
    """JSON that can stand in a <script>: without "<" neither it nor a comment can begin or end.

    >>> json_for_html("</script>")
    '"\\\\u003c/script>"'
    """
    return json.dumps(value).replace("<", "\\u003c")


def element(tag: str, content: str, css_class: str = "") -> str:
    """An element around what is HTML already."""
    attribute = f' class="{css_class}"' if css_class else ""
    return f"<{tag}{attribute}>{content}</{tag}>\n"


def status_of(runs: Sequence[RunLog], refresh: int | None) -> str:
    """How far each run has come, and when this was written."""
    parts = [run.state() for run in runs]
    parts.append(f"written {datetime.now():%Y-%m-%d %H:%M}")
    if refresh:
        parts.append(f"loads itself again every {refresh} seconds while a run goes on")
    return "; ".join(parts) + "."


# ---------------------------------------------------------------- an example on top


def example_of(runs: Sequence[RunLog]) -> Record | None:
    """The last trajectory of a run that shows well what one is."""
    for is_wanted in (is_plain_and_shaded, is_plain, is_micro_reflective):
        for run in runs:
            for made in reversed(run.constructions):
                if is_wanted(made):
                    return made
    return None


def is_micro_reflective(made: Record) -> bool:
    """Whether it is right and has all three parts."""
    return made["outcome"] == "right" and made["diagnosed"] and all(made["parts"])


def is_plain(made: Record) -> bool:
    """Whether the only reflection in it is its diagnosis: a newcomer sees at once what is what."""
    return is_micro_reflective(made) and not is_reflective(made["wrong"])


def is_plain_and_shaded(made: Record) -> bool:
    """Whether the page can show its tokens too, and the policy learned to say them."""
    return is_plain(made) and made.get("advantage", 0) > 0


# ---------------------------------------------------------------- did it help?


def findings_of(runs: Sequence[RunLog], folders: list[Path]) -> str:
    """The runs beside each other; then what RL changed in each, in words and as a table."""
    columns = {}
    sentences = []
    for run in runs:
        for summary in run.measurements[:1] + run.measurements[1:][-1:]:
            columns[title_of(run.name, summary)] = summary
        sentences += [change_of(run), constructions_in_words(run)]
    each = element("ul", "".join(sentences)) + summary_table(columns)
    if len(runs) == 1:
        return each
    heading = element("h3", "Each run, from its start to its end")
    if len({run.steps_made() for run in runs}) > 1:
        heading += element("p", "They made different numbers of steps; compare them above.", "note")
    return comparison_of(folders) + heading + each


def change_of(run: RunLog) -> str:
    """A sentence about the accuracy of a run at its start and at its end so far."""
    name = f"<b>{escaped(run.name)}</b>"
    if len(run.measurements) < 2:
        return element("li", f"{name} has not been measured after its start yet.")
    before = run.measurements[0]
    after = run.measurements[-1]
    problems = after.get("questions", "its")
    return element(
        "li",
        f"{name}: right answers to {problems} held-out problems went from "
        f"{before['pass@1']:.1%} to {after['pass@1']:.1%} in {after['step']} steps; "
        f"{difference_in_words(after, before)} Answers that reflect went from "
        f"{before['reflective_share']:.1%} to {after['reflective_share']:.1%}.",
    )


def constructions_in_words(run: RunLog) -> str:
    """A sentence about what could be learned from what a run of TAPO constructed. None where it
    constructed nothing, or where constructions were not compared among themselves."""
    if run.settings.get("algo") != "tapo" or run.settings.get("dae", "own") != "own":
        return ""
    steps = last_steps(run.records)
    flat = mean_of(steps, "ref_flat_share")
    weight = mean_of(steps, "ots_weight_turn")
    if flat is None or weight is None:
        return ""
    return element(
        "li",
        f"<b>{escaped(run.name)}</b>, its last {len(steps)} steps: in {flat:.0%} of the groups all "
        "constructions of a question earned the same, and nothing was learned from them. The mean "
        "OTS weight of the first token after the wrong prefix, which decides to reflect, was "
        f"{weight:.2f}.",
    )


def difference_in_words(one: Summary, other: Summary) -> str:
    """The difference in accuracy, and whether chance alone could explain it."""
    points = 100 * (one["pass@1"] - other["pass@1"])
    signed = f"{points:+.1f}".replace("-", "−")
    text = f"the difference is {signed} points"
    errors = (one["standard_error"], other["standard_error"])
    if None in errors:
        return text + "."
    error = 100 * math.hypot(*errors)
    if abs(points) > 2 * error:
        return f"{text}, more than twice its standard error ({error:.1f}): hardly chance."
    return f"{text}, within twice its standard error ({error:.1f}): it may be chance."


def comparison_of(folders: list[Path]) -> str:
    """The first run beside the others, at equal steps and at equal generated tokens."""
    heading = element("h3", "Side by side, at equal steps and at equal generated tokens")
    try:
        columns = side_by_side(folders)
    except InputError as error:
        reason = f"The runs cannot be compared like this: {error}."
        return heading + element("p", escaped(reason), "note")
    _, end_of_first, *others = columns
    sentences = []
    for title in others:
        sentence = (
            f"{title_and_accuracy(end_of_first, columns)} against "
            f"{title_and_accuracy(title, columns)}: "
            f"{difference_in_words(columns[end_of_first], columns[title])}"
        )
        sentences.append(element("li", sentence))
    explained = (
        "A step of TAPO generates more than one of GRPO, because it also constructs. So the first "
        "run stands beside the others twice: where they had made as many steps, and where they had "
        "generated about as many tokens. All of this is one seed: another can turn it around."
    )
    listed = element("ul", "".join(sentences))
    return heading + element("p", explained) + listed + summary_table(columns)


def title_and_accuracy(title: str, columns: Mapping[str, Summary]) -> str:
    return f"<b>{escaped(title)}</b> ({columns[title]['pass@1']:.1%})"


def summary_table(columns: Mapping[str, Summary]) -> str:
    """Summaries side by side, one column each."""
    written = {}
    for title, summary in columns.items():
        rows = rows_of(summary)
        rows["generated tokens since the start"] = f"{summary['tokens_generated']:,}"
        written[title] = rows
    return html_table(written)


def html_table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """Columns (name of a row -> cell) side by side; a cell that a column lacks stays empty."""
    if not columns:
        return ""
    names: dict[str, None] = {}  # an ordered set
    for cells in columns.values():
        names |= dict.fromkeys(cells)
    lines = [table_row("th", "", columns)]
    for name in names:
        cells_of_row = [cells.get(name, "") for cells in columns.values()]
        lines.append(table_row("td", name, cells_of_row))
    return element("div", element("table", "".join(lines)), "wide")


def table_row(tag: str, name: str, cells: Iterable[str]) -> str:
    written = [element(tag, escaped(cell)) for cell in cells]
    return element("tr", element("th", escaped(name)) + "".join(written))


def settings_tables(runs: Sequence[RunLog]) -> str:
    """The settings in which the runs differ, and behind a fold all of them, a column a run."""
    columns = {}
    for run in runs:
        columns[run.name] = {name: str(value) for name, value in run.settings.items()}
    folded = element("summary", "All settings") + html_table(columns)
    everything = element("details", folded)
    if len(runs) == 1:
        return everything
    names = set().union(*columns.values())
    different = [name for name in names if len({cells.get(name) for cells in columns.values()}) > 1]
    chosen = {}
    for run_name, cells in columns.items():
        chosen[run_name] = {name: cells.get(name, "") for name in sorted(different)}
    return element("p", "What differs between the runs:") + html_table(chosen) + everything


# ---------------------------------------------------------------- curves


def curves_of(runs: Sequence[RunLog]) -> str:
    """Every figure of which a run has measured something, under the headings of SECTIONS."""
    if not can_draw():
        advice = "Curves need matplotlib: <code>pip install matplotlib</code>, then run this again."
        return element("p", advice, "note")
    records = {run.name: run.records for run in runs}
    sections = []
    for number, (heading, figures) in enumerate(SECTIONS.items()):
        drawn = []
        for position, figure in enumerate(figures):
            drawn.append(figure_html(figure, records, key=f"f{number}-{position}"))
        if any(drawn):
            sections.append(element("h3", heading) + element("div", "".join(drawn), "grid"))
    if not sections:
        return element("p", "Nothing has been measured yet.", "note")
    return "".join(sections)


# ---------------------------------------------------------------- the browser of constructions


def shown_constructions(runs: Sequence[RunLog]) -> list[Record]:
    """The constructions of all runs that the page holds: at most MOST_CONSTRUCTIONS of each, and
    fewer where their texts are longer than the page can take."""
    shown = []
    for run in runs:
        chosen = evenly(run.constructions, MOST_CONSTRUCTIONS)
        while len(json_for_html(chosen)) > CONSTRUCTION_BYTES / len(runs):
            chosen = evenly(chosen, len(chosen) * 9 // 10)
        shown += chosen
    return shown


def evenly(items: Sequence[Any], limit: int) -> list[Any]:
    """At most `limit` of the items, at even distances from the first to the last.

    >>> evenly([0, 1, 2, 3, 4], limit=3)
    [0, 2, 4]
    """
    count = min(limit, len(items))
    gaps = max(count - 1, 1)
    return [items[i * (len(items) - 1) // gaps] for i in range(count)]


def shown_construction(run: str, made: Record) -> Record:
    """What the page's script needs of a line of samples.jsonl. Runs of earlier versions lack its
    request and its tokens; only the first of a step have tokens."""
    outcome = "right" if made["right"] else "wrong"
    shown = {
        "run": run,
        "step": made["step"],
        "outcome": "refused" if made["refused"] else outcome,
        "reason": made["refused"],
        "reward": made["reward"],
        "question": made["problem"],
        "gold": made["gold"],
        "wrong": made["wrong"],
        "sibling": made["sibling"],
        "seen": seen_of_sibling(made),
        "request": made.get("request", ""),
        "shaded": "yes" if "tokens" in made else "no",
    }
    if made["refused"]:
        return shown | {"reply": made["reply"]}
    shown |= {"analysis": made["analysis"], "parts": made["parts"]}
    shown["diagnosed"] = made["diagnosis_tokens"] > 0
    if "tokens" in made:
        shown["ends"] = [made["prefix_tokens"], made["prefix_tokens"] + made["diagnosis_tokens"]]
        shown |= {"tokens": made["tokens"], "advantage": made["advantage"]}
    return shown


def said_of_shown(runs: Sequence[RunLog], shown: Sequence[Record]) -> str:
    """How many of each run's constructions the page holds."""
    counts = []
    for run in [run for run in runs if run.constructions]:
        on_page = sum(record["run"] == run.name for record in shown)
        counts.append(f"{on_page:,} of {len(run.constructions):,} of {run.name}")
    if not counts:
        return "These runs have constructed nothing."
    total = ", ".join(counts)
    return f"On this page are {total}, evenly spaced. All are in the run's samples.jsonl."
