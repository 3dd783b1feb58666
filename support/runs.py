"""A run: its settings, its folder, and what the cold start and the RL loop both do with a model.

A run's folder holds config.json (the settings), metrics.jsonl, samples.jsonl (every construction) and
checkpoints/step-N: Hugging Face folders with the optimizer beside the weights; step 0 is the policy that RL
starts from. Every random draw is seeded by (seed, purpose, step), so nothing but the step has to be saved.
"""

import argparse
import json
import math
import random
import re
import shutil
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from augment import Construction, Group, builtin_tokenizer, choose_pairs, construct
from checker import extract_answer, is_equal
from data import ArgumentParser, Tokenizer, is_builtin, load_problems
from eval import evaluate
from model import Transformer
from rollout import Rollout, sample
from support.hub import InputError, ModelConfig, read_json, read_lines, write_text
from tasks.builtin import Problem


def setting(default: Any, text: str, choices: str = "") -> Any:
    return field(default=default, metadata={"help": text, "choices": choices.split() or None})


@dataclass
class Config:
    """Every setting, each a --flag. The defaults are the preset "tiny"."""

    stage: str = setting("all", "cold start, RL, or both", "all coldstart rl")
    algo: str = setting("tapo", "what is learned; sft: constructions alone; opsd: distillation", "grpo tapo sft opsd")
    model: str = setting("", "start from this Hugging Face folder or hub name; empty: a new tiny model")
    data: str = setting("builtin", "training problems: a JSON-lines file, 'gsm8k' or 'builtin'")
    eval_data: str = setting("", "held-out problems; empty: the test split, or the end of a --data file")
    out: str = setting("runs/tiny", "the run's folder")
    resume: bool = setting(False, "go on from the last checkpoint in --out")
    steps: int = setting(30, "RL steps")
    seed: int = setting(0, "of everything drawn")
    device: str = setting("auto", "where to run", "auto cpu cuda")
    compile: bool = setting(False, "torch.compile sampler and update (not measured on a GPU)")
    # rollouts
    questions: int = setting(32, "questions a step")
    k: int = setting(8, "answers a question")
    temperature: float = setting(1.0, "of sampling and scoring alike")
    max_new_tokens: int = setting(128, "longest answer, its stop id included")
    max_rows: int = setting(256, "answers sampled at once; lower it when the KV cache does not fit")
    strict: bool = setting(True, "reward only marked answers; --no-strict also takes the last number")
    # construction
    n_pos: int = setting(2, "right answers that make a question eligible (DCS)")
    n_neg: int = setting(4, "wrong answers that make a question eligible (DCS)")
    m_max: int = setting(4, "wrong answers rewritten for an eligible question")
    reconstruction: str = setting("prefix", "keep the wrong prefix, or answer anew", "prefix full")
    synthesis: str = setting("brief", "wording of the synthesis prompt", "brief full")
    max_reply_tokens: int = setting(224, "longest analysis + reconstruction")
    # loss
    lambda_: float = setting(1.0, "weight of the constructed trajectories' loss")
    dae: str = setting(
        "own", "what constructed rewards are compared with: others of the question (DAE), of the batch, the question's "
        "sampled answers, or off: all in one group", "own batch sampled off",
    )  # fmt: skip
    ots: bool = setting(True, "suppress out-of-distribution tokens of constructed trajectories (OTS)")
    train_prefix: bool = setting(True, "constructed trajectories train their wrong prefix too")
    loss: str = setting("grpo", "normalisation: tokens then rows, all tokens, or a constant", "grpo dapo dr_grpo")
    clip_low: float = setting(0.2, "the ratio is clipped below 1 - clip_low")
    clip_high: float = setting(0.2, "the ratio is clipped above 1 + clip_high")
    kl_coef: float = setting(0.0, "weight of the k3 KL to the starting policy")
    kl_rows: int = setting(16, "answers a step on which that KL is measured")
    # updates
    updates: int = setting(1, "updates made from one step's batch")
    lr: float = setting(2e-4, "RL learning rate")
    warmup: int = setting(5, "RL steps of linear warm-up")
    grad_clip: float = setting(1.0, "largest gradient norm")
    micro_tokens: int = setting(1024, "tokens of a micro-batch, a prompt counted once; lower it when memory is short")
    checkpointing: bool = setting(False, "of activations in the update: less memory, a third more time")
    # cold start
    coldstart_updates: int = setting(2000, "supervised updates")
    coldstart_batch: int = setting(16, "examples an update")
    coldstart_lr: float = setting(4e-3, "peak learning rate, falling to 0")
    coldstart_warmup: int = setting(50, "updates of linear warm-up")
    coldstart_mix: str = setting("0.2,0.1,0.6,0.05,0.05", "shares of augment.KINDS (builtin data)")
    coldstart_refresh: int = setting(50, "updates between the policy's new answers to learn from (builtin data)")
    coldstart_examples: int = setting(2000, "examples to collect from own rollouts (other data)")
    # looking
    eval_problems: int = setting(500, "held-out problems of the table before and after")
    eval_samples: int = setting(1, "answers to each of them")
    eval_every: int = setting(0, "steps between measurements on them; 0: only before and after")
    split_gradients: bool = setting(True, "measure sampled and constructed gradients apart (keeps a copy of them)")
    show_every: int = setting(10, "steps between three whole samples printed")
    save_every: int = setting(50, "steps between checkpoints")

    @property
    def constructs(self) -> bool:
        return self.algo in ("tapo", "sft")

    def mix(self) -> list[float]:
        return [float(share) for share in self.coldstart_mix.split(",")]


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "gsm8k": dict(
        model="Qwen/Qwen2.5-0.5B-Instruct", data="gsm8k", out="runs/gsm8k", steps=200, questions=32,
        max_new_tokens=512, max_reply_tokens=1024, synthesis="full", lr=1e-6, micro_tokens=4096,
        coldstart_updates=200, coldstart_lr=1e-5, eval_problems=200, split_gradients=False,
    ),
}  # fmt: skip
TINY: dict[str, Any] = dict(hidden_size=128, intermediate_size=320, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=4, head_dim=32, max_position_embeddings=1024, model_type="qwen3",
            tie_word_embeddings=True)  # fmt: skip


def parse_config(arguments: list[str] | None = None) -> Config:
    """The preset, then the flags over it; raises InputError for what cannot be."""
    parser = ArgumentParser(
        description="Train with GRPO or TAPO: a cold start, then RL on verified answers.",
        argument_default=None,
        allow_abbrev=False,
    )
    parser.add_argument("--preset", default="tiny", choices=list(PRESETS), help="a set of defaults (default: tiny)")
    for f in fields(Config):
        flag, default = "--" + f.name.rstrip("_").replace("_", "-"), f.default
        shown = f"{f.metadata['help']} (default: {default!r})".replace("%", "%%")
        if isinstance(default, bool):
            parser.add_argument(flag, dest=f.name, action=argparse.BooleanOptionalAction, help=shown)
        else:
            parser.add_argument(flag, dest=f.name, type=type(default), choices=f.metadata["choices"], help=shown)
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    base = PRESETS[given.pop("preset")]
    if given.get("resume"):  # a run goes on with its own settings; flags can still change them
        newest_checkpoint(out := Path(given.get("out", base.get("out", Config.out))))  # or say that there is none
        base = read_json(out / "config.json")
        base = {name: value for name, value in base.items() if name in Config.__dataclass_fields__}
    config = Config(**{**base, **given})
    check_config(config)
    return config


def check_config(c: Config) -> None:
    """Raises InputError for settings that cannot work, before anything is loaded or written."""

    def expect(fine: bool, flags: str, expected: str, found: Any) -> None:
        if not fine:
            raise InputError(f"{flags}: expected {expected}, found {found}")

    may_be_zero = {"seed", "lambda_", "kl_coef", "kl_rows", "warmup", "coldstart_warmup", "eval_every"}
    for f in fields(c):
        value, flag = getattr(c, f.name), "--" + f.name.rstrip("_").replace("_", "-")
        if isinstance(value, int | float) and not isinstance(value, bool):
            expect(math.isfinite(value) and value >= 0, flag, "0 or more", value)
            expect(value > 0 or f.name in may_be_zero, flag, "more than 0", value)
    expect(bool(c.out.strip()), "--out", "a folder", repr(c.out))
    expect(c.k >= 2, "--k", "2 or more, a group to compare", c.k)
    constructs = c.constructs or (c.stage != "rl" and not is_builtin(c.data))  # in its steps or in its cold start
    fits = not constructs or c.n_pos + c.n_neg <= c.k
    expect(fits, "--n-pos, --n-neg", "n_pos + n_neg <= k", f"{c.n_pos} + {c.n_neg} with k = {c.k}")
    expect(c.clip_low < 1, "--clip-low", "less than 1", c.clip_low)
    fits = bool(re.fullmatch(r"\d*\.?\d+(,\d*\.?\d+){4}", c.coldstart_mix)) and sum(c.mix()) > 0
    expect(fits, "--coldstart-mix", "five shares such as 0.4,0.1,0.4,0.05,0.05", c.coldstart_mix)
    expect(c.stage != "rl" or bool(c.model) or c.resume, "--stage rl", "--model, something to start from", "none")
    resumable = c.stage != "coldstart" or not c.resume
    expect(resumable, "--resume", "a stage with RL: the cold start has no checkpoints", c.stage)
    expect(is_builtin(c.data) or bool(c.model) or c.resume, "--data", "'builtin', or a --model to start from", c.data)
    expect(c.device != "cuda" or torch.cuda.is_available(), "--device cuda", "a CUDA device", "none")


class Run:
    """A model in training with its tokenizer, problems and folder, and what both stages do with them."""

    def __init__(self, config: Config):
        self.config, self.out = config, Path(config.out)
        cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
        self.device = torch.device("cuda" if cuda else "cpu")
        if not config.resume and self.out.is_dir() and any(self.out.iterdir()):
            raise InputError(
                f"{self.out}: expected a new or empty folder, found files; choose another --out, or --resume"
            )
        self.resumed = newest_checkpoint(self.out) if config.resume else None
        self.first = int(self.resumed.name[5:]) if self.resumed else 0  # steps made before
        if self.first > config.steps:
            raise InputError(f"--steps: expected {self.first} or more, already made, found {config.steps}")
        self.problems, self.held_out = problem_sets(config)
        source = self.resumed or config.model
        torch.manual_seed(self.seed("weights"))
        if source:
            self.model = Transformer.from_pretrained(source)
            self.tokenizer = Tokenizer.from_pretrained(source, self.model.config.vocab_size)
        else:
            self.tokenizer = builtin_tokenizer(config.synthesis)
            eos, size = self.tokenizer.eos_id, self.tokenizer.inner.get_vocab_size()
            self.model = Transformer(ModelConfig(vocab_size=size, eos_token_id=eos, **TINY))
        context = self.model.config.max_position_embeddings
        self.tokenizer.check_prompts(self.problems, context, config.data)
        self.tokenizer.check_prompts(self.held_out, context, config.eval_data or config.data)
        self.model.to(self.device)
        if config.compile:
            self.model.compile_blocks()
        self.model.checkpointing = config.checkpointing
        self.tokens_generated = 0
        self.seconds: dict[str, float] = defaultdict(float)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out: expected a folder that can be made, found {self.out} ({error})") from None
        write_text(self.out / "config.json", json.dumps(asdict(config), indent=2) + "\n")

    def seed(self, *purpose: Any) -> int:
        return zlib.crc32(repr((self.config.seed, *purpose)).encode())

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds of a phase of the step."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start

    def autocast(self) -> torch.autocast:
        """bfloat16 for compute on a GPU; parameters and optimizer state stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def sample(self, prompts: list[list[int]], n: int, max_new_tokens: int, seed: int) -> list[list[Rollout]]:
        """As training needs it: at the temperature of scoring, from the whole distribution."""
        c = self.config
        rollouts = sample(
            self.model, prompts, n, stop_ids=self.tokenizer.stop_ids, max_new_tokens=max_new_tokens,
            temperature=c.temperature, seed=seed, max_rows=c.max_rows,
        )  # fmt: skip
        self.tokens_generated += sum(len(r.token_ids) for group in rollouts for r in group)
        return rollouts

    def answer(self, problems: list[Problem], *purpose: Any) -> list[Group]:
        """K answers to each problem, with their rewards."""
        c, prompts = self.config, [self.tokenizer.question_prompt(p.question) for p in problems]
        groups = []
        for problem, rollouts in zip(
            problems, self.sample(prompts, c.k, c.max_new_tokens, self.seed(*purpose)), strict=True
        ):
            texts = [self.tokenizer.decode(r.token_ids) for r in rollouts]
            rewards = [float(is_equal(problem.answer, extract_answer(text, c.strict))) for text in texts]
            groups.append(Group(problem, rollouts, texts, rewards))
        return groups

    def rewrite(self, groups: list[Group], *purpose: Any) -> list[Construction]:
        """DCS and construction: what the policy made of each pair from the eligible questions."""
        c, seed = self.config, self.seed("construct", *purpose)
        pairs = choose_pairs(groups, c.n_pos, c.n_neg, c.m_max, random.Random(seed))

        def sampler(prompts: list[list[int]]) -> list[Rollout]:
            return [rollouts[0] for rollouts in self.sample(prompts, 1, c.max_reply_tokens, seed)]

        return construct(
            pairs, sampler, self.tokenizer, style=c.synthesis, mode=c.reconstruction, strict=c.strict,
            max_tokens=c.max_new_tokens, context=self.model.config.max_position_embeddings,
        )  # fmt: skip

    def optimizer(self, lr: float, leave_out: Sequence[torch.Tensor] = ()) -> torch.optim.Optimizer:
        out = set(leave_out)
        parameters = [p for p in self.model.parameters() if p not in out]
        # fused: one pass over the memory instead of a dozen, several times faster on a CPU too
        return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)

    def update(self, optimizers: list[torch.optim.Optimizer], lr: float) -> float | None:
        """One update from the gathered gradients, clipped; returns their norm. Not finite: no update, None."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip).item()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            if math.isfinite(norm):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norm if math.isfinite(norm) else None

    def log(self, file: str, *records: dict[str, Any]) -> None:
        with (self.out / file).open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(record) + "\n" for record in records)

    def look(self, step: int) -> dict[str, Any]:
        """Measure the policy on the held-out problems as it is trained: sampled, at its temperature."""
        c = self.config
        summary, _ = evaluate(
            self.model, self.tokenizer, self.held_out, samples=c.eval_samples, temperature=c.temperature,
            strict=c.strict, max_new_tokens=c.max_new_tokens, seed=self.seed("eval"), max_rows=c.max_rows,
        )  # fmt: skip
        self.log("metrics.jsonl", {"stage": "eval", "step": step, "tokens_generated": self.tokens_generated, **summary})
        return summary

    def save(self, step: int, optimizer: torch.optim.Optimizer | None = None) -> Path:
        """Write checkpoints/step-N, a Hugging Face folder and the optimizer; it appears when it is whole."""
        folder = self.out / "checkpoints" / f"step-{step}"
        temporary = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        self.model.save_pretrained(temporary)
        self.tokenizer.save(temporary)
        names: dict[Any, str] = {p: name for name, p in self.model.named_parameters()}
        adam = optimizer.state.items() if optimizer else ()
        state = {f"{names[p]}:{key}": v.cpu().contiguous() for p, moments in adam for key, v in moments.items()}
        save_file(state, temporary / "optimizer.safetensors")  # tensors only: no pickle is ever loaded
        write_text(temporary / "trainer.json", json.dumps({"tokens_generated": self.tokens_generated}) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        return folder

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Load the optimizer of the resumed checkpoint, drop what was logged after it."""
        assert self.resumed
        parameters = dict(self.model.named_parameters())
        try:
            self.tokens_generated = read_json(self.resumed / "trainer.json")["tokens_generated"]
            for name, tensor in load_file(self.resumed / "optimizer.safetensors").items():
                parameter, key = name.split(":")
                optimizer.state[parameters[parameter]][key] = tensor.to(self.device)
        except (OSError, KeyError, SafetensorError) as error:
            raise InputError(f"{self.resumed}: expected a whole checkpoint ({error!r})") from None
        for file in ("metrics.jsonl", "samples.jsonl"):
            logged = read_lines(self.out / file)
            kept = [r for r in logged if r.get("stage") == "coldstart" or r["step"] <= self.first]
            write_text(self.out / file, "".join(json.dumps(record) + "\n" for record in kept))


def newest_checkpoint(out: Path) -> Path:
    found = [path for path in out.glob("checkpoints/step-*") if path.name[5:].isdigit()]
    if not found:
        raise InputError(f"--resume: expected a checkpoint under {out}, found none")
    return max(found, key=lambda path: int(path.name[5:]))


def problem_sets(c: Config) -> tuple[list[Problem], list[Problem]]:
    """(training problems, held-out problems); a file without --eval-data gives its last ones away."""
    problems = load_problems(c.data, "train", 20_000 if is_builtin(c.data) else None, c.seed)
    if c.eval_data or is_builtin(c.data) or c.data == "gsm8k":
        return problems, load_problems(c.eval_data or c.data, "test", c.eval_problems)
    cut = len(problems) - min(c.eval_problems, max(len(problems) // 5, 1))
    if cut < 1:
        raise InputError(f"{c.data}: expected 2 problems or more, one of them to be held out, found {len(problems)}")
    return problems[:cut], problems[cut:]
