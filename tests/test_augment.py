"""Construction: which answers are rewritten, which replies are refused and why, what is trained
on."""

import json
import random
import string
from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import tokenizers
from conftest import run_cli, sentencepiece
from tokenizers import decoders, models, normalizers, trainers

import augment
from augment import (
    NOT_GRADED,
    Construction,
    Pair,
    construct,
    format_reply,
    grade_constructions,
    is_eligible,
    parse_reply,
    select_candidates,
    synthesis_prompt,
)
from checker import Grade
from coldstart import is_worth_learning
from rollout import Answer, Group, Policy, Rollout
from support import assisted
from support.assisted import before_result
from support.hinted import hinted_question
from support.metrics import construction_metrics, construction_record, format_parts
from support.overlap import common_prefix, shared_tokens
from support.settings import Settings
from support.tokenizer import PLAIN, Tokenizer
from tasks import Problem

# ---------------------------------------------------------------- which answers are rewritten


def make_group(rewards: list[float], name: str = "q") -> Group:
    """A question with one answer for each reward: "q0" is the first one's text."""
    answers = []
    for i, reward in enumerate(rewards):
        rollout = Rollout([1], [i], [0.0], "stop")
        answers.append(Answer(rollout, f"{name}{i}", Grade(reward > 0, reward)))
    return Group(Problem(name, "1"), answers)


@pytest.mark.parametrize(
    ("right", "wrong", "eligible"),
    [(2, 4, True), (4, 4, True), (1, 7, False), (5, 3, False), (0, 8, False)],
)
def test_only_questions_at_the_boundary_are_eligible(right, wrong, eligible):
    rewards = [1.0] * right + [0.0] * wrong
    random.Random(0).shuffle(rewards)
    assert is_eligible(make_group(rewards), Settings(n_pos=2, n_neg=4)) is eligible


def test_up_to_m_max_wrong_answers_are_paired_with_right_siblings_of_the_same_question():
    groups = [
        make_group([1, 0, 0, 1, 0, 0, 0, 0], "a"),
        make_group([1] * 8, "b"),
        make_group([0, 0, 0, 0, 1, 1, 1, 1], "c"),
    ]
    settings = Settings(n_pos=2, n_neg=4, m_max=4)
    pairs = select_candidates(groups, settings, seed=0)
    assert [pair.question_number for pair in pairs] == [0] * 4 + [2] * 4
    for pair in pairs:
        group = groups[pair.question_number]
        assert pair.problem is group.problem
        right_of = {answer.text: answer.grade.right for answer in group.answers}
        assert not right_of[pair.wrong]
        assert right_of[pair.sibling]
    assert len({pair.wrong for pair in pairs[:4]}) == 4  # no wrong answer twice

    drawn: Counter[str] = Counter()
    for seed in range(200):
        drawn.update(pair.sibling for pair in select_candidates(groups[:1], settings, seed))
    assert set(drawn) == {"a0", "a3"} and min(drawn.values()) > 300  # siblings at random


def test_answers_that_were_cut_off_are_not_rewritten_unless_asked_for():
    """The first error of such an answer may lie ahead."""
    group = make_group([1, 1, 0, 0, 0, 0, 0, 0])
    for number in (2, 3, 4):
        group.answers[number].rollout.finish = "length"
    for truncated, texts in ((False, {"q5", "q6", "q7"}), (True, {f"q{i}" for i in range(2, 8)})):
        settings = Settings(m_max=8, rewrite_truncated=truncated)
        pairs = select_candidates([group], settings, seed=0)
        assert {pair.wrong for pair in pairs} == texts


def test_a_right_answer_that_was_cut_off_is_no_sibling():
    group = make_group([1, 1, 1, 0, 0, 0, 0, 0])
    for number in (0, 2):
        group.answers[number].rollout.finish = "length"
    settings = Settings(m_max=8)
    siblings = {
        pair.sibling for seed in range(20) for pair in select_candidates([group], settings, seed)
    }
    assert siblings == {"q1"}
    group.answers[1].rollout.finish = "length"
    assert select_candidates([group], settings, seed=0) == []


def test_an_assisted_wrong_answer_is_rewritten_where_a_right_one_shows_something_new():
    """And it is shown one that does."""
    group = make_group([1, 1, 1, 0, 0, 0, 0, 0])
    texts = [
        "3+4=7\nSo 14.\n#### 14",  # shows 3, 4 and 7
        "She has 3.\nSo 7*2=14.\n#### 14",  # shows 3
        "14\n#### 14",  # shows nothing
        "3+4=8\n#### 8",
        "3+4=7.00\n#### 7",
        "3*4=12\n#### 12",
        "It is 14, and not 3.\n#### 3",  # lacks 4 and 7, though it holds the result
        "no number",
    ]
    for answer, text in zip(group.answers, texts, strict=True):
        answer.text = text
    settings = Settings(m_max=8, synthesis="assisted")
    shown = defaultdict(set)
    for seed in range(40):
        for pair in select_candidates([group], settings, seed):
            shown[pair.wrong].add(pair.sibling)
    expected = {texts[3]: {texts[0]}, texts[5]: {texts[0]}, texts[6]: {texts[0]}}
    assert shown == expected | {texts[7]: {texts[0], texts[1]}}
    others = select_candidates([group], replace(settings, synthesis="instruct"), 0)
    assert {pair.wrong for pair in others} == set(texts[3:])


# ---------------------------------------------------------------- the synthesis prompt


@pytest.mark.parametrize("synthesis", ["brief", "instruct"])
@pytest.mark.parametrize("reconstruction", ["prefix", "full"])
def test_the_request_holds_question_wrong_and_right_answer(synthesis, reconstruction):
    texts = ("QUESTION {x}", "WRONG\n{y}", "RIGHT \\boxed{1}")
    request = synthesis_prompt(*texts, synthesis, reconstruction)
    for part in ("QUESTION {x}", "RIGHT \\boxed{1}", "{y}"):
        assert part in request
    assert request.index("WRONG") < request.index("RIGHT \\boxed")
    other = "full" if reconstruction == "prefix" else "prefix"
    assert request != synthesis_prompt(*texts, synthesis, other)


def test_the_brief_prompt_shows_both_answers_as_a_diff():
    wrong = "1+1=2\n2+2=5\n#### 5"
    sibling = "1+1=2\n2+2=4\n#### 4"
    request = synthesis_prompt("Q?", wrong, sibling, "brief", "prefix")
    marked = "both:1+1=2\nwrong:2+2=5\nwrong:#### 5\nright:2+2=4\nright:#### 4"
    assert request == f"Q?\n{marked}\nReflect:"


def test_nothing_is_found_for_a_real_model():
    request = synthesis_prompt("Q?", "A wrong one.", "A right one.", "instruct", "prefix")
    assert "Wrong answer:\nA wrong one.\n" in request
    assert "Right answer:\nA right one.\n" in request


def test_the_assisted_request_shows_neither_the_wrong_answer_nor_the_right_result():
    """The wrong answer stands in the policy's own turn; the result could be copied."""
    sibling = "RIGHT\nSo it is \\boxed{1}."
    request = synthesis_prompt("QUESTION", "WRONG", sibling, "assisted", "prefix")
    assert "WRONG" not in request and "\\boxed{}" in request and '"Wait,"' in request
    assert request.index("QUESTION") < request.index("RIGHT") and "boxed{1}" not in request


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("Half of 12 is 6.\n\nSo 6 + 1 = 7.\n\\[\n\\boxed{7}\n\\]", "Half of 12 is 6."),
        ("a\n\\[\n3 * 4 = 12.00\n\\]\nSo 12.\n#### 12", "a"),  # a formula is one step
        ("x\n1,000 + 1\nThe answer is 1001.", "x\n1,000 + 1"),
        ("She has 7.\nShe buys 2.\n#### 7", ""),  # a number of the question, too
        ("one\n3 of 4\nso \\boxed{3/4}", "one"),
        ("a\n3 * 6 = 18\n\\boxed{18 \\text{ cm}^2}", "a"),  # any number of the result
        ("a\nx = \\boxed{3}\nor x = \\boxed{5}", "a"),  # the result is "3, 5"
        ("<think>or 9?</think>It is a square.\nSo 9.\n#### 9", "It is a square."),
        ("It is a square.\n\\boxed{\\text{yes}}", ""),  # a word is not looked for
        ("no mark, no number", ""),
        ("one of 2\nanother 3", "one of 2"),  # without a mark the last number is the result
    ],
)
def test_a_right_answer_is_shown_as_far_as_its_result_is_not_in_it(answer, shown):
    assert before_result(answer) == shown


# ---------------------------------------------------------------- the reply


def test_a_good_reply_gives_its_two_parts():
    reply = format_reply("bad sum", "1+1=3\nWait.\n1+1=2")
    assert parse_reply(reply) == ("bad sum", "1+1=3\nWait.\n1+1=2", "")
    assert parse_reply("so:\n" + format_reply("a", "b") + "\nthanks") == ("a", "b", "")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("no tags at all", "no <analysis>"),
        ("<analysis>a<reconstruction>b</reconstruction>", "no </analysis>"),
        ("<analysis>a</analysis> b", "no <reconstruction>"),
        ("<analysis>a</analysis><reconstruction>b", "no </reconstruction>"),
        (format_reply("a", "b") + format_reply("c", "d"), "repeated <analysis>"),
        (format_reply("a", "b</reconstruction>c"), "repeated </reconstruction>"),
        ("<reconstruction>b</reconstruction><analysis>a</analysis>", "tags out of order"),
        (format_reply(" ", "b"), "empty analysis"),
        (format_reply("a", "\n"), "empty reconstruction"),
        (format_reply("a", "b </ Reconstruction> c"), "leaked tag"),
        (format_reply("a", "see <ANALYSIS>"), "leaked tag"),
    ],
)
def test_a_bad_reply_is_refused_with_its_reason(reply, reason):
    """Trap 13: leaked tags would be trained into answers."""
    assert parse_reply(reply) == ("", "", reason)


@pytest.mark.parametrize(
    "thought",
    [
        "<think>2+2 is 4.</think>",
        "<think>\n\n</think>\n\n",
        "<think><analysis>draft</analysis></think>\n",
        "the template opened it</think>",
        "<think>one</think> then <think><reconstruction>two</think>",
    ],
)
def test_what_is_thought_before_a_reply_is_no_part_of_it(thought):
    """The checker left it out, and the reply parser counted the tags in it."""
    assert parse_reply(thought + format_reply("a", "b")) == ("a", "b", "")
    assert parse_reply(format_reply("a", "b") + thought).refused == "no <analysis>"


def test_a_reply_that_does_not_end_its_thinking_has_no_parts():
    assert parse_reply("<think>" + format_reply("a", "b")).refused == "no <analysis>"
    assert parse_reply(format_reply("a", "b") + "<|im_end|>\n<analysis>").refused == ""


# ---------------------------------------------------------------- what becomes of it

WRONG = "2+2=5\n5+1=6\n#### 6"
RIGHT = "2+2=4\n4+1=5\n#### 5"
REFLECTIVE = "2+2=5\nWait, 2+2=5 is wrong.\n2+2=4\n4+1=5\n#### 5"
STILL_WRONG = WRONG.replace("6", "7")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A BPE over whole lines: it merges across any seam, so joining texts and joining ids
    differ."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.decoder = decoders.Fuse()
    alphabet = set(PLAIN + WRONG + RIGHT + REFLECTIVE + string.ascii_letters + "<>/?. ")
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + 11, special_tokens=["<|end|>"], initial_alphabet=sorted(alphabet)
    )
    inner.train_from_iterator(["Answer:\n2+2=5\n", WRONG, RIGHT, REFLECTIVE] * 9, trainer)
    files = Tokenizer.train([""], []).files
    return Tokenizer(inner, files, None, "<|end|>")


@pytest.fixture
def construct_one(tokenizer, monkeypatch):
    """A function: what becomes of one pair when the policy replies so."""

    def made_of(
        reply: str, finish="stop", context=2000, asked=None, sibling=RIGHT, **changes
    ) -> Construction:
        settings = Settings(**{"max_new_tokens": 100, **changes})

        def replies(model, prompts, **sampling) -> list[list[Rollout]]:
            assert sampling["max_new_tokens"] == settings.max_reply_tokens
            assert sampling["temperature"] == settings.reply_temperature
            if asked is not None:
                asked.extend(prompts)
            ids = tokenizer.encode(reply)
            if finish == "stop":
                ids = [*ids, tokenizer.end_id]
            return [[Rollout(prompt, ids, [0.0] * len(ids), finish)] for prompt in prompts]

        monkeypatch.setattr(augment, "sample", replies)
        model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=context))
        pair = Pair(0, Problem("Q?", "5"), WRONG, sibling, [sibling])
        (made,) = construct(Policy(model, tokenizer), [pair], settings, seed=0)
        grade_constructions([made], settings)
        return made

    return made_of


def test_a_construction_is_tokenised_once_and_ended_and_verified(tokenizer, construct_one):
    """Traps 8 and 13: decode-encode round trips, and trajectories that never stop."""
    asked: list[list[int]] = []
    reply = format_reply("2+2=5 should be 2+2=4.", REFLECTIVE)
    made = construct_one(reply, asked=asked)
    assert made.refused == "" and made.grade == Grade(right=True, reward=1.0)
    assert made.token_ids == [*tokenizer.encode(REFLECTIVE), tokenizer.end_id]
    assert tokenizer.decode(made.token_ids) == made.y_ref == REFLECTIVE
    assert made.token_ids.count(tokenizer.end_id) == 1
    assert made.reply == reply and made.reply_tokens == len(tokenizer.encode(reply)) + 1
    assert asked == [tokenizer.prompt(synthesis_prompt("Q?", WRONG, RIGHT, "brief", "prefix"))]


TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|turn|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def test_a_construction_ends_as_a_turn_of_the_template_ends(tokenizer, monkeypatch, construct_one):
    """With Llama 3 constructed answers ended with <|end_of_text|>, sampled ones with <|eot_id|>."""
    tokenizer.inner.add_special_tokens(["<|turn|>"])
    chat = Tokenizer(tokenizer.inner, {}, TEMPLATE, "<|end|>")
    turn = tokenizer.inner.token_to_id("<|turn|>")
    for name in ("end_id", "stop_ids", "chat_template"):
        monkeypatch.setattr(tokenizer, name, getattr(chat, name))
    made = construct_one(format_reply("a", REFLECTIVE))
    assert made.token_ids == [*tokenizer.encode(REFLECTIVE), turn]
    assert turn in tokenizer.stop_ids


def test_a_construction_is_tokenised_as_it_stands_behind_the_bare_question(
    tokenizer, monkeypatch, construct_one
):
    """SentencePiece: on its own a text begins with a word boundary, which no answer has."""
    normal = normalizers.Prepend("?")  # stands for the boundary
    monkeypatch.setattr(tokenizer.inner, "normalizer", normal)
    prompt = tokenizer.question_prompt("Q?")
    alone = tokenizer.encode(REFLECTIVE)
    after = tokenizer.encode(REFLECTIVE, after=prompt)
    assert alone != after and tokenizer.decode(after) == REFLECTIVE
    made = construct_one(format_reply("a", REFLECTIVE))
    assert made.token_ids == [*after, tokenizer.end_id]
    wrong = tokenizer.encode(WRONG, after=prompt)
    assert made.prefix_tokens == common_prefix(after, wrong) > 0
    assert made.parts == ["2+2=5", "Wait, 2+2=5 is wrong.", RIGHT]


@pytest.mark.parametrize(
    ("reply", "changes", "reason"),
    [
        (format_reply("a", REFLECTIVE), {"finish": "length"}, "truncated"),
        (format_reply("a", RIGHT), {}, "copy of the right answer"),
        (format_reply("a", f"\n{RIGHT}\n"), {}, "copy of the right answer"),
        (format_reply("a", RIGHT), {"sibling": f"\n{RIGHT}\n"}, "copy of the right answer"),
        (format_reply("a", REFLECTIVE), {"max_new_tokens": 3}, "too long"),
        (format_reply("a", REFLECTIVE), {"context": 20}, "no room for a reply"),
        ("2+2=5 is wrong", {}, "no <analysis>"),
    ],
)
def test_what_is_not_a_trajectory_is_refused_and_counted(construct_one, reply, changes, reason):
    """Trap 13: no end, a copied sibling, no format: each has its reason, and none is trained on."""
    made = construct_one(reply, **changes)
    assert made.refused == reason and not made.token_ids and made.grade == NOT_GRADED
    assert construction_metrics([made])["refused"] == {reason: 1}


def test_the_reward_is_the_checkers_and_not_the_analysis(construct_one):
    """Trap 13: a reconstruction that ends wrong is worth nothing, whatever it says of itself."""
    made = construct_one(format_reply("fixed, the answer is 5", STILL_WRONG))
    assert made.refused == "" and made.grade == Grade(right=False, reward=0.0)


def test_a_full_rewrite_may_equal_the_right_answer(construct_one):
    made = construct_one(format_reply("a", RIGHT), reconstruction="full")
    assert made.refused == "" and made.grade == Grade(right=True, reward=1.0)


def test_fidelity_is_measured_in_tokens(tokenizer, construct_one):
    made = construct_one(format_reply("a", REFLECTIVE))
    ids = tokenizer.encode(REFLECTIVE)
    wrong = tokenizer.encode(WRONG)
    right = tokenizer.encode(RIGHT)
    prefix = next(i for i in range(len(wrong)) if ids[i] != wrong[i])
    assert made.prefix_tokens == prefix > 0
    assert made.left_at == prefix / len(wrong) and made.prefix_share == prefix / len(ids)
    diagnosis = tokenizer.encode(REFLECTIVE.split("\n")[1])
    assert made.diagnosis_tokens == len(diagnosis) > 0
    assert ids[-len(right) :] == right  # line 1 was wrong: all of y+ comes after the diagnosis
    assert made.copied_share == pytest.approx(len(right) / (len(ids) - prefix))


def test_an_answer_that_does_not_turn_has_no_diagnosis(construct_one):
    assert construct_one(format_reply("a", f"{WRONG}\n{RIGHT}")).diagnosis_tokens == 0
    unfaithful = construct_one(format_reply("a", "#### 5"))
    assert unfaithful.prefix_tokens == 0 and unfaithful.left_at == 0.0
    assert unfaithful.diagnosis_tokens == 0


def test_metrics_are_shares_of_pairs_and_of_trajectories(construct_one):
    replies = [format_reply("a", REFLECTIVE), format_reply("a", STILL_WRONG), "nothing", RIGHT]
    metrics = construction_metrics([construct_one(reply) for reply in replies])
    assert metrics["pairs"] == 4
    assert metrics["parse_share"] == metrics["kept_share"] == 0.5
    assert metrics["ref_reward"] == metrics["ref_right_share"] == 0.5
    assert metrics["diagnosis_share"] == 0.5 and metrics["refused"] == {"no <analysis>": 2}

    copied = construction_metrics([construct_one(format_reply("a", RIGHT))])
    assert copied["parse_share"] == 1.0 and copied["kept_share"] == 0.0  # well formed, of no use
    assert construction_metrics([])["parse_share"] is None


def test_the_parts_of_a_construction_are_told_apart(construct_one):
    made = construct_one(format_reply("a", REFLECTIVE))
    assert made.parts == ["2+2=5", "Wait, 2+2=5 is wrong.", RIGHT]
    lines = format_parts(made.parts, has_diagnosis=True).split("\n")
    named = [line.split(" | ")[0].strip() for line in lines if not line.startswith(" " * 14)]
    assert named == ["wrong prefix", "diagnosis", "correction"]
    assert "     diagnosis | Wait, 2+2=5 is wrong." in lines


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (
            ["8-2=5", "8-2=6", "#### 6"],
            "  wrong prefix | 8-2=5\n  no diagnosis | 8-2=6\n               | #### 6",
        ),
        (["", "8-2=6", "#### 6"], "  no diagnosis | 8-2=6\n               | #### 6"),
        (["8-2=5", "", ""], "  wrong prefix | 8-2=5"),
    ],
)
def test_what_is_no_diagnosis_is_not_called_one(parts, expected):
    assert format_parts(parts, has_diagnosis=False) == expected


# ---------------------------------------------------------------- --synthesis assisted


LONG = "We have 2 and 2.\n2+2=5\n5+1=6\n#### 6"
NO_NEWS = "2+2 is not 6\n#### 5"  # a right answer, beside which LONG has no number of its own


@pytest.fixture
def letters() -> Tokenizer:
    """A tokenizer of single characters, but for a full stop with the line breaks after it."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.decoder = decoders.Fuse()
    alphabet = sorted(set(string.printable))
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + 3, special_tokens=["<|end|>"], initial_alphabet=alphabet
    )
    inner.train_from_iterator([".\n\n"] * 9, trainer)
    return Tokenizer(inner, Tokenizer.train([""], []).files, None, "<|end|>")


class Assisted:
    """A policy whose doubts and reply are given, and what it was asked."""

    def __init__(self, tokenizer: Tokenizer, monkeypatch, drops: dict[str, float], reply: str):
        self.tokenizer = tokenizer
        self.model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=2000))
        self.drops = drops  # a text of y- -> how much less likely y+ makes its first character
        self.reply = reply
        self.scored: list[tuple[list[int], float]] = []  # prompts, temperatures
        self.asked: list[str] = []
        monkeypatch.setattr(assisted, "score", self.score)
        monkeypatch.setattr(augment, "sample", self.sample)

    def score(self, model, rows, temperature, micro_tokens) -> list[list[float]]:
        scored = []
        for row in rows:
            self.scored.append((row.prompt_ids, temperature))
            logprobs = [0.0] * len(row.token_ids)
            sees_sibling = "for your eyes" in self.tokenizer.decode(row.prompt_ids)
            text = self.tokenizer.decode(row.token_ids)
            for part, drop in self.drops.items():
                logprobs[text.index(part)] = -drop if sees_sibling else 0.0
            scored.append(logprobs)
        return scored

    def sample(self, model, prompts, **sampling) -> list[list[Rollout]]:
        replies = []
        for prompt in prompts:
            self.asked.append(self.tokenizer.decode(prompt))
            ids = [*self.tokenizer.encode(self.reply, after=prompt), self.tokenizer.end_id]
            replies.append([Rollout(prompt, ids, [0.0] * len(ids), "stop")])
        return replies

    def construct(
        self, wrong: str = LONG, also_right: str = NO_NEWS, question: str = "Q?", **changes
    ) -> Construction:
        settings = Settings(**{"synthesis": "assisted", "max_new_tokens": 200, **changes})
        pair = Pair(0, Problem(question, "5"), wrong, RIGHT, [also_right])
        constructions = construct(self, [pair], settings, seed=0)
        grade_constructions(constructions, settings)
        return constructions[0]


FIXED = " 4, not 5.\n2+2=4\n4+1=5\n#### 5"
OPENED = "\n\nWait, it should be"


def test_the_assisted_policy_goes_on_behind_its_own_first_error(letters, monkeypatch):
    """The first number that y+ makes less likely by more than a nat; a word does not count."""
    drops = {"have": 9.0, "5\n5": 1.2, "6\n#": 5.0}
    policy = Assisted(letters, monkeypatch, drops, FIXED)
    made = policy.construct()
    assert made.kept == "We have 2 and 2.\n2+2=5"
    assert policy.asked[0].endswith(made.kept + OPENED)
    assert made.refused == "" and made.parsed and made.grade.right
    assert made.y_ref == made.kept + OPENED + FIXED
    assert letters.decode(made.token_ids) == made.y_ref
    assert made.parts == [made.kept, "Wait, it should be 4, not 5.", "2+2=4\n4+1=5\n#### 5"]
    assert made.analysis == made.parts[1] and made.diagnosis_tokens > 0
    assert is_worth_learning(made, Settings(synthesis="assisted"))


def test_a_number_that_no_right_answer_has_is_the_first_error(letters, monkeypatch):
    """Then nothing is read: the numbers of the question and of every right answer tell."""
    policy = Assisted(letters, monkeypatch, {"5\n5": 9.0}, FIXED)
    made = policy.construct(also_right="2+2, that is 4, and 1 more\n#### 5")
    assert made.kept == "We have 2 and 2.\n2+2=5\n5+1=6" and policy.scored == []
    wrong = "6-6=0\n5+2=9\n#### 9"
    made = policy.construct(wrong, also_right="0", question="Is 6 left?")
    assert made.kept == "6-6=0\n5+2=9"
    for news in ({"also_right": "0"}, {"question": "Is 6 left?"}):
        assert policy.construct(wrong, **news).kept == "6-6=0"


def test_the_prefix_and_the_reply_keep_their_spaces_with_sentencepiece(monkeypatch):
    """On its own the prefix would get a space, and the reply would lose its own: "be4"."""
    policy = Assisted(sentencepiece("first"), monkeypatch, {}, FIXED)
    made = policy.construct()
    assert made.kept == "We have 2 and 2."
    assert policy.asked[0].endswith("<|assistant|>\nWe have 2 and 2." + OPENED)
    assert made.reply == FIXED and made.y_ref == "We have 2 and 2." + OPENED + FIXED


def test_an_error_is_looked_for_as_the_answer_was_sampled(monkeypatch):
    """After the prompt of the bare question, at the temperature of answers."""
    tokenizer = sentencepiece("first")
    policy = Assisted(tokenizer, monkeypatch, {}, FIXED)
    policy.construct(temperature=0.7, reply_temperature=0.3)
    informed = tokenizer.question_prompt(hinted_question("Q?", RIGHT, "assisted"))
    assert policy.scored == [(tokenizer.question_prompt("Q?"), 0.7), (informed, 0.7)]


def test_where_no_number_is_doubted_enough_the_most_doubted_ends_the_prefix(letters, monkeypatch):
    policy = Assisted(letters, monkeypatch, {"5\n5": 0.3, "6\n#": 0.6}, FIXED)
    assert policy.construct().kept.endswith("5+1=6")


def test_the_beginning_of_another_number_is_no_prefix():
    """Where a tokenizer has tokens of several digits, "5" would repeat a part of "500"."""
    pieces = {"So it is ": 1, "5": 2, "500": 3, "00": 4, " apples": 5, "01": 6, ".5": 7}
    texts = {number: text for text, number in pieces.items()}
    tokenizer = SimpleNamespace(
        decode=lambda ids: "".join(texts[i] for i in ids),
        encode=lambda text, after: {"So it is 500 apples": [1, 3, 5]}[text],
    )
    shared = partial(shared_tokens, source="So it is 500 apples", prompt=[], tokenizer=tokenizer)
    assert shared([1, 2, 5]) == 1  # "So it is 5 apples"
    assert shared([1, 2, 6, 5]) == 1  # 501
    assert shared([1, 2, 7, 5]) == 1  # 5.5
    assert shared([1, 2, 4, 5]) == 4  # the same number in other tokens
    assert shared([1, 3, 5]) == 3


def test_a_kept_full_stop_is_prefix_though_its_token_holds_other_line_breaks(letters, monkeypatch):
    """In Qwen's tokenizer a full stop and the line breaks after it are one token."""
    wrong = "So it is 5.\n#### 5"
    made = Assisted(letters, monkeypatch, {"5.": 2.0}, FIXED).construct(wrong)
    assert made.kept == made.parts[0] == "So it is 5."
    assert made.prefix_tokens == len(letters.encode("So it is 5")) + 1
    assert made.parts[1].startswith("Wait,") and made.diagnosis_tokens > 0


@pytest.mark.parametrize(
    ("reply", "changes", "reason"),
    [
        (" \n", {}, "empty reconstruction"),
        (" no.\nAgain.\nAgain.\nAgain.\n#### 5", {}, "repeats itself"),
        (" the right answer, for your eyes only, says 5.\n#### 5", {}, "speaks of its request"),
        (" 4.\n#### 4\n</reconstruction>", {}, "leaked tag"),
        (" 4.</ Analysis>\n#### 4", {}, "leaked tag"),
        (FIXED, {"max_new_tokens": 9}, "too long"),
    ],
)
def test_what_an_assisted_reply_may_not_do(letters, monkeypatch, reply, changes, reason):
    made = Assisted(letters, monkeypatch, {"5": 2.0}, reply).construct(**changes)
    assert made.refused == reason and not made.token_ids and made.parsed


def test_three_formulas_are_no_repetition(letters, monkeypatch):
    """Each of them begins with a line that is \\[ and ends with one that is \\]."""
    reply = " no:" + "".join(f"\n\\[\n{n}=4\n\\]\n" for n in ("2+2", "1+3", "3+1")) + "#### 5"
    made = Assisted(letters, monkeypatch, {"5\n5": 2.0}, reply).construct()
    assert made.refused == "" and made.grade.right


def test_an_answer_too_long_to_be_read_beside_the_right_one_is_not_rewritten(letters, monkeypatch):
    policy = Assisted(letters, monkeypatch, {"5": 2.0}, FIXED)
    assert policy.construct("").refused == "no room to find the error"  # nor is an empty one
    policy.model.config.max_position_embeddings = 100
    made = policy.construct()
    assert made.refused == "no room to find the error" and policy.asked == [] and made.kept == ""


def test_an_answer_that_was_read_but_has_no_room_for_a_reply_is_not_rewritten(letters, monkeypatch):
    """What it is read after is shorter than what is asked."""
    policy = Assisted(letters, monkeypatch, {"5": 2.0}, FIXED)
    policy.model.config.max_position_embeddings = 300
    made = policy.construct()
    assert made.refused == "no room for a reply" and policy.asked == [] and made.kept != ""


def test_common_prefix_stops_at_the_first_difference_or_the_shorter_end():
    assert common_prefix("abc", "abd") == common_prefix("ab", "abc") == 2
    assert common_prefix("", "a") == common_prefix("b", "a") == 0


# ---------------------------------------------------------------- the command


@pytest.fixture
def run_of(tmp_path):
    """A function: the folder of a run that made these constructions, one a step."""

    def written(*constructions: Construction):
        lines = []
        for step, made in enumerate(constructions, start=1):
            lines.append(json.dumps(construction_record(made, step)) + "\n")
        (tmp_path / "samples.jsonl").write_text("".join(lines))
        return tmp_path

    return written


def test_the_command_shows_the_newest_constructions_in_full(
    construct_one, run_of, monkeypatch, capsys
):
    replies = [REFLECTIVE, "#### 5", STILL_WRONG, REFLECTIVE]
    run = run_of(*[construct_one(format_reply("a", reply)) for reply in replies])
    code, out, _ = run_cli(monkeypatch, capsys, augment.main, run, "--show", 2)
    assert code == 0 and out.endswith("2 shown of 4\n")
    still_wrong, right = out.split("--- step ")[1:]
    assert still_wrong.startswith("3\n") and "[trajectory y_ref, ends wrong]" in still_wrong
    assert right.startswith("4\n\n[question, gold 5] Q?\n\n")
    assert f"[wrong answer y-]\n{WRONG}\n" in right
    assert f"[right sibling y+]\n{RIGHT}\n" in right
    parts = format_parts(["2+2=5", "Wait, 2+2=5 is wrong.", RIGHT], has_diagnosis=True)
    assert f"[trajectory y_ref, ends right]\n{parts}\n" in right


def test_the_command_says_where_the_policy_saw_a_part_of_the_right_answer(construct_one):
    record = construction_record(construct_one(format_reply("a", REFLECTIVE)), 1)
    named = "[right sibling y+; shown to the policy up to its result]"
    assert named in augment.format_construction(record | {"kept": "2+2=5"})
    del record["kept"]  # as in the lines of earlier versions
    assert "[right sibling y+]" in augment.format_construction(record)


def test_the_command_shows_a_refused_reply_as_it_was(construct_one, run_of, monkeypatch, capsys):
    replies = ["no tags\nat all", format_reply("a", REFLECTIVE)]
    run = run_of(*[construct_one(reply) for reply in replies])
    code, out, _ = run_cli(monkeypatch, capsys, augment.main, run, "--refused")
    assert code == 0 and out.count("--- step") == 1 and out.endswith("1 shown of 1\n")
    assert "[refused: no <analysis>; the reply]\nno tags\nat all\n" in out


def test_the_command_shows_a_reply_with_what_the_program_began_it(
    letters, run_of, monkeypatch, capsys
):
    made = Assisted(letters, monkeypatch, {"5\n5": 1.2}, " a\n a\n a").construct()
    _, out, _ = run_cli(monkeypatch, capsys, augment.main, run_of(made))
    assert f"[refused: repeats itself; the reply]\n{made.kept}{OPENED} a\n a\n a\n" in out


@pytest.mark.parametrize("arguments", [("nowhere",), (".", "--show", 0), (".", "--shown", 3)])
def test_a_run_that_cannot_be_shown_is_one_line_and_code_2(
    arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli(monkeypatch, capsys, augment.main, *arguments)
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1
