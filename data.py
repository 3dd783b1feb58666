"""Problems, and how they become prompts.

Problems come from GSM8K (by name, or its files), from any JSON-lines file with a question and an answer,
or from the built-in generator (problems.py). The tokenizer wraps a checkpoint's own
tokenizer.json and chat template; the tiny model gets a BPE of its own, trained here.
"""

import argparse
import json
import math
import os
import re
import sys
import urllib.request
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import jinja2.sandbox
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from support.hub import InputError, read_json, resolve_folder, write_text
from tasks.builtin import RUNGS, TRAINED, Problem, builtin_problems

GSM8K = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/{split}.jsonl"
CACHE = Path(os.environ.get("NANOTAPO_CACHE", "~/.cache/nanotapo")).expanduser()


# ---------------------------------------------------------------- reading


def load_problems(name: str, split: str, count: int | None = None, seed: int = 0) -> list[Problem]:
    """Problems of a JSON-lines file, of "gsm8k" or of "builtin"; split is "train" or "test".

    A file has one split, itself. "builtin:4" and "builtin:1-2" are rungs of the built-in ladder, "builtin" those that
    are trained on. count takes the first ones; "builtin" is endless and makes 1,000 without it. Raises InputError
    that names the file and the line.
    """
    if is_builtin(name):
        return list(islice(builtin_problems(split, seed, builtin_rungs(name)), 1000 if count is None else count))
    path = download_gsm8k(split) if name == "gsm8k" else Path(name)
    if not path.is_file():
        raise InputError(f"{name}: no such problem file; expected a JSON-lines file, 'gsm8k' or 'builtin'")
    problems = []
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if line.strip():
            problems.append(read_problem(line, f"{path}, line {number}"))
    if not problems:
        raise InputError(f"{path}: expected problems, found an empty file")
    return problems[:count]


def is_builtin(name: str) -> bool:
    return name.split(":")[0] == "builtin"


def builtin_rungs(name: str) -> tuple[int, int]:
    """The first and the last rung that "builtin", "builtin:4" or "builtin:1-2" names."""
    found = re.fullmatch(r"builtin:(\d)(?:-(\d))?", name)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else TRAINED if name == "builtin" else (0, 0)
    if not min(RUNGS) <= low <= high <= max(RUNGS):
        raise InputError(f"{name}: no such problems; the built-in rungs are builtin:{min(RUNGS)}-{max(RUNGS)}")
    return low, high


def read_problem(line: bytes, where: str) -> Problem:
    """One JSON line with "question" (or "problem") and "answer"; GSM8K's worked answers are taken apart."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(record).__name__}")

    def text(field: str, value: Any) -> str:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            value = str(value)
        if not isinstance(value, str) or not value.strip() or re.search("[\\ud800-\\udfff]", value):
            raise InputError(f"{where}: expected a text in {field!r}, found {value!r}")
        return value.strip()

    question = text("question", record.get("question", record.get("problem")))
    answer, solution = text("answer", record.get("answer")), record.get("solution")
    if "####" in answer:  # GSM8K: worked lines with <<16-3=13>> marks for a calculator, then the answer
        solution = re.sub(r"<<[^>]*>>", "", answer).strip()
        answer = solution.rsplit("####", 1)[1].strip()
        if not answer:
            raise InputError(f"{where}: expected an answer after '####', found nothing")
    return Problem(question, answer, solution if isinstance(solution, str) else None)


def download_gsm8k(split: str) -> Path:
    """The split's file from GSM8K's public repository, fetched once into NANOTAPO_CACHE."""
    path = CACHE / f"gsm8k_{split}.jsonl"
    if not path.is_file():
        url = GSM8K.format(split=split)
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:
                text = reply.read().decode("utf-8")
        except OSError as error:
            raise InputError(f"gsm8k: {url} could not be fetched ({error}); give a local file instead") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return path


# ---------------------------------------------------------------- tokens

# A checkpoint with a chat template is asked in words; one without has only ever seen this layout.
INSTRUCTION = "{question}\n\nReason step by step, and put your final answer within \\boxed{{}}."
PLAIN = "{text}\nAnswer:\n"


class Tokenizer:
    """A checkpoint's tokenizer: text <-> ids, prompts, and the ids that end an answer."""

    FILES = ("generation_config.json", "config.json", "tokenizer_config.json")

    def __init__(
        self, inner: tokenizers.Tokenizer, files: dict[str, str], chat_template: str | None, eos: str, **names
    ):
        self.inner, self.files = inner, files
        self.chat_template = compile_template(chat_template) if chat_template else None
        self.names: dict[str, Any] = {"eos_token": eos, **names}  # what a chat template may mention
        self.eos_id = int(inner.token_to_id(eos) or 0)
        self.stop_ids = [self.eos_id]

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], vocab_size: int) -> "Tokenizer":
        """Read a Hugging Face folder's tokenizer for a model of vocab_size; raises InputError."""
        folder = resolve_folder(name)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise InputError(f"{folder}: no tokenizer.json, expected a Hugging Face folder with a fast tokenizer")
        try:
            inner = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise InputError(f"{path}: not readable as a tokenizer ({error})") from None
        inner.no_truncation()  # some tokenizer.json ask for a cut or for padding, for batches of another kind
        inner.no_padding()
        largest = max(inner.get_vocab(with_added_tokens=True).values(), default=-1)
        if largest >= vocab_size:
            raise InputError(f"{path}: expected ids below the model's vocab_size {vocab_size}, found {largest}")
        read = {f: read_json(folder / f) if (folder / f).is_file() else {} for f in cls.FILES}
        settings, stops = read["tokenizer_config.json"], []
        for found in (r["eos_token_id"] for r in read.values() if r.get("eos_token_id") is not None):
            stops += found if isinstance(found, list) else [found]
        template = settings.get("chat_template")
        if (folder / "chat_template.jinja").is_file():
            template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
        if isinstance(template, list):  # several named templates
            template = {t["name"]: t["template"] for t in template}.get("default")
        names = {k: v["content"] if isinstance(v, dict) else v for k, v in settings.items() if k.endswith("_token")}
        names = {k: v for k, v in names.items() if isinstance(v, str)}
        eos = names.pop("eos_token", None) or (inner.id_to_token(stops[0]) if stops else None)
        if eos is None or inner.token_to_id(eos) is None:
            raise InputError(f"{folder}: expected an eos_token that the tokenizer knows, found {eos!r}")
        kept = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja")
        files = {f: (folder / f).read_text(encoding="utf-8") for f in kept if (folder / f).is_file()}
        tokenizer = cls(inner, files, template, eos, **names)
        tokenizer.stop_ids = sorted({tokenizer.eos_id, *stops})  # Llama 3 and Qwen stop at any of several
        return tokenizer

    @classmethod
    def train(cls, texts: list[str], whole: Sequence[str], vocab_size: int = 508) -> "Tokenizer":
        """A byte-level BPE of these texts, digits one by one, for a model that starts from nothing."""
        inner = tokenizers.Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["<|end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
        inner.add_tokens(list(whole))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>"}
        files = {"tokenizer.json": inner.to_str(), "tokenizer_config.json": json.dumps(settings)}
        return cls(inner, files, None, "<|end|>")

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files as they were read."""
        for name, text in self.files.items():
            write_text(folder / name, text)

    def encode(self, text: str) -> list[int]:
        """Ids of an answer's text. A special token spelled out in it stays text: only we end an answer."""
        self.inner.encode_special_tokens = True
        return self.inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self.inner.decode(ids, skip_special_tokens=True)

    def prompt(self, text: str) -> list[int]:
        """Ids of a request: the chat template with `text` as the user's message, or the plain layout."""
        self.inner.encode_special_tokens = False
        if self.chat_template is None:
            return self.inner.encode(PLAIN.format(text=text)).ids  # with a BOS where the checkpoint has one
        try:  # Qwen3 would think at length first, and in words that count as reflections
            rendered = self.chat_template.render(
                messages=[{"role": "user", "content": text}], add_generation_prompt=True, tools=None, documents=None,
                enable_thinking=False, **self.names,
            )  # fmt: skip
        except jinja2.TemplateError as error:
            raise InputError(f"chat template: it does not render one user message ({error})") from None
        return self.inner.encode(rendered, add_special_tokens=False).ids

    def check_prompts(self, problems: list[Problem], context: int, where: str) -> None:
        """Raises InputError for a question that leaves no room to answer: better now than in mid-run."""
        around = len(self.question_prompt(""))
        for problem in problems:
            if len(problem.question.encode()) + around >= context:  # a text has no more tokens than bytes
                found = len(self.question_prompt(problem.question))
                if found >= context:
                    start = problem.question[:40]
                    raise InputError(f"{where}: {start!r}...: expected a prompt below {context} tokens, found {found}")

    def question_prompt(self, question: str) -> list[int]:
        """The bare question, as rollouts see it and as every trajectory is trained on."""
        return self.prompt(question if self.chat_template is None else INSTRUCTION.format(question=question))


def compile_template(template: str) -> jinja2.Template:
    """A chat template. They come from strangers: jinja2's sandbox; white space as transformers has it."""

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = raise_exception
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise InputError(f"chat template: not readable ({error})") from None


# ---------------------------------------------------------------- command lines


class ArgumentParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message} (--help lists the flags)")


def run_main(main: Callable[[], None]) -> None:
    """Run a command; an InputError is one line on stderr and exit code 2."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
