"""Metrics in TensorBoard and Weights & Biases: what is sent there is what metrics.jsonl says."""

import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from small_runs import make_run, small_settings, take_steps

from support.files import InputError, read_lines
from support.settings import Settings, check_settings
from support.trackers import numbers_of, tracker


class FakeRun:
    """What wandb.init returns, as far as it is used."""

    def __init__(self):
        self.logged = []

    def define_metric(self, name, step_metric):
        assert (name, step_metric) == ("*", "step")

    def log(self, values):
        self.logged.append(values)


@pytest.fixture
def wandb(monkeypatch) -> SimpleNamespace:
    """A module of that name that keeps what it is given."""
    fake = SimpleNamespace(run=FakeRun(), about={})

    def init(**about):
        fake.about = about
        return fake.run

    fake.init = init
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_only_numbers_are_sent_under_the_name_of_their_stage():
    record = {
        "stage": "eval",
        "step": 4,
        "pass@1": 0.5,
        "ERR": None,
        "note": "text",
        "skipped": True,
    }
    record |= {"refused": {"no tag": 2, "why": {"deeper": 1}}}
    assert dict(numbers_of(record)) == {
        "eval/pass@1": 0.5,
        "eval/skipped": 1.0,
        "eval/refused/no tag": 2.0,
        "eval/refused/why/deeper": 1.0,
    }


def test_every_record_of_metrics_jsonl_reaches_the_tracker(learned, tmp_path, wandb):
    run = make_run(learned, tmp_path / "mine", steps=2)
    run.folder.track = tracker("wandb", run.folder.path, {"lr": 1.0})
    reports = take_steps(run, 1)
    run.folder.log("samples.jsonl", {"step": 1, "reply": "a"})  # no metrics
    run.measure_held_out(1)
    records = read_lines(tmp_path / "mine" / "metrics.jsonl")
    assert wandb.about["name"] == "mine" and wandb.about["config"] == {"lr": 1.0}
    assert reports and records
    sent = [{**dict(numbers_of(record)), "step": record["step"]} for record in records]
    assert wandb.run.logged == sent


def test_nothing_is_tracked_unless_it_is_asked_for(learned, tmp_path):
    assert tracker("none", tmp_path, {}) is None
    assert make_run(learned, tmp_path / "run").folder.track is None


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_written(learned, tmp_path):
    settings = small_settings(learned, tmp_path / "run", track="wandb")
    if find_spec("wandb"):
        pytest.skip("it is installed here")
    with pytest.raises(InputError, match="--track: expected wandb to be installed"):
        check_settings(Settings(**settings))
    assert not (tmp_path / "run").exists()


def test_tensorboard_holds_the_numbers(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track = tracker("tensorboard", tmp_path, {})
    for step in (1, 2):
        track({"stage": "rl", "step": step, "loss": step / 4, "seconds": {"update": 3.0}})
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("rl/loss")] == [(1, 0.25), (2, 0.5)]
    assert [e.value for e in found.Scalars("rl/seconds/update")] == [3.0, 3.0]
