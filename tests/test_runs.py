"""The folder of a run: never written over, whole checkpoints, and logs that fit to them."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from support.files import InputError, read_lines
from support.optim import Muon, adamw
from support.runs import Interrupts, Laps, RunFolder, step_of


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


def learn(model: Line, *optimizers: torch.optim.Optimizer) -> None:
    model(torch.ones(1, 3)).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def new_run(tmp_path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.make()
    return run


def files_of(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


TRAINS_THERE = """
import sys
from support.runs import RunFolder
RunFolder(sys.argv[1]).lock()
print("locked", flush=True)
sys.stdin.read()
"""


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    """A job that was queued twice wrote every step into the logs twice."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    command = [sys.executable, "-c", TRAINS_THERE, str(run.path)]
    project = Path(__file__).parents[1]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=project, **pipes) as other:
        assert other.stdout.readline() == "locked\n"
        (run.path / "config.json.tmp").write_text("{")  # what the other is writing
        for refused in (run.lock, lambda: run.make(resume=True)):
            with pytest.raises(InputError, match="expected no other process, found one that"):
                refused()
        assert (run.path / "config.json.tmp").exists()
        other.kill()
    run.lock()  # a process that is gone, however it went, holds nothing
    run.lock()  # nor does this process stand in its own way


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


def test_a_kill_before_the_first_file_leaves_a_folder_that_is_as_good_as_new(tmp_path):
    run = new_run(tmp_path)
    (run.path / "config.json.tmp").write_text("{")
    with pytest.raises(InputError, match=r"--resume: expected a run in .*, found no config.json"):
        run.read_settings()
    run.make()
    assert list(run.path.iterdir()) == []


# ---------------------------------------------------------------- checkpoints


def save(run: RunFolder, name: str, model=None, optimizers=(), keep: int = 0, **state):
    folder = run.path / "checkpoints" / name
    return run.save(folder, model or line(), Words(), optimizers, state=state, keep=keep)


def names_of(run: RunFolder) -> list[str]:
    return [path.name for path in run.checkpoints()]


def test_checkpoints_stand_in_the_order_in_which_they_were_made(tmp_path):
    """Not by name, and without one that a kill has left half written."""
    for (
        name
    ) in "step-9 step-10 step-11.tmp step-0.old.tmp coldstart-200 coldstart-30 step-x".split():
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    run = RunFolder(tmp_path)
    assert names_of(run) == ["coldstart-30", "coldstart-200", "step-9", "step-10"]
    assert run.checkpoint_to_resume(12) == run.checkpoint(10) and step_of(run.checkpoint(10)) == 10
    assert step_of(run.coldstart_checkpoint(30)) == 0


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_again(tmp_path):
    run = new_run(tmp_path)
    run.log("metrics.jsonl", {"stage": "coldstart", "step": 20})
    assert run.checkpoint_to_resume(1) is None
    run.log("metrics.jsonl", {"stage": "eval", "step": 0})
    with pytest.raises(InputError, match=r"--resume: expected a checkpoint under .*, found none"):
        run.checkpoint_to_resume(1)


def test_a_refused_resume_changes_nothing(tmp_path):
    run = new_run(tmp_path)
    run.write_settings({"steps": 3})
    run.log("metrics.jsonl", {"stage": "rl", "step": 4})
    save(run, "step-3")
    before = files_of(tmp_path)
    with pytest.raises(InputError, match="--steps: expected 3 or more, already made, found 2"):
        run.checkpoint_to_resume(2)
    assert files_of(tmp_path) == before
    assert run.checkpoint_to_resume(3) == run.checkpoint(3)


@pytest.mark.parametrize("kinds", ["AdamW", "Muon and AdamW"])
def test_restored_optimizers_go_on_bit_for_bit(tmp_path, kinds):
    """Trap 9: moments or step counts lost on resume (TRL #3247)."""

    def optimizers_of(model: Line) -> list[torch.optim.Optimizer]:
        if kinds == "AdamW":
            return [adamw(model.parameters(), 0.1)]
        return [Muon([model.weight], 0.1), adamw([model.bias], 0.1)]

    run = new_run(tmp_path)
    model = line()
    optimizers = optimizers_of(model)
    for _ in range(3):
        learn(model, *optimizers)
    folder = save(run, "step-3", model, optimizers, tokens_generated=12)
    assert folder == run.checkpoint(3) == run.checkpoints()[-1]
    learn(model, *optimizers)

    resumed = line(seed=1)
    resumed.load_state_dict(load_file(folder / "model.safetensors"))
    optimizers = optimizers_of(resumed)
    assert run.restore(folder, resumed, optimizers) == {"tokens_generated": 12}
    learn(resumed, *optimizers)
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_is_replaced_as_a_whole(tmp_path):
    run = new_run(tmp_path)
    left = run.checkpoint(1).with_name("step-1.tmp")
    left.mkdir(parents=True)
    (left / "half").write_text("")  # of a save that was killed
    for seed in (0, 1):
        folder = save(run, "step-1", line(seed))
    names = {path.name for path in folder.iterdir()}
    expected = "model.safetensors tokenizer.json optimizer.safetensors trainer.json"
    assert names == set(expected.split()) and list(folder.parent.iterdir()) == [folder]
    assert torch.equal(load_file(folder / "model.safetensors")["weight"], line(1).weight)
    assert load_file(folder / "optimizer.safetensors") == {}


def test_the_last_two_the_start_and_the_best_stay(tmp_path):
    run = new_run(tmp_path)
    for step, accuracy in enumerate([0.1, 0.2, 0.9, 0.3, 0.9, 0.4, 0.5]):
        run.log("metrics.jsonl", {"stage": "eval", "step": step, "pass@1": accuracy})
        save(run, f"step-{step}", keep=2)
    assert names_of(run) == ["step-0", "step-2", "step-5", "step-6"]


def test_the_cold_starts_checkpoints_go_when_rl_has_begun(tmp_path):
    run = new_run(tmp_path)
    for update in (3, 20, 100):
        save(run, f"coldstart-{update}", keep=2)
    assert names_of(run) == ["coldstart-20", "coldstart-100"]
    save(run, "step-0", keep=2)
    assert names_of(run) == ["step-0"]


def test_all_checkpoints_stay_where_that_is_asked_for(tmp_path):
    run = new_run(tmp_path)
    for step in range(5):
        save(run, f"step-{step}", keep=0)
    assert len(names_of(run)) == 5


def test_an_old_checkpoint_goes_only_when_the_new_one_is_whole(tmp_path, monkeypatch):
    run = new_run(tmp_path)
    for step in (1, 2):
        save(run, f"step-{step}", keep=2)
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr("support.runs.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save(run, "step-3", keep=2)
    assert names_of(run) == ["step-1", "step-2"]


def test_a_save_is_due_by_the_clock(tmp_path, monkeypatch):
    clock = Mock(side_effect=[0.0, 299.0, 300.0, 900.0])
    monkeypatch.setattr("support.runs.time.monotonic", clock)
    run = RunFolder(tmp_path)
    assert [run.save_is_due(5), run.save_is_due(5), run.save_is_due(0)] == [False, True, False]


# ---------------------------------------------------------------- logs


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
    run.drop_logged_after(run.checkpoint(2))
    assert read_lines(run.path / "metrics.jsonl") == kept
    assert (run.path / "samples.jsonl").read_text() == json.dumps({"step": 2, "reply": "a"}) + "\n"


def test_a_cold_start_that_goes_on_drops_its_own_later_updates(tmp_path):
    run = new_run(tmp_path)
    records = [{"stage": "coldstart", "step": step} for step in (20, 40, 60)]
    run.log("metrics.jsonl", *records)
    for number, update in enumerate((20, 40, 60)):
        run.collected(number, update, lambda: [[1, "a"]])
    with (run.path / "collected.jsonl").open("a") as file:
        file.write('{"stage": "colds')
    resumed = RunFolder(run.path)
    resumed.drop_logged_after(run.coldstart_checkpoint(40))
    assert resumed.logged("coldstart") == records[:2] and list(resumed.portions) == [0, 1]
    resumed.drop_logged_after(None)
    assert resumed.logged("coldstart") == []


def test_a_round_is_collected_once(tmp_path):
    run = new_run(tmp_path)
    collect = Mock(return_value=[[3, "wrong", "right"]])
    for folder in (run, run, RunFolder(run.path)):
        assert folder.collected(4, 10, collect) == [[3, "wrong", "right"]]
    collect.assert_called_once_with()


@pytest.mark.parametrize("broken", ["optimizer.safetensors", "trainer.json"])
def test_a_checkpoint_that_is_not_whole_is_named_and_the_logs_stay(tmp_path, broken):
    run = new_run(tmp_path)
    run.log("metrics.jsonl", {"stage": "rl", "step": 2})
    model = line()
    optimizer = adamw(model.parameters(), 0.1)
    folder = save(run, "step-1", model, [optimizer])
    (folder / broken).unlink()
    with pytest.raises(InputError, match=r"step-1.*expected a"):
        run.restore(folder, model, [optimizer])
    assert read_lines(run.path / "metrics.jsonl") == [{"stage": "rl", "step": 2}]


def test_an_optimizer_of_another_model_is_refused(tmp_path):
    run = new_run(tmp_path)
    model = line()
    optimizer = adamw(model.parameters(), 0.1)
    learn(model, optimizer)
    folder = save(run, "step-1", model, [optimizer])
    other = torch.nn.Sequential(line())
    with pytest.raises(InputError, match="expected a whole checkpoint"):
        run.restore(folder, other, [adamw(other.parameters(), 0.1)])


# ---------------------------------------------------------------- what stops a run


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "No space left"),
        (OSError(30, "Read-only file system"), "Read-only"),
        (SafetensorError("I/O error: No space left on device"), "No space left"),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line_that_says_what_is_whole(tmp_path, error, says):
    run = new_run(tmp_path)
    save(run, "step-7")
    (run.path / "checkpoints/step-8.tmp").mkdir()
    (run.path / "metrics.jsonl.tmp").write_text("")
    with pytest.raises(InputError) as raised, run.guard():
        raise error
    line = str(raised.value)
    assert says in line and "step-7 is whole, go on with --out" in line and "\n" not in line
    assert not list(run.path.rglob("*.tmp"))


def test_a_run_that_is_stopped_says_how_to_go_on(tmp_path):
    run = new_run(tmp_path)
    for prepare, says in (
        (lambda: None, "nothing was begun"),
        (lambda: run.write_settings({}), "no checkpoint was made yet, begin again with --out"),
        (lambda: save(run, "coldstart-9"), f"coldstart-9 is whole, go on with --out {run.path}"),
    ):
        prepare()
        with pytest.raises(SystemExit, match=says), run.guard():
            raise KeyboardInterrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_a_step_end_and_the_second_does_not(number):
    before = signal.getsignal(number)
    done = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        signal.raise_signal(number)
        done.append(interrupts.came)
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(number)
        signal.raise_signal(number)
        done.append("the rest of the step")
    with Interrupts() as interrupts:
        done.append(interrupts.came)
    assert done == [True, False] and signal.getsignal(number) is before


def test_laps_add_up_by_name(monkeypatch):
    clock = iter([10.0, 11.0, 13.0, 13.0004, 17.0])
    monkeypatch.setattr("support.runs.time.perf_counter", lambda: next(clock))
    laps = Laps()
    for name in ("sample", "construct", "sample", "update"):
        laps.lap(name)
    assert laps.seconds == {"sample": 1.0, "construct": 2.0, "update": 4.0}
