"""Settings: presets under flags, what is refused, and whose settings a resumed run has."""

import dataclasses
import json
import re
import zlib

import pytest

from support.files import InputError
from support.settings import (
    PRESETS,
    Settings,
    check_settings,
    make_parser,
    note_settings_of_tiny,
    parse_settings,
    seed_of,
)

NOTE = (
    "these are for a tiny model on built-in problems; for another checkpoint begin with "
    "--preset gsm8k"
)


def test_presets_are_defaults_and_flags_win():
    flags = "--preset gsm8k --lambda 0.5 --no-ots --k 16".split()
    settings = parse_settings(flags)
    assert settings.data == "gsm8k" and settings.synthesis == "assisted"
    assert settings.lambda_ == 0.5 and settings.ots is False and settings.k == 16


def test_no_flags_are_the_preset_tiny():
    assert parse_settings([]) == Settings(**PRESETS["tiny"]) == Settings()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_work(name):
    check_settings(Settings(**PRESETS[name]))


def test_every_setting_is_a_flag_and_every_flag_says_what_it_does():
    shown = make_parser().format_help()
    for field in dataclasses.fields(Settings):
        assert "--" + field.name.rstrip("_").replace("_", "-") + " " in shown.replace(",", " ")
        assert field.metadata["help"]
    groups = [line for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    expected = "options rollouts construction loss updates measurements device".split()
    assert {f"{name}:" for name in [*expected, "most used", "cold start"]} == set(groups)


def test_help_begins_with_the_ten_flags_that_people_use():
    shown = make_parser().format_help()
    first = shown[shown.index("most used:") : shown.index("rollouts:")]
    flags = re.findall(r"^  --([a-z-]+)", first, re.MULTILINE)
    assert flags == "preset stage algo model data out resume steps seed track".split()
    assert "--questions" not in shown[: shown.index("most used:")]  # no list of all in front


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--k -8", "--k: expected 0 or more, found -8"),
        ("--k 1 --algo grpo", "--k"),
        ("--coldstart-mix .,.,1,1,1", "--coldstart-mix"),
        ("--coldstart-mix 1,2", "--coldstart-mix"),
        ("--coldstart-mix 0,0,0,0,0", "--coldstart-mix"),
        ("--steps many", "--steps"),
        ("--speed 9", "--speed"),
        ("--pre gsm8k", "--pre"),  # no abbreviations: a later setting would change their meaning
        ("--algo ppo", "--algo"),
        ("--lr nan", "--lr"),
        ("--lr 0", "--lr: expected more than 0"),
        ("--lambda inf", "--lambda"),
        ("--clip-low 1", "--clip-low"),
        ("--stage rl", "--model"),
        ("--temperature 0", "--temperature"),
        ("--preset large", "--preset"),
        ("--algo sft --updates 2", "--updates with --algo sft: expected 1, found 2"),
        ("--algo sft --lambda 0", "--lambda with --algo sft: expected more than 0, found 0"),
        ("--algo sft --kl-coef 0.1", "--kl-coef with --algo sft: expected 0, found 0.1"),
        # a G_ref of one has no advantage: TAPO would be GRPO
        ("--m-max 1", "--m-max: expected 2 or more, to compare"),
        ("--k 2 --n-pos 1 --n-neg 1", "--k: expected n_pos + 2 or more, two wrong answers to"),
        ("--reconstruction full --no-train-prefix", "--no-train-prefix: expected --reconstruction"),
        ("--coldstart-updates 5 --coldstart-rounds 4", "--coldstart-rounds: expected updates in"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_in_one_line(flags, says):
    with pytest.raises(InputError) as error:
        parse_settings(flags.split())
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "flags",
    [
        "--m-max 1 --dae sampled",
        "--m-max 1 --algo sft",
        "--m-max 1 --algo grpo",
        "--m-max 1 --lambda 0",
        "--m-max 1 --stage coldstart",
        "--k 2 --n-pos 1 --n-neg 1 --dae sampled",
        "--k 2 --algo grpo",
        "--stage rl --model m --coldstart-updates 5 --coldstart-rounds 4",
        "--coldstart-updates 5 --coldstart-rounds 3",
    ],
)
def test_what_is_near_to_that_is_fine(flags):
    parse_settings(flags.split())


@pytest.mark.parametrize(
    "flags", ["--temperature 1e-7", "--temperature 1e7", "--reply-temperature 1e-9"]
)
def test_a_temperature_that_nothing_can_be_sampled_at_is_refused_at_once(flags):
    """It was refused after the whole cold start, by the first reply."""
    name, value = flags.split()
    with pytest.raises(InputError, match=f"{name}: expected .*1e-6 to 1e6, found"):
        parse_settings([name, value])


def test_a_folder_needs_a_name():
    with pytest.raises(InputError, match="--out: expected a folder"):
        parse_settings(["--out", " "])


def test_zero_is_fine_where_it_has_a_meaning():
    """n_pos = 0: where y+ is not a sibling, a question needs no right answer."""
    flags = "--n-pos 0 --kl-rows 0 --warmup 0 --coldstart-warmup 0 --lambda 0 --seed 0".split()
    assert parse_settings(flags).n_pos == 0


def write_run(folder, **settings):
    (folder / "checkpoints/step-1").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"out": str(folder), **settings}))


def test_a_preset_resumes_its_own_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("tiny", 1), ("gsm8k", 2)):
        write_run(tmp_path / "runs" / name, out=f"runs/{name}", seed=seed)
    assert parse_settings(["--preset", "gsm8k", "--resume"]).out == "runs/gsm8k"
    assert parse_settings(["--resume"]).seed == 1


def test_a_resumed_run_has_its_own_settings_and_flags_win(tmp_path):
    """A setting that is no more, in the file of an older version, is left out."""
    write_run(tmp_path, k=4, seed=7, steps=9, gone=True)
    settings = parse_settings(["--out", str(tmp_path), "--resume", "--steps", "12"])
    assert settings == Settings(out=str(tmp_path), k=4, seed=7, steps=12, resume=True)


def test_a_choice_that_is_no_more_is_named_when_its_run_is_resumed(tmp_path):
    write_run(tmp_path, synthesis="full")
    expected = "--synthesis: expected brief or assisted or instruct, found full"
    with pytest.raises(InputError, match=expected):
        parse_settings(["--out", str(tmp_path), "--resume"])


def test_a_folder_without_a_run_is_not_resumed(tmp_path):
    with pytest.raises(InputError, match=r"--resume: expected a run in .*, found no config.json"):
        parse_settings(["--out", str(tmp_path), "--resume"])


@pytest.mark.parametrize(
    "flags",
    "--questions 5,--seed 1,--k 9,--data other.jsonl,--data builtin:2,--lr 1,--algo grpo,--no-ots,"
    "--coldstart-updates 9,--eval-problems 9,--temperature 0.5,--stage rl,--stage coldstart,"
    "--model other".split(","),
)
def test_a_resumed_run_is_not_made_another_run(tmp_path, flags):
    """It would go on with other questions, or with the same ones in another order."""
    write_run(tmp_path, k=8)
    flag = flags.split()[0].replace("--no-", "--")
    with pytest.raises(InputError, match=rf"{flag}: expected .* as in .*config.json.*, found"):
        parse_settings(["--out", str(tmp_path), "--resume", *flags.split()])


def test_a_resumed_run_may_be_longer_and_be_saved_measured_and_shown_otherwise(tmp_path):
    write_run(tmp_path, k=4, stage="coldstart")
    flags = "--steps 99 --save-every 3 --save-minutes 0 --keep 0 --show-every 4 --eval-every 5"
    flags += " --max-rows 8 --micro-tokens 64 --device cpu --k 4 --stage all"
    settings = parse_settings(["--out", str(tmp_path), "--resume", *flags.split()])
    assert settings.steps == 99 and settings.k == 4 and settings.stage == "all"


def test_each_use_of_random_numbers_has_a_seed_that_never_changes():
    """A run that is resumed, perhaps on another machine, must draw what it would have drawn."""
    assert seed_of(3, "rollout", 5) == zlib.crc32(b"(3, 'rollout', 5)") == 199739896
    assert len({seed_of(3, "rollout", 5), seed_of(3, "rollout", 6), seed_of(4, "rollout", 5)}) == 3


@pytest.mark.parametrize(
    ("changes", "can_start_anew", "flags"),
    [
        ({}, False, "--lr 0.0002, --coldstart-lr 0.004, --synthesis brief"),
        ({"stage": "rl"}, False, "--lr 0.0002, --synthesis brief"),
        ({"stage": "rl", "algo": "grpo"}, False, "--lr 0.0002"),  # constructs nothing
        ({"lr": 1e-6, "coldstart_lr": 1e-5}, False, "--synthesis brief"),
        ({}, True, ""),
        (PRESETS["gsm8k"], False, ""),
    ],
)
def test_the_tiny_models_settings_on_other_problems_are_noted(
    capsys, changes, can_start_anew, flags
):
    """They would ruin a checkpoint, with a learning rate 200 times its own, without a word."""
    settings = Settings(**{"model": "folder", "data": "problems.jsonl", **changes})
    note_settings_of_tiny(settings, can_start_anew)
    err = capsys.readouterr().err
    assert err == (f"note: {flags}: {NOTE}\n" if flags else "")
