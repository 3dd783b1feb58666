"""Construction: which answers are rewritten, which replies are refused and why, what is trained on."""

import random
import string
from collections import Counter
from itertools import islice

import pytest
import tokenizers
from tokenizers import decoders, models, trainers

from augment import (
    KINDS,
    Construction,
    Group,
    builtin_example,
    choose_pairs,
    common_prefix,
    construct,
    construction_metrics,
    format_parts,
    format_reply,
    hinted_question,
    is_eligible,
    is_reflective,
    parse_reply,
    synthesis_prompt,
)
from data import PLAIN, Problem, Tokenizer
from rollout import Rollout
from tasks.builtin import builtin_problems, spoil


@pytest.mark.parametrize(
    ("right", "wrong", "eligible"), [(2, 4, True), (4, 4, True), (1, 7, False), (5, 3, False), (0, 8, False)]
)
def test_only_questions_at_the_boundary_are_eligible(right, wrong, eligible):
    rewards = [1.0] * right + [0.0] * wrong
    random.Random(0).shuffle(rewards)
    assert is_eligible(rewards, n_pos=2, n_neg=4) is eligible


def make_group(rewards: list[float], name: str = "q") -> Group:
    rollouts = [Rollout([1], [i], [0.0], "stop") for i in range(len(rewards))]
    return Group(Problem(name, "1"), rollouts, [f"{name}{i}" for i in range(len(rewards))], rewards)


def test_up_to_m_max_wrong_answers_are_paired_with_right_siblings_of_the_same_question():
    groups = [
        make_group([1, 0, 0, 1, 0, 0, 0, 0], "a"),
        make_group([1] * 8, "b"),
        make_group([0, 0, 0, 0, 1, 1, 1, 1], "c"),
    ]
    pairs = choose_pairs(groups, 2, 4, 4, random.Random(0))
    assert [p.group for p in pairs] == [0] * 4 + [2] * 4
    for p in pairs:
        group = groups[p.group]
        assert (p.question, p.gold) == (group.problem.question, group.problem.answer)
        assert group.rewards[group.texts.index(p.wrong)] == 0 and group.rewards[group.texts.index(p.right)] == 1
    assert len({p.wrong for p in pairs[:4]}) == 4  # no wrong answer twice
    drawn = Counter(p.right for s in range(200) for p in choose_pairs(groups[:1], 2, 4, 4, random.Random(s)))
    assert set(drawn) == {"a0", "a3"} and min(drawn.values()) > 300  # siblings at random


@pytest.mark.parametrize("style", ["brief", "full"])
@pytest.mark.parametrize("mode", ["prefix", "full"])
def test_the_request_holds_question_wrong_and_right_answer(style, mode):
    text = synthesis_prompt("QUESTION {x}", "WRONG\n{y}", "RIGHT \\boxed{1}", style, mode)
    for part in ("QUESTION {x}", "RIGHT \\boxed{1}", "{y}"):
        assert part in text
    assert text.index("WRONG") < text.index("RIGHT \\boxed")
    other = "full" if mode == "prefix" else "prefix"
    assert text != synthesis_prompt("QUESTION {x}", "WRONG\n{y}", "RIGHT \\boxed{1}", style, other)


def test_a_good_reply_gives_its_two_parts():
    assert parse_reply(format_reply("bad sum", "1+1=3\nWait.\n1+1=2")) == ("bad sum", "1+1=3\nWait.\n1+1=2", "")
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


WRONG, RIGHT = "2+2=5\n5+1=6\n#### 6", "2+2=4\n4+1=5\n#### 5"
REFLECTIVE = "2+2=5\nWait, 2+2=5 is wrong.\n2+2=4\n4+1=5\n#### 5"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A BPE over whole lines: it merges across any seam, so joining texts and joining ids differ."""
    trained = Tokenizer.train([""], [])
    inner = tokenizers.Tokenizer(models.BPE())
    texts = ["Answer:\n2+2=5\n", WRONG, RIGHT, REFLECTIVE] * 9
    alphabet = sorted(set(PLAIN + WRONG + RIGHT + REFLECTIVE + string.ascii_letters + "<>/?. "))
    trainer = trainers.BpeTrainer(vocab_size=len(alphabet) + 11, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    inner.decoder = decoders.Fuse()
    inner.train_from_iterator(texts, trainer)
    return Tokenizer(inner, trained.files, None, "<|end|>")


def rollout_of(tokenizer: Tokenizer, text: str, finish: str = "stop") -> Rollout:
    ids = tokenizer.encode(text) + [tokenizer.eos_id] * (finish == "stop")
    return Rollout([1], ids, [0.0] * len(ids), finish)


def construct_one(tokenizer, reply: str, finish="stop", mode="prefix", max_tokens=100, context=2000, asked=None):
    """What construct makes of one pair when the policy replies so."""
    pair = Construction(0, "Q?", "5", WRONG, RIGHT)

    def sampler(prompts):
        if asked is not None:
            asked.extend(prompts)
        return [rollout_of(tokenizer, reply, finish) for _ in prompts]

    settings = {"style": "brief", "mode": mode, "strict": True, "max_tokens": max_tokens, "context": context}
    (made,) = construct([pair], sampler, tokenizer, **settings)
    return made


def test_a_construction_is_tokenised_once_and_ended_and_verified(tokenizer):
    """Traps 8 and 13: decode-encode round trips, and trajectories that never stop."""
    asked: list[list[int]] = []
    made = construct_one(tokenizer, format_reply("2+2=5 should be 2+2=4.", REFLECTIVE), asked=asked)
    assert made.refused == "" and made.reward == 1.0
    assert made.token_ids == [*tokenizer.encode(REFLECTIVE), tokenizer.eos_id]
    assert tokenizer.decode(made.token_ids) == made.text == REFLECTIVE
    assert made.token_ids.count(tokenizer.eos_id) == 1
    assert asked == [tokenizer.prompt(synthesis_prompt("Q?", WRONG, RIGHT, "brief", "prefix"))]


@pytest.mark.parametrize(
    ("reply", "settings", "reason"),
    [
        (format_reply("a", REFLECTIVE), {"finish": "length"}, "truncated"),
        (format_reply("a", RIGHT), {}, "copy of the right answer"),
        (format_reply("a", f"\n{RIGHT}\n"), {}, "copy of the right answer"),
        (format_reply("a", REFLECTIVE), {"max_tokens": 3}, "too long"),
        (format_reply("a", REFLECTIVE), {"context": 20}, "no room for a reply"),
        ("2+2=5 is wrong", {}, "no <analysis>"),
    ],
)
def test_what_is_not_a_trajectory_is_refused_and_counted(tokenizer, reply, settings, reason):
    """Trap 13: no end, a copied sibling, no format: each has its reason, and none is trained on."""
    made = construct_one(tokenizer, reply, **settings)
    assert made.refused == reason and not made.token_ids and made.reward == 0
    assert construction_metrics([made])["refused"] == {reason: 1}


def test_the_reward_is_the_checkers_and_not_the_analysis(tokenizer):
    """Trap 13: a reconstruction that ends wrong is worth nothing, whatever it says of itself."""
    made = construct_one(tokenizer, format_reply("fixed, the answer is 5", WRONG.replace("6", "7")))
    assert made.refused == "" and made.reward == 0.0


def test_a_full_rewrite_may_equal_the_right_answer(tokenizer):
    made = construct_one(tokenizer, format_reply("a", RIGHT), mode="full")
    assert made.refused == "" and made.reward == 1.0


def test_fidelity_is_measured_in_tokens(tokenizer):
    made = construct_one(tokenizer, format_reply("a", REFLECTIVE))
    ids, wrong, right = (tokenizer.encode(text) for text in (REFLECTIVE, WRONG, RIGHT))
    prefix = next(i for i in range(len(wrong)) if ids[i] != wrong[i])
    assert made.prefix == prefix > 0
    assert made.left_at == prefix / len(wrong) and made.prefix_share == prefix / len(ids)
    assert made.diagnosis and made.diagnosis_tokens == len(tokenizer.encode(made.text.split("\n")[1]))
    assert construct_one(tokenizer, format_reply("a", WRONG + "\n" + RIGHT)).diagnosis_tokens == 0  # it does not turn
    assert ids[-len(right) :] == right  # the first line was wrong: all of y+ comes after the diagnosis
    assert made.copied_share == pytest.approx(len(right) / (len(ids) - prefix))
    unfaithful = construct_one(tokenizer, format_reply("a", "#### 5"))
    assert (unfaithful.prefix, unfaithful.left_at, unfaithful.diagnosis) == (0, 0.0, False)


def test_metrics_are_shares_of_pairs_and_of_trajectories(tokenizer):
    replies = [format_reply("a", REFLECTIVE), format_reply("a", WRONG.replace("6", "7")), "nothing", RIGHT]
    metrics = construction_metrics([construct_one(tokenizer, reply) for reply in replies])
    assert (metrics["pairs"], metrics["parse_share"], metrics["kept_share"], metrics["ref_reward"]) == (
        4,
        0.5,
        0.5,
        0.5,
    )
    copied = construction_metrics([construct_one(tokenizer, format_reply("a", RIGHT))])
    assert (copied["parse_share"], copied["kept_share"]) == (1.0, 0.0)  # well formed, of no use
    assert metrics["diagnosis_share"] == 0.5 and metrics["refused"] == {"no <analysis>": 2}
    assert construction_metrics([])["parse_share"] is None


def test_the_parts_of_a_construction_are_told_apart(tokenizer):
    shown = format_parts(construct_one(tokenizer, format_reply("a", REFLECTIVE)))
    assert [line.split(" | ")[0].strip() for line in shown.split("\n") if not line.startswith(" " * 14)] == [
        "wrong prefix",
        "diagnosis",
        "correction",
    ]
    assert "diagnosis | Wait, 2+2=5 is wrong." in shown


@pytest.mark.parametrize(
    ("text", "reflective"),
    [
        ("2+2=5\nWait, that is off.", True),
        ("Hold on. Let me re-check.", True),
        ("I made a mistake above", True),
        ("so 2+2=5 is wrong", True),
        ("But wait, 2+2=4", True),
        ("2+2=5\n**Wait**, no", True),
        ("Let me double check that.", True),
        ("Let’s re-examine it", True),
        ("She waited for 3 hours; the weight is 5.", False),
        ("They had to wait 5 minutes", False),
        ("#### 5", False),
        ("He checks 3 items", False),
    ],
)
def test_a_reflection_is_a_phrase_and_not_a_word_that_looks_like_one(text, reflective):
    assert is_reflective(text) is reflective


def test_common_prefix_stops_at_the_first_difference_or_the_shorter_end():
    assert [common_prefix(a, b) for a, b in (("abc", "abd"), ("ab", "abc"), ("", "a"), ("b", "a"))] == [2, 2, 0, 0]


def test_cold_start_examples_teach_the_formats_that_are_read_back():
    rng = random.Random(0)
    for problem in islice(builtin_problems("train", 0), 50):
        wrong = spoil(problem, rng)
        made = {kind: builtin_example(kind, problem, wrong, problem.solution, "brief") for kind in KINDS}
        assert made["solve"] == (problem.question, problem.solution)
        assert made["reflect"][0] == problem.question and is_reflective(made["reflect"][1])
        for kind, mode, text in (("construct", "prefix", made["reflect"][1]), ("rewrite", "full", problem.solution)):
            request, reply = made[kind]
            assert request == synthesis_prompt(problem.question, wrong, problem.solution, "brief", mode)
            analysis, reconstruction, refused = parse_reply(reply)
            assert not refused and reconstruction == text and "should be" in analysis
        request, text = made["again"]
        assert request == hinted_question(problem.question, problem.solution, "brief") and text == problem.solution
        assert "wrong:" not in request  # the teacher sees no mistake


def test_flat_groups_of_constructions_are_counted():
    """A G_ref whose rewards are all equal has no gradient (TAPO's weak point)."""
    rewards = {0: (1, 1, 1), 1: (1, 0), 2: (0,)}
    made = [Construction(g, "Q", "1", "", "", parsed=True, reward=r) for g, rs in rewards.items() for r in rs]
    made.append(Construction(1, "Q", "1", "", "", refused="truncated"))
    metrics = construction_metrics(made)
    assert metrics["ref_flat_share"] == pytest.approx(2 / 3) and metrics["kept_share"] == pytest.approx(6 / 7)


def test_the_brief_prompt_shows_both_answers_as_a_diff():
    prompt = synthesis_prompt("Q?", "1+1=2\n2+2=5\n#### 5", "1+1=2\n2+2=4\n#### 4", "brief", "prefix")
    marked = "both:1+1=2\nwrong:2+2=5\nwrong:#### 5\nright:2+2=4\nright:#### 4"
    assert prompt == f"Q?\n{marked}\nReflect:"
    full = synthesis_prompt("Q?", "A wrong one.", "A right one.", "full", "prefix")  # nothing is found for a real model
    assert "Wrong answer:\nA wrong one.\n" in full and "Right answer:\nA right one.\n" in full
