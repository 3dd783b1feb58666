"""--synthesis assisted: which wrong answers y- the program lets the policy rewrite, where it cuts
them, and what it shows of a right one y+. Ours, not the paper's; results/gsm8k/README.md has how
often it is right, and what was tried beside it. Called by augment.py.

- *Which wrong answers?* Those to which some y+ shows a number that they lack (shows_something_new).
- *How much of y+ is shown?* All reasoning steps before its result (before_result).
- *Where is the first error?* In the first reasoning step of y- with a number that neither the
  question nor any right answer of the group has (up_to_first_error). In about one answer of five
  there is no such number. Then the policy's own log-probs decide: it reads y- twice, after the bare
  question and with y+ in sight, and the first error is the first step with a number that y+ makes
  less likely by more than DOUBT, else the step with the largest fall. Words do not count: two
  answers that say the same differ in them too.
"""

from typing import TYPE_CHECKING

from rollout import Policy, Trajectory
from support.answers.extraction import extract_answer, visible
from support.hinted import hinted_question
from support.logprobs import score
from support.reasoning_steps import numbers_in, reasoning_steps
from support.settings import Settings
from support.tokenizer import Tokenizer

if TYPE_CHECKING:  # augment.py imports this module
    from augment import Pair

DOUBT = 1.0  # nats


# ---------------------------------------------------------------- which, and what is shown


def shows_something_new(sibling: str, wrong: str) -> bool:
    """Whether a right answer, as far as it is shown, has a number that the wrong one has not.

    Where it has none the policy hardly ever says what is wrong: in 2 of 38 diagnoses that were
    judged, else in 57 to 60 of 172 (results/gsm8k/README.md, section 1).

    >>> right = "2+2=4\\n3*4=12\\n#### 12"
    >>> shows_something_new(right, "2+2=5\\n#### 5"), shows_something_new(right, "2+2=4\\n#### 4")
    (True, False)
    """
    return bool(numbers_in(before_result(sibling)) - numbers_in(wrong))


def before_result(answer: str) -> str:
    """The reasoning steps of a right answer before the first one with a number of its final
    result; none if that is the first step, or if the result has no number.

    Whoever sees the result can copy it behind any diagnosis; whoever does not must calculate it.

    >>> before_result("2+2=4\\n3*4=12\\nSo it is \\\\boxed{12}.")
    '2+2=4'
    """
    result = extract_answer(answer, strict=False) or ""
    numbers = numbers_in(result)
    before = ""
    for step in reasoning_steps(visible(answer)):
        if numbers & numbers_in(step):
            return before.rstrip()
        before += step
    return ""


# ---------------------------------------------------------------- where the first error is


def up_to_first_error(policy: Policy, pair: "Pair", settings: Settings) -> str:
    """y- up to and including its first error, as far as the program can tell (half of the cuts that
    were judged are right), without white space at its end.

    Where numbers do not tell, the policy scores y- after two requests: the bare question, and the
    bare question with y+ and two short sentences, neither of which speaks of mistakes. If y- does
    not fit into the context after the second: "". (A request that asks for a mistake makes wrong
    lines likely by itself, above all after a cold start that taught to write them there, and would
    hide the error: results/gsm8k/README.md, section 2.)
    """
    wrong = pair.wrong.strip()
    question = pair.problem.question
    # y+ is one of the right answers, unless it is the gold solution (README, forks)
    kept = up_to_strange_number(wrong, [question, pair.sibling, *pair.right_answers])
    if kept:
        return kept
    with_sibling = hinted_question(question, pair.sibling, settings.synthesis)
    return up_to_doubted_number(
        policy,
        wrong,
        alone=policy.tokenizer.question_prompt(question),
        informed=policy.tokenizer.question_prompt(with_sibling),
        settings=settings,
    )


def up_to_strange_number(answer: str, given: list[str]) -> str:
    """The answer up to and including the first step with a number that none of the given texts has,
    without white space at its end; "" where there is no such step."""
    steps = reasoning_steps(answer)
    last = first_strange(steps, given)
    return "" if last is None else "".join(steps[: last + 1]).rstrip()


def first_strange(steps: list[str], given: list[str]) -> int | None:
    """The first step with a number that none of the given texts has; None where there is none.

    >>> steps = ["2+2=4", "4+1=6", "So it is 6."]
    >>> first_strange(steps, ["2+2, then 1 more?", "2+2=4, 4+1=5"])
    1
    >>> first_strange(steps, ["2+2, then 1 more?", "2+2=4, 4+1=5", "not 6"])
    """
    known = {number for text in given for number in numbers_in(text)}
    for place, step in enumerate(steps):
        if numbers_in(step) - known:
            return place
    return None


def up_to_doubted_number(
    policy: Policy, wrong: str, alone: list[int], informed: list[int], settings: Settings
) -> str:
    """The wrong answer up to and including the first step that is doubted, without white space at
    its end; "" for an empty answer, and for one that does not fit into the model's context.

    alone, informed: ids of the two prompts that it is read after, of which the second shows y+
    """
    steps = reasoning_steps(wrong)
    ids_of_steps = step_tokens(steps, alone, policy.tokenizer)
    answer_ids = [token for step_ids in ids_of_steps for token in step_ids]
    longest = len(informed) + len(answer_ids)
    if not answer_ids or longest > policy.model.config.max_position_embeddings:
        return ""
    rows = [Trajectory(alone, answer_ids), Trajectory(informed, answer_ids)]
    scored = score(policy.model, rows, settings.temperature, settings.micro_tokens)
    drops = [a - b for a, b in zip(*scored, strict=True)]
    last = first_doubted(step_doubts(ids_of_steps, drops, policy.tokenizer))
    return "".join(steps[: last + 1]).rstrip()


def step_tokens(steps: list[str], prompt: list[int], tokenizer: Tokenizer) -> list[list[int]]:
    """The token ids of each step, as the steps stand after the prompt."""
    before = list(prompt)
    found = []
    for step in steps:
        token_ids = tokenizer.encode(step, after=before)
        found.append(token_ids)
        before += token_ids
    return found


def step_doubts(
    ids_of_steps: list[list[int]], drops: list[float], tokenizer: Tokenizer
) -> list[float]:
    """For each step, the most nats by which y+ makes a number of it less likely.

    drops: log-prob after `alone` minus log-prob after `informed`, for each token of the steps
    """
    doubts = []
    position = 0
    for step_ids in ids_of_steps:
        doubt = 0.0
        for token in step_ids:
            if any(character.isdigit() for character in tokenizer.decode([token])):
                doubt = max(doubt, drops[position])
            position += 1
        doubts.append(doubt)
    return doubts


def first_doubted(doubts: list[float]) -> int:
    """The first step that is doubted by more than DOUBT, else the one that is doubted most.

    >>> first_doubted([0.1, 2.5, 4.0]), first_doubted([0.1, 0.6, 0.2])
    (1, 1)
    """
    for step, doubt in enumerate(doubts):
        if doubt > DOUBT:
            return step
    return doubts.index(max(doubts))
