"""The page of a run: what it shows, that no text of a model becomes HTML, that it needs nothing
else; and in a browser, where Chromium is installed, that its filters work."""

import json
import os
import re
import shutil
import subprocess
import time
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from conftest import run_cli
from small_runs import make_run, take_steps

import report
from support import curves, page
from support.files import InputError, read_lines
from support.page import RunLog, page_of, read_run

IMAGE = "<img src=x onerror=\"document.title='owned'\">"
HOSTILE = f"{IMAGE}</script>{IMAGE}<!--<script>{IMAGE}&amp;${{x}}$title"
HALF_PAIR = "\ud800"  # of surrogates: JSON can hold it, no file can
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not found")


def summary(step: int, share: float) -> dict:
    """A measurement on held-out problems as a line of metrics.jsonl."""
    record = {"stage": "eval", "step": step, "tokens_generated": 1000 * step, "questions": 500}
    record |= {"samples": 1, "pass@1": share, "standard_error": 0.02, "DSR": 0.9, "ERR": None}
    record |= {"no_answer_share": 0.0, "truncated_share": 0.0, "mean_tokens": 30.0}
    record["reflective_share"] = 0.25
    for how in ("direct", "reflective"):
        record |= {f"{how}_right": 1, f"{how}_wrong": 1}
    return record


def made(step: int, **changes) -> dict:
    """A construction as a line of samples.jsonl."""
    record = {
        "step": step,
        "problem": "How many?",
        "gold": "4",
        "wrong": "2+2=5",
        "sibling": "2+2=4",
    }
    record |= {"reply": "the reply", "reply_tokens": 9, "refused": "", "analysis": "It is 4."}
    record |= {"parts": ["2+2=5", "Wait, that is wrong.", "2+2=4"], "diagnosis_tokens": 6}
    return record | {"reward": 1.0, "right": True} | changes


TOKENS = [["2+2=", -0.01, 0.05, 0.99], ["5", -1.0, 0.5, 0.607], ["\nWait", -4.0, 0.25, 0.024]]
TOKENS += [[", no.", -0.1, 0.1, 1.001], ["\n2+2=4", -0.2, 0.3, 1.105], ["", 0.0, 0.0, 1.0]]


def with_tokens(step: int, **changes) -> dict:
    """A construction whose tokens were written down: two of the prefix, two of the diagnosis."""
    parts = {"parts": ["2+2=5", "Wait, no.", "2+2=4"], "prefix_tokens": 2, "diagnosis_tokens": 2}
    measured = {"tokens": TOKENS, "advantage": 0.5, "request": "Reflect on it:"}
    return made(step, **{**parts, **measured, **changes})


def refused(step: int, reason: str) -> dict:
    empty = {"parts": [], "diagnosis_tokens": 0, "analysis": "", "reward": 0.0, "right": False}
    return made(step, refused=reason, **empty)


def write_run(out, measured: list[dict], constructions: list[dict] | None = None, steps=2):
    out.mkdir()
    settings = {"algo": "tapo", "steps": steps, "questions": 2, "k": 4}
    (out / "config.json").write_text(json.dumps(settings))
    trained = []
    for step in range(1, steps + 1):
        trained.append({"stage": "rl", "step": step, "reward": 0.5, "length": 10.0, "kl": None})
    write_lines(out / "metrics.jsonl", measured + trained)
    if constructions is not None:
        write_lines(out / "samples.jsonl", constructions)
    return out


def write_lines(path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def page_text(*folders, refresh: int | None = None) -> str:
    runs = [read_run(folder, folder.name) for folder in folders]
    return page_of(runs, list(folders), refresh)


class Elements(HTMLParser):
    """Tags with their attributes as a browser's parser would meet them, and texts by tag."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags:
            self.texts.append((self.tags[-1][0], data))


def data_on(text: str) -> dict:
    """The JSON that the page's script shows."""
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert len(found) == 1
    return json.loads(found[0])


def constructions_on(text: str) -> list[dict]:
    return data_on(text)["constructions"]


# ---------------------------------------------------------------- what it shows


def test_the_findings_are_said_in_words(tmp_path):
    text = page_text(write_run(tmp_path / "run", [summary(0, 0.3), summary(2, 0.6)]))
    assert "from 30.0% to 60.0% in 2 steps" in text and "hardly chance" in text
    assert "run (tapo): 2 of 2 steps; written" in text
    assert "Answers that reflect went from 25.0% to 25.0%." in text


def test_the_findings_say_what_could_be_learned_from_constructions(tmp_path):
    lines = [summary(0, 0.3)]
    for flat, weight in [(1.0, 0.5), (0.5, None), (None, 0.1)]:  # a step without one, and another
        step = {"stage": "rl", "step": 1, "reward": 0.5, "length": 10.0}
        lines.append(step | {"ref_flat_share": flat, "ots_weight_turn": weight})
    text = page_text(write_run(tmp_path / "run", lines))
    assert "in 75% of the groups" in text and "decides to reflect, was 0.30." in text
    text = page_text(write_run(tmp_path / "other", lines[:1]))
    assert "of the groups" not in text
    shared = write_run(tmp_path / "shared", lines)  # compared with the sampled answers
    (shared / "config.json").write_text(json.dumps({"algo": "tapo", "dae": "off"}))
    assert "of the groups" not in page_text(shared)


def test_only_settings_that_differ_stand_before_the_fold(tmp_path):
    folders = []
    for name, steps in [("a", 2), ("b", 3)]:
        folders.append(write_run(tmp_path / name, [summary(0, 0.3), summary(2, 0.6)]))
        settings = json.loads((folders[-1] / "config.json").read_text())
        (folders[-1] / "config.json").write_text(json.dumps(settings | {"steps": steps}))
    _, _, shown = page_text(*folders).partition("What differs between the runs")
    before_fold, _, folded = shown.partition("<details>")
    assert ">steps<" in before_fold and ">algo<" not in before_fold
    assert ">steps<" in folded and ">algo<" in folded


def test_the_example_is_right_and_its_only_reflection_is_the_diagnosis(tmp_path):
    reflects_twice = made(2, wrong="2+2=5. Wait, that is wrong. 2+2=5")
    wrong = made(3, right=False, reward=0.0)
    lines = [made(1), reflects_twice, wrong, refused(4, "no <analysis>")]
    run = write_run(tmp_path / "run", [summary(0, 0.3)], lines)
    assert data_on(page_text(run))["example"]["step"] == 1
    write_lines(run / "samples.jsonl", [with_tokens(5), made(6), with_tokens(7, advantage=0.0)])
    assert data_on(page_text(run))["example"]["step"] == 5  # the policy learned something from it
    write_lines(run / "samples.jsonl", lines[1:])
    assert data_on(page_text(run))["example"]["step"] == 2
    write_lines(run / "samples.jsonl", lines[2:])
    assert data_on(page_text(run))["example"] is None


def test_chance_is_named_where_it_may_explain_a_difference():
    said = page.difference_in_words(summary(2, 0.55), summary(0, 0.6))
    assert said.startswith("the difference is −5.0 points, within twice its standard error (2.8)")
    unknown = summary(0, 0.6) | {"standard_error": None}
    assert page.difference_in_words(summary(2, 0.65), unknown) == "the difference is +5.0 points."


def test_runs_stand_beside_each_other_at_equal_steps_and_tokens(tmp_path):
    tapo = write_run(
        tmp_path / "tapo", [summary(0, 0.3), summary(2, 0.6) | {"tokens_generated": 4000}]
    )
    points = [summary(0, 0.3), summary(2, 0.5), summary(4, 0.7)]
    grpo = write_run(tmp_path / "grpo", points, steps=4)
    text = page_text(tapo, grpo)
    assert "<b>tapo, step 2</b> (60.0%) against <b>grpo, step 2</b> (50.0%)" in text
    assert "<b>grpo, step 4 (equal tokens)</b> (70.0%)" in text
    other_start = write_run(tmp_path / "other", [summary(0, 0.4), summary(2, 0.5)])
    assert "The runs cannot be compared like this" in page_text(tapo, other_start)


def test_the_page_says_where_the_policy_saw_a_part_of_the_right_answer(tmp_path):
    whole = {"kept": "2+2=5", "request": "Q? 2+2=4"}  # as an earlier version showed it
    lines = [made(1), made(2, kept=""), made(3, **whole), made(4, kept="2+2=5", request="Q?")]
    text = page_text(write_run(tmp_path / "run", [summary(0, 0.3)], lines))
    seen = [construction["seen"] for construction in constructions_on(text)]
    assert seen == ["", "", "", "; shown to the policy up to its result"]


def test_what_the_page_holds_of_each_construction(tmp_path):
    lines = [made(1), refused(2, "truncated"), made(2, right=False, reward=0.0, diagnosis_tokens=0)]
    text = page_text(write_run(tmp_path / "run", [summary(0, 0.3)], lines))
    right, without_trajectory, wrong = constructions_on(text)
    assert right["outcome"] == "right" and right["diagnosed"] and len(right["parts"]) == 3
    assert right["sibling"] == "2+2=4" and "reply" not in right  # its parts say it
    assert without_trajectory["reason"] == "truncated"
    assert without_trajectory["reply"] == "the reply" and "parts" not in without_trajectory
    assert wrong["outcome"] == "wrong" and not wrong["diagnosed"]
    assert "3 of 3 of run" in text
    assert "tokens" not in right and right["shaded"] == "no" and right["request"] == ""


def test_the_page_holds_the_tokens_where_they_were_written_down(tmp_path):
    run = write_run(tmp_path / "run", [summary(0, 0.3)], [with_tokens(1)])
    [shown] = constructions_on(page_text(run))
    assert shown["tokens"] == TOKENS and shown["ends"] == [2, 4] and shown["advantage"] == 0.5
    assert shown["shaded"] == "yes" and shown["request"] == "Reflect on it:"


def test_tokens_of_a_step_are_those_of_answers_and_of_replies(tmp_path):
    lines = [made(2), refused(2, "truncated")]
    run = read_run(write_run(tmp_path / "run", [summary(0, 0.3)], lines), "run")
    tokens = [record["tokens"] for record in run.records if record["stage"] == "rl"]
    assert tokens == [{"answers": 80}, {"answers": 80, "constructions": 18}]


def test_a_construction_that_lacks_a_field_is_named_by_its_line(tmp_path):
    old = made(2)
    del old["diagnosis_tokens"]
    run = write_run(tmp_path / "run", [summary(0, 0.3)], [made(1), old])
    with pytest.raises(InputError, match=r"samples.jsonl, line 2: expected 'diagnosis_tokens'"):
        read_run(run, "run")


@pytest.mark.parametrize("lines", [None, [], [made(1)]])
def test_runs_without_constructions_or_with_one_have_a_page(tmp_path, lines):
    text = page_text(write_run(tmp_path / "run", [summary(0, 0.3)], lines))
    assert len(constructions_on(text)) == len(lines or [])
    assert ("have constructed nothing" in text) == (not lines)


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"stage": "eval", "step": 0')  # half a line
    text = page_text(run)
    assert "has not been measured after its start yet" in text and "run (unknown method)" in text


def test_a_cold_start_alone_is_done_when_it_is_measured(tmp_path):
    run = write_run(tmp_path / "run", [summary(0, 0.3)])
    assert not read_run(run, "run").is_done()
    (run / "config.json").write_text('{"stage": "coldstart", "steps": 30}')
    assert read_run(run, "run").is_done()


def test_without_matplotlib_the_page_says_how_to_get_curves(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    run = write_run(tmp_path / "run", [summary(0, 0.3), summary(2, 0.6)])
    code, _, err = run_cli(monkeypatch, capsys, report.main, run)
    assert code == 0 and "pip install matplotlib" in err
    text = (run / "page.html").read_text()
    assert "pip install matplotlib" in text and "<figure" not in text and "60.0%" in text


def test_what_training_logs_is_what_the_page_reads(learned, tmp_path):
    """The records above are made up; these are train.py's own."""
    run = make_run(learned, tmp_path / "run", steps=2, split_gradients=True)
    run.measure_held_out(0)
    take_steps(run, 2)
    run.measure_held_out(2)
    text = page_text(tmp_path / "run")
    pairs = len(read_lines(tmp_path / "run" / "samples.jsonl"))
    assert pairs > 0 and len(constructions_on(text)) == pairs
    shaded = [shown for shown in constructions_on(text) if shown["shaded"] == "yes"]
    assert shaded and all(len(shown["tokens"]) >= shown["ends"][1] for shown in shaded)
    assert read_run(tmp_path / "run", "run").is_done()
    if curves.can_draw():
        for title in ("Reward", "Accuracy on held-out problems", "Seconds (in a step)"):
            assert f"<h4>{title}</h4>" in text


# ---------------------------------------------------------------- safe, whole and small


def hostile_run(tmp_path, name="run", attack=HOSTILE):
    """A run in which every text that a model wrote is an attack."""
    texts = {name: attack for name in ("problem", "gold", "wrong", "sibling", "analysis", "reply")}
    lines = [made(1, **texts, parts=[attack] * 3), refused(2, attack) | texts]
    return write_run(tmp_path / name, [summary(0, 0.3), summary(2, 0.6)], lines)


def test_texts_of_a_model_never_become_elements(tmp_path):
    attack = HOSTILE + HALF_PAIR
    run = hostile_run(tmp_path, name="<img src=x onerror=alert(1)>", attack=attack)
    text = page_text(run)
    elements = Elements(text)
    tags = [tag for tag, _ in elements.tags]
    assert "img" not in tags and tags.count("script") == 2
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    first, second = constructions_on(text)
    assert first["parts"] == [attack] * 3 and second["reply"] == second["reason"] == attack
    text.encode("utf-8")  # it can be written


def test_the_script_sets_texts_only_as_text():
    template = page.TEMPLATE.read_text(encoding="utf-8")
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert unsafe not in template


def test_the_page_needs_nothing_but_itself(tmp_path):
    text = page_text(write_run(tmp_path / "run", [summary(0, 0.3), summary(2, 0.6)], [made(1)]))
    for tag, attributes in Elements(text).tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            address = attributes.get(name) or "#"
            assert address.startswith(("#", "data:")), (tag, address)
    assert "@import" not in text and "url(http" not in text and "fetch(" not in text
    assert "default-src 'none'" in text  # a browser refuses whatever else slips in


def long_records(steps: int) -> list[dict]:
    """Every metric of every figure at each step, and texts of a real model's length."""
    records = [summary(step, 0.5) for step in range(0, steps + 1, 5)]
    for step in range(1, steps + 1):
        record = {"stage": "rl", "step": step}
        for section in curves.SECTIONS.values():
            for figure in section:
                record |= {name: (step * 7919 % 101) / 101 for name in figure.metrics}
        record["refused"] = {f"reason {n}": n for n in range(8)}
        record["seconds"] = {"sample": 1.5, "construct": 0.5, "update": 1.0}
        records.append(record)
    return records


def test_two_runs_of_200_steps_fit_into_5_megabytes(tmp_path):
    text = "A line of reasoning with an equation.\n" * 100  # 4,000 characters
    lines = []
    for step in range(1, 201):
        texts = {
            "wrong": text,
            "sibling": text,
            "parts": [text, "Wait.", text],
            "request": 3 * text,
        }
        lines += 3 * [made(step, **texts)]
        lines.append(with_tokens(step, **texts, tokens=200 * TOKENS))
    runs = []
    for name in ("tapo", "grpo"):
        shown = [page.shown_construction(name, record) for record in lines]
        runs.append(RunLog(name, {}, long_records(200), [], shown))
    whole = page_of(runs, [tmp_path])
    assert 1_000_000 < len(whole.encode("utf-8")) < 5_000_000
    shown = constructions_on(whole)
    assert [record["run"] for record in shown].count("tapo") == len(shown) / 2
    steps = [record["step"] for record in shown if record["run"] == "tapo"]
    assert steps == sorted(steps) and steps[0] == 1 and steps[-1] == 200
    assert f"{len(steps)} of 800 of tapo" in whole


def test_at_most_400_constructions_are_shown_of_a_run():
    lines = [page.shown_construction("run", made(step)) for step in range(1, 1001)]
    shown = page.shown_constructions([RunLog("run", {}, [], [], lines)])
    assert len(shown) == page.MOST_CONSTRUCTIONS == 400
    gaps = {b["step"] - a["step"] for a, b in pairwise(shown)}
    assert gaps == {2, 3}


# ---------------------------------------------------------------- the command


def test_the_command_names_its_page(tmp_path, monkeypatch, capsys):
    run = write_run(tmp_path / "run", [summary(0, 0.3), summary(2, 0.6)], [made(1)])
    code, out, _ = run_cli(monkeypatch, capsys, report.main, run)
    assert code == 0 and out.startswith(f"{run / 'page.html'} (0.")
    elsewhere = tmp_path / "elsewhere.html"
    code, out, _ = run_cli(monkeypatch, capsys, report.main, run, "--out", elsewhere)
    assert code == 0 and elsewhere.read_text().endswith("</html>\n")


def test_a_missing_run_and_a_page_that_cannot_be_written_are_one_line(
    tmp_path, monkeypatch, capsys
):
    code, _, err = run_cli(monkeypatch, capsys, report.main, tmp_path / "none")
    assert code == 2 and err.count("\n") == 1 and "none/metrics.jsonl: no such file" in err
    run = write_run(tmp_path / "run", [summary(0, 0.3)])
    out = tmp_path / "missing" / "page.html"
    code, _, err = run_cli(monkeypatch, capsys, report.main, run, "--out", out)
    assert code == 2 and err.count("\n") == 1 and "--out: expected a file" in err


def test_watching_writes_the_page_until_the_run_is_done(tmp_path, monkeypatch, capsys):
    run = write_run(tmp_path / "run", [summary(0, 0.3)], [made(1)])
    pauses = []

    def pause(seconds: float) -> None:
        assert '<meta http-equiv="refresh" content="20">' in (run / "page.html").read_text()
        pauses.append(seconds)
        if len(pauses) == 2:
            with (run / "metrics.jsonl").open("a") as lines:
                lines.write(json.dumps(summary(2, 0.6)) + "\n")

    monkeypatch.setattr(report.time, "sleep", pause)
    code, _, _ = run_cli(monkeypatch, capsys, report.main, run, "--watch")
    text = (run / "page.html").read_text()
    assert code == 0 and pauses == [20, 20]
    assert 'http-equiv="refresh"' not in text and "to 60.0% in 2 steps" in text


def test_watching_waits_for_the_first_line_of_a_run(tmp_path, monkeypatch, capsys):
    run = write_run(tmp_path / "run", [summary(0, 0.3), summary(2, 0.6)], [made(1)])
    lines = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").unlink()
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            (run / "metrics.jsonl").write_text(lines)

    monkeypatch.setattr(report.time, "sleep", pause)
    assert run_cli(monkeypatch, capsys, report.main, run)[0] == 2  # not watched
    code, _, _ = run_cli(monkeypatch, capsys, report.main, run, "--watch")
    assert code == 0 and pauses == [20, 20, 20] and (run / "page.html").is_file()

    (run / "metrics.jsonl").unlink()  # a run that died before its first line
    for path in run.iterdir():
        os.utime(path, (time.time() - 3600, time.time() - 3600))
    assert run_cli(monkeypatch, capsys, report.main, run, "--watch")[0] == 2
    assert len(pauses) == 3


@pytest.mark.parametrize("flags", [[], ["--watch"]])
def test_a_run_that_was_killed_is_not_watched_for_ever(tmp_path, monkeypatch, capsys, flags):
    run = write_run(tmp_path / "run", [summary(0, 0.3)], [made(1)])
    an_hour_ago = time.time() - 3600
    os.utime(run / "metrics.jsonl", (an_hour_ago, an_hour_ago))
    monkeypatch.setattr(report.time, "sleep", lambda seconds: pytest.fail("it watches"))
    code, _, err = run_cli(monkeypatch, capsys, report.main, run, *flags)
    text = (run / "page.html").read_text()
    assert code == 0 and "run: no new line for 30 minutes; it seems to have stopped" in err
    assert "last line written 60 minutes ago (it seems to have stopped)" in text
    assert 'http-equiv="refresh"' not in text


# ---------------------------------------------------------------- in a browser

# Appended to a page together with what a reader does there: tells what is seen then.
TELL = """
const seen = [];
function tell() {
  const told = document.createElement("div");
  told.id = "told";
  told.textContent = JSON.stringify(seen);
  document.body.append(told);
}
"""
FILTERS = """
function count() { seen.push(document.querySelectorAll("details.construction").length); }
function choose(id, value) {
  const field = document.getElementById(id);
  field.value = value;
  field.dispatchEvent(new Event(id === "search" ? "input" : "change"));
  count();
}
count();
document.getElementById("more").click();
count();
choose("outcome", "refused");
choose("reason", "truncated");
choose("step", "2");
seen.push(location.hash);
choose("reason", "");
choose("outcome", "");
choose("search", "NEEDLE");
const entry = document.querySelector("details.construction");
entry.addEventListener("toggle", () => {
  seen.push([...entry.querySelectorAll(".part > b")].map(label => label.textContent));
  seen.push(document.title, document.images.length);
  tell();
});
entry.querySelector("summary").click();
"""
TOUCHES = """
const shown = document.getElementById("example");
for (const part of ["prefix", "diagnosis", "correction"]) {
  seen.push(shown.querySelector(`.${part} > pre`).textContent);
}
const [, , wait] = shown.querySelectorAll(".token");
seen.push(getComputedStyle(wait).backgroundColor);
wait.click();
seen.push(shown.querySelector(".told").textContent);
wait.nextSibling.dispatchEvent(new Event("mouseenter"));
seen.push(shown.querySelector(".told").textContent);
seen.push(document.getElementById("legend").hidden);
const entry = document.querySelector("details.construction");
entry.addEventListener("toggle", () => {
  seen.push(entry.querySelectorAll(".token").length);
  seen.push(entry.querySelector(".request").open, entry.querySelector(".request pre").textContent);
  tell();
});
entry.querySelector("summary").click();
"""

LESSONS = """
for (const entry of document.querySelectorAll("details.construction")) {
  entry.addEventListener("toggle", () => {
    const labels = entry.querySelectorAll(".part > b");
    seen.push(entry.querySelector(".note").textContent, labels[labels.length - 1].textContent);
    if (seen.length === 6) tell();
  });
  entry.querySelector("summary").click();
}
"""


def open_in_chromium(path, fragment: str = "") -> tuple[str, list[str]]:
    """The page's elements after its scripts have run, and what was said on its console."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    profile = f"--user-data-dir={path.parent / 'profile'}"
    shown = ["--window-size=1400,900", "--virtual-time-budget=3000", "--dump-dom"]
    command = [CHROMIUM, *flags, profile, *shown, path.as_uri() + fragment]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    said = [line for line in done.stderr.decode().splitlines() if "CONSOLE" in line]
    return done.stdout.decode(), said


def seen_by_reader(page: str, path, script: str) -> list:
    """What a reader sees who does what the script does; nothing may be said on the console."""
    with_reader = page.replace("</body>", f"<script>{TELL}{script}</script></body>")
    path.write_text(with_reader, encoding="utf-8")
    dom, said = open_in_chromium(path)
    assert said == []
    [told] = re.findall(r'<div id="told">(.*?)</div>', dom, re.DOTALL)
    return json.loads(unescape(told))


@needs_chromium
def test_what_a_page_says_on_the_console_is_seen(tmp_path):
    """Else the next test would find no error whatever happened."""
    path = tmp_path / "bad.html"
    path.write_text("<script>missing()</script>")
    _, said = open_in_chromium(path)
    assert any("missing is not defined" in line for line in said)


@needs_chromium
def test_filters_work_and_attacks_do_not_in_a_browser(tmp_path):
    run = hostile_run(tmp_path)
    lines = [made(1) for _ in range(30)] + [refused(1, "truncated"), refused(2, "truncated")]
    lines += [refused(2, "too long"), made(2, wrong="a needle in it " + HOSTILE)]
    lines += read_lines(run / "samples.jsonl")
    write_lines(run / "samples.jsonl", lines)
    seen = seen_by_reader(page_text(run), tmp_path / "page.html", FILTERS)
    first, with_more, all_refused, truncated, of_step_2, address, *rest = seen
    assert (first, with_more, all_refused, truncated, of_step_2) == (25, 36, 4, 2, 1)
    assert address == "#step=2&outcome=refused&reason=truncated"
    without_reason, without_outcome, found, labels, title, images = rest
    assert (without_reason, without_outcome, found) == (3, 4, 1)
    assert labels[-3:] == ["y_ref: wrong prefix", "y_ref: diagnosis", "y_ref: correction"]
    assert title == "run – nanoTAPO" and images == 0


@needs_chromium
def test_a_token_that_is_touched_shows_its_numbers(tmp_path):
    tokens = [*TOKENS[:4], ["\n" + HOSTILE, -0.2, 0.3, 1.105], TOKENS[5]]
    lines = [with_tokens(1, tokens=tokens, request=HOSTILE)]
    run = write_run(tmp_path / "run", [summary(0, 0.3)], lines)
    *parts, shade, clicked, pointed_at, legend_is_hidden, count, is_open, request = seen_by_reader(
        page_text(run), tmp_path / "page.html", TOUCHES
    )
    assert parts == ["2+2=5", "↵\nWait, no.", f"↵\n{HOSTILE}·"]
    assert shade.startswith("rgba(") and 0 < float(shade.split()[-1].strip(")")) < 0.02
    assert clicked == (
        "“↵Wait”: log-prob −4 (1.8%), entropy 0.25 nats, OTS weight 0.024, advantage 0.5"
    )
    assert pointed_at.startswith("“, no.”: log-prob −0.1 (90%)") and not legend_is_hidden
    assert count == len(tokens) and not is_open and request == HOSTILE


@needs_chromium
def test_an_entry_says_what_was_learned_from_it_and_how_it_ends(tmp_path):
    wrong = {"right": False, "reward": 0.0}
    lines = [with_tokens(1, advantage=0.0), with_tokens(1, advantage=0.5)]
    lines.append(with_tokens(1, advantage=-1.5, **wrong))
    run = write_run(tmp_path / "run", [summary(0, 0.3)], lines)
    seen = seen_by_reader(page_text(run), tmp_path / "page.html", LESSONS)
    assert seen[0].endswith("its group's average, nothing is learned")
    assert seen[2] == "advantage 0.5: it becomes more likely"
    assert seen[4] == "advantage −1.5: it becomes less likely"
    assert seen[1::2] == ["y_ref: correction"] * 2 + ["y_ref: correction, which ends wrong"]


@needs_chromium
def test_a_page_that_loads_itself_again_keeps_its_filters(tmp_path):
    lines = [made(1), refused(2, "truncated")]
    path = tmp_path / "page.html"
    text = page_text(write_run(tmp_path / "run", [summary(0, 0.3)], lines))
    path.write_text(text, encoding="utf-8")
    dom, said = open_in_chromium(path, "#outcome=refused")
    assert said == [] and "1 of 2 match" in dom


@needs_chromium
def test_a_phone_need_not_scroll_sideways(tmp_path):
    """In a frame of 390 pixels, because Chromium's windows are not that narrow."""
    long = {"wrong": "x" * 500, "problem": "y" * 500, "request": "z" * 500}
    lines = [made(1, **long), with_tokens(1, **long, tokens=40 * [["w" * 9, -0.1, 0.1, 1.0]])]
    run = write_run(tmp_path / ("a-long-name" * 10), [summary(0, 0.3), summary(2, 0.6)], lines)
    tell = """<script>
    for (const folded of document.querySelectorAll("details")) folded.open = true;
    setTimeout(() => {
      const { scrollWidth, clientWidth } = document.documentElement;
      parent.postMessage(scrollWidth - clientWidth, "*");
    }, 100);
    </script></body>"""
    text = page_text(run).replace("</body>", tell)
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(
        "<script>onmessage = event => document.title = 'beyond: ' + event.data</script>"
        '<iframe src="page.html" width="390" height="800" style="border: 0"></iframe>'
    )
    dom, _ = open_in_chromium(frame)
    assert "<title>beyond: 0</title>" in dom
