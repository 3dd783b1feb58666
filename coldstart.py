"""The cold start: what the policy must be able to do before RL, and how it learns it.

Without it the policy neither reflects nor answers a synthesis prompt, and TAPO has nothing to work
with. It is supervised learning. Where the examples come from:

- on problems from a file, from the policy's own verified answers and constructions, as in the paper
  (own_examples), in one round or more (--coldstart-rounds);
- on built-in problems, which a model of random weights is to learn, from a program: it writes
  mistakes, and for each the correction that a perfect solver would write, as examples of five
  skills (SKILLS). In the second half the mistakes are the policy's own (builtin_examples).

Departures from the paper:
- The mix. The paper has 30,000 examples of solving with reflection and 15,000 of construction. On
  built-in problems most are of construction (--coldstart-mix): with a sixth of those the tiny model
  solves more, and keeps the wrong prefix in 47% of its constructions instead of 83%
  (results/study.md). A checkpoint learns from what it got right.
- On built-in problems a program writes the examples, as said above. Until the policy makes mistakes
  of its own, y+ is the gold solution there; in RL it never is.
- The mistake of a reflective example is given and not learned [inferred]: trained on it, the tiny
  policy errs on purpose. In RL it is trained on.
- In the preset gsm8k constructions do not teach to reflect on the bare question; with
  --coldstart-reflect they do. A checkpoint of 0.5B weights cannot tell a wrong step from a right
  one: it learned to say "Wait" after either, and none of 50 answers that did so was right
  (results/gsm8k/README.md).
- With --synthesis assisted a program helped to construct (augment.py), so that a checkpoint which
  cannot do it alone has something to learn from. Each such construction becomes an example of the
  paper's unassisted format too: request with both answers -> analysis and reconstruction.
- Not every construction of a checkpoint is learned from [inferred]: only what ends right and, where
  a prefix is kept, has a diagnosis whose numbers suggest that it is about the error and that does
  not say "you"; with assisted the rule is stricter (is_worth_learning).

construction_report says how well the policy constructs when RL begins.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch

from augment import (
    TAGS,
    Construction,
    construct,
    format_reply,
    grade_constructions,
    is_eligible,
    prompt_of,
    request_of,
    select_candidates,
    synthesis_prompt,
    unassisted,
)
from model import Transformer
from rollout import Group, Policy, Trajectory, answer_problems
from support.cli import print_above_bar, progress_bar
from support.diagnosis import is_concrete, names_what_is_right
from support.files import InputError, note
from support.hinted import hinted_question
from support.hub import ModelConfig
from support.logprobs import supervised_gradients
from support.metrics import (
    construction_counts,
    construction_metrics,
    fidelity,
    format_counts,
    rollout_metrics,
)
from support.optim import clipped_update, coldstart_optimizers
from support.overlap import common_prefix
from support.reflection import is_reflective
from support.runs import Interrupts, RunFolder, number_of
from support.settings import TINY, Settings, seed_of
from support.tokenizer import PLAIN, Tokenizer
from support.worked_lines import correct, is_sound
from tasks import Problem, Task, rungs_of, task_with_mistakes

MISTAKE_QUESTIONS = 64  # asked at a time for the policy's own mistakes

NOTHING_OF_USE = (
    "nothing that was constructed is worth learning from: the cold start teaches to solve alone, "
    "and TAPO will be GRPO at a higher cost. Ask more questions (--coldstart-questions), lower "
    "--reply-temperature, take --synthesis assisted or a stronger --model"
)

SPEAKS_TO = re.compile(r"\byour?\b", re.IGNORECASE)

# The examples of a problem Q with the solution "8-2=6|#### 6" and the wrong answer "8-2=5|#### 5",
# where | is a line break. A model that starts from random weights also learns the column "given",
# except in "reflect". "full" serves --reconstruction full alone, and "hinted" OPSD's teacher.
#
#   skill      given                          learned
#   solve      Q                              8-2=6|#### 6
#   reflect    Q, then 8-2=5|                 Wait, 8-2=5 is wrong.|8-2=6|#### 6
#   construct  Q|wrong:8-2=5|...|right:8-2=6|...|Reflect:
#                                             <analysis>8-2=5 should be 8-2=6.</analysis>|
#                                             <reconstruction>8-2=5|Wait, 8-2=5 is wrong.|8-2=6|...
#   full       the same, with Rewrite:        the same analysis, <reconstruction>8-2=6|#### 6...
#   hinted     Q, right:...|Again:            8-2=6|#### 6
SKILLS = ("solve", "reflect", "construct", "full", "hinted")  # --coldstart-mix: their shares


# ---------------------------------------------------------------- the training loop


def coldstart(
    policy: Policy,
    problems: list[Problem],
    settings: Settings,
    folder: RunFolder,
    resumed: Path | None = None,
) -> None:
    """Maximise the log-prob of the examples' answers; every token of a batch weighs the same.

    resumed: the checkpoint of the cold start that the policy was read from, if any. Raises
    KeyboardInterrupt when a signal has stopped it after an update.
    """
    optimizers = coldstart_optimizers(policy.model, settings.coldstart_lr, anew=not settings.model)
    updates_made = 0
    if resumed is not None:
        state = folder.restore(resumed, policy.model, optimizers, ["portions"])
        check_portions(folder, state["portions"])
        updates_made = number_of(resumed)
    examples = examples_for(policy, problems, settings, folder)
    # what was collected for them lies in the folder and is not collected again
    skip(examples, updates_made * settings.coldstart_batch)

    total = settings.coldstart_updates
    with progress_bar(total, "cold start", "update", updates_made) as bar:
        for update in range(updates_made + 1, total + 1):
            try:
                # At the start of a round this samples for a long time: a signal stops it at once.
                batch = list(islice(examples, settings.coldstart_batch))
            except KeyboardInterrupt:
                is_saved = folder.coldstart_checkpoint(update - 1).exists()
                if update > updates_made + 1 and not is_saved:
                    save(policy, optimizers, settings, folder, update - 1)
                raise
            with Interrupts() as interrupts:  # leaving it after one raises KeyboardInterrupt
                loss = supervised_gradients(policy.model, batch, settings.micro_tokens)
                warm_up = min(1.0, update / max(settings.coldstart_warmup, 1))
                decay = 1 - (update - 1) / total
                lr = settings.coldstart_lr * (decay * warm_up)
                norm = clipped_update(policy.model, optimizers, lr, settings.grad_clip)
                if update % 20 == 0 or update == total:
                    record = {"stage": "coldstart", "step": update, "loss": loss, "grad_norm": norm}
                    folder.log("metrics.jsonl", record)
                    bar.set_postfix(refresh=False, loss=f"{loss:.3f}")
                bar.update()
                ends_round = update < total and update % settings.updates_of_round == 0
                if interrupts.came or ends_round or folder.save_is_due(settings.save_minutes):
                    save(policy, optimizers, settings, folder, update)


def save(
    policy: Policy,
    optimizers: list[torch.optim.Optimizer],
    settings: Settings,
    folder: RunFolder,
    update: int,
) -> None:
    """The checkpoint after this update."""
    folder.save(
        folder.coldstart_checkpoint(update),
        policy.model,
        policy.tokenizer,
        optimizers,
        state={"portions": len(folder.portions)},
        keep=settings.keep,
    )


def check_portions(folder: RunFolder, portions: int) -> None:
    """Raises InputError where not all is there that was collected before a checkpoint: by now the
    policy is another and would collect something else."""
    found = len(folder.portions)
    if found < portions:
        file = folder.path / "collected.jsonl"
        raise InputError(f"{file}: expected {portions} lines, found {found}")


def skip(examples: Iterator[Trajectory], number: int) -> None:
    """Pass over as many examples as were learned from before: they are drawn again, so that the
    next draws are those of a run that was never stopped."""
    for _ in islice(examples, number):
        pass


def examples_for(
    policy: Policy, problems: list[Problem], settings: Settings, folder: RunFolder
) -> Iterator[Trajectory]:
    """Endless training examples for the policy."""
    task = task_with_mistakes(settings.data)
    if task is not None:
        return builtin_examples(policy, problems, task, settings, folder)
    return own_examples(policy, problems, settings, folder)


# ---------------------------------------------------------------- a checkpoint's own examples


def own_examples(
    policy: Policy, problems: list[Problem], settings: Settings, folder: RunFolder
) -> Iterator[Trajectory]:
    """Endless examples, in coldstart_rounds rounds of equally many updates.

    Each round starts by collecting, by rejection sampling from the policy of that moment: its right
    answers teach solving, its verified constructions teach to construct. So the second round can
    learn from what the first has taught. Raises InputError where the policy gets nothing right.
    """
    updates = settings.updates_of_round
    questions = min(settings.coldstart_questions, len(problems))
    portions = portions_of(problems, settings.questions)  # as many at a time as in a step of RL
    for round_number in count():
        updates_made = round_number * updates
        collected = collect_round(policy, portions, questions, settings, folder, updates_made)
        examples = in_new_orders(collected, settings, round_number)
        yield from islice(examples, updates * settings.coldstart_batch)


def portions_of(problems: list[Problem], size: int) -> Iterator[tuple[int, list[Problem]]]:
    """Endless (number, problems): `size` problems at a time, pass after pass. The last ones of a
    pass can be fewer.

    >>> portions = portions_of([Problem(q, "") for q in "abc"], size=2)
    >>> [(n, [p.question for p in some]) for n, some in islice(portions, 3)]
    [(0, ['a', 'b']), (1, ['c']), (2, ['a', 'b'])]
    """
    firsts = range(0, len(problems), size)
    for number in count():
        first = firsts[number % len(firsts)]
        yield number, problems[first : first + size]


def in_new_orders(
    examples: list[Trajectory], settings: Settings, round_number: int
) -> Iterator[Trajectory]:
    """Pass after pass over the examples of a round, each in a new order."""
    for epoch in count():
        rng = random.Random(seed_of(settings.seed, "cold start", round_number, epoch))
        yield from rng.sample(examples, len(examples))


def collect_round(
    policy: Policy,
    portions: Iterator[tuple[int, list[Problem]]],
    questions: int,
    settings: Settings,
    folder: RunFolder,
    updates_made: int,
) -> list[Trajectory]:
    """Collect the examples of one round. Prints what was constructed, and warns where nothing of it
    is worth learning.

    questions: to be asked at most, rounded up to whole portions
    updates_made: updates of the cold start before this round
    """
    examples: list[Trajectory] = []
    counts: Counter[str] = Counter()
    wanted = math.ceil(settings.coldstart_examples / settings.coldstart_rounds)
    with progress_bar(wanted, "cold start: own answers", "example") as bar:
        for portion, some in portions:
            collect = partial(examples_from, policy, some, settings, portion)
            found = folder.collected(portion, updates_made, collect)
            examples += [Trajectory(*token_ids) for token_ids in found["examples"]]
            counts.update(found["counts"])
            bar.update(len(examples) - bar.n)
            if len(examples) >= wanted or counts["questions"] >= questions:
                break
    if not examples:
        raise InputError(
            f"cold start: expected right answers among the model's own rollouts on {settings.data},"
            " found none; start from a stronger --model, give easier --data, or allow longer "
            "answers with --max-new-tokens"
        )
    print_above_bar(f"cold start, after {updates_made} updates: {format_counts(counts)}")
    if counts["learned"] == 0:
        note(NOTHING_OF_USE)
    return examples


def examples_from(
    policy: Policy, problems: list[Problem], settings: Settings, portion: int
) -> dict[str, Any]:
    """What one portion of questions gives, as JSON: (prompt ids, token ids) of the examples, and
    counts of what was asked, answered and constructed."""
    seed = partial(seed_of, settings.seed)
    groups = answer_problems(policy, problems, settings, seed("cold start", portion))
    examples: list[Trajectory] = []
    for group in groups:
        examples += solving_examples(group)
    counts = {"questions": len(groups), "right answers": len(examples)}

    construct_seed = seed("construct", "cold start", portion)
    pairs = select_candidates(groups, settings, construct_seed)
    constructions = construct(policy, pairs, settings, construct_seed)
    grade_constructions(constructions, settings)
    learned = [made for made in constructions if is_worth_learning(made, settings)]
    for made in learned:
        examples += construction_examples(made, policy.tokenizer, settings)
    counts |= construction_counts(constructions) | {"learned": len(learned)}
    context = policy.model.config.max_position_embeddings
    fitting = []
    for example in examples:
        if len(example.prompt_ids) + len(example.token_ids) <= context:
            fitting.append((example.prompt_ids, example.token_ids))
    return {"examples": fitting, "counts": counts}


def solving_examples(group: Group) -> list[Trajectory]:
    """Up to two right answers of the group that ended by themselves."""
    right = []
    for answer in group.answers:
        if answer.grade.right and answer.ended:
            right.append(Trajectory(answer.rollout.prompt_ids, answer.rollout.token_ids))
    return right[:2]


def is_worth_learning(made: Construction, settings: Settings) -> bool:
    """Whether it ends right and, where a prefix was asked for, its diagnosis seems to be about the
    error."""
    if not made.grade.right:
        return False
    if settings.reconstruction == "full":
        return True
    # not learned: a diagnosis that names no number of the mistake, nor one that y+ alone has, as
    # "Wait, let us do it again"
    if not is_concrete(made):
        return False
    # not learned: "Wait, you made a mistake"
    _, diagnosis, correction = made.parts
    if SPEAKS_TO.search(diagnosis):
        return False
    if settings.synthesis != "assisted":
        return True
    # not learned of assisted ones (results/gsm8k/README.md, section 4): a diagnosis that names only
    # a number of the mistake; a correction that reflects again, which would teach to do so for
    # ever. (The number of y+ may be its result: the policy has not seen it, and calculated it.)
    return names_what_is_right(made) and not is_reflective(correction)


def construction_examples(
    made: Construction, tokenizer: Tokenizer, settings: Settings
) -> list[Trajectory]:
    """Examples from one construction: request -> tagged reply (the paper's format); with
    --synthesis assisted, where the diagnosis is the analysis too, also the begun reply -> its
    continuation; with --coldstart-reflect also question and mistake -> diagnosis and
    correction."""
    prompt = tokenizer.prompt(request_of(made.pair, unassisted(settings)))
    reply = format_reply(made.analysis, made.y_ref)
    examples = [Trajectory(prompt, [*tokenizer.encode(reply, prompt), tokenizer.end_id])]
    if settings.synthesis == "assisted":
        begun = prompt_of(made, tokenizer, settings)
        going_on = tokenizer.encode(made.reply.rstrip(), after=begun)
        examples.append(Trajectory(begun, [*going_on, tokenizer.end_id]))
    if settings.coldstart_reflect:
        # The policy should learn to repair the mistake and not to make it: it is given.
        question_prompt = tokenizer.question_prompt(made.pair.problem.question)
        mistake = made.token_ids[: made.prefix_tokens]
        after_mistake = made.token_ids[made.prefix_tokens :]
        examples.append(Trajectory(question_prompt + mistake, after_mistake))
    return examples


# ---------------------------------------------------------------- examples for the tiny model


def builtin_examples(
    policy: Policy, problems: list[Problem], task: Task, settings: Settings, folder: RunFolder
) -> Iterator[Trajectory]:
    """Endless examples from the built-in problems.

    In the second half of the cold start the mistakes are the policy's own: from its first update
    on, every coldstart_refresh updates, the policy answers new questions. The examples are taken
    batch by batch, so `policy` is then the policy of that moment.
    """
    seed = seed_of(settings.seed, "cold start")
    rng = random.Random(seed)
    first_own = math.ceil(settings.coldstart_updates / 2)  # the update before which they begin
    mistakes: list[tuple[int, str, str]] = []
    for i, problem in enumerate(task.problems("train", seed, rungs_of(settings.data))):
        updates_made, place = divmod(i, settings.coldstart_batch)
        since_first = updates_made - first_own
        if place == 0 and since_first >= 0 and since_first % settings.coldstart_refresh == 0:
            # names what is collected, and seeds its draws
            portion = updates_made // settings.coldstart_refresh
            collect = partial(own_mistakes, policy, problems, settings, portion)
            new_mistakes = folder.collected(portion, updates_made, collect)
            if new_mistakes:
                mistakes = new_mistakes
        skill = rng.choices(SKILLS, settings.mix())[0]
        # "solve" takes a new problem each time, the others one of the policy's own mistakes, once
        # there are any
        if skill == "solve" or not mistakes:
            wrong = task.spoil(problem, rng)
            sibling = problem.solution or ""
        else:
            number, wrong, sibling = rng.choice(mistakes)
            problem = problems[number]
        request, answer = example_text(skill, problem, wrong, sibling, settings.synthesis)
        yield as_trajectory(skill, request, answer, wrong, policy.tokenizer, settings)


def as_trajectory(
    skill: str, request: str, answer: str, wrong: str, tokenizer: Tokenizer, settings: Settings
) -> Trajectory:
    """The example as token ids: what of it is given, and what is learned."""
    prompt_ids = tokenizer.prompt(request)
    token_ids = [*tokenizer.encode(answer, prompt_ids), tokenizer.end_id]
    if skill == "reflect":
        # The policy should learn to repair this mistake, not to make it: the mistaken lines become
        # part of the prompt.
        given = common_prefix(token_ids, tokenizer.encode(wrong, prompt_ids))
        return Trajectory(prompt_ids + token_ids[:given], token_ids[given:])
    if settings.model:
        return Trajectory(prompt_ids, token_ids)
    # A model that starts from random weights learns the prompt too, all but its first token: half
    # of a synthesis prompt is worked lines, from which it learns to calculate. The wrong ones among
    # them stand behind "wrong:"; after the bare question no wrong line is learned.
    return Trajectory(prompt_ids[:1], prompt_ids[1:] + token_ids)


def example_text(
    skill: str, problem: Problem, wrong: str, sibling: str, synthesis: str
) -> tuple[str, str]:
    """(request, answer) that teaches one of SKILLS, from a wrong answer and a right one."""
    solution = problem.solution or ""
    analysis, reflective_answer = correct(solution, wrong)
    if skill == "construct":
        request = synthesis_prompt(problem.question, wrong, sibling, synthesis, "prefix")
        return request, format_reply(analysis, reflective_answer)
    if skill == "full":
        request = synthesis_prompt(problem.question, wrong, sibling, synthesis, "full")
        return request, format_reply(analysis, solution)
    if skill == "hinted":
        return hinted_question(problem.question, sibling, synthesis), solution
    return problem.question, reflective_answer if skill == "reflect" else solution


def own_mistakes(
    policy: Policy, problems: list[Problem], settings: Settings, portion: int
) -> list[tuple[int, str, str]]:
    """(number of a problem, wrong answer, right sibling) from the policy's answers to some."""
    seed = seed_of(settings.seed, "mistakes", portion)
    rng = random.Random(seed)
    offset = MISTAKE_QUESTIONS * portion % max(len(problems) - MISTAKE_QUESTIONS, 1)
    some = problems[offset : offset + MISTAKE_QUESTIONS]
    mistakes = []
    for number, group in enumerate(answer_problems(policy, some, settings, seed), start=offset):
        ended = [answer for answer in group.answers if answer.ended]
        right = [answer.text for answer in ended if answer.grade.right]
        wrong = [answer.text for answer in ended if not answer.grade.right]
        sound = [text for text in right if is_sound(group.problem.solution, text)]
        if sound:
            mistakes += [(number, mistake, rng.choice(sound)) for mistake in wrong]
    return mistakes


def new_policy(settings: Settings, device: str) -> Policy:
    """A tiny model with random weights, which knows nothing; raises InputError."""
    task = task_with_mistakes(settings.data)
    if task is None:
        raise InputError(
            f"--model: expected something to start from on {settings.data}, found none"
        )
    torch.manual_seed(seed_of(settings.seed, "weights"))
    tokenizer = builtin_tokenizer(task, settings.synthesis)
    size = tokenizer.inner.get_vocab_size()
    config = ModelConfig(vocab_size=size, eos_token_id=tokenizer.end_id, **TINY)
    return Policy(Transformer(config).to(device), tokenizer)


def builtin_tokenizer(task: Task, synthesis: str) -> Tokenizer:
    """A tokenizer trained on 2,000 examples of all skills, from all rungs: every run on the ladder
    has the same."""
    rng = random.Random(0)
    all_rungs = min(task.RUNGS), max(task.RUNGS)
    texts = []
    for i, problem in enumerate(islice(task.problems("train", 0, all_rungs), 2000)):
        skill = SKILLS[i % len(SKILLS)]
        wrong = task.spoil(problem, rng)
        request, answer = example_text(skill, problem, wrong, problem.solution or "", synthesis)
        texts.append(PLAIN.format(text=request) + answer)
    return Tokenizer.train(texts, TAGS)


# ---------------------------------------------------------------- how well it went


def most_questions(settings: Settings) -> int:
    """The most questions that a cold start asks at once, for the memory plan."""
    return max(MISTAKE_QUESTIONS, settings.report_questions)


def construction_report(
    policy: Policy, problems: list[Problem], settings: Settings
) -> dict[str, Any]:
    """How well the policy constructs before RL, on the last training problems (report_questions).

    On built-in problems, where the first wrong line is known, fidelity is reported too. With
    --synthesis assisted the same wrong answers are rewritten without assistance as well, in the
    paper's format: "assisted" and "unassisted" are the counts of the two.
    """
    seed = partial(seed_of, settings.seed)
    asked = problems[-settings.report_questions :]
    groups = answer_problems(policy, asked, settings, seed("report"))
    construct_seed = seed("construct", "report")
    pairs = select_candidates(groups, settings, construct_seed)
    constructions = construct(policy, pairs, settings, construct_seed)
    grade_constructions(constructions, settings)
    eligible = [is_eligible(group, settings) for group in groups]
    questions_by_right = Counter(group.n_right for group in groups)
    report = rollout_metrics(groups, eligible) | construction_metrics(constructions)
    report["groups_by_right_answers"] = [questions_by_right[n] for n in range(settings.k + 1)]
    if task_with_mistakes(settings.data) is not None:
        report |= fidelity(constructions)
    if settings.synthesis == "assisted":
        without_assistance = construct(policy, pairs, unassisted(settings), construct_seed)
        grade_constructions(without_assistance, settings)
        report["assisted"] = construction_counts(constructions)
        report["unassisted"] = construction_counts(without_assistance)
    return report
