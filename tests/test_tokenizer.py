"""What is read from a checkpoint's folder: its tokenizer, its prompts, and its config.json."""

import json

import pytest

from data import load_problems
from support.files import InputError
from support.hub import ModelConfig
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


def test_a_special_token_spelled_in_an_answer_stays_text(tokenizer):
    """Else an answer could end itself in the middle, or fake a turn."""
    assert tokenizer.encode("<|end|>") != [tokenizer.eos_id]
    assert tokenizer.eos_id not in tokenizer.encode("a <|end|> b")


def test_a_tokenizer_folder_comes_back_as_it_was(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path, 600)
    assert again.encode("8-2=6") == tokenizer.encode("8-2=6")
    assert again.eos_id == tokenizer.eos_id and again.stop_ids == tokenizer.stop_ids
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
    assert again.eos_id == tokenizer.eos_id
    assert again.stop_ids == sorted({7, 8, 9, tokenizer.eos_id})


def test_the_end_of_a_text_is_known_by_name_or_else_by_the_files_first_stop_id(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text('{"eos_token": {"content": "<|end|>"}, "added_tokens_decoder": {"0": {}}}')
    assert Tokenizer.from_pretrained(tmp_path, 600).eos_id == tokenizer.eos_id
    settings.write_text('{"eos_token": null}')
    assert Tokenizer.from_pretrained(tmp_path, 600).eos_id == 7
    settings.write_text('{"eos_token": "</s>"}')
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
    assert tokenizer.eos_id in ids  # specials of the template are specials


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
    import transformers

    theirs = transformers.AutoTokenizer.from_pretrained(smollm2)
    ours = Tokenizer.from_pretrained(smollm2, 49152)
    messages = [{"role": "user", "content": INSTRUCTION.format(question="What is 12 + 30?")}]
    expected = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ours.question_prompt("What is 12 + 30?") == expected
    assert ours.decode([ours.eos_id]) == "" and ours.stop_ids == [2]


def test_a_prompt_longer_than_the_context_is_found_before_training(tokenizer):
    questions = ["short", "a very long story " * 50]
    tokenizer.check_prompts(questions, 4000, "file.jsonl")
    says = r"file\.jsonl: 'a very long story .*expected a prompt below 64 tokens, found"
    with pytest.raises(InputError, match=says):
        tokenizer.check_prompts(questions, 64, "file.jsonl")


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
    import transformers

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
