"""The paper's two baselines beside GRPO: SFT on constructions, and OPSD. Neither is part of TAPO.
The paper says little of either: what follows is our reading [inferred].

SFT trains on the right constructions by maximum likelihood: an advantage of 1 for each, and nothing
else, makes the gradient of the mean negative log-prob (the logged loss is then -lambda, whatever is
learned). They are made anew in each step by the policy of that moment, of the questions that are
eligible; a set that is made once, by the policy before RL, would be another reading.

OPSD, on-policy self-distillation, pulls the policy on the bare question towards the same policy
with a right answer in sight (its teacher). The advantage of each token is log p_teacher - log
p_policy, so that the expected gradient is that of the per-token KL(policy || teacher), estimated at
the tokens that were sampled. Answers to a question without another right one are left out. Called
by train.py for --algo sft and opsd.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from rollout import Group, Policy, Trajectory
from support.hinted import hinted_question
from support.logprobs import padded, score
from support.settings import Settings, seed_of

# ---------------------------------------------------------------- SFT


def right_constructions(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """The trajectories that SFT learns from."""
    return [t for t in trajectories if t.origin == "constructed" and t.right]


# ---------------------------------------------------------------- OPSD


def with_a_right_sibling(
    trajectories: Sequence[Trajectory],
    groups: Sequence[Group],
    policy: Policy,
    settings: Settings,
    seed: int,
) -> tuple[list[Trajectory], list[Trajectory]]:
    """The sampled answers that have a right sibling, and each after the question with one of those
    in sight.

    trajectories: those of all groups in order, K of each. An answer is not its own sibling. Where
    the teacher's prompt would leave no room in the context, the answer is left out.
    """
    rng = random.Random(seed)
    context = policy.model.config.max_position_embeddings
    students = []
    teachers = []
    for number, trajectory in enumerate(trajectories):
        group = groups[trajectory.question_number]
        own = number % settings.k
        others = group.answers[:own] + group.answers[own + 1 :]
        siblings = [answer.text for answer in others if answer.grade.right and answer.ended]
        if not siblings:
            continue
        request = hinted_question(group.problem.question, rng.choice(siblings), settings.synthesis)
        teacher = Trajectory(policy.tokenizer.question_prompt(request), trajectory.token_ids)
        if len(teacher.prompt_ids) + len(teacher.token_ids) <= context:
            students.append(trajectory)
            teachers.append(teacher)
    return students, teachers


def distillation_advantages(
    policy: Policy,
    students: Sequence[Trajectory],
    teachers: Sequence[Trajectory],
    settings: Settings,
) -> Tensor:
    """log p_teacher - log p_policy of every token (N, T), 0 after an answer's end."""
    if not students:
        return torch.zeros(0, 1)
    arguments = settings.temperature, settings.micro_tokens
    teacher = score(policy.model, teachers, *arguments)
    student = score(policy.model, students, *arguments)
    return padded(teacher) - padded(student)


# ---------------------------------------------------------------- for train.py


def baseline_batch(
    policy: Policy,
    groups: Sequence[Group],
    trajectories: Sequence[Trajectory],
    settings: Settings,
    step: int,
) -> tuple[list[Trajectory], Tensor]:
    """(what --algo sft or opsd trains on, the advantages of that: (N, 1) or (N, T))"""
    if settings.algo == "sft":
        right = right_constructions(trajectories)
        return right, torch.ones(len(right), 1)
    seed = seed_of(settings.seed, "teacher", step)
    students, teachers = with_a_right_sibling(trajectories, groups, policy, settings, seed)
    return students, distillation_advantages(policy, students, teachers, settings)
