"""Tables, figures and verdicts of the study, from its lines alone.

Every difference is paired by seed: both runs had the same questions in the same order. Intervals
are 95%, from Student's t over seeds, not corrected for the number of claims; they hold for this
cold start and these held-out problems, which all seeds share. A claim is confirmed here if the
interval of its figure lies wholly on the claimed side of 0, reversed here if it lies wholly on the
other side, and not confirmed here otherwise.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

T95 = (
    math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262,
    2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093,
)  # by degrees of freedom  # fmt: skip
Record = dict[str, Any]
Runs = dict[str, dict[int, Record]]  # method -> seed -> run
Measure = Callable[[Record], float | None]
Columns = dict[str, tuple[Measure, float, int]]  # title -> measure, scale, digits


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95% interval (infinite for one value)."""
    n = len(values)
    t = T95[min(n, len(T95)) - 1]  # a little too wide for more values than the table has
    return mean(values), t * stdev(values) / math.sqrt(n) if n > 1 else math.inf


def shown(values: list[float | None], scale: float = 100, digits: int = 1) -> str:
    known = [v * scale for v in values if v is not None]
    if not known:
        return "none"
    middle, half = interval(known)
    return f"{middle:.{digits}f}" + (f" ± {half:.{digits}f}" if math.isfinite(half) else "")


def final(name: str, key: str) -> Measure:
    return lambda r: r["final"][name][key]


def last(key: str, steps: int = 10) -> Measure:
    """Mean of a step's metric over the last steps before r["steps"]."""

    def measure(r: Record) -> float | None:
        some = r["train"][key][max(0, r["steps"] - steps) : r["steps"]]
        values = [v for v in some if v is not None]
        return mean(values) if values else None

    return measure


def dsr_over_err(r: Record) -> float | None:
    dsr = r["final"]["trained"]["DSR"]
    err = r["final"]["trained"]["ERR"]
    return None if dsr is None or err is None else dsr - err


ACCURACY = final("trained", "pass@1")
DSR = final("trained", "DSR")
ERR = final("trained", "ERR")
COLUMNS: Columns = {
    "pass@1": (ACCURACY, 100, 1),
    "pass@8": (final("trained", "pass@8"), 100, 1),
    "greedy": (final("greedy", "pass@1"), 100, 1),
    "rung 4": (final("4", "pass@1"), 100, 1),
    "rung 5": (final("5", "pass@1"), 100, 1),
    "DSR": (DSR, 100, 1),
    "ERR": (ERR, 100, 1),
    "reflections an answer": (final("trained", "reflections"), 1, 2),
    "tokens an answer": (final("trained", "mean_tokens"), 1, 1),
    "generated, million tokens": (lambda r: r["tokens"], 1e-6, 2),
}
MECHANICS: Columns = {
    "entropy": (last("entropy"), 1, 3),
    "gradient norm, sampled": (last("grad_norm_sampled"), 1, 3),
    "gradient norm, constructed": (last("grad_norm_ref"), 1, 3),
    "their cosine": (last("grad_cosine"), 1, 3),
    "OTS weight: prefix": (last("ots_weight_prefix"), 1, 2),
    "OTS weight: first token after it": (last("ots_weight_turn"), 1, 2),
    "OTS weight: diagnosis": (last("ots_weight_diagnosis"), 1, 2),
    "OTS weight: correction": (last("ots_weight_correction"), 1, 2),
    "constructions: parsed": (last("parse_share"), 100, 0),
    "constructions: right": (last("ref_reward"), 100, 0),
    "G_ref without variance": (last("ref_flat_share"), 100, 0),
}


@dataclass(frozen=True)
class Claim:
    """A claim, and the difference whose sign says whether it holds here."""

    text: str
    one: str
    other: str
    measure: Measure = ACCURACY
    unit: str = "pass@1, points"
    sign: int = 1  # of the claimed difference one - other
    curve: str = "pass@1"
    paper: str = "no figure"  # what is known of the paper's


CLAIMS = {
    "equal-steps": Claim("TAPO beats GRPO at equal steps", "TAPO", "GRPO", paper="+9.6 / 0 / +2.7"),
    "equal-tokens": Claim(
        "TAPO beats GRPO at equal generated tokens", "TAPO", "GRPO, equal tokens"
    ),
    "cold-start": Claim(
        "without the cold start TAPO is below GRPO (here: little construction in it)",
        "TAPO, little construction",
        "GRPO, little construction",
        sign=-1,
        paper="yes on AIME25 and HMMT25, no figure",
    ),
    "dae": Claim("DAE is needed: one mixed group is worse", "TAPO without DAE", "TAPO", sign=-1),
    "dae-entropy": Claim(
        "without DAE entropy collapses",
        "TAPO without DAE",
        "TAPO",
        last("entropy"),
        "entropy, nats",
        -1,
        "entropy",
        "said, no figure",
    ),
    "dae-length": Claim(
        "without DAE length collapses",
        "TAPO without DAE",
        "TAPO",
        last("length"),
        "tokens an answer",
        -1,
        "length",
        "said, no figure",
    ),
    "ots": Claim("OTS is needed", "TAPO without OTS", "TAPO", sign=-1),
    "dcs": Claim("DCS is needed: every mixed group is worse", "TAPO without DCS", "TAPO", sign=-1),
    "sft": Claim(
        "SFT on constructions is below the cold start",
        "SFT on constructions",
        "cold start",
        sign=-1,
        paper="about -1",
    ),
    "opsd": Claim("TAPO beats OPSD", "TAPO", "OPSD", paper="+4.8 (AIME24)"),
    "prefix": Claim(
        "keeping the wrong prefix beats a full rewrite",
        "TAPO, full reconstruction",
        "TAPO",
        sign=-1,
        paper="-2 to -4",
    ),
    "dsr": Claim(
        "TAPO raises the direct solution rate",
        "TAPO",
        "GRPO",
        DSR,
        "DSR, points",
        curve="DSR",
        paper="+13.5 / +15.9 / +22.4",
    ),
    "err": Claim(
        "TAPO raises the effective reflection rate",
        "TAPO",
        "GRPO",
        ERR,
        "ERR, points",
        curve="ERR",
        paper="+11.4 / +4.8 / +3.0",
    ),
    "dsr-over-err": Claim(
        "first-pass solving gains more than reflecting",
        "TAPO",
        "GRPO",
        dsr_over_err,
        "DSR - ERR, points",
        curve="DSR",
        paper="+2.1 / +11.1 / +19.4",
    ),
}
TRIED = {  # what the study itself suggests
    "all-mixed": Claim("TAPO on every mixed group beats GRPO", "TAPO without DCS", "GRPO"),
    "batch": Claim(
        "comparing constructions with all of the batch helps", "TAPO, G_ref of the batch", "TAPO"
    ),
    "sampled": Claim(
        "comparing them with the sampled answers helps", "TAPO, baseline of the sampled", "TAPO"
    ),
    "masked": Claim(
        "leaving the wrong prefix out of the loss helps", "TAPO, prefix not trained", "TAPO"
    ),
    "masked-grpo": Claim("without it TAPO beats GRPO", "TAPO, prefix not trained", "GRPO"),
}


SAME_RATES = (  # compared at each learning rate that one of them has
    ("TAPO", "GRPO"),
    ("TAPO, little construction", "GRPO, little construction"),
)


def by_method(records: list[Record]) -> Runs:
    """method -> seed -> run; the cold start counts as a run of every seed."""
    runs: Runs = defaultdict(dict)
    for r in records:
        if r["kind"] == "run":
            runs[r["method"]][r["seed"]] = r
    starts = [r for r in records if r["kind"] == "coldstart" and r["name"] == "coldstart"]
    if starts and runs:
        runs["cold start"] = {seed: starts[0] for seeds in list(runs.values()) for seed in seeds}
    return runs


def differences(runs: Runs, claim: Claim) -> list[float]:
    one = runs.get(claim.one, {})
    other = runs.get(claim.other, {})
    scale = 100 if "points" in claim.unit else 1
    found = []
    for seed in sorted(one.keys() & other.keys()):
        a = claim.measure(one[seed])
        b = claim.measure(other[seed])
        if a is not None and b is not None:
            found.append((a - b) * scale)
    return found


def verdict(values: list[float], sign: int) -> str:
    if len(values) < 2:
        return "not measured"
    middle, half = interval(values)
    if abs(middle) <= half:
        return "not confirmed here"
    return "confirmed here" if middle * sign > 0 else "reversed here"


# ---------------------------------------------------------------- tables


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def start_table(records: list[Record]) -> str:
    columns = {
        "right": "reward",
        "reflecting": "reflective_share",
        "eligible questions": "eligible_share",
        "constructions: parsed": "parse_share",
        "constructions: right": "ref_reward",
        "verbatim to the first error": "verbatim_share",
        "which they quote": "quoted_share",
    }
    rows = []
    for r in records:
        if r["kind"] == "coldstart":
            made = r["constructions"]
            counts = " / ".join(map(str, made["groups_by_right_answers"]))
            cells = [shown([made[key]]) for key in columns.values()]
            rows.append([r["name"], *cells, counts])
    return table(["cold start", *columns, "questions by right answers, 0 to 8"], rows)


def method_table(runs: Runs, columns: Columns) -> str:
    rows = []
    for method, seeds in runs.items():
        used = list(seeds.values())
        if method == "cold start":  # one policy, whatever the seed
            if columns is MECHANICS:
                continue
            used = used[:1]
        rate = f"{used[0]['lr']:g}" if "lr" in used[0] else ""
        cells = [
            shown([measure(r) for r in used], scale, digits)
            for measure, scale, digits in columns.values()
        ]
        rows.append([method, str(len(used)), rate, *cells])
    return table(["method", "seeds", "lr", *columns], rows)


def claim_table(runs: Runs, claims: dict[str, Claim], name: str) -> str:
    rows = []
    for key, claim in claims.items():
        values = differences(runs, claim)
        what = f"{claim.one} minus {claim.other}"
        here = shown(values, 1, 1 if "points" in claim.unit else 3)
        result = verdict(values, claim.sign)
        figure = f"[{key}]({name}/{key}.svg)"
        seeds = str(len(values))
        rows.append([claim.text, what, claim.unit, claim.paper, seeds, here, result, figure])
    titles = ["claim", "difference", "of", "in the paper", "seeds", "here", "verdict", "figure"]
    return table(titles, rows)


def same_rate_table(records: list[Record]) -> str:
    """TAPO minus GRPO at one learning rate for both; "" where no rate has runs of both."""
    runs: dict[float, Runs] = defaultdict(lambda: defaultdict(dict))
    for r in records:
        if r["kind"] in ("run", "other rate"):
            runs[r["lr"]][r["method"]][r["seed"]] = r
    measures = {"pass@1": ACCURACY, "DSR": DSR, "ERR": ERR}
    reflections = final("trained", "reflections")
    rows = []
    for one, other in SAME_RATES:
        for lr, methods in sorted(runs.items()):
            seeds = methods[one].keys() & methods[other].keys()
            if not seeds:
                continue
            cells = [f"{one} minus {other}", f"{lr:g}", str(len(seeds))]
            for measure in measures.values():
                cells.append(shown(differences(methods, Claim("", one, other, measure)), 1))
            claim = Claim("", one, other, reflections, "an answer")
            cells.append(shown(differences(methods, claim), 1, 3))
            rows.append(cells)
    titles = ["difference", "lr of both", "seeds", *measures, "reflections an answer"]
    return table(titles, rows) if rows else ""


def rate_table(records: list[Record]) -> str:
    tunings = [r for r in records if r["kind"] == "tuning"]
    tuned = {(r["method"], r["lr"]): r["curve"][-1]["pass@1"] for r in tunings}
    rates = sorted({lr for _, lr in tuned})
    methods = dict.fromkeys(method for method, _ in tuned)
    rows = [[m, *(shown([tuned.get((m, lr))]) for lr in rates)] for m in methods]
    return table(["method", *(f"lr {lr:g}" for lr in rates)], rows)


def write_tables(records: list[Record], folder: Path, name: str) -> str:
    """Write folder/name.md and a figure for each claim into folder/name/; returns the text."""
    runs = by_method(records)
    start = "The policies that RL starts from (%, on 128 training questions x 8)"
    rates = "Learning rates: pass@1 (%) after half the steps, of one seed that is not used above"
    sections = {
        start: start_table(records),
        "Methods (%, after the last step)": method_table(runs, COLUMNS),
        "What happened in the last ten steps": method_table(runs, MECHANICS),
        "Claims (the paper's figures: AIME24 / AIME25 / HMMT25)": claim_table(runs, CLAIMS, name),
        "Tried beyond the paper": claim_table(runs, TRIED, name),
        rates: rate_table(records),
        "At one learning rate for both (points, but for reflections)": same_rate_table(records),
    }
    source = f"Written by `python bench/study.py` from {name}.jsonl"
    remark = (
        "± is a 95% interval over seeds. Each method has the learning rate that did best in a "
        "search; where two have different ones, the rate can be the reason of a difference."
    )
    parts = [f"# {name}", f"{source}; {remark}"]
    parts += [f"## {title}\n\n{section}" for title, section in sections.items() if section]
    text = "\n\n".join(parts) + "\n"
    (folder / f"{name}.md").write_text(text)
    draw_figures(runs, folder / name)
    return text


# ---------------------------------------------------------------- figures


def curve_of(r: Record, key: str) -> dict[int, tuple[float, float]]:
    """step -> (generated tokens, value) of a run: from its held-out curve, or from what each step
    measured."""
    if key in r["curve"][0]:
        points = [p for p in r["curve"] if p[key] is not None]
        return {p["step"]: (p["tokens_generated"], p[key]) for p in points}
    pairs = zip(r["train"]["tokens_generated"], r["train"][key], strict=True)
    return {step: pair for step, pair in enumerate(pairs, 1) if pair[1] is not None}


def draw_figures(runs: Runs, folder: Path) -> None:
    """A figure a claim: the curves behind it, mean and 95% interval over seeds, by step and by
    generated tokens."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "study"  # the same lines give the same file
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    for key, claim in (CLAIMS | TRIED).items():
        figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), sharey=True)
        for method in dict.fromkeys((claim.other.replace(", equal tokens", ""), claim.one)):
            trained = [r for r in runs.get(method, {}).values() if "curve" in r]
            draw_curves(axes, method, [curve_of(r, claim.curve) for r in trained])
        axes[0].set(xlabel="RL step", ylabel=claim.curve)
        axes[0].set_title(claim.text, fontsize=9)
        axes[1].set(xlabel="generated tokens, million")
        if axes[0].lines:
            axes[0].legend(fontsize=8)
        figure.tight_layout()
        figure.savefig(folder / f"{key}.svg", metadata={"Date": None})
        pyplot.close(figure)


def draw_curves(axes: Any, method: str, curves: list[dict[int, tuple[float, float]]]) -> None:
    """The mean of a method's curves with its interval: by step on the first of two axes, by tokens
    on the second."""
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    if not steps:
        return
    tokens = [mean(curve[step][0] for curve in curves) / 1e6 for step in steps]
    bands = [interval([curve[step][1] for curve in curves]) for step in steps]
    middles = [middle for middle, _ in bands]
    lows = [middle - half for middle, half in bands]
    highs = [middle + half for middle, half in bands]
    for axis, x in zip(axes, (steps, tokens), strict=True):
        (line,) = axis.plot(x, middles, label=f"{method}, {len(curves)} seeds")
        if len(curves) > 1:
            axis.fill_between(x, lows, highs, color=line.get_color(), alpha=0.2, linewidth=0)
