"""The curves of a page: which figures there are, and how one is drawn.

A figure is an inline SVG: text stays text, the background is transparent, and axes and text have
the colour of the page around them, so that it can be read in a light and in a dark scheme. Its
legend is HTML, which a phone can wrap. Called by support/page.py; matplotlib is the extra "report".
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from typing import Any

Record = Mapping[str, Any]  # a line of metrics.jsonl
Point = tuple[int, float]  # step, value

# ---------------------------------------------------------------- which figures there are


@dataclass(frozen=True)
class Figure:
    """What one figure shows of metrics.jsonl."""

    title: str
    metrics: Mapping[str, str]  # name of a metric -> what the legend calls it
    y: str  # label of the y axis
    how_to_read: str  # one sentence
    stage: str = "rl"  # whose records hold the metrics: a step's, or a measurement's ("eval")
    error: str = ""  # the metric that holds the standard error, drawn as a band


LEARNT = [
    Figure(
        "Reward",
        {"reward": "reward"},
        "mean reward",
        "What the checker pays for the answers that are sampled in training, on average.",
    ),
    Figure(
        "Accuracy on held-out problems",
        {"pass@1": "accuracy"},
        "share of answers",
        "Right answers to problems that are never trained on; the band is one standard error.",
        stage="eval",
        error="standard_error",
    ),
    Figure(
        "How right answers are reached",
        {"DSR": "DSR", "ERR": "ERR"},
        "share",
        "DSR: right answers that came without a reflection; ERR: reflections that end right.",
        stage="eval",
    ),
    Figure(
        "Answers that reflect",
        {"reflective_share": "reflective"},
        "share of answers",
        "Sampled answers in which the policy stops and doubts what it wrote.",
    ),
]
CONSTRUCTED = [
    Figure(
        "Eligible questions",
        {"eligible_share": "eligible", "mixed_share": "some right, some wrong"},
        "share of questions",
        "Trajectories are constructed for eligible questions: enough right and wrong answers.",
    ),
    Figure(
        "From pairs to lessons",
        {
            "pairs": "pairs",
            "trajectories": "trajectories",
            "about_the_error": "with a diagnosis about the error",
            "taught_rows": "with an advantage",
        },
        "number in a step",
        "Of the pairs of a wrong and a right answer, how many became something to learn from.",
    ),
    Figure(
        "Right constructions, flat groups",
        {"ref_right_share": "right (q)", "ref_flat_share": "flat groups"},
        "share",
        "Where all constructions of a question earn the same, their group is flat: no gradient.",
    ),
    Figure(
        "Replies that can be used",
        {"parse_share": "parsed", "kept_share": "kept"},
        "share of pairs",
        "A reply must have its tags in order to be parsed, and pass further checks to be kept.",
    ),
    Figure(
        "Reasons of refusal",
        {"refused": "refused"},
        "pairs in a step",
        "Why replies gave no trajectory, the six most frequent reasons.",
    ),
    Figure(
        "Where constructions leave the wrong answer",
        {"prefix_share": "of the construction", "left_at": "of the wrong answer"},
        "share of tokens",
        "How much of a construction is the wrong prefix, and how much of the wrong answer that is.",
    ),
    Figure(
        "Diagnosis and copying",
        {"diagnosis_share": "with a diagnosis", "copied_share": "copied from the right answer"},
        "share",
        "Constructions with a diagnosis, and the share of their rest that only repeats the right "
        "answer.",
    ),
    Figure(
        "OTS weight by part",
        {
            "ots_weight_prefix": "wrong prefix",
            "ots_weight_turn": "first token after it",
            "ots_weight_diagnosis": "diagnosis",
            "ots_weight_correction": "correction",
        },
        "mean token weight",
        "Near 1 the policy might have written the token itself; near 0 the token hardly counts.",
    ),
]
UPDATED = [
    Figure(
        "Loss",
        {"loss": "loss"},
        "policy loss",
        "It stays near 0 whatever is learnt, since advantages cancel out: look at the reward.",
    ),
    Figure(
        "Gradient norm",
        {
            "grad_norm": "whole",
            "grad_norm_sampled": "sampled answers",
            "grad_norm_ref": "constructions",
        },
        "norm",
        "How hard the sampled and the constructed answers pull; spikes announce trouble.",
    ),
    Figure(
        "Do the two gradients agree?",
        {"grad_cosine": "cosine"},
        "cosine",
        "Above 0 sampled answers and constructions pull the same way, below 0 against each other.",
    ),
    Figure(
        "KL to the starting policy",
        {"kl": "KL"},
        "nats a token",
        "How far the policy has moved from where RL began.",
    ),
    Figure(
        "Entropy",
        {"entropy": "entropy"},
        "nats a token",
        "How undecided the policy is; at 0 it always says the same and explores nothing.",
    ),
    Figure(
        "Length",
        {"length": "length"},
        "tokens an answer",
        "A collapse or an explosion of the length often comes before one of the reward.",
    ),
]
COST = [
    Figure(
        "Generated tokens",
        {"tokens": "tokens"},
        "tokens in a step",
        "What a step generates: sampled answers, and replies that construct trajectories.",
    ),
    Figure("Time", {"seconds": "seconds"}, "seconds in a step", "Where a step spends its time."),
]
COLD_START = [
    Figure(
        "Loss of the cold start",
        {"loss": "loss"},
        "nats a token",
        "How badly the policy predicts the examples that it learns from before RL.",
        stage="coldstart",
    )
]
SECTIONS = {
    "Does it learn?": LEARNT,
    "What is constructed": CONSTRUCTED,
    "The update": UPDATED,
    "What it costs": COST,
    "The cold start": COLD_START,
}

# ---------------------------------------------------------------- the lines of a figure

MOST_LINES = 6  # that a metric with names of its own, such as reasons, may have
MOST_POINTS = 400  # of a line
# Neither light nor dark: each has a contrast of 3 or more to its ground in both schemes. Blue and
# orange come first, which the colour-blind tell apart.
COLOURS = ("#3f83c9", "#d9701a", "#2f9a5f", "#b461c4", "#d1527a", "#8a7f2b", "#2495a3", "#8577dd")
DASHES = ("none", "6 3", "2 2", "8 2 2 2")  # as an SVG's stroke-dasharray


@dataclass(frozen=True)
class Line:
    """One curve, as it is drawn and as the legend names it."""

    label: str
    colour: str
    dashes: str  # one of DASHES
    points: list[Point]
    errors: list[float]  # one for each point, or none


def values_by_name(label: str, values: Mapping[int, Any]) -> dict[str, list[Point]]:
    """A metric's values by step as lines: one, or one for each name where the values are mappings.

    A name that a step does not mention counts as 0 there.

    >>> values_by_name("loss", {1: 0.5, 2: 0.25})
    {'loss': [(1, 0.5), (2, 0.25)]}
    >>> values_by_name("refused", {1: {}, 2: {"no tag": 3}})
    {'no tag': [(1, 0), (2, 3)]}
    """
    if not any(isinstance(value, Mapping) for value in values.values()):
        return {label: list(values.items())}
    totals: dict[str, float] = {}
    for counts in values.values():
        for name, count in counts.items():
            totals[name] = totals.get(name, 0) + count
    names = sorted(totals, key=lambda name: totals[name], reverse=True)
    lines = {}
    for name in names[:MOST_LINES]:
        lines[name] = [(step, counts.get(name, 0)) for step, counts in values.items()]
    return lines


def series_of(figure: Figure, records: Sequence[Record]) -> dict[str, list[Point]]:
    """What a run has measured of this figure: name -> points; empty where it has nothing."""
    of_stage = [record for record in records if record["stage"] == figure.stage]
    found: dict[str, list[Point]] = {}
    for metric, label in figure.metrics.items():
        values = {r["step"]: r[metric] for r in of_stage if r.get(metric) is not None}
        if values:
            found |= values_by_name(label, values)
    return found


def errors_of(figure: Figure, records: Sequence[Record]) -> list[float]:
    """The standard errors of a figure's points; none where one is unknown."""
    errors = [record.get(figure.error) for record in records if record["stage"] == figure.stage]
    return [error for error in errors if error is not None] if figure.error else []


def lines_of(figure: Figure, runs: Mapping[str, Sequence[Record]]) -> list[Line]:
    """Every curve of a figure. Where several runs have some, a colour is a run and a dash pattern a
    metric; else a colour is a metric, and none that stands for a run elsewhere."""
    measured = {name: series_of(figure, records) for name, records in runs.items()}
    is_of_one_run = sum(bool(series) for series in measured.values()) == 1
    first_free = len(runs) if len(runs) > 1 else 0
    numbers: dict[str, int] = {}  # of the names, in the order in which they are met
    for series in measured.values():
        for name in series:
            numbers.setdefault(name, len(numbers))
    lines = []
    for run_number, (run, series) in enumerate(measured.items()):
        errors = errors_of(figure, runs[run])
        for name, points in series.items():
            colour = first_free + numbers[name] if is_of_one_run else run_number
            dashes = 0 if is_of_one_run else numbers[name]
            lines.append(
                Line(
                    label_of(run, name, len(runs), len(numbers)),
                    COLOURS[colour % len(COLOURS)],
                    DASHES[dashes % len(DASHES)],
                    points,
                    errors if len(errors) == len(points) else [],
                )
            )
    return lines


def label_of(run: str, name: str, runs: int, names: int) -> str:
    """A curve's name, without the run or the metric where there is only one."""
    if runs == 1:
        return name
    return run if names == 1 else f"{run}: {name}"


def smooth(points: Sequence[Point], window: int) -> list[Point]:
    """Each value as the mean of itself and those before it, `window` in all.

    >>> smooth([(1, 0.0), (2, 4.0), (3, 8.0)], window=2)
    [(1, 0.0), (2, 2.0), (3, 6.0)]
    """
    means = []
    for end, (step, _) in enumerate(points, 1):
        recent = [value for _, value in points[max(0, end - window) : end]]
        means.append((step, sum(recent) / len(recent)))
    return means


def evenly(items: Sequence[Any], limit: int) -> list[Any]:
    """At most `limit` of the items, at even distances from the first to the last.

    >>> evenly([0, 1, 2, 3, 4], limit=3)
    [0, 2, 4]
    """
    count = min(limit, len(items))
    gaps = max(count - 1, 1)
    return [items[i * (len(items) - 1) // gaps] for i in range(count)]


# ---------------------------------------------------------------- drawing

INK = "#010203"  # stands for the page's own text colour until the SVG is written
STYLE = {
    "svg.fonttype": "none",  # text stays text
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
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


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

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": key}):
        drawing = Drawing(figsize=(4.6, 2.7), layout="constrained")
        axes = drawing.add_subplot()
        longest = max(len(line.points) for line in lines)
        for line in lines:
            draw_line(axes, line, longest)
        axes.set(xlabel="step", ylabel=figure.y)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        file = io.StringIO()
        drawing.savefig(file, format="svg", transparent=True, metadata=NO_METADATA)
    return inline_svg(file.getvalue(), figure.title, key)


def draw_line(axes: Any, line: Line, longest: int) -> None:
    """Where the longest line of a figure has 100 points or more, each is drawn faintly, with its
    moving mean over a twentieth of that above."""
    window = longest // 20 if longest >= 100 else 1
    dashes = [float(length) for length in line.dashes.split() if length != "none"]
    look = {"color": line.colour, "linestyle": (0, dashes) if dashes else "solid"}
    if window > 1:
        axes.plot(*columns_of(line.points), color=line.colour, alpha=0.3, linewidth=0.7)
    marker = "o" if longest <= 30 else None
    points = smooth(line.points, window)
    axes.plot(*columns_of(points), **look, linewidth=1.6, marker=marker, markersize=3)
    if line.errors:
        steps, values = columns_of(line.points)
        around = list(zip(values, line.errors, strict=True))
        lows = [value - error for value, error in around]
        highs = [value + error for value, error in around]
        axes.fill_between(steps, lows, highs, color=line.colour, alpha=0.15, linewidth=0)


def columns_of(points: Sequence[Point]) -> Iterator[list[float]]:
    """Steps, then values, thinned out where there are more than a figure can show."""
    return map(list, zip(*evenly(points, MOST_POINTS), strict=True))


def inline_svg(text: str, title: str, key: str) -> str:
    """matplotlib's SVG file as a part of a page: without header and style sheet, which would hold
    for the whole page, with ids of its own, and in the page's colour."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href").replace(INK, "currentColor")
    text = re.sub(r'( id="| href="#|url\(#)', rf"\g<1>{key}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
