"""Micro-reflective trajectories: the policy rewrites some of its own wrong answers.

These are phases 2 and 3 of a training step (README).

    python augment.py RUN --show 3    # the newest constructions of a run, in full

    phase 2, difficulty-aware candidate selection (DCS)   is_eligible, select_candidates
    phase 3, construction                                 construct: synthesis_prompt, parse_reply

A wrong answer y- and a right one y+ of the same question go into a synthesis prompt. The current
policy replies, through the same sampler, <analysis> ... </analysis><reconstruction> ...
</reconstruction>. The text of the reconstruction is y_ref: y- word for word up to and including its
first error, a diagnosis in plain words, the corrected reasoning. It is tokenised once, ended with
the stop id, and becomes an answer to the *bare* question. The checker grades it, whatever the
analysis says.

Departures from the paper, and what it leaves open:
- **Who finds the error, and who copies the prefix** (--synthesis). In all three the policy writes
  the diagnosis and the correction (with assisted, the program writes the first words).
  - instruct: the policy does both, as in the paper. A checkpoint of 0.5B weights cannot, before it
    has learned it in the cold start: of 200 of its replies none kept a whole step of y-.
  - assisted, for such a checkpoint (the preset gsm8k): *the program* finds what seems to be the
    first error, and begins the reply with y- up to there and "Wait, it should be" (after "Wait,"
    alone such a checkpoint hardly ever says what is wrong). The policy goes on from there, without
    tags or an analysis. The prefix is verbatim by construction, and all of y_ref is trained on,
    what the program wrote too. Which wrong answers are rewritten, where they are cut, and how much
    of y+ the policy sees is in support/assisted.py.
  - brief, the tiny model's default: *the program* finds the first line in which y- differs from y+
    and marks it in the prompt. A model of 0.8 million weights does not learn in minutes to compare
    two answers (it found that line in 46% of the cases).
- **Word for word** is asked for in the prompt (instruct) or taught by the cold start (brief); only
  "assisted" enforces it. With the others, what the policy changes in the prefix is trained on as it
  stands, and each step measures how much of y_ref is y-'s own beginning (prefix_share).
- **Answers that were cut off** are not rewritten [inferred], for the first error of one may lie
  ahead; nor is one shown as y+, even if it stated the right answer before it was cut off.
- **The temperature of replies** can be another than that of answers (--reply-temperature)
  [inferred]: where y_ref is trained on, its log-probs are computed anew.
- The wording of the prompts [inferred, the paper's are not public].
- Which replies are refused beside those without the format [inferred]: one that is only a copy of
  y+, for it holds neither a mistake nor a diagnosis; one that speaks of its request, which nobody
  sees where it is trained on; an assisted one that repeats itself; one longer than an answer may
  be. `construct` lists all reasons.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from checker import Grade, grade, visible
from rollout import Group, Policy, Rollout, sample
from support.assisted import before_result, shows_something_new, up_to_first_error
from support.cli import ArgumentParser, run_main
from support.files import InputError, read_lines
from support.metrics import format_construction
from support.overlap import common_prefix, in_three, shared_tokens
from support.reflection import is_reflective
from support.settings import Settings
from support.tokenizer import INSTRUCTION, Tokenizer
from support.worked_lines import first_difference
from tasks import Problem

SHORTEST_REPLY = 8  # tokens: a word or two, and the tags around them where there are any
TAGS = ("<analysis>", "</analysis>", "<reconstruction>", "</reconstruction>")
TAG_IN_ANY_SPELLING = re.compile(r"</?\s*(?:analysis|reconstruction)\b", re.IGNORECASE)

SYNTHESIS_PROMPTS = {  # by --synthesis
    # for a checkpoint that follows instructions
    "instruct": """Here is a problem, a wrong answer to it, and a right one.

Problem:
{question}

Wrong answer:
{wrong}

Right answer:
{sibling}

First find the first critical error of the wrong answer, \
and describe it inside <analysis> and </analysis>. \
Then write a new answer to the problem inside <reconstruction> and </reconstruction>: {how} \
Do not mention the two answers above. \
End with the final answer in the same form as the right answer.

Reply with exactly:
<analysis>
...
</analysis>
<reconstruction>
...
</reconstruction>""",
    # y- is not in it: the program begins the reply with y-, up to its first error, and HANDOVER.
    # Of y+ it has what comes before the result (before_result).
    "assisted": INSTRUCTION
    + """

The beginning of a right answer, for your eyes only:
{sibling}

Answer the problem in your own words. {how}""",
    # for the tiny model, which knows the task from its cold start: marked_difference
    # (every marked line brings its own line break)
    "brief": "{question}{wrong}{sibling}\n{how}",
}
KEEP_PREFIX = """copy the wrong answer word for word from its beginning up to and including \
that error; go on with "Wait," and say in plain words what is wrong; then reason correctly to the \
end."""
HOW = {  # --reconstruction prefix keeps the wrong prefix; full is the paper's ablation without it
    ("instruct", "prefix"): KEEP_PREFIX,
    ("instruct", "full"): "solve the problem anew, correctly, and avoid that error.",
    ("assisted", "prefix"): """Where you have made a mistake, write "Wait," and say in one \
sentence what is wrong with that step; then correct it and go on to the end.""",
    ("brief", "prefix"): "Reflect:",
    ("brief", "full"): "Rewrite:",
}
HANDOVER = "\n\nWait, it should be"  # --synthesis assisted: what the program writes last
# What a reply says that speaks of its request, and not of the problem.
OF_THE_REQUEST = re.compile(
    r"for your eyes|in your own words|(?:wrong|right) answer (?:above|given|to it)"
    r"|(?:the|a) reference (?:answer|solution)",
    re.IGNORECASE,
)

NOT_GRADED = Grade(right=False, reward=0.0)


@dataclass(frozen=True)
class Pair:
    """A wrong answer y- and a right one y+ to the same question."""

    question_number: int  # in the step
    problem: Problem
    wrong: str  # y-
    sibling: str  # y+
    right_answers: list[str]  # all those of its group


@dataclass
class Construction:
    """What the policy made of a pair: filled in by `construct`, its grade by
    `grade_constructions`."""

    pair: Pair
    # with --synthesis assisted alone: y- up to and including what seems to be its first error
    kept: str = ""

    # read_reply
    reply: str = ""
    reply_tokens: int = 0  # generated, whether of use or not
    # Whether it has the format, even where it is refused for another reason; with "assisted", where
    # there is no format, whether it ended by itself.
    parsed: bool = False
    refused: str = ""  # why there is no trajectory; "" where there is one
    analysis: str = ""
    y_ref: str = ""
    token_ids: list[int] = field(default_factory=list)  # y_ref as it is trained on, with stop id

    # measure: what y_ref is made of
    # Wrong prefix, diagnosis, correction. A diagnosis is one line, the first after the prefix;
    # that line stands here even where it is none.
    parts: list[str] = field(default_factory=list)
    # tokens that y_ref shares with y- from its start ("assisted": with what was kept of y-)
    prefix_tokens: int = 0
    diagnosis_tokens: int = 0  # 0 where the line after the prefix does not reflect
    prefix_share: float = 0.0  # prefix_tokens / tokens of y_ref
    left_at: float = 0.0  # prefix_tokens / tokens of y-: where y_ref leaves the wrong answer
    copied_share: float = 0.0  # of the rest of y_ref, the share of tokens that is y+'s own ending

    # grade_constructions
    grade: Grade = NOT_GRADED


# ---------------------------------------------------------------- phase 2: candidates (DCS)


def is_eligible(group: Group, settings: Settings) -> bool:
    """At least n_pos right and n_neg wrong answers: the boundary of what the policy can do.

    Answers that were cut off count on either side.
    """
    wrong = len(group.answers) - group.n_right
    return group.n_right >= settings.n_pos and wrong >= settings.n_neg


def select_candidates(groups: list[Group], settings: Settings, seed: int) -> list[Pair]:
    """Up to m_max wrong answers of each eligible question, each paired with a right one. Answers
    of equal text are not merged [inferred]."""
    rng = random.Random(seed)
    pairs = []
    for number, group in enumerate(groups):
        if not is_eligible(group, settings):
            continue
        right_answers = [answer.text for answer in group.answers if answer.grade.right]
        candidates = answers_to_rewrite(group, settings)
        for wrong, siblings in rng.sample(candidates, min(settings.m_max, len(candidates))):
            sibling = rng.choice(siblings)
            pairs.append(Pair(number, group.problem, wrong, sibling, right_answers))
    return pairs


def answers_to_rewrite(group: Group, settings: Settings) -> list[tuple[str, list[str]]]:
    """Each wrong answer that may be rewritten, with all that can be its y+: the right answers that
    ended by themselves, with --synthesis assisted those of them that show something new.

    Wrong answers that were cut off count for eligibility, but are rewritten only with
    --rewrite-truncated; none is rewritten without a y+.
    """
    siblings = [answer.text for answer in group.answers if answer.grade.right and answer.ended]
    candidates = []
    for answer in group.answers:
        may_be_rewritten = answer.ended or settings.rewrite_truncated
        if answer.grade.right or not may_be_rewritten:
            continue
        usable = siblings
        if settings.synthesis == "assisted":
            usable = [text for text in siblings if shows_something_new(text, answer.text)]
        if usable:
            candidates.append((answer.text, usable))
    return candidates


# ---------------------------------------------------------------- phase 3: the synthesis prompt


def synthesis_prompt(
    question: str, wrong: str, sibling: str, synthesis: str, reconstruction: str
) -> str:
    """The request for a question x, a wrong answer y- and a right one y+.

    synthesis: "brief", "assisted" or "instruct"; reconstruction: "prefix" or "full".
    """
    if synthesis == "brief":
        wrong, sibling = marked_difference(wrong, sibling)
    elif synthesis == "assisted":
        sibling = before_result(sibling)
    how = HOW[synthesis, reconstruction]
    return SYNTHESIS_PROMPTS[synthesis].format(
        question=question, wrong=wrong, sibling=sibling, how=how
    )


def request_of(pair: Pair, settings: Settings) -> str:
    """The synthesis prompt for a pair, in the wording of these settings."""
    question = pair.problem.question
    return synthesis_prompt(
        question, pair.wrong, pair.sibling, settings.synthesis, settings.reconstruction
    )


def marked_difference(wrong: str, sibling: str) -> tuple[str, str]:
    """Both answers as a diff, cut at the first line in which they differ. Here the program finds
    the error.

    Every line says whose it is, so that a small model need not remember it over many lines:

    >>> print("".join(marked_difference("1+1=2\\n2+2=5\\n#### 5", "1+1=2\\n2+2=4\\n#### 4")))
    <BLANKLINE>
    both:1+1=2
    wrong:2+2=5
    wrong:#### 5
    right:2+2=4
    right:#### 4
    """
    lines = wrong.split("\n")
    # the first line in which they differ, and the right lines from there on
    at, right_lines = first_difference(lines, sibling.split("\n"))
    of_wrong = labelled("both", lines[:at]) + labelled("wrong", lines[at:])
    return of_wrong, labelled("right", right_lines)


def labelled(name: str, lines: list[str]) -> str:
    return "".join(f"\n{name}:{line}" for line in lines)


# ---------------------------------------------------------------- phase 3: what becomes of a reply


def construct(
    policy: Policy, pairs: list[Pair], settings: Settings, seed: int
) -> list[Construction]:
    """Let the policy rewrite the wrong answer of each pair. Returns a construction for each, not
    graded yet.

    These are all reasons for which a reply yields no trajectory; each is counted. Of any reply:

        no room for a reply        the synthesis prompt fills the context; nothing is sampled
        truncated                  the reply did not end by itself
        empty reconstruction       with "assisted": nothing was written
        leaked tag                 a tag inside the reconstruction, in any spelling
        speaks of its request      "a right answer, for your eyes only", ...
        too long                   more than max_new_tokens with its stop id, as no answer may be

    Of one in the paper's format:

        no <analysis>              a tag is missing (so for each of the four)
        repeated <analysis>        a tag stands there twice (so for each of the four)
        tags out of order
        empty analysis
        copy of the right answer   the reconstruction is y+ (fine with --reconstruction full)

    With "assisted":

        no room to find the error  y- does not fit into the context behind the request that shows
                                   y+ (or is empty); nothing is sampled
        repeats itself             a line stands there three times

    A changed prefix or a missing diagnosis is no such reason.
    """
    constructions = [Construction(pair) for pair in pairs]
    asked = []  # those that get a reply
    prompts = []
    for construction in constructions:
        if settings.synthesis == "assisted":
            construction.kept = up_to_first_error(policy, construction.pair, settings)
            if not construction.kept:
                construction.refused = "no room to find the error"
                continue
        prompt = prompt_of(construction, policy.tokenizer, settings)
        if len(prompt) + SHORTEST_REPLY >= policy.model.config.max_position_embeddings:
            construction.refused = "no room for a reply"
            continue
        asked.append(construction)
        prompts.append(prompt)
    replies = sample(
        policy.model,
        prompts,
        stop_ids=policy.tokenizer.stop_ids,
        max_new_tokens=settings.max_reply_tokens,
        temperature=settings.reply_temperature,
        seed=seed,
        max_rows=settings.max_rows,
    )
    for construction, (reply,) in zip(asked, replies, strict=True):
        read_reply(construction, reply, policy.tokenizer, settings)
    return constructions


def prompt_of(construction: Construction, tokenizer: Tokenizer, settings: Settings) -> list[int]:
    """The request, and with --synthesis assisted the beginning of the reply."""
    prompt = tokenizer.prompt(request_of(construction.pair, settings))
    if settings.synthesis != "assisted":
        return prompt
    return prompt + tokenizer.encode(construction.kept + HANDOVER, after=prompt)


def read_reply(
    construction: Construction, reply: Rollout, tokenizer: Tokenizer, settings: Settings
) -> None:
    """Refuse the reply with a reason, or make its reconstruction a trajectory."""
    construction.reply = text_after(reply.prompt_ids, reply.token_ids, tokenizer)
    construction.reply_tokens = len(reply.token_ids)
    if settings.synthesis == "assisted":
        found = continued(construction.kept, construction.reply)
        construction.parsed = reply.finish == "stop"
    else:
        found = parse_reply(construction.reply)
        construction.parsed = not found.refused
    construction.analysis = found.analysis
    construction.y_ref = found.reconstruction

    # y_ref is trained on after the bare question, so it is tokenised as it stands there
    prompt = tokenizer.question_prompt(construction.pair.problem.question)
    token_ids = tokenizer.encode(construction.y_ref, after=prompt)
    if reply.finish == "stop":
        construction.refused = found.refused or refusal(construction, len(token_ids), settings)
    else:
        construction.refused = "truncated"
    if not construction.refused:
        # without its end the policy would learn never to stop
        construction.token_ids = [*token_ids, tokenizer.end_id]
        measure(construction, prompt, tokenizer)


def text_after(prompt_ids: list[int], token_ids: list[int], tokenizer: Tokenizer) -> str:
    """The text of these ids as it stands after the prompt. On its own, a SentencePiece tokenizer
    would leave out the space that it begins with."""
    before = tokenizer.decode(prompt_ids)
    return tokenizer.decode(prompt_ids + token_ids)[len(before) :]


def refusal(construction: Construction, tokens: int, settings: Settings) -> str:
    """Why y_ref, of so many tokens, is no trajectory though its reply parsed; "" if it is one."""
    is_copy = construction.y_ref == construction.pair.sibling.strip()
    if is_copy and settings.reconstruction == "prefix":
        return "copy of the right answer"
    if OF_THE_REQUEST.search(construction.y_ref):
        return "speaks of its request"
    if tokens + 1 > settings.max_new_tokens:
        return "too long"
    return ""


class ParsedReply(NamedTuple):
    analysis: str
    reconstruction: str
    refused: str  # "" or the reason


def parse_reply(reply: str) -> ParsedReply:
    """Each tag must stand once, in order, around a text. A thinking block in front is left out.

    >>> parse_reply("<analysis>It is 4.</analysis><reconstruction>2+2=5\\nWait</reconstruction>")
    ParsedReply(analysis='It is 4.', reconstruction='2+2=5\\nWait', refused='')
    >>> parse_reply("<analysis>2+2 is 4.</analysis> 2+2=4").refused
    'no <reconstruction>'
    """
    reply = visible(reply)
    for tag in TAGS:
        if tag not in reply:
            return ParsedReply("", "", f"no {tag}")
        if reply.count(tag) > 1:
            return ParsedReply("", "", f"repeated {tag}")
    places = [reply.index(tag) for tag in TAGS]
    if places != sorted(places):
        return ParsedReply("", "", "tags out of order")
    analysis = reply[places[0] + len(TAGS[0]) : places[1]].strip()
    reconstruction = reply[places[2] + len(TAGS[2]) : places[3]].strip()
    if not analysis:
        return ParsedReply("", "", "empty analysis")
    if not reconstruction:
        return ParsedReply("", "", "empty reconstruction")
    if TAG_IN_ANY_SPELLING.search(reconstruction):
        return ParsedReply("", "", "leaked tag")  # it would be trained into answers
    return ParsedReply(analysis, reconstruction, "")


def continued(kept: str, reply: str) -> ParsedReply:
    """--synthesis assisted: y_ref is `kept`, HANDOVER, and what the policy wrote after it.

    The analysis, which the paper's format wants, is the diagnosis itself.

    >>> continued("2+2=5", " 4, not 5.\\n2+2=4").reconstruction
    '2+2=5\\n\\nWait, it should be 4, not 5.\\n2+2=4'
    """
    written = reply.rstrip()
    refused = ""
    if not written.strip():
        refused = "empty reconstruction"
    elif TAG_IN_ANY_SPELLING.search(kept + written):
        refused = "leaked tag"
    elif repeats_itself(written):
        refused = "repeats itself"
    after_prefix = HANDOVER + written
    diagnosis = after_prefix.strip().split("\n")[0]
    return ParsedReply(diagnosis, kept + after_prefix, refused)


def repeats_itself(text: str) -> bool:
    """Whether a line stands there three times; one of signs alone, such as \\[, does not count."""
    lines = Counter(line.strip() for line in text.split("\n") if re.search(r"\w", line))
    return max(lines.values(), default=0) >= 3


def measure(construction: Construction, prompt: list[int], tokenizer: Tokenizer) -> None:
    """Where y_ref leaves y-, whether a diagnosis follows there, how much of it is copied from y+.

    For y_ref = "2+2=5|Wait|2+2=4", with a line break written as | and a token for each character:

        y-                prefix      diagnosis   correction
        "2+2=5|#### 5"    "2+2=5|"    "Wait"      "|2+2=4"
        "2+2=5"           "2+2=5"     "|Wait"     "|2+2=4"

    The texts are tokenised again here to be counted; what is trained on stays as it is.
    """
    y_ref = construction.token_ids[:-1]
    wrong_text = construction.pair.wrong.strip()
    wrong = tokenizer.encode(wrong_text, after=prompt)
    sibling = tokenizer.encode(construction.pair.sibling.strip(), after=prompt)

    beginning = construction.kept or wrong_text  # what y_ref was to begin with
    construction.prefix_tokens = shared_tokens(y_ref, beginning, prompt, tokenizer)
    construction.prefix_share = construction.prefix_tokens / len(y_ref)
    construction.left_at = construction.prefix_tokens / max(len(wrong), 1)

    prefix, next_line, correction = in_three(y_ref, construction.prefix_tokens, tokenizer)
    construction.parts = [prefix.strip(), next_line.strip(), correction.strip()]
    if is_reflective(next_line):
        before = prompt + y_ref[: construction.prefix_tokens]
        construction.diagnosis_tokens = len(tokenizer.encode(next_line, after=before))

    rest = y_ref[construction.prefix_tokens :]
    copied = common_prefix(rest[::-1], sibling[::-1])  # from their ends
    construction.copied_share = copied / max(len(rest), 1)


def grade_constructions(constructions: list[Construction], settings: Settings) -> None:
    """The checker reads y_ref as it reads any answer; what was refused stays without reward."""
    for construction in constructions:
        if not construction.refused:
            problem = construction.pair.problem
            construction.grade = grade(problem, construction.y_ref, settings.strict)


# ---------------------------------------------------------------- for the cold start


def format_reply(analysis: str, reconstruction: str) -> str:
    """A reply as it should look; the cold start teaches it."""
    return f"<analysis>{analysis}</analysis>\n<reconstruction>{reconstruction}</reconstruction>"


def unassisted(settings: Settings) -> Settings:
    """These settings with "instruct", the paper's protocol, in place of "assisted".

    The cold start teaches each assisted construction in that format too, and construction_report
    measures both.
    """
    if settings.synthesis == "assisted":
        return replace(settings, synthesis="instruct")
    return settings


# ---------------------------------------------------------------- the command


def main() -> None:
    parser = ArgumentParser(description="Show the newest constructions of a run, in full.")
    parser.add_argument("run", type=Path, help="the folder of a run")
    parser.add_argument("--show", type=int, default=3, metavar="N", help="so many, the newest last")
    parser.add_argument("--refused", action="store_true", help="only those that were refused")
    args = parser.parse_args()
    if args.show < 1:
        parser.error(f"--show: expected 1 or more, found {args.show}")
    path = args.run / "samples.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected the folder of a run")
    records = read_lines(path)
    if args.refused:
        records = [record for record in records if record["refused"]]
    for record in records[-args.show :]:
        print(format_construction(record))
    print(f"{path}: {min(args.show, len(records))} shown of {len(records)}")


if __name__ == "__main__":
    run_main(main)
