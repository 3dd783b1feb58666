"""Text to token ids and back, and how a question or another request becomes a prompt.

Tokenizer wraps a checkpoint's own tokenizer.json and chat template. A model that starts from random
weights gets a byte-pair encoding (BPE) of its own, trained here.

Called by rollout.py and eval.py (prompts of questions), augment.py (synthesis prompts),
coldstart.py (examples), and wherever a model is loaded or saved: its tokenizer goes with it.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jinja2.sandbox
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from support.files import InputError, read_json, write_text
from support.hub import resolve_folder

# What a checkpoint with a chat template is asked, and what any request looks like to one without.
INSTRUCTION = "{question}\n\nReason step by step, and put your final answer within \\boxed{{}}."
PLAIN = "{text}\nAnswer:\n"

# The files that can name ids at which a model stops. All of them count; where no file names an
# eos_token, the id that comes first in this order is it.
SETTINGS_FILES = ("generation_config.json", "config.json", "tokenizer_config.json")

# The files that a saved checkpoint keeps as they were read.
KEPT_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
)


class Tokenizer:
    """A checkpoint's tokenizer: text <-> ids, prompts, and the ids that end an answer.

    files: the texts of the folder's files by name, to be saved again
    chat_template: the Jinja source, None for the plain layout
    eos, names: the special tokens that a chat template may mention, eos_token and others
    """

    def __init__(
        self,
        inner: tokenizers.Tokenizer,
        files: dict[str, str],
        chat_template: str | None,
        eos: str,
        **names: str,
    ):
        self.inner = inner
        self.files = files
        self.chat_template = compile_template(chat_template) if chat_template else None
        self.names = {"eos_token": eos, **names}
        self.eos_id = int(inner.token_to_id(eos) or 0)
        self.stop_ids = [self.eos_id]

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], vocab_size: int) -> "Tokenizer":
        """Read a Hugging Face folder's tokenizer for a model of vocab_size; raises InputError."""
        folder = resolve_folder(name)
        inner = read_tokenizer(folder, vocab_size)
        settings = {file: read_settings(folder / file) for file in SETTINGS_FILES}
        tokenizer_settings = settings["tokenizer_config.json"]

        stop_ids = find_stop_ids(list(settings.values()))
        template = find_template(folder, tokenizer_settings)
        names = find_special_names(tokenizer_settings)

        eos = names.pop("eos_token", None)
        if not eos and stop_ids:
            eos = inner.id_to_token(stop_ids[0])
        if not eos or inner.token_to_id(eos) is None:
            expected = "an eos_token that the tokenizer knows"
            raise InputError(f"{folder}: expected {expected}, found {eos!r}")

        tokenizer = cls(inner, read_kept_files(folder), template, eos, **names)
        # Llama 3 and Qwen stop at any of several ids.
        tokenizer.stop_ids = sorted({tokenizer.eos_id, *stop_ids})
        return tokenizer

    @classmethod
    def train(cls, texts: list[str], whole: Sequence[str], vocab_size: int = 508) -> "Tokenizer":
        """A byte-level BPE of these texts, digits one by one, for a model that starts from nothing.

        Each text in `whole` becomes one token, beyond vocab_size.
        """
        end = "<|end|>"
        inner = tokenizers.Tokenizer(models.BPE())
        digits = pre_tokenizers.Digits(individual_digits=True)
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.pre_tokenizer = pre_tokenizers.Sequence([digits, to_bytes])
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[end],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
        inner.add_tokens(list(whole))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end}
        files = {"tokenizer.json": inner.to_str(), "tokenizer_config.json": json.dumps(settings)}
        return cls(inner, files, None, end)

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files as they were read."""
        for name, text in self.files.items():
            write_text(folder / name, text)

    def encode(self, text: str) -> list[int]:
        """Ids of an answer's text, without BOS or EOS.

        A special token that is spelled out in the text stays text: only we end an answer.
        """
        self.inner.encode_special_tokens = True
        return self.inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """The text of these ids, without special tokens."""
        return self.inner.decode(ids, skip_special_tokens=True)

    def question_prompt(self, question: str) -> list[int]:
        """Ids of the bare question, as rollouts see it and as every trajectory is trained on."""
        if self.chat_template is None:
            return self.prompt(question)
        return self.prompt(INSTRUCTION.format(question=question))

    def prompt(self, text: str) -> list[int]:
        """Ids of a request: the chat template with `text` as the user's message, or PLAIN.

        Raises InputError for a template that cannot render it.
        """
        self.inner.encode_special_tokens = False
        if self.chat_template is None:
            return self.inner.encode(PLAIN.format(text=text)).ids  # with BOS if the model has one
        try:
            rendered = self.chat_template.render(
                messages=[{"role": "user", "content": text}],
                add_generation_prompt=True,
                tools=None,
                documents=None,
                # Qwen3 would think at length first, and in words that count as reflections.
                enable_thinking=False,
                **self.names,
            )
        except jinja2.TemplateError as error:
            message = f"chat template: it does not render one user message ({error})"
            raise InputError(message) from None
        return self.inner.encode(rendered, add_special_tokens=False).ids

    def check_prompts(self, questions: list[str], context: int, where: str) -> None:
        """Raises InputError for a question that leaves no room to answer within `context` tokens.

        where: the name of the questions' file, for the message. To be called before training, so
        that a run does not end at such a question after hours.
        """
        around = len(self.question_prompt(""))
        for question in questions:
            # A text has no more tokens than bytes, so that most need not be tokenised.
            longest = len(question.encode()) + around
            if longest < context:
                continue
            found = len(self.question_prompt(question))
            if found >= context:
                beginning = f"{question[:40]!r}..."
                expected = f"a prompt below {context} tokens"
                raise InputError(f"{where}: {beginning}: expected {expected}, found {found}")


def read_tokenizer(folder: Path, vocab_size: int) -> tokenizers.Tokenizer:
    """The folder's tokenizer.json; raises InputError where it has ids that the model has not."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        expected = "a Hugging Face folder with a fast tokenizer"
        raise InputError(f"{folder}: no tokenizer.json, expected {expected}")
    try:
        inner = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise InputError(f"{path}: not readable as a tokenizer ({error})") from None

    # Some files ask for texts to be cut or padded, which is meant for batches of another use.
    inner.no_truncation()
    inner.no_padding()

    ids = inner.get_vocab(with_added_tokens=True).values()
    largest = max(ids, default=-1)
    if largest >= vocab_size:
        expected = f"ids below the model's vocab_size {vocab_size}"
        raise InputError(f"{path}: expected {expected}, found {largest}")
    return inner


def read_settings(path: Path) -> dict[str, Any]:
    """The JSON object in a file that a folder need not have; empty where it is absent."""
    return read_json(path) if path.is_file() else {}


def find_stop_ids(settings: list[dict[str, Any]]) -> list[int]:
    """The ids that any of the settings files gives as eos_token_id, in the files' order."""
    stop_ids: list[int] = []
    for file_settings in settings:
        found = file_settings.get("eos_token_id")
        if isinstance(found, list):
            stop_ids += found
        elif found is not None:
            stop_ids.append(found)
    return stop_ids


def find_template(folder: Path, tokenizer_settings: dict[str, Any]) -> str | None:
    """The source of the chat template: of the file of its own, else of the tokenizer's settings."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = tokenizer_settings.get("chat_template")
    if isinstance(template, list):  # several named ones
        by_name = {entry["name"]: entry["template"] for entry in template}
        return by_name.get("default")
    return template


def find_special_names(tokenizer_settings: dict[str, Any]) -> dict[str, str]:
    """The special tokens' texts by name: eos_token, bos_token and whatever else ends in _token."""
    names = {}
    for field, token in tokenizer_settings.items():
        if not field.endswith("_token"):
            continue
        text = token["content"] if isinstance(token, dict) else token
        if isinstance(text, str):
            names[field] = text
    return names


def read_kept_files(folder: Path) -> dict[str, str]:
    """The texts of those of KEPT_FILES that the folder has, by name."""
    paths = [folder / name for name in KEPT_FILES]
    return {path.name: path.read_text(encoding="utf-8") for path in paths if path.is_file()}


def compile_template(template: str) -> jinja2.Template:
    """A chat template, ready to render; raises InputError for one that cannot be read.

    Templates come from strangers, so that they run in jinja2's sandbox. White space is treated as
    transformers does.
    """

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
