"""Problems: what a name means, what is read from a file, what is refused and where."""

import http.client
import io
import json
import random

import pytest
from conftest import mutated_bytes, shared

import data
from checker import is_equal
from data import load_problem_sets, load_problems
from support.files import InputError
from support.settings import Settings
from tasks import Problem


def write_lines(path, *lines):
    """A file of these lines, texts or JSON records, with what some editors leave in it."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    text = "\r\n".join(texts) + "\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode("utf-8", "surrogateescape"))
    return str(path)


def test_gsm8k_answers_lose_their_calculator_marks(tmp_path):
    line = {"question": "Q?", "answer": "He has 16-3=<<16-3=13>>13 eggs.\nTotal 1,300.\n#### 1,300"}
    (problem,) = load_problems(write_lines(tmp_path / "a.jsonl", line), "train")
    assert problem == Problem("Q?", "1,300", "He has 16-3=13 eggs.\nTotal 1,300.\n#### 1,300")


def test_other_files_give_question_and_answer(tmp_path):
    lines = [
        {"problem": " P ", "answer": 7},
        "",
        {"question": "Q", "answer": "x^2", "solution": "S"},
    ]
    got = load_problems(write_lines(tmp_path / "a.jsonl", *lines), "test")
    assert got == [Problem("P", "7"), Problem("Q", "x^2", "S")]


@pytest.mark.parametrize(
    "number", ["0.50", "-3", "1e5", "9" * 309, "7" * 5000, "1e999", "0.1000000000000000000001"]
)
def test_a_number_is_taken_as_it_is_written(tmp_path, number):
    """An integer of 309 digits was an OverflowError, and 0.50 became 0.5."""
    line = f'{{"question": "Q", "answer": {number}}}'
    (problem,) = load_problems(write_lines(tmp_path / "a.jsonl", line), "train")
    assert problem == Problem("Q", number)
    assert is_equal(problem.answer, number)


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
        ({"question": "Q", "answer": float("nan")}, "'answer'"),
        ({"question": "Q", "answer": float("-inf")}, "'answer'"),
        ({"question": "Q", "answer": [1]}, "'answer'"),
        ({"question": "half a character: \ud800", "answer": "1"}, "'question'"),
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
    line = {"question": "Q", "answer": "1+1=<<1+1=2>>2\n#### 2"}
    source = write_lines(tmp_path / "train.jsonl", line)
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(data, "GSM8K", f"file://{source.replace('train', '{split}')}")
    assert load_problems("gsm8k", "train") == [Problem("Q", "2", "1+1=2\n#### 2")]
    (tmp_path / "train.jsonl").unlink()
    assert len(load_problems("gsm8k", "train")) == 1
    with pytest.raises(InputError, match="could not be fetched"):
        load_problems("gsm8k", "test")


def test_a_page_in_place_of_gsm8k_is_not_kept(tmp_path, monkeypatch):
    """A portal's login page was cached, so that every later run failed, with a network too."""
    (tmp_path / "train.jsonl").write_text("<html>Please log in</html>\n")
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(data, "GSM8K", f"file://{tmp_path}/{{split}}.jsonl")
    with pytest.raises(InputError, match=r"could not be fetched .*line 1: not valid JSON"):
        load_problems("gsm8k", "train")
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    source = write_lines(tmp_path / "train.jsonl", {"question": "Q", "answer": "#### 2"})
    monkeypatch.setattr(data, "CACHE", tmp_path / "train.jsonl" / "cache")  # in a file
    monkeypatch.setattr(data, "GSM8K", f"file://{source.replace('train', '{split}')}")
    with pytest.raises(InputError, match="could not be fetched"):
        load_problems("gsm8k", "train")


def test_a_download_that_breaks_off_is_one_line(monkeypatch, tmp_path):
    class Cut(io.BytesIO):
        def read(self, *_):
            raise http.client.IncompleteRead(b"half")

    monkeypatch.setattr(data, "CACHE", tmp_path)
    monkeypatch.setattr(data.urllib.request, "urlopen", lambda url, timeout: Cut())
    with pytest.raises(InputError, match="could not be fetched"):
        load_problems("gsm8k", "train")


def test_a_solution_of_its_own_is_kept_beside_a_marked_answer(tmp_path):
    line = {"question": "Q", "answer": "so\n#### 2", "solution": "1+1=2\n#### 2"}
    (problem,) = load_problems(write_lines(tmp_path / "a.jsonl", line), "train")
    assert problem == Problem("Q", "2", "1+1=2\n#### 2")


@pytest.mark.parametrize(
    ("name", "rows"), [("gsm8k_train", 7473), ("gsm8k_test", 1319), ("math500", 500)]
)
def test_the_real_files_are_read_whole(name, rows):
    problems = load_problems(str(shared(f"data/{name}.jsonl")), "train")
    assert len(problems) == rows
    assert not any("<<" in (p.solution or "") or "####" in p.answer for p in problems)


def test_builtin_rungs_are_named_and_checked():
    (easy,) = load_problems("builtin:1", "train", 1)
    assert easy.solution.count("\n") <= 3
    trained = load_problems("builtin", "train", 30)
    assert trained == load_problems("builtin:1-3", "train", 30)
    assert trained != load_problems("builtin:1-3", "test", 30)
    for name in ("builtin:0", "builtin:3-1", "builtin:9", "builtin:", "builtin:1-", "builtin:x"):
        says = f"{name}: no such problems; the built-in rungs are builtin:1-5"
        with pytest.raises(InputError, match=says):
            load_problems(name, "train", 1)


def test_the_seed_decides_the_builtin_problems():
    problems = load_problems("builtin", "train", 20, seed=3)
    assert load_problems("builtin", "train", 20, seed=3) == problems
    assert load_problems("builtin", "train", 20, seed=4) != problems
    assert len(set(problems)) == 20


def test_a_family_is_endless_and_a_file_is_not(tmp_path):
    assert len(load_problems("builtin", "train")) == 1000
    assert load_problems("builtin", "train", 0) == []
    lines = [{"question": "Q", "answer": number} for number in range(3)]
    name = write_lines(tmp_path / "a.jsonl", *lines)
    assert len(load_problems(name, "train")) == 3
    assert load_problems(name, "train", 2) == [Problem("Q", "0"), Problem("Q", "1")]


# ---------------------------------------------------------------- what is held out


def split(tmp_path, questions: str, eval_problems=64) -> tuple[str, str]:
    """(training questions, held-out questions) of a file with a question for each letter."""
    lines = []
    for number, letter in enumerate(questions):
        lines.append({"question": letter, "answer": number})
    name = write_lines(tmp_path / "a.jsonl", *lines)
    settings = Settings(data=name, eval_problems=eval_problems)
    training, held_out = load_problem_sets(settings)
    return "".join(p.question for p in training), "".join(p.question for p in held_out)


@pytest.mark.parametrize(
    ("questions", "training", "held_out"),
    [
        ("abcdefghij", "abcdefgh", "ij"),  # a fifth
        ("ab", "a", "b"),
        ("abcdeabcde", "abcdabcd", "ee"),  # a file that was joined to itself
        ("abcdae", "abcda", "e"),
        ("eabcde", "eabce", "d"),  # the last question that is new
        ("aaaaab", "aaaaa", "b"),
        ("abbbbb", "a", "bbbbb"),
    ],
)
def test_copies_of_a_question_stay_on_one_side_of_the_split(
    tmp_path, questions, training, held_out
):
    """A question that is trained on measures what was learned by heart."""
    assert split(tmp_path, questions) == (training, held_out)


def test_no_more_questions_are_held_out_than_asked_for(tmp_path):
    assert split(tmp_path, "abcdefghijabcdefghij", eval_problems=1) == ("abcdefghi" * 2, "jj")


@pytest.mark.parametrize("questions", ["a", "aaa"])
def test_a_file_of_a_single_question_cannot_be_split(tmp_path, questions):
    with pytest.raises(InputError, match=r"expected 2 questions or more.*found 1"):
        split(tmp_path, questions)


def test_the_questions_of_a_family_and_of_another_file_are_not_cut(tmp_path):
    held_out = write_lines(tmp_path / "held_out.jsonl", {"question": "a", "answer": 1})
    name = write_lines(tmp_path / "a.jsonl", {"question": "b", "answer": 1})
    training, other = load_problem_sets(Settings(data=name, eval_data=held_out))
    assert training == [Problem("b", "1")] and other == [Problem("a", "1")]


@pytest.mark.parametrize("held_out, said", [("abc", ""), ("adbe", "2 of 4 held-out problems")])
def test_held_out_problems_that_are_trained_on_too_are_counted(tmp_path, capsys, held_out, said):
    def write(name, questions):
        return write_lines(tmp_path / name, *({"question": q, "answer": 1} for q in questions))

    training = write("training.jsonl", "dxe")
    settings = Settings(data=training, eval_data=write("held_out.jsonl", held_out))
    assert len(load_problem_sets(settings)[1]) == len(held_out)
    note = capsys.readouterr().err
    assert note == (f"note: {said} are trained on too\n" if said else "")


def test_a_mutated_problem_file_is_read_or_refused_by_its_line(tmp_path):
    lines = b'{"question": "1+1?", "answer": "2"}\n{"problem": "2+2?", "answer": 4, "id": [1]}\n'
    path = tmp_path / "problems.jsonl"
    outcomes = set()
    for seed in range(1000):
        path.write_bytes(mutated_bytes(lines, random.Random(seed)))
        try:
            assert all(
                problem.question and problem.answer for problem in load_problems(str(path), "train")
            )
            outcomes.add("read")
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
