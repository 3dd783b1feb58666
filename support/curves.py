"""The curves of a page: which figures there are, and how one is drawn.

A figure is an inline SVG: text stays text, the background is transparent, and axes and text have
the colour of the page around them, so that it can be read in a light and in a dark scheme. Its
legend is HTML, which a phone can wrap. Called by support/page.py; matplotlib is the extra "report".
"""

import io
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from typing import Any, NamedTuple

Record = Mapping[str, Any]  # a line of metrics.jsonl

# ---------------------------------------------------------------- which figures there are


@dataclass(frozen=True)
class Figure:
    """What one figure shows of metrics.jsonl."""

    title: str  # with the unit, where it is no share
    metrics: Mapping[str, str]  # name of a metric -> what the legend calls it
    how_to_read: str  # one sentence
    stage: str = "rl"  # whose records hold the metrics: a step's, or a measurement's ("eval")
    error: str = ""  # the metric that holds the standard error, drawn as a band


LEARNT = [
    Figure(
        "Reward", {"reward": "reward"}, "What the checker pays for a sampled answer, on average."
    ),
    Figure(
        "Accuracy on held-out problems",
        {"pass@1": "accuracy"},
        "Problems never trained on, measured where the line bends or ends; band: standard error.",
        stage="eval",
        error="standard_error",
    ),
    Figure(
        "How right answers are reached",
        {"DSR": "DSR", "ERR": "ERR"},
        "DSR: right answers that came without a reflection; ERR: reflections that end right, which "
        "jumps where few answers reflect.",
        stage="eval",
    ),
    Figure(
        "Answers that reflect",
        {"reflective_share": "reflective"},
        "Sampled answers in which the policy stops and doubts what it wrote.",
    ),
]
CONSTRUCTED = [
    Figure(
        "Eligible questions",
        {"eligible_share": "eligible", "mixed_share": "some right, some wrong"},
        "Only these get constructions: at least --n-pos right and --n-neg wrong answers.",
    ),
    Figure(
        "From pairs to lessons (number in a step)",
        {
            "pairs": "pairs",
            "trajectories": "trajectories",
            "concrete": "with a concrete diagnosis",
            "taught_rows": "with an advantage other than 0",
        },
        "Of the pairs of a wrong and a right answer, how many became something to learn from.",
    ),
    Figure(
        "Right constructions, flat groups",
        {"ref_right_share": "right", "ref_flat_share": "flat groups"},
        "Where all constructions of a question earn the same, their group is flat: no gradient.",
    ),
    Figure(
        "Replies that can be used",
        {"parse_share": "parsed", "kept_share": "kept"},
        "A reply must have its tags in order to be parsed, and pass further checks to be kept.",
    ),
    Figure(
        "Reasons of refusal (pairs in a step)",
        {"refused": "refused"},
        "Why replies gave no trajectory, the six most frequent reasons.",
    ),
    Figure(
        "Where constructions leave the wrong answer",
        {"prefix_share": "of the construction", "left_at": "of the wrong answer"},
        "How much of a construction is the wrong prefix, and how much of the wrong answer that is.",
    ),
    Figure(
        "Diagnosis and copying",
        {"diagnosis_share": "with a diagnosis", "copied_share": "copied from the right answer"},
        "Constructions with a diagnosis; what of their rest only repeats the right answer.",
    ),
    Figure(
        "OTS weight by part (mean of tokens)",
        {
            "ots_weight_prefix": "wrong prefix",
            "ots_weight_turn": "first token after it",
            "ots_weight_diagnosis": "diagnosis",
            "ots_weight_correction": "correction",
        },
        "Near 1 the policy might have written the token itself; near 0 the token hardly counts.",
    ),
]
UPDATED = [
    Figure(
        "Policy loss", {"loss": "loss"}, "Near 0 whatever is learnt, since advantages cancel out."
    ),
    Figure(
        "Gradient norm",
        {
            "grad_norm": "whole",
            "grad_norm_sampled": "sampled answers",
            "grad_norm_ref": "constructions",
        },
        "How hard sampled answers and constructions pull; spikes announce trouble.",
    ),
    Figure(
        "Do the two gradients agree? (cosine)",
        {"grad_cosine": "cosine"},
        "Above 0 sampled answers and constructions pull the same way, below 0 against each other.",
    ),
    Figure("KL (nats a token)", {"kl": "KL"}, "How far the policy has moved from where RL began."),
    Figure(
        "Entropy (nats a token)",
        {"entropy": "entropy"},
        "How undecided the policy is; at 0 it always says the same and explores nothing.",
    ),
    Figure(
        "Length (tokens an answer)",
        {"length": "length"},
        "A collapse or an explosion of the length often comes before one of the reward.",
    ),
]
COST = [
    Figure(
        "Generated tokens (in a step)",
        {"tokens": "tokens"},
        "What a step generates: sampled answers, and replies that construct trajectories.",
    ),
    Figure("Seconds (in a step)", {"seconds": "seconds"}, "Where a step spends its time."),
]
COLD_START = [
    Figure(
        "Loss of the cold start (nats a token)",
        {"loss": "loss"},
        "How badly the policy predicts the examples that it learns from before RL.",
        stage="coldstart",
    )
]
SECTIONS = {
    "Does it learn?": LEARNT,
    "Construction": CONSTRUCTED,
    "The update": UPDATED,
    "What it costs": COST,
    "The cold start": COLD_START,
}

# ---------------------------------------------------------------- the lines of a figure

MOST_LINES = 6  # that a metric with names of its own, such as reasons of refusal, may have
MOST_POINTS = 60  # of a line: a longer one is drawn as means
# Neither light nor dark: each has a contrast of 3 or more to its ground in both schemes. Blue and
# orange come first, which the colour-blind tell apart.
COLOURS = ("#3f83c9", "#d9701a", "#2f9a5f", "#b461c4", "#d1527a", "#8a7f2b", "#2495a3", "#8577dd")
SOLID = "none"  # as the stroke-dasharray of an SVG
DASHES = (SOLID, "6 3", "2 2", "8 2 2 2", "12 3", "6 2 2 2 2 2")


class Point(NamedTuple):
    step: float
    value: float
    error: float  # its standard error, or 0


@dataclass(frozen=True)
class Line:
    """One curve, as it is drawn and as the legend names it."""

    label: str
    colour: str
    dashes: str  # one of DASHES
    points: list[Point]


def values_by_name(label: str, values: Sequence[Any]) -> dict[str, list[float]]:
    """A metric's values as those of one line, or where they are mappings of one for each name.

    A name that a mapping does not mention counts as 0 there.

    >>> values_by_name("loss", [0.5, 0.25])
    {'loss': [0.5, 0.25]}
    >>> values_by_name("refused", [{}, {"no tag": 3}])
    {'no tag': [0, 3]}
    """
    if not any(isinstance(value, Mapping) for value in values):
        return {label: list(values)}
    totals: Counter[str] = Counter()
    for counts in values:
        totals.update(counts)
    names = [name for name, _ in totals.most_common(MOST_LINES)]
    return {name: [counts.get(name, 0) for counts in values] for name in names}


def series_of(figure: Figure, records: Sequence[Record]) -> dict[str, list[Point]]:
    """What a run has measured of this figure: name -> points; empty where it has nothing."""
    series = {}
    of_stage = [record for record in records if record["stage"] == figure.stage]
    for metric, label in figure.metrics.items():
        measured = [record for record in of_stage if record.get(metric) is not None]
        if not measured:
            continue
        steps = [record["step"] for record in measured]
        errors = [record.get(figure.error) or 0.0 for record in measured]
        by_name = values_by_name(label, [record[metric] for record in measured])
        for name, values in by_name.items():
            series[name] = means_of_neighbours(list(map(Point, steps, values, errors)))
    return series


def lines_of(figure: Figure, runs: Mapping[str, Sequence[Record]]) -> list[Line]:
    """Every curve of a figure. Where several runs have some, a colour is a run and a dash pattern a
    metric; else a colour is a metric, and none that stands for a run elsewhere."""
    measured = {run: series_of(figure, records) for run, records in runs.items()}
    names: list[str] = []
    for series in measured.values():
        names += [name for name in series if name not in names]
    colours_are_runs = sum(bool(series) for series in measured.values()) > 1
    first_free = len(runs) if len(runs) > 1 else 0
    lines = []
    for run_number, (run, series) in enumerate(measured.items()):
        for name, points in series.items():
            number = names.index(name)
            colour = run_number if colours_are_runs else first_free + number
            dashes = DASHES[number % len(DASHES)] if colours_are_runs else SOLID
            label = f"{run}: {name}" if len(runs) > 1 else name
            lines.append(Line(label, COLOURS[colour % len(COLOURS)], dashes, points))
    return lines


def means_of_neighbours(points: Sequence[Point], limit: int = MOST_POINTS) -> list[Point]:
    """At most `limit` points, each the mean of neighbours where there are more.

    >>> means_of_neighbours([Point(1, 0.5, 0), Point(2, 1.5, 0), Point(3, 4.0, 0)], limit=2)
    [Point(step=1.5, value=1.0, error=0.0), Point(step=3.0, value=4.0, error=0.0)]
    """
    size = max(1, math.ceil(len(points) / limit))
    means = []
    for start in range(0, len(points), size):
        block = points[start : start + size]
        means.append(Point(*[sum(numbers) / len(block) for numbers in zip(*block, strict=True)]))
    return means


# ---------------------------------------------------------------- drawing

INK = "#010203"  # stands for the page's own text colour until the SVG is written
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "page",  # the same lines give the same text
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def can_draw() -> bool:
    return find_spec("matplotlib") is not None


def figure_html(figure: Figure, runs: Mapping[str, Sequence[Record]], key: str) -> str:
    """A figure with its title, sentence and legend; "" where no run has its metrics.

    runs: name of a run -> its records; key: makes the ids of this figure unique on the page
    """
    lines = lines_of(figure, runs)
    if not lines:
        return ""
    legend = "".join(map(legend_entry, lines))
    return (
        f'<figure class="curve"><figcaption><h4>{escape(figure.title)}</h4>'
        f"<p>{escape(figure.how_to_read)}</p></figcaption>"
        f'{draw(figure, lines, key)}<div class="legend">{legend}</div></figure>\n'
    )


def legend_entry(line: Line) -> str:
    stroke = f'stroke="{line.colour}" stroke-width="3" stroke-dasharray="{line.dashes}"'
    sample = f'<svg width="26" height="8" aria-hidden="true"><path d="M0 4H26" {stroke}/></svg>'
    return f"<span>{sample} {escape(line.label)}</span>"


def draw(figure: Figure, lines: Sequence[Line], key: str) -> str:
    """The curves as the text of an <svg>."""
    import matplotlib
    from matplotlib.figure import Figure as Drawing
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(4.6, 2.7), layout="constrained")
        axes = drawing.add_subplot()
        for line in lines:
            draw_line(axes, line)
        axes.set(xlabel="step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        file = io.StringIO()
        drawing.savefig(file, format="svg", transparent=True)
    return inline_svg(file.getvalue(), figure.title, key)


def draw_line(axes: Any, line: Line) -> None:
    steps, values, errors = zip(*line.points, strict=True)
    [drawn] = axes.plot(steps, values, color=line.colour, linewidth=1.6, marker="o", markersize=2.5)
    if line.dashes != SOLID:
        drawn.set_dashes([float(length) for length in line.dashes.split()])
    if any(errors):
        lows = [value - error for value, error in zip(values, errors, strict=True)]
        highs = [value + error for value, error in zip(values, errors, strict=True)]
        axes.fill_between(steps, lows, highs, color=line.colour, alpha=0.15, linewidth=0)


def inline_svg(text: str, title: str, key: str) -> str:
    """matplotlib's SVG file as a part of a page: without header, date and style sheet, which would
    hold for the whole page, with ids of its own, and in the page's colour."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<(style|metadata).*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href").replace(INK, "currentColor")
    text = re.sub(r'( id="| href="#|url\(#)', rf"\g<1>{key}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
