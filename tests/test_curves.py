"""Which curves a page shows, how they are told apart, and that they can stand in any page."""

import re

import pytest
from small_runs import make_run, take_steps

from support import curves
from support.curves import COLD_START, CONSTRUCTED, LEARNT, SECTIONS, Figure, Point, lines_of
from support.page import read_run

LOSS = Figure("Loss", {"loss": "loss"}, "Lower is better.")
PARTS = Figure("Parts", {"a": "first part", "b": "second part"}, "More is better.")


def steps(**metrics: list) -> list[dict]:
    """Records of the steps 1, 2, ... with these values, one list for each metric."""
    records = []
    for number, values in enumerate(zip(*metrics.values(), strict=True), 1):
        named = dict(zip(metrics, values, strict=True))
        records.append({"stage": "rl", "step": number, **named})
    return records


def test_what_was_not_measured_is_left_out():
    [line] = lines_of(LOSS, {"run": steps(loss=[0.5, None, 0.25])})
    assert line.points == [Point(1, 0.5, 0), Point(3, 0.25, 0)] and line.label == "loss"
    assert lines_of(LOSS, {"run": steps(loss=[None, None]), "other": steps(reward=[1])}) == []
    assert curves.figure_html(LOSS, {"run": []}, "key") == ""


def test_records_of_another_stage_are_not_mixed_in():
    """Steps and measurements share names, such as reflective_share."""
    records = [*steps(loss=[0.5]), {"stage": "coldstart", "step": 20, "loss": 4.0}]
    [line] = lines_of(LOSS, {"run": records})
    assert line.points == [Point(1, 0.5, 0)]


def test_several_runs_have_colours_and_their_metrics_dashes():
    both = steps(a=[1, 2], b=[3, 4])
    lines = lines_of(PARTS, {"tapo": both, "grpo": steps(b=[5, 6])})
    named = {line.label: (line.colour, line.dashes) for line in lines}
    first, second = curves.COLOURS[:2]
    solid, dashed = curves.DASHES[:2]
    assert named == {
        "tapo: first part": (first, solid),
        "tapo: second part": (first, dashed),
        "grpo: second part": (second, dashed),
    }


def test_metrics_that_one_run_has_do_not_wear_the_colour_of_another_run():
    lines = lines_of(PARTS, {"tapo": steps(a=[1], b=[3]), "grpo": steps(loss=[5])})
    assert [line.label for line in lines] == ["tapo: first part", "tapo: second part"]
    assert not {line.colour for line in lines} & set(curves.COLOURS[:2])
    assert {line.dashes for line in lines} == {"none"}


def test_reasons_are_lines_and_the_most_frequent_come_first():
    counts = [{f"reason {n}": n} for n in range(1, 10)]
    refused = Figure("Refused", {"refused": "refused"}, "Fewer are better.")
    lines = lines_of(refused, {"run": steps(refused=counts)})
    assert [line.label for line in lines] == [f"reason {n}" for n in range(9, 3, -1)]
    assert lines[0].points == [*[Point(step, 0, 0) for step in range(1, 9)], Point(9, 9, 0)]


def test_the_error_of_a_point_is_its_own_and_none_where_it_is_unknown():
    accuracy = LEARNT[1]
    records = []
    for step, error in ((0, 0.02), (10, None)):
        record = {"stage": "eval", "step": step, "pass@1": 0.5, "standard_error": error}
        records.append(record)
    [line] = lines_of(accuracy, {"run": records})
    assert [point.error for point in line.points] == [0.02, 0]


def test_every_metric_that_a_figure_names_is_logged_by_training(learned, tmp_path):
    run = make_run(learned, tmp_path / "run", steps=1, split_gradients=True)
    run.measure_held_out(0)
    take_steps(run, 1)
    logged = {}
    for record in read_run(tmp_path / "run", "run").records:
        logged[record["stage"]] = record
    figures = [figure for section in SECTIONS.values() for figure in section]
    for figure in figures:
        if figure not in COLD_START:  # this run has none
            missing = {*figure.metrics, figure.error} - {*logged[figure.stage], ""}
            assert not missing, figure.title


def test_a_run_that_constructs_nothing_is_in_no_figure_of_constructions(learned, tmp_path):
    run = make_run(learned, tmp_path / "run", steps=1, algo="grpo")
    take_steps(run, 1)
    records = read_run(tmp_path / "run", "run").records
    eligible, *others = CONSTRUCTED
    assert curves.series_of(eligible, records)
    assert not any(curves.series_of(figure, records) for figure in others)


def test_every_figure_says_how_to_read_it_and_no_title_comes_twice():
    figures = [figure for section in SECTIONS.values() for figure in section]
    titles = [figure.title for figure in figures]
    assert len(set(titles)) == len(titles) >= 15
    assert all(figure.how_to_read.endswith(".") for figure in figures)


def luminance(colour: str) -> float:
    """The relative luminance of "#rrggbb", as the accessibility guidelines define it."""
    light = []
    for start in (1, 3, 5):
        value = int(colour[start : start + 2], 16) / 255
        light.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]


@pytest.mark.parametrize("ground", ["#f5f6f8", "#1e2128"])  # --card in page.html, light and dark
def test_colours_can_be_seen_in_both_schemes(ground):
    for colour in curves.COLOURS:
        darker, lighter = sorted([luminance(ground), luminance(colour)])
        assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_an_svg_of_matplotlib_becomes_part_of_a_page():
    """Its style sheet would hold for all of the page, and ids of two figures could be the same."""
    text = (
        '<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "x" "http://www.w3.org/svg11.dtd">\n'
        '<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg">'
        '<style type="text/css">*{color: red}</style><path id="m1" style="fill: #010203"/>'
        '<use xlink:href="#m1" clip-path="url(#p2)"/></svg>'
    )
    assert curves.inline_svg(text, 'A "title"', "f1") == (
        '<svg role="img" aria-label="A &quot;title&quot;">'
        '<path id="f1-m1" style="fill: currentColor"/>'
        '<use href="#f1-m1" clip-path="url(#f1-p2)"/></svg>'
    )


def test_figures_are_vectors_with_text_and_take_the_colour_of_the_page():
    pytest.importorskip("matplotlib", reason="curves need matplotlib, the extra [report]")
    runs = {"a<b": steps(a=[1, 2], b=[3, 4]), "$x$": steps(a=[1, 2], b=[3, 4])}
    html = curves.figure_html(PARTS, runs, "f0") + curves.figure_html(
        LOSS, {"x": steps(loss=[1])}, "f1"
    )
    assert html.count("<figure") == html.count("</figure>") == 2
    assert ">step</text>" in html and "currentColor" in html and curves.INK not in html
    assert "a&lt;b: first part" in html and "$x$: first part" in html
    assert "http" not in html and "<image" not in html and "<style" not in html
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', html)) <= set(ids)
    assert html == (
        curves.figure_html(PARTS, runs, "f0")
        + curves.figure_html(LOSS, {"x": steps(loss=[1])}, "f1")
    )


def test_long_curves_are_means_of_all_their_points():
    values = [float(step % 2) for step in range(1, 601)]
    [line] = lines_of(LOSS, {"run": steps(loss=values)})
    assert len(line.points) == curves.MOST_POINTS == 60
    assert {point.value for point in line.points} == {0.5}
    assert line.points[0].step == 5.5 and line.points[-1].step == 595.5
