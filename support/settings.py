"""Every setting of a run: one dataclass, each field of it a --flag, and the presets.

A setting is one line of Settings: its flag and its line in --help follow from it. Called by
train.py and the benchmarks (parse_settings), and wherever random numbers are drawn (seed_of).
"""

import argparse
import math
import re
import zlib
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from support.cli import ArgumentParser
from support.files import InputError, note
from support.runs import RunFolder

ALGO = "sft: on right constructions alone; opsd: distillation, a right answer in sight"
DAE = (
    "what the reward of a constructed answer is compared with: own: the question's constructed "
    "answers (DAE); batch: those of all questions; sampled: the question's sampled answers; "
    "off: all answers of the question, in one group with the sampled ones"
)
LOSS = (
    "how the losses of tokens are averaged: grpo: over each answer, then over answers; dapo: over "
    "all tokens; dr_grpo: by a constant, and advantages are not divided by their std"
)
SYNTHESIS = (
    "how wrong answers are rewritten: instruct: the policy finds the first error and copies up to "
    "and including it (the paper); assisted: the program finds it, by a number that neither the "
    "question nor a right answer has, else by the policy's log-probs, and copies; the policy sees "
    "the steps of a right answer before its result, with a number that the wrong one lacks; brief: "
    "the program marks the first line that differs (for the tiny model)"
)
DTYPE = "of what is computed; the weights are float32. auto: bfloat16 on a GPU, float32 on a CPU"
DTYPES = ["auto", "float32", "bfloat16"]
TRACK = "where metrics go beside metrics.jsonl; it must be installed"
MIX = (
    "shares of the examples that solve, reflect, construct, rewrite without the wrong prefix, and "
    "solve with a right answer in sight (built-in data)"
)
REFLECT = (
    "own constructions also teach to reflect on the bare question, as in the paper (other data)"
)


def setting(default: Any, text: str, choices: str = "", group: str = "") -> Any:
    """A field with its help. group: the title in --help of this field and of those after it."""
    metadata = {"help": text, "choices": choices.split() or None, "group": group}
    return field(default=default, metadata=metadata)


@dataclass
class Settings:
    """Every setting, each a --flag. The defaults are the preset "tiny"."""

    stage: str = setting("all", "the cold start, RL, or both", "all coldstart rl")
    algo: str = setting("tapo", ALGO, "grpo tapo sft opsd")
    model: str = setting("", "folder or hub name to start from; empty: a new tiny model")
    data: str = setting("builtin", "training problems: a JSON-lines file, 'gsm8k' or 'builtin'")
    out: str = setting("runs/tiny", "folder of the run")
    resume: bool = setting(False, "go on from the last checkpoint in --out")
    steps: int = setting(30, "RL steps")
    seed: int = setting(0, "seed of every random draw")
    track: str = setting("none", TRACK, "none tensorboard wandb")

    questions: int = setting(32, "questions of a step", group="rollouts")
    k: int = setting(8, "answers to each question")
    temperature: float = setting(1.0, "of sampling and of the log-probs in the loss")
    max_new_tokens: int = setting(128, "tokens of the longest answer, its stop id included")
    max_rows: int = setting(256, "answers sampled at once; fewer need a smaller KV cache")
    strict: bool = setting(True, "accept marked answers only; --no-strict: the last number too")

    n_pos: int = setting(2, "right answers that a question needs (DCS)", group="construction")
    n_neg: int = setting(4, "wrong answers that a question needs (DCS)")
    m_max: int = setting(4, "wrong answers of a question that are rewritten, at most")
    reconstruction: str = setting("prefix", "keep the wrong prefix, or answer anew", "prefix full")
    synthesis: str = setting("brief", SYNTHESIS, "brief assisted instruct")
    max_reply_tokens: int = setting(224, "tokens of the longest reply to a synthesis prompt")
    reply_temperature: float = setting(1.0, "of those replies; their log-probs are computed anew")
    rewrite_truncated: bool = setting(False, "rewrite wrong answers that were cut off too")

    lambda_: float = setting(1.0, "weight of the constructed trajectories' loss", group="loss")
    dae: str = setting("own", DAE, "own batch sampled off")
    ots: bool = setting(True, "weigh the tokens of constructed trajectories (OTS)")
    train_prefix: bool = setting(True, "train on the wrong prefix of constructed trajectories too")
    loss: str = setting("grpo", LOSS, "grpo dapo dr_grpo")
    clip_low: float = setting(0.2, "the ratio is clipped below 1 - clip_low")
    clip_high: float = setting(0.2, "the ratio is clipped above 1 + clip_high")
    kl_coef: float = setting(0.0, "weight of the KL to the starting policy (k3 estimate)")
    kl_rows: int = setting(16, "answers of a step on which that KL is measured")

    updates: int = setting(1, "updates from the batch of one step", group="updates")
    lr: float = setting(2e-4, "learning rate of RL")
    warmup: int = setting(5, "RL steps of linear warm-up")
    grad_clip: float = setting(1.0, "largest gradient norm")
    micro_tokens: int = setting(1024, "tokens of a micro-batch, a prompt counted once")
    checkpointing: bool = setting(False, "recompute activations: less memory, a third more time")

    coldstart_updates: int = setting(2000, "supervised updates", group="cold start")
    coldstart_batch: int = setting(16, "examples of an update")
    coldstart_lr: float = setting(4e-3, "peak learning rate, falling to 0")
    coldstart_warmup: int = setting(50, "updates of linear warm-up")
    coldstart_mix: str = setting("0.2,0.1,0.6,0.05,0.05", MIX)
    coldstart_refresh: int = setting(
        50, "updates between two collections of own mistakes (built-in)"
    )
    coldstart_examples: int = setting(2000, "examples to collect from own rollouts (other data)")
    coldstart_questions: int = setting(2000, "questions to ask for them in a round, at most")
    coldstart_rounds: int = setting(1, "times to collect them, from the policy of that moment")
    coldstart_reflect: bool = setting(True, REFLECT)
    report_questions: int = setting(128, "training questions to report constructions on before RL")

    eval_data: str = setting(
        "", "held-out problems; empty: the test split, or the end of --data", group="measurements"
    )
    eval_problems: int = setting(500, "held-out problems to measure on")
    eval_samples: int = setting(1, "answers to each of them")
    eval_every: int = setting(0, "steps between measurements; 0: only before and after")
    split_gradients: bool = setting(
        True, "measure the gradients of both losses apart (costs a copy)"
    )
    show_every: int = setting(10, "steps between two printouts of whole samples")
    save_every: int = setting(50, "steps between checkpoints")
    save_minutes: float = setting(
        5.0, "minutes between checkpoints, in the cold start too; 0: by steps alone"
    )
    keep: int = setting(2, "newest checkpoints that stay, beside step-0 and the best; 0: all")

    device: str = setting("auto", "where to run", "auto cpu cuda", group="device")
    dtype: str = setting("auto", DTYPE, " ".join(DTYPES))
    compile: bool = setting(False, "torch.compile the norms and the feed-forward parts")

    @property
    def constructs(self) -> bool:
        """Whether RL steps construct trajectories."""
        return self.algo in ("tapo", "sft")

    @property
    def updates_of_round(self) -> int:
        """How many updates of the cold start are made from what one round collects."""
        return math.ceil(self.coldstart_updates / self.coldstart_rounds)

    def mix(self) -> list[float]:
        """coldstart_mix as numbers."""
        return [float(share) for share in self.coldstart_mix.split(",")]


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "gsm8k": dict(
        model="Qwen/Qwen2.5-0.5B-Instruct",
        data="gsm8k",
        out="runs/gsm8k",
        steps=200,
        questions=32,
        max_new_tokens=512,
        max_reply_tokens=600,
        synthesis="assisted",
        reply_temperature=0.6,
        lr=1e-6,
        micro_tokens=4096,
        coldstart_updates=200,
        coldstart_examples=3200,  # as many as the updates draw
        coldstart_questions=500,
        coldstart_rounds=2,
        coldstart_reflect=False,
        coldstart_lr=1e-5,
        eval_problems=200,
        split_gradients=False,
        save_minutes=15.0,
    ),
}
# The shape of the model that a run without --model starts from, in ModelConfig's fields.
TINY: dict[str, Any] = dict(
    hidden_size=128,
    intermediate_size=320,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=4,
    head_dim=32,
    max_position_embeddings=1024,
    model_type="qwen3",
    tie_word_embeddings=True,
)
MAY_BE_ZERO = "seed n_pos lambda_ kl_coef kl_rows warmup coldstart_warmup eval_every".split()
MAY_BE_ZERO += "save_minutes keep reply_temperature".split()
# What may change when a run is resumed: how long it is, what it measures, shows and saves, and on
# what it computes. Everything else changes what is trained, or in which order.
MAY_CHANGE = (
    "out resume steps track device dtype compile max_rows micro_tokens checkpointing".split()
)
MAY_CHANGE += "kl_rows split_gradients eval_every show_every save_every save_minutes keep".split()


def seed_of(seed: int, *purpose: Any) -> int:
    """The seed of one use of random numbers, such as seed_of(settings.seed, "rollout", step)."""
    return zlib.crc32(repr((seed, *purpose)).encode())


def parse_settings(arguments: list[str] | None = None) -> Settings:
    """The preset's settings, and the flags over them; None: the command line's.

    A run that is resumed goes on with its own settings instead of the preset's; flags can change
    those of MAY_CHANGE. Raises InputError for an unknown flag, for a value that cannot work, for
    --resume where there is no run, and for a flag that would make it another run.
    """
    parsed = vars(make_parser().parse_args(arguments))
    flags = {name: value for name, value in parsed.items() if value is not None}
    base = PRESETS[flags.pop("preset")]
    if flags.get("resume"):
        out = flags.get("out", base.get("out", Settings.out))
        base = settings_of_run(Path(out))
        check_changes(Settings(**base), flags)
    settings = Settings(**{**base, **flags})
    check_settings(settings)
    return settings


def settings_of_run(path: Path) -> dict[str, Any]:
    """What config.json of a run to resume says of today's settings."""
    found = RunFolder(path).read_settings()
    known = Settings.__dataclass_fields__
    return {name: value for name, value in found.items() if name in known}


def check_changes(begun: Settings, flags: dict[str, Any]) -> None:
    """Raises InputError for a flag that a run, begun with other settings, cannot be resumed with.

    A run that was a cold start alone may go on with RL.
    """
    for name, value in flags.items():
        before = getattr(begun, name)
        goes_on = name == "stage" and (before, value) == ("coldstart", "all")
        may_change = name in MAY_CHANGE or goes_on
        expected = f"{before!r} as in {begun.out}/config.json, which --resume goes on with"
        expect(may_change or value == before, flag_of(name), expected, repr(value))


def make_parser() -> ArgumentParser:
    """The command line: a flag for each setting; a flag that is not given is None."""
    description = "Train with GRPO or TAPO: a cold start, then RL on verified answers."
    usage = "%(prog)s [--flag value ...]"  # a list of all flags would fill the screen
    parser = ArgumentParser(description=description, usage=usage, allow_abbrev=False)
    group = parser.add_argument_group("most used")
    about_presets = "a set of defaults (default: tiny)"
    group.add_argument("--preset", default="tiny", choices=list(PRESETS), help=about_presets)
    for entry in fields(Settings):
        if entry.metadata["group"]:
            group = parser.add_argument_group(entry.metadata["group"])
        shown = f"{entry.metadata['help']} (default: {entry.default!r})"
        options: dict[str, Any] = {"dest": entry.name, "help": shown.replace("%", "%%")}
        if isinstance(entry.default, bool):
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = type(entry.default)
            options["choices"] = entry.metadata["choices"]
        group.add_argument(flag_of(entry.name), **options)
    return parser


def flag_of(name: str) -> str:
    """The flag of a setting: lambda_ -> --lambda, max_rows -> --max-rows."""
    return "--" + name.rstrip("_").replace("_", "-")


def expect(fine: bool, flags: str, expected: str, found: Any) -> None:
    """Raises InputError where a setting is not fine."""
    if not fine:
        raise InputError(f"{flags}: expected {expected}, found {found}")


def check_settings(settings: Settings) -> None:
    """Raises InputError for settings that cannot work, before anything is loaded or written.

    What depends on the problems (--data) is checked where problems are known, in train.py.
    """
    c = settings
    for entry in fields(c):
        value = getattr(c, entry.name)
        check_number(entry.name, value)
        choices = entry.metadata["choices"] or [value]  # a run's config.json can hold anything
        expect(value in choices, flag_of(entry.name), " or ".join(map(str, choices)), value)
    expect(bool(c.out.strip()), "--out", "a folder", repr(c.out))
    expect(c.k >= 2, "--k", "2 or more, a group to compare", c.k)
    expect(can_sample_at(c.temperature), "--temperature", "1e-6 to 1e6", c.temperature)
    expected = "0 or 1e-6 to 1e6"
    expect(can_sample_at(c.reply_temperature), "--reply-temperature", expected, c.reply_temperature)
    keeps = c.synthesis != "assisted" or c.reconstruction == "prefix"
    expect(keeps, "--synthesis assisted", "--reconstruction prefix", c.reconstruction)
    if c.algo == "sft":
        # by maximum likelihood: a second update would go by a clipped ratio
        expect(c.updates == 1, "--updates with --algo sft", "1", c.updates)
        # all that it trains on is weighted by lambda, and the KL is of sampled answers
        expect(c.lambda_ > 0, "--lambda with --algo sft", "more than 0", c.lambda_)
        expect(c.kl_coef == 0, "--kl-coef with --algo sft", "0", c.kl_coef)
    constructs_in_rl = c.algo == "tapo" and c.lambda_ > 0 and c.stage != "coldstart"
    if constructs_in_rl and c.dae == "own":  # a construction is compared with its question's others
        expect(c.m_max >= 2, "--m-max", "2 or more, to compare (or another --dae)", c.m_max)
        expected = "n_pos + 2 or more, two wrong answers to compare (or another --dae)"
        expect(c.k >= c.n_pos + 2, "--k", expected, c.k)
    has_prefix = c.reconstruction == "prefix" or c.train_prefix
    expect(has_prefix, "--no-train-prefix", "--reconstruction prefix", c.reconstruction)
    every_round_has_one = c.updates_of_round * (c.coldstart_rounds - 1) < c.coldstart_updates
    found = f"{c.coldstart_rounds} rounds of {c.updates_of_round}"
    expected = f"updates in every round, of {c.coldstart_updates} in all"
    expect(every_round_has_one or c.stage == "rl", "--coldstart-rounds", expected, found)
    expect(c.clip_low < 1, "--clip-low", "less than 1", c.clip_low)
    shares = re.fullmatch(r"\d*\.?\d+(,\d*\.?\d+){4}", c.coldstart_mix)
    some = shares is not None and sum(c.mix()) > 0
    expect(some, "--coldstart-mix", "five shares such as 0.4,0.1,0.4,0.05,0.05", c.coldstart_mix)
    has_start = c.stage != "rl" or bool(c.model) or c.resume
    expect(has_start, "--stage rl", "--model, something to start from", "none")
    is_installed = c.track == "none" or find_spec(c.track) is not None
    expect(is_installed, "--track", f"{c.track} to be installed (pip install {c.track})", "none")
    device_exists = c.device != "cuda" or torch.cuda.is_available()
    expect(device_exists, "--device cuda", "a CUDA device", "none")


def can_sample_at(temperature: float) -> bool:
    """Whether logits can be divided by it; 0 takes the best token each time."""
    return temperature == 0 or 1e-6 <= temperature < 1e6


def check_number(name: str, value: Any) -> None:
    """Raises InputError for a number that is negative, not finite, or zero where it may not be."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        expect(math.isfinite(value) and value >= 0, flag_of(name), "0 or more", value)
        expect(value > 0 or name in MAY_BE_ZERO, flag_of(name), "more than 0", value)


def check_start(settings: Settings, can_start_anew: bool) -> None:
    """Raises InputError for settings that cannot start on their problems.

    can_start_anew: whether a program can teach a model of random weights to solve them
    """
    has_start = bool(can_start_anew or settings.model or settings.resume)
    expect(has_start, "--data", "'builtin', or a --model to start from", settings.data)
    is_possible = settings.synthesis != "assisted" or not can_start_anew
    expect(is_possible, "--synthesis assisted", "problems from a file", f"--data {settings.data}")
    rewrites_in_coldstart = settings.stage != "rl" and not can_start_anew
    if settings.constructs or rewrites_in_coldstart:
        fits = settings.n_pos + settings.n_neg <= settings.k
        found = f"{settings.n_pos} + {settings.n_neg} with k = {settings.k}"
        expect(fits, "--n-pos, --n-neg", "n_pos + n_neg <= k", found)


def note_settings_of_tiny(settings: Settings, can_start_anew: bool) -> None:
    """Say which of the settings in use still are those of the tiny model, where the problems are
    not built-in ones."""
    if can_start_anew or settings.resume:
        return
    names = ["lr"]
    if settings.stage != "rl":
        names.append("coldstart_lr")
    if settings.constructs:
        names.append("synthesis")
    of_tiny = [name for name in names if getattr(settings, name) == getattr(Settings, name)]
    if of_tiny:
        flags = ", ".join(f"{flag_of(name)} {getattr(settings, name)}" for name in of_tiny)
        for_what = "these are for a tiny model on built-in problems"
        note(f"{flags}: {for_what}; for another checkpoint begin with --preset gsm8k")
