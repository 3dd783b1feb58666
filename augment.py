"""Micro-reflective trajectories: the model rewrites some of its own wrong answers (README, steps 2 and 3).

    step 2, difficulty-aware candidate selection (DCS)   is_eligible, choose_pairs
    step 3, construction                                 synthesis_prompt, construct, parse_reply

A wrong rollout y- and a right one y+ of the same question go into a synthesis prompt; the current policy,
through the same sampler, replies <analysis> ... </analysis><reconstruction> ... </reconstruction>. The
text of the reconstruction is y_ref: y- word for word up to its first error, a diagnosis in plain words,
the corrected reasoning. It is tokenised once, ended with the stop id, and becomes an answer to the *bare*
question. Its reward comes from the checker, whatever the analysis claims.

Departures and inferences: the wording of the prompts [inferred, the paper's are not public]; a reply that
is only a copy of y+ is refused [inferred], since it holds neither a mistake nor a diagnosis.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from checker import extract_answer, is_equal
from data import PLAIN, Tokenizer
from rollout import Rollout
from tasks.builtin import RUNGS, Problem, builtin_problems, correct, parting, spoil

Sampler = Callable[[list[list[int]]], list[Rollout]]  # prompts -> one reply each

TAGS = ("<analysis>", "</analysis>", "<reconstruction>", "</reconstruction>")
REFLECTION = re.compile(
    r"(?:^|[.!?\n])\W*wait\b|\bwait,|\b(?:hold on|on second thought"
    r"|let(?:['’]s| me| us) (?:re-?(?:check|consider|think|examine)|double[- ]?check)"
    r"|(?:i|that|this) (?:made|was|is|contains) an? (?:mistake|error)|(?:is|was) (?:wrong|incorrect|not right))\b",
    re.IGNORECASE,
)

SYNTHESIS = {
    # for a checkpoint that follows instructions
    "full": """Here is a problem, a wrong answer to it, and a right one.

Problem:
{question}

Wrong answer:
{wrong}

Right answer:
{right}

First find the first critical error of the wrong answer, and describe it inside <analysis> and </analysis>. \
Then write a new answer to the problem inside <reconstruction> and </reconstruction>: {how} Do not mention the \
two answers above. End with the final answer in the same form as the right answer.

Reply with exactly:
<analysis>
...
</analysis>
<reconstruction>
...
</reconstruction>""",
    # for the tiny model, which knows the task from its cold start, and sees both answers as a diff: in minutes it
    # does not learn to compare them itself (it found the first line that differs in 46% of the cases)
    "brief": "{question}{wrong}{right}\n{how}",
}
HINTED = {
    "full": "{question}\n\nA right answer, for your eyes only:\n{right}\n\nAnswer the problem in your own words.",
    "brief": "{question}{right}\nAgain:",
}
HOW = {
    ("full", "prefix"): "copy the wrong answer word for word from its beginning up to and including that error; go on "
    'with "Wait," and say in plain words what is wrong; then reason correctly to the end.',
    ("full", "full"): "solve the problem anew, correctly, and avoid that error.",
    ("brief", "prefix"): "Reflect:",
    ("brief", "full"): "Rewrite:",
}


def is_reflective(text: str) -> bool:
    """Whether an answer questions itself on the way. A list of phrases: the paper's test is not public."""
    return REFLECTION.search(text) is not None


# ---------------------------------------------------------------- step 2


def is_eligible(rewards: Sequence[float], n_pos: int, n_neg: int) -> bool:
    """DCS: at least n_pos right and n_neg wrong answers, the boundary of what the model can do."""
    right = sum(reward > 0 for reward in rewards)
    return right >= n_pos and len(rewards) - right >= n_neg


@dataclass
class Group:
    """The K answers to one problem."""

    problem: Problem
    rollouts: list[Rollout]
    texts: list[str]
    rewards: list[float]


@dataclass
class Construction:
    """A wrong answer y- with a right one y+ to the same question, and what the policy made of them. `refused` is ""
    for a trajectory, else the reason why there is none."""

    group: int  # index of the question in its step
    question: str
    gold: str
    wrong: str  # y-
    right: str  # y+
    reply: str = ""
    parsed: bool = False  # each tag once and in order, with a text inside
    refused: str = ""
    analysis: str = ""
    text: str = ""  # y_ref
    token_ids: list[int] = field(default_factory=list)  # y_ref as it is trained on, stop id included
    reward: float = 0.0
    reply_tokens: int = 0  # generated, whether of use or not
    parts: list[str] = field(default_factory=list)  # of y_ref: wrong prefix, diagnosis (its first line), correction
    prefix: int = 0  # tokens that y_ref has in common with y- from the start
    left_at: float = 0.0  # prefix / tokens of y-: where it left the wrong answer
    prefix_share: float = 0.0  # prefix / tokens of y_ref
    diagnosis: bool = False  # a phrase of reflection comes right after the prefix
    diagnosis_tokens: int = 0  # of that line, the break before it included; 0 where there is no such phrase
    copied_share: float = 0.0  # of the rest, the share of tokens that is y+'s own ending


def choose_pairs(groups: list[Group], n_pos: int, n_neg: int, m_max: int, rng: random.Random) -> list[Construction]:
    """Up to m_max wrong answers of each eligible question, each with a right sibling drawn at random."""
    pairs = []
    for i, group in enumerate(groups):
        if is_eligible(group.rewards, n_pos, n_neg):
            right = [text for text, reward in zip(group.texts, group.rewards, strict=True) if reward > 0]
            wrong = [text for text, reward in zip(group.texts, group.rewards, strict=True) if reward <= 0]
            for text in rng.sample(wrong, min(m_max, len(wrong))):
                pairs.append(Construction(i, group.problem.question, group.problem.answer, text, rng.choice(right)))
    return pairs


# ---------------------------------------------------------------- step 3


def synthesis_prompt(question: str, wrong: str, right: str, style: str, mode: str) -> str:
    """The request for (x, y-, y+). style "full" or "brief"; mode "prefix", or "full": no wrong prefix."""
    if style == "brief":
        lines = wrong.split("\n")
        at, rest = parting(lines, right.split("\n"))
        wrong, right = label("both", lines[:at]) + label("wrong", lines[at:]), label("right", rest)
    return SYNTHESIS[style].format(question=question, wrong=wrong, right=right, how=HOW[style, mode])


def hinted_question(question: str, right: str, style: str) -> str:
    """The question with a right answer in sight, OPSD's privileged context."""
    return HINTED[style].format(
        question=question, right=label("right", right.split("\n")) if style == "brief" else right
    )


def label(name: str, lines: list[str]) -> str:
    """Every line says whose it is: a small model need not remember it over many lines."""
    return "".join(f"\n{name}:{line}" for line in lines)


def format_reply(analysis: str, reconstruction: str) -> str:
    """A reply as it should look; the cold start teaches it."""
    return f"<analysis>{analysis}</analysis>\n<reconstruction>{reconstruction}</reconstruction>"


def parse_reply(reply: str) -> tuple[str, str, str]:
    """(analysis, reconstruction, "") or ("", "", reason). Each tag stands once, in order, around a text."""
    for tag in TAGS:
        if reply.count(tag) != 1:
            return "", "", f"{'no' if tag not in reply else 'repeated'} {tag}"
    a, b, c, d = (reply.index(tag) for tag in TAGS)
    if not a < b < c < d:
        return "", "", "tags out of order"
    analysis, text = reply[a + len(TAGS[0]) : b].strip(), reply[c + len(TAGS[2]) : d].strip()
    if not analysis or not text:
        return "", "", "empty analysis" if not analysis else "empty reconstruction"
    if re.search(r"</?\s*(analysis|reconstruction)\b", text, re.IGNORECASE):
        return "", "", "leaked tag"  # a tag in another spelling must not be trained into answers
    return analysis, text, ""


def common_prefix(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many items a and b share from the start."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def construct(
    pairs: list[Construction],
    sampler: Sampler,
    tokenizer: Tokenizer,
    *,
    style: str,
    mode: str,
    strict: bool,
    max_tokens: int,
    context: int,
) -> list[Construction]:
    """Let the policy rewrite the wrong answer of each pair; returns the pairs, filled in.

    max_tokens bounds y_ref with its stop id, as it bounds rollouts; context is the model's. A pair whose
    synthesis prompt leaves no room for a reply is refused without being sampled.
    """
    requests = [synthesis_prompt(p.question, p.wrong, p.right, style, mode) for p in pairs]
    prompts = [tokenizer.prompt(request) for request in requests]
    fits = [len(prompt) + 2 * len(TAGS) < context for prompt in prompts]
    replies = iter(sampler([prompt for prompt, fit in zip(prompts, fits, strict=True) if fit]))
    return [
        judge(p, next(replies) if fit else None, tokenizer, mode, strict, max_tokens)
        for p, fit in zip(pairs, fits, strict=True)
    ]


def judge(
    made: Construction, reply: Rollout | None, tokenizer: Tokenizer, mode: str, strict: bool, max_tokens: int
) -> Construction:
    """Refuse the reply with a reason, or tokenise its reconstruction, verify and measure it."""
    if reply is None:
        made.refused = "no room for a reply"
        return made
    made.reply, made.reply_tokens = tokenizer.decode(reply.token_ids), len(reply.token_ids)
    made.analysis, made.text, made.refused = parse_reply(made.reply)
    made.parsed, ids = not made.refused, tokenizer.encode(made.text)
    if reply.finish != "stop":
        made.refused = "truncated"
    elif not made.refused and mode == "prefix" and made.text == made.right.strip():
        made.refused = "copy of the right answer"
    elif not made.refused and len(ids) + 1 > max_tokens:
        made.refused = "too long"
    if made.refused:
        return made
    made.token_ids = [*ids, tokenizer.eos_id]  # without its end the policy would learn never to stop
    made.reward = float(is_equal(made.gold, extract_answer(made.text, strict)))
    wrong, right = (tokenizer.encode(text.strip()) for text in (made.wrong, made.right))
    made.prefix = common_prefix(ids, wrong)
    made.left_at, made.prefix_share = made.prefix / max(len(wrong), 1), made.prefix / len(ids)
    rest = ids[made.prefix :]
    text = tokenizer.decode(rest)
    line = text[: len(text) - len(text.lstrip())] + text.lstrip().split("\n")[0]
    made.parts = [tokenizer.decode(ids[: made.prefix]).strip(), line.strip(), text[len(line) :].strip()]
    made.diagnosis = is_reflective(made.parts[1])
    made.diagnosis_tokens = len(tokenizer.encode(line)) if made.diagnosis else 0
    made.copied_share = common_prefix(rest[::-1], right[::-1]) / max(len(rest), 1)
    return made


def format_parts(made: Construction) -> str:
    """A trajectory with its parts named, to be looked at: wrong prefix, diagnosis, correction."""
    return "\n".join(
        f"  {name if i == 0 else '':>12} | {line}"
        for name, text in zip(("wrong prefix", "diagnosis", "correction"), made.parts, strict=True)
        for i, line in enumerate(text.split("\n"))
    )


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def rollout_metrics(groups: list[Group], n_pos: int, n_neg: int) -> dict[str, Any]:
    """Of all sampled answers. entropy is the Monte Carlo estimate, the mean of -log p, in nats a token."""
    rollouts = [r for group in groups for r in group.rollouts]
    tokens = sum(len(r.token_ids) for r in rollouts)
    texts, n = [text for group in groups for text in group.texts], len(rollouts)
    return {
        "reward": sum(sum(group.rewards) for group in groups) / n,
        "mixed_share": sum(0 < sum(group.rewards) < len(group.rewards) for group in groups) / len(groups),
        "eligible_share": sum(is_eligible(group.rewards, n_pos, n_neg) for group in groups) / len(groups),
        "truncated_share": sum(r.finish == "length" for r in rollouts) / n,
        "reflective_share": sum(map(is_reflective, texts)) / n,
        "length": tokens / n,
        "entropy": -sum(sum(r.logprobs) for r in rollouts) / tokens,
    }


def construction_metrics(made: list[Construction]) -> dict[str, Any]:
    """The step's numbers on construction. Shares are of pairs, then of trajectories; ref_flat_share is of questions
    with a trajectory, those whose G_ref has no variance and so, with DAE, no gradient."""
    kept, of_question = [m for m in made if not m.refused], defaultdict(set)
    for m in kept:
        of_question[m.group].add(m.reward)
    return {
        "pairs": len(made),
        "parse_share": mean([float(m.parsed) for m in made]),
        "kept_share": mean([float(not m.refused) for m in made]),
        "refused": dict(Counter(m.refused for m in made if m.refused)),
        "ref_reward": mean([m.reward for m in kept]),
        "ref_flat_share": mean([float(len(rewards) == 1) for rewards in of_question.values()]),
        "prefix_share": mean([m.prefix_share for m in kept]),
        "left_at": mean([m.left_at for m in kept]),
        "diagnosis_share": mean([float(m.diagnosis) for m in kept]),
        "copied_share": mean([m.copied_share for m in kept]),
    }


# ---------------------------------------------------------------- examples for the tiny model's cold start

KINDS = ("solve", "reflect", "construct", "rewrite", "again")


def builtin_example(kind: str, problem: Problem, wrong: str, right: str, style: str) -> tuple[str, str]:
    """(request, answer) that teaches one of KINDS, from a wrong and a right answer to a built-in problem.

    "rewrite" is construction without the wrong prefix (--reconstruction full), "again" is solving with a right answer
    in sight (--algo opsd).
    """
    solution, (analysis, reflective) = problem.solution or "", correct(problem, wrong)
    if kind in ("construct", "rewrite"):
        mode = "prefix" if kind == "construct" else "full"
        request = synthesis_prompt(problem.question, wrong, right, style, mode)
        return request, format_reply(analysis, reflective if kind == "construct" else solution)
    request = hinted_question(problem.question, right, style) if kind == "again" else problem.question
    return request, reflective if kind == "reflect" else solution


def builtin_tokenizer(style: str) -> Tokenizer:
    """A tokenizer trained on 2,000 examples of all kinds, from all rungs: every model on the ladder has the same."""
    rng, texts = random.Random(0), []
    for i, problem in enumerate(islice(builtin_problems("train", 0, (min(RUNGS), max(RUNGS))), 2000)):
        wrong, right = spoil(problem, rng), problem.solution or ""
        request, answer = builtin_example(KINDS[i % len(KINDS)], problem, wrong, right, style)
        texts.append(PLAIN.format(text=request) + answer)
    return Tokenizer.train(texts, TAGS)
