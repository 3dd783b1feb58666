"""Text to token ids and back, and how a question or another request becomes a prompt.

Tokenizer wraps a checkpoint's own tokenizer.json and chat template. A model that starts from random
weights gets a byte-pair encoding (BPE) of its own, trained here.

Called by rollout.py and eval.py (prompts of questions), augment.py (synthesis prompts),
coldstart.py (examples), and wherever a model is loaded or saved: its tokenizer goes with it.
"""

import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from support.files import InputError, one_line, read_json, write_text
from support.hub import resolve_folder

# What a checkpoint with a chat template is asked, and what any request looks like to one without.
INSTRUCTION = "{question}\n\nReason step by step, and put your final answer within \\boxed{{}}."
PLAIN = "{text}\nAnswer:\n"

# The files that can name ids at which a model stops. All of them count; where no file names an
# eos_token, the id that comes first in this order is it.
SETTINGS_FILES = ("generation_config.json", "config.json", "tokenizer_config.json")

# The files that a saved checkpoint keeps as they were read, with those of TEMPLATE_FOLDER.
KEPT_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
)
TEMPLATE_FOLDER = "additional_chat_templates"  # a file for each named template

# The special tokens that have a role, and that a chat template may mention by these names.
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

SEAM = 8  # tokens of a prompt that are encoded again with what follows it


class Tokenizer:
    """A checkpoint's tokenizer: text <-> ids, prompts, and the ids that end an answer.

    files: the texts of the folder's files by name, to be saved again
    chat_template: the Jinja source, None for the plain layout
    eos, names: the special tokens that a chat template may mention, eos_token and others

    end_id ends an answer that we write: the token that ends a turn of the chat template, where
    there is one, else the eos_token. stop_ids, both of them, end one that the policy writes.
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
        self.chat_template = None if chat_template is None else compile_template(chat_template)
        self.names = {"eos_token": eos, **names}
        added = inner.get_added_tokens_decoder().values()
        self.specials = [token.content for token in added if token.special]
        end_of_text = int(inner.token_to_id(eos) or 0)
        end_of_turn = self.find_turn_end()
        self.end_id = end_of_text if end_of_turn is None else end_of_turn
        self.stop_ids = sorted({end_of_text, self.end_id})

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], vocab_size: int) -> "Tokenizer":
        """Read a Hugging Face folder's tokenizer for a model of vocab_size; raises InputError."""
        folder = resolve_folder(name)
        inner = read_tokenizer(folder)
        place_word_boundaries(inner, read_settings(folder / "tokenizer_config.json"))
        add_listed_tokens(inner, folder / "tokenizer_config.json")
        stop_ids = find_stop_ids(folder)
        template = find_template(folder)
        names = find_special_names(folder)

        eos = names.pop("eos_token", None)
        if not eos and stop_ids and 0 <= stop_ids[0] < vocab_size:
            eos = inner.id_to_token(stop_ids[0])
        if not eos or inner.token_to_id(eos) is None:
            expected = "an eos_token that the tokenizer knows"
            raise InputError(f"{folder}: expected {expected}, found {eos!r}")
        make_special(inner, [eos, *names.values()])
        check_ids(inner, vocab_size, folder / "tokenizer.json")

        tokenizer = cls(inner, read_kept_files(folder), template, eos, **names)
        # Llama 3 and Qwen stop at any of several ids.
        tokenizer.stop_ids = sorted({*tokenizer.stop_ids, *stop_ids})
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
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            write_text(path, text)

    def encode(self, text: str, after: Sequence[int] = ()) -> list[int]:
        """Ids of a text as it stands after these ids, without BOS or EOS.

        A tokenizer of the SentencePiece kind puts a word boundary before a text that is encoded on
        its own, which an answer after its prompt does not have. So the end of the prompt is
        encoded with the text, and its ids are cut off again. Where the two would grow together, the
        text is put after a line break instead, and else it is encoded on its own.

        A special token that is spelled out in the text stays text: only we end an answer.
        """
        self.inner.encode_special_tokens = any(special in text for special in self.specials)
        end_of_prompt = self.inner.decode(list(after[-SEAM:]), skip_special_tokens=False)
        for before in (end_of_prompt, "\n") if after else ():
            kept = self.encode_plainly(before)
            joint = self.encode_plainly(before + text)
            if joint[: len(kept)] == kept:
                return joint[len(kept) :]
        return self.encode_plainly(text)

    def encode_plainly(self, text: str) -> list[int]:
        """Ids of a whole text, without BOS or EOS."""
        return self.inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """The text of these ids, without special tokens."""
        return self.inner.decode(ids, skip_special_tokens=True)

    def pieces(self, ids: list[int]) -> list[str]:
        """The text of each token; joined they are decode(ids). A character that several tokens make
        up together is the last one's, and a special token has no text."""
        whole = self.decode(ids)
        pieces = []
        begin = 0
        for count in range(1, len(ids) + 1):
            so_far = self.decode(ids[:count])
            # else it ends in the middle of a character
            end = len(so_far) if whole.startswith(so_far) else begin
            pieces.append(whole[begin:end])
            begin = end
        return pieces

    def question_prompt(self, question: str) -> list[int]:
        """Ids of the bare question, as rollouts see it and as every trajectory is trained on."""
        if self.chat_template is None:
            return self.prompt(question)
        return self.prompt(INSTRUCTION.format(question=question))

    def prompt(self, text: str) -> list[int]:
        """Ids of a request: the chat template with `text` as the user's message, or PLAIN.

        Raises InputError for a template that cannot render it.
        """
        if self.chat_template is None:
            self.inner.encode_special_tokens = False
            return self.inner.encode(PLAIN.format(text=text)).ids  # with BOS if the model has one
        rendered = self.render([{"role": "user", "content": text}], opens_answer=True)
        self.inner.encode_special_tokens = False
        return self.encode_plainly(rendered)

    def render(self, messages: list[dict[str, str]], opens_answer: bool) -> str:
        """The chat template's text of these messages, and of the beginning of an answer if wanted.

        Raises InputError for a template that cannot render them.
        """
        assert self.chat_template is not None
        try:
            return self.chat_template.render(
                messages=messages,
                add_generation_prompt=opens_answer,
                tools=None,
                documents=None,
                # Qwen3 would think at length first, and in words that count as reflections.
                enable_thinking=False,
                **self.names,
            )
        except Exception as error:  # a template is a program, which can raise anything
            roles = " and ".join(f"one {message['role']} message" for message in messages)
            reason = one_line(error)
            raise InputError(f"chat template: it does not render {roles} ({reason})") from None

    def find_turn_end(self) -> int | None:
        """The token by which the chat template ends an assistant's turn; None where it has none.

        In Qwen2.5's base checkpoints eos_token is <|endoftext|>, and a turn ends with <|im_end|>.
        """
        if self.chat_template is None:
            return None
        answer = "This is the answer."
        question = {"role": "user", "content": "This is the question."}
        try:
            rendered = self.render([question, {"role": "assistant", "content": answer}], False)
        except InputError:
            return None  # a template for a single question
        _, found, ending = rendered.rpartition(answer)
        if not found:
            return None
        self.inner.encode_special_tokens = False
        added = self.inner.get_added_tokens_decoder()
        for token in self.encode_plainly(ending):
            # Some tokenizers have added tokens for runs of spaces, which end nothing.
            if token in added and added[token].content.strip():
                return token
        return None

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


# ---------------------------------------------------------------- what a folder says


def read_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """The folder's tokenizer.json; raises InputError."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        expected = "a Hugging Face folder with a fast tokenizer"
        raise InputError(f"{folder}: no tokenizer.json, expected {expected}")
    try:
        inner = tokenizers.Tokenizer.from_file(str(path))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # tokenizers raises nothing narrower; a panic is no Exception
        raise InputError(f"{path}: not readable as a tokenizer ({one_line(error)})") from None

    # Some files ask for texts to be cut or padded, which is meant for batches of another use.
    inner.no_truncation()
    inner.no_padding()
    return inner


def place_word_boundaries(inner: tokenizers.Tokenizer, settings: dict[str, Any]) -> None:
    """Put the word boundaries of Llama 2's tokenizer where transformers 5 puts them.

    A tokenizer.json of that kind can put one after every special token. The class that
    tokenizer_config.json names puts one before the first word of a text alone, or after special
    tokens too where the settings say "legacy".
    """
    if str(settings.get("tokenizer_class")).removesuffix("Fast") != "LlamaTokenizer":
        return
    layout = json.loads(inner.to_str())
    is_byte_level = "ByteLevel" in json.dumps([layout["pre_tokenizer"], layout["decoder"]])
    if is_byte_level or not isinstance(inner.model, models.BPE):
        return
    scheme = "always" if settings.get("legacy") else "first"
    if settings.get("add_prefix_space") is False:
        scheme = "never"
    inner.normalizer = None
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)


def add_listed_tokens(inner: tokenizers.Tokenizer, path: Path) -> None:
    """Add the tokens that tokenizer_config.json lists and tokenizer.json does not have so.

    transformers does the same, whatever id comes next; here it must be the one that is listed.
    Raises InputError.
    """
    listed = read_settings(path).get("added_tokens_decoder") or {}
    if not isinstance(listed, dict):
        raise InputError(f"{path}: added_tokens_decoder = {listed!r}, expected tokens by their ids")
    known = {repr(token) for token in inner.get_added_tokens_decoder().values()}
    for token_id, fields in listed.items():
        where = f"{path}: added_tokens_decoder, {token_id}"
        try:
            token = tokenizers.AddedToken(**fields)
        except TypeError as error:
            raise InputError(f"{where}: expected a token, found {fields!r} ({error})") from None
        if repr(token) not in known:
            inner.add_tokens([token])
        found = inner.token_to_id(token.content)
        if token.content and str(found) != token_id:
            raise InputError(f"{where}: expected {token.content!r} at this id, found it at {found}")


def make_special(inner: tokenizers.Tokenizer, texts: list[str]) -> None:
    """Let the tokens that have a role be read whole, as transformers does.

    A tokenizer.json may have such a token as an ordinary piece, which is never found in a text. One
    that the vocabulary does not hold is left out: padding, for one, is of no use here.
    """
    known = {token.content for token in inner.get_added_tokens_decoder().values()}
    for text in texts:
        if text not in known and inner.token_to_id(text) is not None:
            inner.add_special_tokens([text])


def check_ids(inner: tokenizers.Tokenizer, vocab_size: int, path: Path) -> None:
    """Raises InputError where the tokenizer has ids that the model has not."""
    ids = inner.get_vocab(with_added_tokens=True).values()
    largest = max(ids, default=-1)
    if largest >= vocab_size:
        expected = f"ids below the model's vocab_size {vocab_size}"
        raise InputError(f"{path}: expected {expected}, found {largest}")


def read_settings(path: Path) -> dict[str, Any]:
    """The JSON object in a file that a folder need not have; empty where it is absent."""
    return read_json(path) if path.is_file() else {}


def find_stop_ids(folder: Path) -> list[int]:
    """The ids that any of SETTINGS_FILES gives as eos_token_id, in the files' order."""
    stop_ids: list[int] = []
    for name in SETTINGS_FILES:
        found = read_settings(folder / name).get("eos_token_id")
        ids = found if isinstance(found, list) else [found]
        if found is None:
            continue
        for token_id in ids:
            if type(token_id) is not int:  # True is an int too, and no id
                expected = "a token id or a list of them"
                raise InputError(f"{folder / name}: eos_token_id = {found!r}, expected {expected}")
            stop_ids.append(token_id)
    return stop_ids


def find_template(folder: Path) -> str | None:
    """The source of the chat template, of several the one that is called default; raises
    InputError.

    Files of its own come before the tokenizer's settings, as in transformers.
    """
    files = template_files(folder)
    path = folder / "tokenizer_config.json"
    found = files or read_settings(path).get("chat_template")
    if isinstance(found, list):
        found = named_templates(found)
    if isinstance(found, dict):
        if "default" not in found:
            path = folder if files else path
            names = ", ".join(map(str, found))
            expected = "one that is called default"
            raise InputError(f"{path}: expected {expected} among the chat templates, found {names}")
        found = found["default"]
    if found is not None and not is_text(found):
        raise InputError(f"{path}: chat_template = {found!r}, expected a text or named ones")
    if found is None and (folder / "chat_template.json").is_file():
        expected = "the template in chat_template.jinja or tokenizer_config.json"
        raise InputError(f"{folder / 'chat_template.json'}: expected {expected}, found it here")
    return found


def template_files(folder: Path) -> dict[str, str]:
    """The chat templates that have files of their own, by name."""
    paths = {"default": folder / "chat_template.jinja"}
    for path in sorted(folder.glob(f"{TEMPLATE_FOLDER}/*.jinja")):
        paths[path.stem] = path
    return {name: read_text(path) for name, path in paths.items() if path.is_file()}


def named_templates(entries: list[Any]) -> Any:
    """Name -> template of the list in tokenizer_config.json; the list itself where it is none."""
    templates = {}
    for entry in entries:
        if not isinstance(entry, dict) or not {"name", "template"} <= entry.keys():
            return entries
        templates[str(entry["name"])] = entry["template"]
    return templates


def find_special_names(folder: Path) -> dict[str, str]:
    """The texts of the special tokens by role; raises InputError.

    What special_tokens_map.json says counts more than tokenizer_config.json, but nothing where the
    latter lists added_tokens_decoder: newer files do, and transformers then reads the older one no
    longer.
    """
    settings = read_settings(folder / "tokenizer_config.json")
    names = special_names(settings, folder / "tokenizer_config.json")
    if "added_tokens_decoder" not in settings:
        path = folder / "special_tokens_map.json"
        names |= special_names(read_settings(path), path)
    return names


def special_names(fields: dict[str, Any], path: Path) -> dict[str, str]:
    """The texts of the special tokens that a file gives by role; raises InputError."""
    names = {}
    for role in ROLES:
        token = fields.get(role)
        text = token.get("content") if isinstance(token, dict) else token
        if is_text(text):
            names[role] = text
        elif token is not None:
            expected = "a text, or an object with one in content"
            raise InputError(f"{path}: {role} = {token!r}, expected {expected}")
    return names


def is_text(value: Any) -> TypeGuard[str]:
    """Whether it is a text of whole characters: JSON can spell half a one."""
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


def read_kept_files(folder: Path) -> dict[str, str]:
    """The texts of the files that a saved checkpoint keeps, by name."""
    templates = sorted(folder.glob(f"{TEMPLATE_FOLDER}/*.jinja"))
    paths = [*(folder / name for name in KEPT_FILES), *templates]
    return {str(path.relative_to(folder)): read_text(path) for path in paths if path.is_file()}


def read_text(path: Path) -> str:
    """A text file; raises InputError for one that is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as a text ({error})") from None


# ---------------------------------------------------------------- chat templates


class GenerationBlock(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %} stands around an answer in templates for training.

    Which tokens are trained on is known without it, so that what stands within is all we take.
    """

    tags = {"generation"}  # noqa: RUF012  jinja2's own way

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # A block of its own: what is set within it is not seen after it.
        block = jinja2.nodes.CallBlock(self.call_method("content"), [], [], body)
        return block.set_lineno(line)

    def content(self, caller: Callable[[], str]) -> str:
        return caller()


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The filter tojson. That of jinja2 would sort the keys, and escape < and > for web pages."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message: str) -> NoReturn:
    """How a template refuses messages."""
    raise jinja2.TemplateError(message)


def compile_template(template: str) -> jinja2.Template:
    """A chat template, ready to render; raises InputError for one that cannot be read.

    Templates come from strangers, so that they run in jinja2's sandbox. What they may use, and how
    white space is treated, is as in transformers.
    """
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[GenerationBlock, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = to_json
    # Some templates tell the model the date. It is that of today, as in transformers, but stays the
    # same past midnight.
    environment.globals["strftime_now"] = datetime.now().strftime
    environment.globals["raise_exception"] = raise_exception
    try:
        return environment.from_string(template)
    except Exception as error:  # what a template holds becomes Python, which can refuse it too
        raise InputError(f"chat template: not readable ({one_line(error)})") from None
