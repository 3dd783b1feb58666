"""Problems and prompts: what is read, what is refused and where."""

import json

import pytest
from conftest import shared

import data
from augment import TAGS
from data import INSTRUCTION, Problem, Tokenizer, compile_template, load_problems
from support.hub import InputError


def write_lines(path, *lines):
    text = "\r\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode("utf-8", "surrogateescape"))  # as some editors leave it
    return str(path)


def test_gsm8k_answers_lose_their_calculator_marks(tmp_path):
    line = {"question": "Q?", "answer": "He has 16-3=<<16-3=13>>13 eggs.\nTotal 1,300.\n#### 1,300"}
    (problem,) = load_problems(write_lines(tmp_path / "a.jsonl", line), "train")
    assert problem == Problem("Q?", "1,300", "He has 16-3=13 eggs.\nTotal 1,300.\n#### 1,300")


def test_other_files_give_question_and_answer(tmp_path):
    lines = ({"problem": " P ", "answer": 7}, "", {"question": "Q", "answer": "x^2", "solution": "S"})
    got = load_problems(write_lines(tmp_path / "a.jsonl", *lines), "test")
    assert got == [Problem("P", "7"), Problem("Q", "x^2", "S")]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"question": "Q", "answer": ', "not valid JSON"),
        ("[1, 2]", "JSON object"),
        ("\udcff", "not valid JSON"),  # not UTF-8
        ({"question": "Q"}, "'answer'"),
        ({"question": "", "answer": "1"}, "'question'"),
        ({"question": "Q", "answer": None}, "'answer'"),
        ({"question": "Q", "answer": True}, "'answer'"),
        ({"question": "Q", "answer": "work\n#### "}, "####"),
    ],
)
def test_a_bad_line_is_reported_with_file_and_number(tmp_path, line, says):
    name = write_lines(tmp_path / "a.jsonl", {"question": "Q", "answer": "1"}, line)
    with pytest.raises(InputError, match="line 2") as error:
        load_problems(name, "train")
    assert says in str(error.value) and name in str(error.value) and "\n" not in str(error.value)


def test_an_empty_or_missing_file_is_named(tmp_path):
    for name in (write_lines(tmp_path / "empty.jsonl", ""), str(tmp_path / "none.jsonl")):
        with pytest.raises(InputError, match=name):
            load_problems(name, "train")


def test_gsm8k_is_fetched_once_by_name(tmp_path, monkeypatch):
    source = write_lines(tmp_path / "train.jsonl", {"question": "Q", "answer": "1+1=<<1+1=2>>2\n#### 2"})
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(data, "GSM8K", f"file://{source.replace('train', '{split}')}")
    assert load_problems("gsm8k", "train") == [Problem("Q", "2", "1+1=2\n#### 2")]
    (tmp_path / "train.jsonl").unlink()
    assert len(load_problems("gsm8k", "train")) == 1
    with pytest.raises(InputError, match="could not be fetched"):
        load_problems("gsm8k", "test")


@pytest.mark.parametrize(("name", "rows"), [("gsm8k_train", 7473), ("gsm8k_test", 1319), ("math500", 500)])
def test_the_real_files_are_read_whole(name, rows):
    problems = load_problems(str(shared(f"data/{name}.jsonl")), "train")
    assert len(problems) == rows
    assert not any("<<" in (p.solution or "") or "####" in p.answer for p in problems)


def test_builtin_rungs_are_named_and_checked():
    (easy,), trained = load_problems("builtin:1", "train", 1), load_problems("builtin", "train", 30)
    assert easy.solution.count("\n") <= 3
    assert trained == load_problems("builtin:1-3", "train", 30) != load_problems("builtin:1-3", "test", 30)
    for name in ("builtin:0", "builtin:3-1", "builtin:9", "builtin:", "builtin:1-", "builtin:x"):
        with pytest.raises(InputError, match=f"{name}: no such problems; the built-in rungs are builtin:1-5"):
            load_problems(name, "train", 1)


def test_the_seed_decides_the_builtin_problems():
    a, b, c = (load_problems("builtin", "train", 20, seed) for seed in (3, 3, 4))
    assert a == b != c and len(set(a)) == 20


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.train([p.question + "\n" + p.solution for p in load_problems("builtin", "train", 300)], TAGS)


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
    assert (again.eos_id, again.stop_ids) == (tokenizer.eos_id, tokenizer.stop_ids)
    assert again.question_prompt("How many?") == tokenizer.question_prompt("How many?")


def test_a_tokenizer_larger_than_the_model_is_refused(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    with pytest.raises(InputError, match=r"tokenizer\.json: expected ids below the model's vocab_size 100"):
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
    assert again.eos_id == tokenizer.eos_id and again.stop_ids == sorted({7, 8, 9, tokenizer.eos_id})


TEMPLATE = (
    "{% for m in messages %}\n<|{{ m.role }}|>{{ m.content }}{{ eos_token }}\n{% endfor %}\n"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_the_chat_template_is_used_where_there_is_one(tokenizer):
    tokenizer.chat_template = compile_template(TEMPLATE)
    text = tokenizer.inner.decode(tokenizer.question_prompt("How many?"), skip_special_tokens=False)
    assert text == f"<|user|>{INSTRUCTION.format(question='How many?')}<|end|>\n<|assistant|>"
    assert tokenizer.eos_id in tokenizer.question_prompt("How many?")  # specials of the template are specials


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
    problems = [Problem("short", "1"), Problem("a very long story " * 50, "1")]
    tokenizer.check_prompts(problems, 4000, "file.jsonl")
    with pytest.raises(InputError, match=r"file\.jsonl: 'a very long story .*expected a prompt below 64 tokens, found"):
        tokenizer.check_prompts(problems, 64, "file.jsonl")
