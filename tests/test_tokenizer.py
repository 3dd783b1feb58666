"""What is read from a checkpoint's folder: its tokenizer, its prompts, and its config.json."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import transformers
from conftest import BOUNDARY, ZEPHYR, mutated_bytes, sentencepiece
from tokenizers import AddedToken

import support.tokenizer
from coldstart import as_trajectory
from data import load_problems
from support.files import InputError
from support.hub import ModelConfig
from support.settings import Settings
from support.tokenizer import INSTRUCTION, Tokenizer, compile_template

TAGS = ["<analysis>", "</analysis>"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    problems = load_problems("builtin", "train", 300)
    return Tokenizer.train([p.question + "\n" + p.solution for p in problems], TAGS)


def test_the_tiny_tokenizer_splits_digits_and_gives_texts_back(tokenizer):
    text = "12+345=357\nWait, é is wrong. <analysis>"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    pieces = [tokenizer.decode([i]) for i in ids]
    assert pieces[:7] == ["1", "2", "+", "3", "4", "5", "="] and pieces[-1] == "<analysis>"


@pytest.mark.parametrize("text", ["12+345=357\nWait, é is wrong.", "日本 2", "é", "", " 2"])
def test_the_pieces_of_tokens_join_to_their_text(tokenizer, text):
    spaced = sentencepiece("first")
    for ours in (tokenizer, spaced):
        ids = [*ours.encode(text), ours.end_id]
        pieces = ours.pieces(ids)
        assert len(pieces) == len(ids) and "".join(pieces) == ours.decode(ids)
        assert pieces[-1] == "" and "\ufffd" not in "".join(pieces)
    assert tokenizer.pieces(tokenizer.encode("é")) == ["", "é"]  # of two bytes
    half = tokenizer.encode("2é")[:-1]
    assert tokenizer.pieces(half) == ["2", "\ufffd"]


def test_a_special_token_spelled_in_an_answer_stays_text(tokenizer):
    """Else an answer could end itself in the middle, or fake a turn."""
    assert tokenizer.encode("<|end|>") != [tokenizer.end_id]
    assert tokenizer.end_id not in tokenizer.encode("a <|end|> b")


def test_a_tokenizer_folder_comes_back_as_it_was(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path, 600)
    assert again.encode("8-2=6") == tokenizer.encode("8-2=6")
    assert again.end_id == tokenizer.end_id and again.stop_ids == tokenizer.stop_ids
    assert again.question_prompt("How many?") == tokenizer.question_prompt("How many?")


def test_a_tokenizer_larger_than_the_model_is_refused(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    says = r"tokenizer\.json: expected ids below the model's vocab_size 100"
    with pytest.raises(InputError, match=says):
        Tokenizer.from_pretrained(tmp_path, 100)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        Tokenizer.from_pretrained(tmp_path, 600)


def test_every_stop_id_of_a_checkpoint_is_known(tokenizer, tmp_path):
    """Trap 1: a chat model stops at its turn's end and at its text's end."""
    tokenizer.save(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    (tmp_path / "config.json").write_text('{"eos_token_id": 8}')
    again = Tokenizer.from_pretrained(tmp_path, 600)
    assert again.end_id == tokenizer.end_id
    assert again.stop_ids == sorted({7, 8, 9, tokenizer.end_id})


def test_the_end_of_a_text_is_known_by_name_or_else_by_the_files_first_stop_id(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text('{"eos_token": {"content": "<|end|>"}, "added_tokens_decoder": {"0": {}}}')
    assert Tokenizer.from_pretrained(tmp_path, 600).end_id == tokenizer.end_id
    settings.write_text('{"eos_token": null}')
    assert Tokenizer.from_pretrained(tmp_path, 600).end_id == 7
    settings.write_text('{"eos_token": "</s>"}')
    with pytest.raises(InputError, match="expected an eos_token that the tokenizer knows"):
        Tokenizer.from_pretrained(tmp_path, 600)
    settings.write_text('{"eos_token": null}')
    for no_id in (-1, 600, 10**20):
        (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": no_id}))
        with pytest.raises(InputError, match="expected an eos_token that the tokenizer knows"):
            Tokenizer.from_pretrained(tmp_path, 600)


TEMPLATE = (
    "{% for m in messages %}\n<|{{ m.role }}|>{{ m.content }}{{ eos_token }}\n{% endfor %}\n"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_the_chat_template_is_used_where_there_is_one(tokenizer):
    tokenizer.chat_template = compile_template(TEMPLATE)
    ids = tokenizer.question_prompt("How many?")
    text = tokenizer.inner.decode(ids, skip_special_tokens=False)
    assert text == f"<|user|>{INSTRUCTION.format(question='How many?')}<|end|>\n<|assistant|>"
    assert tokenizer.end_id in ids  # specials of the template are specials


def test_the_template_file_comes_before_the_settings_and_default_before_other_names(
    tokenizer, tmp_path
):
    tokenizer.save(tmp_path)
    named = [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]
    settings = {"eos_token": "<|end|>", "chat_template": named}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    again = Tokenizer.from_pretrained(tmp_path, 600)
    assert again.decode(again.prompt("How many?")) == "D"
    (tmp_path / "chat_template.jinja").write_text("F")
    again = Tokenizer.from_pretrained(tmp_path, 600)
    assert again.decode(again.prompt("How many?")) == "F"


def test_a_chat_template_cannot_reach_out_of_its_sandbox(tokenizer):
    """Templates come with downloads: this one would list the classes of the interpreter."""
    for template, says in (
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ raise_exception('no user role') }}", "no user role"),
    ):
        tokenizer.chat_template = compile_template(template)
        with pytest.raises(InputError, match=f"chat template: .*{says}"):
            tokenizer.question_prompt("How many?")
    with pytest.raises(InputError, match="chat template: not readable"):
        compile_template("{% if %}")


def test_chat_prompts_equal_transformers(smollm2):
    theirs = transformers.AutoTokenizer.from_pretrained(smollm2)
    ours = Tokenizer.from_pretrained(smollm2, 49152)
    messages = [{"role": "user", "content": INSTRUCTION.format(question="What is 12 + 30?")}]
    expected = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ours.question_prompt("What is 12 + 30?") == expected
    assert ours.decode([ours.end_id]) == "" and ours.stop_ids == [2]


def test_a_prompt_longer_than_the_context_is_found_before_training(tokenizer):
    questions = ["short", "a very long story " * 50]
    tokenizer.check_prompts(questions, 4000, "file.jsonl")
    says = r"file\.jsonl: 'a very long story .*expected a prompt below 64 tokens, found"
    with pytest.raises(InputError, match=says):
        tokenizer.check_prompts(questions, 64, "file.jsonl")


# ---------------------------------------------------------------- chat checkpoints

SPECIALS = ["<|end|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>"]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QUESTION = [{"role": "user", "content": "How many <b>?"}]


def special(text: str) -> AddedToken:
    return AddedToken(text, special=True, normalized=False)


def chat_folder(tokenizer: Tokenizer, folder: Path, **settings: Any) -> Path:
    """A folder with the tokenizer, SPECIALS added, and these fields in tokenizer_config.json."""
    tokenizer.inner.add_special_tokens([special(text) for text in SPECIALS])
    tokenizer.inner.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", **{"eos_token": "<|end|>", **settings})
    return folder


def write_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(fields))


def prompt_of_transformers(folder: Path) -> list[int]:
    """The ids of QUESTION by transformers."""
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    return theirs.apply_chat_template(
        QUESTION, add_generation_prompt=True, return_dict=False, enable_thinking=False
    )


def token_name(tokenizer: Tokenizer, token_id: int) -> str:
    return tokenizer.inner.id_to_token(token_id)


# ---------------------------------------------------------------- what ends a turn

TURN_ENDS = {
    "Qwen2.5 base": (CHATML, "<|endoftext|>", "<|im_end|>"),
    "Llama 3 base": (CHATML.replace("<|im_end|>\n", "<|eot_id|>"), "<|end|>", "<|eot_id|>"),
    "Gemma": (CHATML.replace("<|im_end|>", "<end_of_turn>"), "<|end|>", "<end_of_turn>"),
    "both in a row": (CHATML.replace("<|im_end|>", "<|eot_id|><|end|>"), "<|end|>", "<|eot_id|>"),
    "template and eos agree": (ZEPHYR, "<|endoftext|>", "<|endoftext|>"),
    "trimmed, after a space": (
        "{% for m in messages %}{{ m.content | trim }} <|im_end|> {% endfor %}",
        "<|end|>",
        "<|im_end|>",
    ),
    "no end": ("{% for m in messages %}[{{ m.content }}]{% endfor %}", "<|end|>", "<|end|>"),
    "no answer": ("{{ messages[0].content }}<|im_end|>", "<|end|>", "<|end|>"),
    "questions alone": (
        "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('no') }}{% endif %}"
        "{{ m.content }}<|im_end|>{% endfor %}",
        "<|end|>",
        "<|end|>",
    ),
}


@pytest.mark.parametrize("name", TURN_ENDS)
def test_an_answer_ends_with_the_token_that_ends_a_turn_of_the_template(tokenizer, tmp_path, name):
    """Qwen2.5 base never stopped at <|im_end|>, and turns that it invented were graded."""
    template, eos, expected = TURN_ENDS[name]
    chat_folder(tokenizer, tmp_path, eos_token=eos, chat_template=template)
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    assert token_name(ours, ours.end_id) == expected
    assert {token_name(ours, i) for i in ours.stop_ids} == {eos, expected}

    example = as_trajectory("solve", "Q?", "#### 4", "", ours, Settings(model="any"))
    assert example.token_ids == [*ours.encode("#### 4"), ours.end_id]


def test_runs_of_spaces_that_are_tokens_end_no_turn(tokenizer, tmp_path):
    tokenizer.inner.add_tokens(["\n\n", "  "])
    template = CHATML.replace("<|im_end|>\n", "\n\n  <|im_end|>")
    chat_folder(tokenizer, tmp_path, chat_template=template)
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    assert token_name(ours, ours.end_id) == "<|im_end|>"


def test_the_stop_ids_of_the_files_stay(tokenizer, tmp_path):
    chat_folder(tokenizer, tmp_path, chat_template=CHATML)
    write_json(tmp_path / "generation_config.json", eos_token_id=[7, 9])
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    expected = {7, 9, ours.inner.token_to_id("<|im_end|>"), ours.inner.token_to_id("<|end|>")}
    assert ours.stop_ids == sorted(expected)


# ---------------------------------------------------------------- what stands before an answer

ANSWERS = ["First 2+2=4", "2+2=4\nFirst", "Wait, 2+2=4", "<analysis>is</analysis>", "four"]


@pytest.mark.parametrize("kind", ["Prepend", "first", "always"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_behind_its_prompt_has_no_word_boundary_of_its_own(kind, answer):
    """With TinyLlama every constructed answer began with a piece that never follows a prompt."""
    ours = sentencepiece(kind)
    prompt = ours.question_prompt("How many?")
    ids = ours.encode(answer, after=prompt)
    alone = ours.encode(answer)
    assert token_name(ours, alone[0]).startswith(BOUNDARY)
    assert not token_name(ours, ids[0]).startswith(BOUNDARY)
    assert ours.decode(ids) == answer

    rendered = ours.render(
        [{"role": "user", "content": INSTRUCTION.format(question="How many?")}], True
    )
    ours.inner.encode_special_tokens = False
    assert ours.inner.encode(rendered + answer, add_special_tokens=False).ids == prompt + ids
    example = as_trajectory("solve", "How many?", answer, "", ours, Settings(model="any"))
    assert example.token_ids == [*ids, ours.end_id]


@pytest.mark.parametrize("kind", ["Prepend", "first", "always"])
@pytest.mark.parametrize(
    "settings", [{}, {"legacy": True}, {"legacy": False}, {"add_prefix_space": False}]
)
def test_llamas_word_boundaries_stand_where_transformers_puts_them(tmp_path, kind, settings):
    """TinyLlama's tokenizer.json has one after every </s>, and transformers 5 has none there."""
    sentencepiece(kind).inner.save(str(tmp_path / "tokenizer.json"))
    fields = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": ZEPHYR, **settings}
    write_json(tmp_path / "tokenizer_config.json", tokenizer_class="LlamaTokenizer", **fields)
    write_json(tmp_path / "config.json", model_type="llama")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    expected = theirs.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=False)
    assert ours.prompt(QUESTION[0]["content"]) == expected
    # where no class is named, tokenizer.json is taken as it is
    write_json(tmp_path / "tokenizer_config.json", **fields)
    plain = Tokenizer.from_pretrained(tmp_path, 600)
    assert plain.prompt(QUESTION[0]["content"]) == prompt_of_transformers(tmp_path)


@pytest.mark.parametrize("kind", ["Prepend", "first", "always"])
def test_an_answer_keeps_white_space_and_spelled_tokens_behind_a_prompt(kind):
    ours = sentencepiece(kind)
    prompt = ours.question_prompt("How many?")
    assert token_name(ours, ours.encode(" four", after=prompt)[0]).startswith(BOUNDARY)
    spelled = ours.encode("</s> four", after=prompt)
    assert ours.end_id not in spelled and ours.decode(spelled) == "</s> four"


@pytest.mark.parametrize("kind", ["Prepend", "first", "always"])
@pytest.mark.parametrize("ending", ["</s>", "</s>{{ '\\n' }}", "[/INST]"])
def test_an_answer_goes_on_with_what_the_prompt_ends_in(kind, ending):
    ours = sentencepiece(kind)
    ours.chat_template = compile_template("{{ messages[0].content }}" + ending)
    prompt = ours.prompt(QUESTION[0]["content"])
    ours.inner.encode_special_tokens = False
    joint = ours.encode_plainly(ours.render(QUESTION, True) + "four")
    assert prompt + ours.encode("four", after=prompt) == joint


def test_a_prompt_that_ends_in_a_space_does_not_grow_together_with_the_answer():
    """'Answer: ' and 'four' would be one piece: then the answer stands as after a line break."""
    ours = sentencepiece("first")
    prompt = ours.encode_plainly("How many? Answer: ")
    assert token_name(ours, prompt[-1]) == BOUNDARY
    ids = ours.encode("four", after=prompt)
    assert not token_name(ours, ids[0]).startswith(BOUNDARY) and ours.decode(ids) == "four"


@pytest.mark.parametrize("layout", [None, CHATML, "{{ messages[0].content }}"])
@pytest.mark.parametrize(
    "answer", ["2+2=4", " 2", "\n\n2", "  two", "<analysis>", "é", ".", "<|end|>"]
)
def test_byte_level_answers_are_what_they_are_on_their_own(tokenizer, tmp_path, layout, answer):
    chat_folder(tokenizer, tmp_path, chat_template=layout)
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    for question in ("How many?", "", "1 2", "a\n"):
        assert ours.encode(answer, after=ours.prompt(question)) == ours.encode(answer)


# ---------------------------------------------------------------- the template's environment

TEMPLATES = {
    "generation": "{% for m in messages %}[{{ m.role }}]{% generation %}{{ m.content }}"
    "{% endgeneration %}{% endfor %}",
    "generation with white space": "{% for m in messages %}\n  {%- generation -%}\n{% set x = 1 %}"
    "{{ m.content }}\n{%- endgeneration %}\n{% endfor %}{{ x is defined }}",
    "strftime_now": "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}",
    "date_string": "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}",
    "tojson": "{{ messages[0] | tojson }}",
    "tojson with layout": "{{ messages | tojson(indent=2) }}",
    "tojson with separators": "{{ messages[0] | tojson(separators=(',', ':'), sort_keys=True) }}",
    "tojson and letters": "{{ 'é<' | tojson }}{{ 'é<' | tojson(ensure_ascii=True) }}",
    "loopcontrols": "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}"
    "{% if i == 4 %}{% break %}{% endif %}{% endfor %}{{ messages[0].content }}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{% endfor %}{{ ns.n }}{{ bos_token }}{{ pad_token }}",
    "tools": "{% if tools is none and not documents %}{{ messages[-1]['content'] }}{% endif %}",
}


def test_a_template_tells_one_date_past_midnight(monkeypatch):
    template = compile_template("{{ strftime_now('%Y') }}")
    this_year = template.render()
    monkeypatch.setattr(support.tokenizer, "datetime", None)  # it is asked once
    assert template.render() == this_year and this_year.startswith("20")


# What the templates of published checkpoints do, written from memory and shortened.
PUBLISHED = {
    "Qwen2.5": "{%- if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{%- else %}"
    "{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content }}"
    "{{- '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}{%- endif %}",
    "Qwen3": "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}"
    "{{- content + '<|im_end|>' + '\\n' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and enable_thinking is "
    "false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}",
    "DeepSeek-R1-Distill": "{% set ns = namespace(is_first=false, system_prompt='') %}{{bos_token}}"
    "{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}"
    "{{'<|User|>' + message['content']}}{%- else %}{{'<|Assistant|>' + message['content'] + "
    "eos_token}}{%- endif %}{%- endfor %}{% if add_generation_prompt %}"
    "{{'<|Assistant|><think>\\n'}}{% endif %}",
    "Llama 3.2": "{{- bos_token }}{%- if not date_string is defined %}{%- if strftime_now is"
    " defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}{%- endif %}"
    "{{- 'Today Date: ' + date_string + '\\n\\n' }}{{- '<|eot_id|>' }}"
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] }}"
    "{{- '\\n\\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n\\n' }}{%- endif %}",
    "TinyLlama": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] =="
    " 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n"
    "{% endfor %}",
    "SmolLM2": "{% for message in messages %}{% if loop.first and messages[0]['role'] !="
    " 'system' %}{{ '<|im_start|>system\\nYou are a helpful AI assistant<|im_end|>\\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content']}}"
    "{{'<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "deepseek-coder": "{{ bos_token }}{%- for message in messages %}{%- if message['role'] =="
    " 'user' %}\n{{ '### Instruction:\\n' + message['content'] + '\\n' }}{%- else %}"
    "{{ '### Response:\\n' + message['content'] + '\\n<|eot_id|>\\n' }}{%- endif %}{%- endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:' }}{% endif %}",
    "Yi": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
    "{% endif %}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "Falcon3": "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '<|user|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == 'assistant' %}"
    "{% if not loop.last %}{{ '<|assistant|>\\n' + message['content'] + eos_token + '\\n' }}"
    "{% else %}{{ '<|assistant|>\\n' + message['content'] + eos_token }}{% endif %}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_prompts_of_published_templates_have_the_ids_of_transformers(tokenizer, tmp_path, name):
    folder = chat_folder(
        tokenizer, tmp_path, chat_template=PUBLISHED[name], bos_token="<|im_start|>"
    )
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    assert ours.prompt(QUESTION[0]["content"]) == prompt_of_transformers(folder)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_may_use_all_that_it_may_in_transformers(tokenizer, tmp_path, name):
    chat_folder(tokenizer, tmp_path, chat_template=TEMPLATES[name], bos_token="<|im_start|>")
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    assert ours.prompt(QUESTION[0]["content"]) == prompt_of_transformers(tmp_path)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ 1 + messages[0].content }}", "unsupported operand"),  # a TypeError
        ("{{ range(10 ** 9) | list }}", "Range too big"),  # an OverflowError
        ("{{ messages[0].content | tojson(indent='x', nothing=1) }}", "nothing"),
        ("{{ 1 // 0 }}", "by zero"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
        ("{{ strftime_now(5) }}", "must be str"),
        ("{{ raise_exception('two\nlines') }}", "two lines"),
        ("{{ messages[7].content.x }}", "no element 7"),
    ],
)
def test_a_template_that_fails_says_so_in_one_line(tokenizer, tmp_path, template, says):
    chat_folder(tokenizer, tmp_path, chat_template=template)
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    with pytest.raises(InputError, match=f"chat template: it does not render.*{says}") as error:
        ours.question_prompt("How many?")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("template", ["{% generation %}", "{% for %}", "{{ 1 | nothing }}"])
def test_a_template_that_cannot_be_read_is_refused_in_one_line(tokenizer, tmp_path, template):
    chat_folder(tokenizer, tmp_path, chat_template=template)
    with pytest.raises(InputError, match="chat template: not readable") as error:
        Tokenizer.from_pretrained(tmp_path, 600)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- several sources for one thing

NAMED = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]


@pytest.mark.parametrize("field", ["S", NAMED, {"default": "D", "rag": "R"}, None])
@pytest.mark.parametrize("file", ["F", "", None])
@pytest.mark.parametrize("folder", [None, {"default": "A"}, {"rag": "R"}])
def test_of_several_templates_the_one_of_transformers_is_taken(
    tokenizer, tmp_path, field, file, folder
):
    chat_folder(tokenizer, tmp_path, chat_template=field)
    write_json(tmp_path / "chat_template.json", chat_template="P")  # read for processors alone
    if file is not None:
        (tmp_path / "chat_template.jinja").write_text(file)
    if folder is not None:
        (tmp_path / "additional_chat_templates").mkdir()
        for name, template in folder.items():
            (tmp_path / "additional_chat_templates" / f"{name}.jinja").write_text(template)
    try:
        expected = prompt_of_transformers(tmp_path)
    except ValueError:  # it finds none, or none that is called default
        with pytest.raises(
            InputError, match=r"expected (one that is called default|the template in)"
        ):
            Tokenizer.from_pretrained(tmp_path, 600)
        return
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    assert ours.prompt("Q") == expected
    (tmp_path / "saved").mkdir()
    ours.save(tmp_path / "saved")
    assert Tokenizer.from_pretrained(tmp_path / "saved", 600).prompt("Q") == expected


ROLES = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}{{ messages[0].content }}"
SPELLED = {"content": "<|im_end|>", "lstrip": False, "rstrip": False, "normalized": False}
SPELLED["single_word"] = False
WRITTEN = {**SPELLED, "__type": "AddedToken"}


@pytest.mark.parametrize(
    "settings",
    [
        {"eos_token": "<|endoftext|>"},
        {"eos_token": WRITTEN, "bos_token": "<|im_start|>"},
        {"eos_token": "<|endoftext|>", "added_tokens_decoder": {}},
        {"eos_token": None, "bos_token": "<|eot_id|>"},
    ],
)
@pytest.mark.parametrize(
    "special_map",
    [
        None,
        {"eos_token": "<|im_end|>"},
        {"eos_token": SPELLED, "pad_token": "<|endoftext|>"},
        {"bos_token": "<|im_start|>", "additional_special_tokens": ["<|eot_id|>"]},
    ],
)
def test_of_several_special_tokens_those_of_transformers_are_taken(
    tokenizer, tmp_path, settings, special_map
):
    chat_folder(tokenizer, tmp_path, chat_template=ROLES, **settings)
    if special_map is not None:
        write_json(tmp_path / "special_tokens_map.json", **special_map)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    if theirs.eos_token is None:
        with pytest.raises(InputError, match="expected an eos_token"):
            Tokenizer.from_pretrained(tmp_path, 600)
        return
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    assert ours.end_id == theirs.eos_token_id
    assert ours.prompt(QUESTION[0]["content"]) == prompt_of_transformers(tmp_path)
    (tmp_path / "saved").mkdir()
    ours.save(tmp_path / "saved")
    assert Tokenizer.from_pretrained(tmp_path / "saved", 600).names == ours.names


def test_a_token_with_a_role_is_read_whole_though_it_is_an_ordinary_piece(tokenizer, tmp_path):
    chat_folder(tokenizer, tmp_path, chat_template=ZEPHYR)
    path = tmp_path / "tokenizer.json"
    fields = json.loads(path.read_text())
    ended = [token for token in fields["added_tokens"] if token["content"] != "<|end|>"]
    fields["added_tokens"] = ended
    path.write_text(json.dumps(fields))
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    assert ours.end_id in ours.prompt(QUESTION[0]["content"])
    assert ours.prompt(QUESTION[0]["content"]) == prompt_of_transformers(tmp_path)


def test_a_token_that_only_the_settings_list_is_added_at_its_id(tokenizer, tmp_path):
    """A checkpoint that was given a token, beside the tokenizer.json of before."""
    chat_folder(tokenizer, tmp_path)
    size = tokenizer.inner.get_vocab_size()
    template = CHATML.replace("<|im_end|>", "<|new|>")
    token = {**SPELLED, "content": "<|new|>", "special": True}
    settings = {"eos_token": "<|end|>", "chat_template": template}
    path = tmp_path / "tokenizer_config.json"
    write_json(path, **settings, added_tokens_decoder={size: token})
    ours = Tokenizer.from_pretrained(tmp_path, 600)
    assert ours.end_id == size
    assert ours.prompt(QUESTION[0]["content"]) == prompt_of_transformers(tmp_path)

    for wrong, says in (
        ({size + 1: token}, rf"{size + 1}: expected '<\|new\|>' at this id, found it at {size}"),
        ({2: token}, "2: expected"),
        ({2: {"content": 5}}, "2: expected a token"),
        ({2: "<|new|>"}, "2: expected a token"),
    ):
        write_json(path, **settings, added_tokens_decoder=wrong)
        with pytest.raises(
            InputError, match=rf"tokenizer_config\.json: added_tokens_decoder, {says}"
        ):
            Tokenizer.from_pretrained(tmp_path, 600)


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("tokenizer_config.json", "chat_template", 5),
        ("tokenizer_config.json", "chat_template", ["a"]),
        ("tokenizer_config.json", "chat_template", [{"name": "default"}]),
        ("tokenizer_config.json", "chat_template", {"default": 5}),
        ("tokenizer_config.json", "added_tokens_decoder", [1]),
        ("tokenizer_config.json", "eos_token", {"content": 3}),
        ("tokenizer_config.json", "bos_token", 3),
        ("tokenizer_config.json", "eos_token", "\ud800"),
        ("tokenizer_config.json", "chat_template", "half a character: \ud800"),
        ("tokenizer_config.json", "eos_token_id", [[1]]),
        ("special_tokens_map.json", "eos_token", {"content": 3}),
        ("special_tokens_map.json", "pad_token", ["<|end|>"]),
        ("generation_config.json", "eos_token_id", "2"),
        ("generation_config.json", "eos_token_id", [2, None]),
        ("generation_config.json", "eos_token_id", True),
        ("config.json", "eos_token_id", {"id": 2}),
        ("config.json", "eos_token_id", 2.0),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_file_and_name(
    tokenizer, tmp_path, file, field, value
):
    chat_folder(tokenizer, tmp_path)
    fields = {"eos_token": "<|end|>"} if file == "tokenizer_config.json" else {}
    write_json(tmp_path / file, **{**fields, field: value})
    with pytest.raises(InputError, match=rf"{file}: {field}") as error:
        Tokenizer.from_pretrained(tmp_path, 600)
    assert "\n" not in str(error.value)


def test_a_tokenizer_at_which_the_library_panics_is_refused(tokenizer, tmp_path):
    """A panic of Rust is a BaseException, which ended the run with a traceback."""
    chat_folder(tokenizer, tmp_path)
    path = tmp_path / "tokenizer.json"
    fields = json.loads(path.read_text())
    fields["model"]["continuing_subword_prefix"] = "a prefix longer than any piece"
    path.write_text(json.dumps(fields))
    with pytest.raises(InputError, match=r"tokenizer\.json: not readable as a tokenizer"):
        Tokenizer.from_pretrained(tmp_path, 600)


@pytest.mark.parametrize("file", ["chat_template.jinja", "special_tokens_map.json"])
def test_a_file_that_is_no_text_is_refused_by_name(tokenizer, tmp_path, file):
    chat_folder(tokenizer, tmp_path)
    (tmp_path / file).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=file):
        Tokenizer.from_pretrained(tmp_path, 600)


# ---------------------------------------------------------------- config.json of Gemma 1

GEMMA = {  # as the first release of gemma-2b had it, but for the sizes
    "architectures": ["GemmaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "head_dim": 16,
    "hidden_act": "gelu",
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "model_type": "gemma",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "vocab_size": 97,
}

# ---------------------------------------------------------------- mutated files

WHOLE_TEMPLATE = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] | trim }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
WHOLE_SETTINGS = {"eos_token": "<|end|>", "bos_token": None, "chat_template": WHOLE_TEMPLATE}
MUTATED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def check_mutations(tokenizer, folder, file, seeds) -> None:
    """Each file that is read as it stands gives prompts and texts, or one line."""
    tokenizer.save(folder)
    write_json(folder / "tokenizer_config.json", **WHOLE_SETTINGS)
    (folder / "chat_template.jinja").write_text(WHOLE_TEMPLATE)
    whole = (folder / file).read_bytes()
    outcomes = set()
    for seed in seeds:
        (folder / file).write_bytes(mutated_bytes(whole, random.Random(seed)))
        try:
            read = Tokenizer.from_pretrained(folder, 600)
            assert read.decode(read.encode("8-2=6", read.question_prompt("8-2?"))) is not None
            outcomes.add("read")
        except InputError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("file", MUTATED)
def test_a_mutated_file_is_read_or_refused_in_one_line(tokenizer, tmp_path, file):
    check_mutations(tokenizer, tmp_path, file, range(60))


@pytest.mark.slow
@pytest.mark.parametrize("file", MUTATED)
def test_many_mutated_files_are_read_or_refused_in_one_line(tokenizer, tmp_path, file):
    check_mutations(tokenizer, tmp_path, file, range(1000, 1700))


def read_gemma(folder, **changes) -> ModelConfig:
    path = folder / "config.json"
    path.write_text(json.dumps(GEMMA | changes))
    return ModelConfig.read(path)


def test_a_gemma_config_is_read_with_what_its_file_leaves_out(tmp_path):
    config = read_gemma(tmp_path)
    assert config.head_dim == 16  # and not 32 // 4
    assert config.num_key_value_heads == 1
    assert config.hidden_act == "gelu_pytorch_tanh"
    assert config.tie_word_embeddings is True
    assert read_gemma(tmp_path, tie_word_embeddings=None).tie_word_embeddings is True
    assert read_gemma(tmp_path, tie_word_embeddings=False).tie_word_embeddings is False


GELU = "gelu_pytorch_tanh"


@pytest.mark.parametrize("act", ["gelu", GELU, None])
@pytest.mark.parametrize("activation", [GELU, None])
def test_every_spelling_of_gemmas_activation_means_the_same(tmp_path, act, activation):
    config = read_gemma(tmp_path, hidden_act=act, hidden_activation=activation)
    assert config == read_gemma(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "silu"),
        ("hidden_act", "gelu_new"),
        ("hidden_activation", "gelu"),  # where it is given it is meant: exact GELU
        ("hidden_activation", "relu"),
        ("use_bidirectional_attention", True),
        ("head_dim", None),
        ("architectures", ["Gemma2ForCausalLM"]),
        ("model_type", "gemma2"),
    ],
)
def test_a_gemma_setting_that_is_not_built_is_refused_by_name(tmp_path, field, value):
    with pytest.raises(InputError, match=rf"config\.json: {field} = ") as error:
        read_gemma(tmp_path, **{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["hidden_act", "hidden_activation"])
def test_gelu_is_refused_where_the_architecture_has_silu(tmp_path, field):
    changes = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu"}
    assert read_gemma(tmp_path, **changes).hidden_act == "silu"
    with pytest.raises(InputError, match=f"{field} = {GELU!r}, expected nothing or 'silu'"):
        read_gemma(tmp_path, **(changes | {field: GELU}))


@pytest.mark.parametrize("tied", [True, False])
def test_a_gemma_config_goes_to_transformers_and_back(tmp_path, tied):
    ours = read_gemma(tmp_path, tie_word_embeddings=tied)
    ours.write(tmp_path / "config.json")
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["hidden_act"] == written["hidden_activation"] == GELU
    assert written["architectures"] == ["GemmaForCausalLM"]

    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    assert type(theirs) is transformers.GemmaConfig
    assert theirs.hidden_act == GELU and theirs.tie_word_embeddings is tied
    for field in ("head_dim", "num_key_value_heads", "hidden_size", "rms_norm_eps", "vocab_size"):
        assert getattr(theirs, field) == getattr(ours, field) == GEMMA[field]

    theirs.save_pretrained(tmp_path / "theirs")
    saved = json.loads((tmp_path / "theirs" / "config.json").read_text())
    saved["architectures"] = written["architectures"]  # only a model of theirs writes it
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(saved))
    assert ModelConfig.read(tmp_path / "theirs" / "config.json") == ours
