"""The folder of a run: never written over, whole checkpoints, and logs that fit to them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.files import InputError, read_lines
from support.optim import adamw
from support.runs import Laps, RunFolder, step_of


class Line(torch.nn.Linear):
    """A model of one matrix."""

    def save_pretrained(self, folder):
        folder.mkdir(parents=True)
        save_file(dict(self.state_dict()), folder / "model.safetensors")


class Words:
    """A tokenizer of one file."""

    def save(self, folder):
        (folder / "tokenizer.json").write_text("{}")


def line(seed: int = 0) -> Line:
    torch.manual_seed(seed)
    return Line(3, 2)


def learn(model: Line, optimizer: torch.optim.Optimizer) -> None:
    model(torch.ones(1, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def new_run(tmp_path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.make()
    return run


def files_of(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_never_written_over(tmp_path):
    run = new_run(tmp_path)
    run.write_settings({"k": 8})
    before = files_of(tmp_path)
    for refused in (run.refuse_if_used, run.make):
        with pytest.raises(InputError, match="found files; choose another --out, or --resume"):
            refused()
    run.make(resume=True)
    assert files_of(tmp_path) == before and run.read_settings() == {"k": 8}


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    RunFolder(tmp_path).make()
    RunFolder(tmp_path / "a/b").make()
    assert (tmp_path / "a/b").is_dir()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out: expected a folder .*, found .*file"):
        RunFolder(tmp_path / "file" / "run").make()


def test_the_newest_checkpoint_is_the_one_after_the_most_steps(tmp_path):
    """Not the last by name, and not one that a kill has left half written."""
    for name in ("step-9", "step-10", "step-11.tmp", "step-x"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    newest = RunFolder(tmp_path).newest_checkpoint()
    assert newest.name == "step-10" and step_of(newest) == 10


def test_a_folder_without_checkpoints_says_so(tmp_path):
    with pytest.raises(InputError, match=r"--resume: expected a checkpoint under .*, found none"):
        RunFolder(tmp_path).newest_checkpoint()


def test_a_refused_resume_changes_nothing(tmp_path):
    run = new_run(tmp_path)
    run.write_settings({"steps": 3})
    run.log("metrics.jsonl", {"stage": "rl", "step": 4})
    run.save(3, line(), Words(), state={})
    before = files_of(tmp_path)
    with pytest.raises(InputError, match="--steps: expected 3 or more, already made, found 2"):
        run.checkpoint_to_resume(2)
    assert files_of(tmp_path) == before
    assert run.checkpoint_to_resume(3) == run.checkpoint(3)


def test_a_restored_optimizer_goes_on_bit_for_bit(tmp_path):
    """Trap 9: moments or step counts lost on resume (TRL #3247)."""
    run = new_run(tmp_path)
    model = line()
    optimizer = adamw(model.parameters(), 0.1)
    for _ in range(3):
        learn(model, optimizer)
    folder = run.save(3, model, Words(), optimizer, state={"tokens_generated": 12})
    assert folder == run.checkpoint(3) == run.newest_checkpoint()
    learn(model, optimizer)

    resumed = line(seed=1)
    resumed.load_state_dict(load_file(folder / "model.safetensors"))
    optimizer = adamw(resumed.parameters(), 0.1)
    assert run.restore(folder, resumed, optimizer) == {"tokens_generated": 12}
    learn(resumed, optimizer)
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_is_replaced_as_a_whole(tmp_path):
    run = new_run(tmp_path)
    left = run.checkpoint(1).with_name("step-1.tmp")
    left.mkdir(parents=True)
    (left / "half").write_text("")  # of a save that was killed
    for seed in (0, 1):
        folder = run.save(1, line(seed), Words(), state={})
    names = {path.name for path in folder.iterdir()}
    expected = "model.safetensors tokenizer.json optimizer.safetensors trainer.json"
    assert names == set(expected.split()) and not left.exists()
    assert torch.equal(load_file(folder / "model.safetensors")["weight"], line(1).weight)
    assert load_file(folder / "optimizer.safetensors") == {}


def test_what_was_logged_after_the_checkpoint_is_dropped(tmp_path):
    """A step that is made again must not stand in the log twice; updates of the cold start are no
    steps, and a line that a kill has torn is nobody's."""
    run = new_run(tmp_path)
    kept = [{"stage": "coldstart", "step": 2000}, {"stage": "constructions", "step": 0}]
    kept += [{"stage": stage, "step": step} for stage in ("rl", "eval") for step in (1, 2)]
    run.log("metrics.jsonl", *kept, {"stage": "rl", "step": 3}, {"stage": "eval", "step": 3})
    run.log("samples.jsonl", {"step": 2, "reply": "a"}, {"step": 3, "reply": "b"})
    with (run.path / "samples.jsonl").open("a") as file:
        file.write('{"step": 1, "rep')
    model = line()
    optimizer = adamw(model.parameters(), 0.1)
    run.restore(run.save(2, model, Words(), optimizer, state={}), model, optimizer)
    assert read_lines(run.path / "metrics.jsonl") == kept
    assert (run.path / "samples.jsonl").read_text() == json.dumps({"step": 2, "reply": "a"}) + "\n"


@pytest.mark.parametrize("broken", ["optimizer.safetensors", "trainer.json"])
def test_a_checkpoint_that_is_not_whole_is_named_and_the_logs_stay(tmp_path, broken):
    run = new_run(tmp_path)
    run.log("metrics.jsonl", {"stage": "rl", "step": 2})
    model = line()
    optimizer = adamw(model.parameters(), 0.1)
    folder = run.save(1, model, Words(), optimizer, state={})
    (folder / broken).unlink()
    with pytest.raises(InputError, match=r"step-1.*expected a"):
        run.restore(folder, model, optimizer)
    assert read_lines(run.path / "metrics.jsonl") == [{"stage": "rl", "step": 2}]


def test_an_optimizer_of_another_model_is_refused(tmp_path):
    run = new_run(tmp_path)
    model = line()
    optimizer = adamw(model.parameters(), 0.1)
    learn(model, optimizer)
    folder = run.save(1, model, Words(), optimizer, state={})
    other = torch.nn.Sequential(line())
    with pytest.raises(InputError, match="expected a whole checkpoint"):
        run.restore(folder, other, adamw(other.parameters(), 0.1))


def test_laps_add_up_by_name(monkeypatch):
    clock = iter([10.0, 11.0, 13.0, 13.0004, 17.0])
    monkeypatch.setattr("support.runs.time.perf_counter", lambda: next(clock))
    laps = Laps()
    for name in ("sample", "construct", "sample", "update"):
        laps.lap(name)
    assert laps.seconds == {"sample": 1.0, "construct": 2.0, "update": 4.0}
