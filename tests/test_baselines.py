"""SFT on constructions and OPSD: what each trains on, and what its gradient is."""

from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file
from small_runs import make_run, same, sgd, step_report, take_steps, weights_of

import train
from augment import marked_difference
from model import Transformer
from rollout import Trajectory, answer_problems
from support.baselines import baseline_batch, distillation_advantages, with_a_right_sibling
from support.files import read_lines
from support.hinted import hinted_question
from support.optim import adamw
from support.settings import seed_of
from train import problems_of_step, sampled_trajectories, update_policy


def constructed(ids: list[int]) -> Trajectory:
    """A right construction after a prompt of two tokens."""
    return Trajectory([1, 2], ids, 1.0, origin="constructed")


# ---------------------------------------------------------------- SFT


def test_sft_trains_on_right_constructions_alone(learned, tmp_path, monkeypatch):
    run = make_run(learned, tmp_path, algo="sft", questions=8)
    update = Mock(wraps=update_policy)
    monkeypatch.setattr(train, "update_policy", update)
    (metrics,) = take_steps(run, 1, sgd(run, lr=0.0))
    _, _, batch, advantages, *_ = update.call_args.args
    made = read_lines(tmp_path / "samples.jsonl")
    right = [m["token_ids"] for m in made if m["right"]]
    assert [t.token_ids for t in batch] == right and 0 < len(right) < len(made)
    assert torch.equal(advantages, torch.ones(len(right), 1))
    assert metrics["trained_rows"] == len(right)


def test_sfts_gradient_is_that_of_the_mean_negative_log_prob(learned, tmp_path):
    run = make_run(learned, tmp_path, algo="sft", grad_clip=1e9)
    made = [constructed([3, 5, 1]), constructed([4, 1])]
    model = Transformer.from_pretrained(learned)
    losses = []
    for trajectory in made:
        ids = torch.tensor([trajectory.prompt_ids + trajectory.token_ids])  # (1, T)
        logp = model(ids)[0].log_softmax(dim=-1)  # (T, V)
        of_tokens = [logp[1 + t, token] for t, token in enumerate(trajectory.token_ids)]
        losses.append(-torch.stack(of_tokens).mean())
    torch.stack(losses).mean().backward()

    batch, advantages = baseline_batch(run.policy, [], made, run.settings, 0)
    update_policy(run.policy, None, batch, advantages, sgd(run), run.settings, 1.0)
    before = load_file(learned / "model.safetensors")
    after = weights_of(run.policy.model)
    for name, parameter in model.named_parameters():
        assert torch.allclose(before[name] - after[name], parameter.grad, atol=1e-6), name


def test_without_sampled_rows_no_gradient_is_called_theirs(learned, tmp_path):
    """SFT trains on constructions alone, in several micro-batches."""
    run = make_run(learned, tmp_path, algo="sft", micro_tokens=4)
    made = [constructed([3, 4 + i]) for i in range(4)]
    batch, advantages = baseline_batch(run.policy, [], made, run.settings, 0)
    optimizer = adamw(run.policy.model.parameters(), 1e-3)
    metrics = update_policy(run.policy, None, batch, advantages, optimizer, run.settings, 1e-3)
    assert metrics["trained_rows"] == 4 and metrics["grad_norm"] > 0
    assert "grad_norm_sampled" not in metrics


# ---------------------------------------------------------------- OPSD


def own_logprobs(model: Transformer, prompt_ids: list[int], token_ids: list[int]) -> torch.Tensor:
    """Log-probs (T,) of the answer's tokens, by a whole forward pass."""
    logp = model(torch.tensor([prompt_ids + token_ids]))[0].log_softmax(dim=-1)  # (P + T, V)
    first = len(prompt_ids) - 1  # where the answer's first token is predicted
    return logp[range(first, first + len(token_ids)), token_ids].detach()


def test_the_teacher_scores_the_very_tokens_with_a_right_sibling_in_sight(learned, tmp_path):
    """OPSD: own answers are no siblings, and a question without a right answer teaches nothing."""
    run = make_run(learned, tmp_path, algo="opsd", questions=8)
    policy = run.policy
    problems = problems_of_step(run.problems, run.settings, 0)
    groups = answer_problems(policy, problems, run.settings, seed_of(0, "test"))
    sampled = sampled_trajectories(groups)
    students, teachers = with_a_right_sibling(sampled, groups, policy, run.settings, 0)

    taught = [t for t in sampled if groups[t.question_number].n_right - t.reward > 0]
    assert students == taught and 0 < len(students) < len(sampled)
    assert [teacher.token_ids for teacher in teachers] == [s.token_ids for s in students]
    for student, teacher in zip(students, teachers, strict=True):
        group = groups[student.question_number]
        others = [
            answer.text
            for answer in group.answers
            if answer.grade.right and answer.rollout.token_ids is not student.token_ids
        ]
        hinted = [hinted_question(group.problem.question, text, "brief") for text in others]
        assert teacher.prompt_ids in [policy.tokenizer.question_prompt(text) for text in hinted]

    advantages = distillation_advantages(policy, students, teachers, run.settings)  # (N, T)
    longest = max(len(student.token_ids) for student in students)
    assert advantages.shape == (len(students), longest)
    pairs = zip(students, teachers, strict=True)
    for row, (student, teacher) in zip(advantages, pairs, strict=True):
        end = len(student.token_ids)
        expected = own_logprobs(policy.model, teacher.prompt_ids, student.token_ids)
        expected = expected - own_logprobs(policy.model, student.prompt_ids, student.token_ids)
        assert torch.allclose(row[:end], expected, atol=1e-4) and row[:end].any()
        assert not row[end:].any()


def test_the_teacher_sees_no_answer_that_was_cut_off(learned, tmp_path):
    run = make_run(learned, tmp_path, algo="opsd", questions=8)
    problems = problems_of_step(run.problems, run.settings, 0)
    groups = answer_problems(run.policy, problems, run.settings, seed_of(0, "test"))
    sampled = sampled_trajectories(groups)
    assert with_a_right_sibling(sampled, groups, run.policy, run.settings, 0)[0]
    for group in groups:
        for answer in group.answers:
            answer.rollout.finish = "length"
    assert with_a_right_sibling(sampled, groups, run.policy, run.settings, 0) == ([], [])


def test_an_answer_is_not_taught_where_its_teachers_prompt_leaves_no_room(learned, tmp_path):
    run = make_run(learned, tmp_path, algo="opsd")
    problems = problems_of_step(run.problems, run.settings, 0)
    groups = answer_problems(run.policy, problems, run.settings, 0)
    sampled = sampled_trajectories(groups)
    students, teachers = with_a_right_sibling(sampled, groups, run.policy, run.settings, 0)
    lengths = [len(teacher.prompt_ids) + len(teacher.token_ids) for teacher in teachers]
    for context in (max(lengths), max(lengths) - 1):
        run.policy.model.config.max_position_embeddings = context
        taught, _ = with_a_right_sibling(sampled, groups, run.policy, run.settings, 0)
        pairs = zip(students, lengths, strict=True)
        assert taught == [student for student, length in pairs if length <= context]
    assert len(taught) < len(students)


def test_a_step_without_a_row_to_train_on_is_skipped(learned, tmp_path):
    """OPSD, when no answer of the step has a right sibling."""
    nothing = {"trained_rows": 0, "loss": None, "grad_norm": None}
    run = make_run(learned, tmp_path, algo="opsd")
    before = weights_of(run.policy.model)
    optimizer = adamw(run.policy.model.parameters(), 0.1)
    empty = ([], torch.zeros(0, 1))
    assert update_policy(run.policy, None, *empty, optimizer, run.settings, 0.1) == nothing

    for problem in run.problems:  # and a whole step in which nothing is right
        object.__setattr__(problem, "answer", "77")
    report = step_report(run, 0, optimizer)
    assert report.update == nothing and same(before, weights_of(run.policy.model))


def test_a_run_whose_constructions_are_assisted_can_learn_from_a_teacher(learned, tmp_path):
    """Its preset names a wording that the teacher's prompt does not have."""
    run = make_run(learned, tmp_path, algo="opsd", synthesis="assisted")
    (metrics,) = take_steps(run, 1)
    assert metrics["trained_rows"] > 0 and metrics["grad_norm"] > 0


# ---------------------------------------------------------------- the teacher's prompt


@pytest.mark.parametrize("synthesis", ["brief", "instruct"])
def test_the_teachers_request_holds_the_question_and_the_right_answer(synthesis):
    text = hinted_question("QUESTION {x}", "RIGHT \\boxed{1}\n{y}", synthesis)
    for part in ("QUESTION {x}", "RIGHT \\boxed{1}", "{y}"):
        assert part in text


def test_the_brief_request_marks_every_line_as_the_synthesis_prompt_does():
    hinted = hinted_question("Q?", "1+1=2\n#### 2", "brief")
    assert hinted == "Q?\nright:1+1=2\nright:#### 2\nAgain:"
    _, of_sibling = marked_difference("1+1=3\n#### 3", "1+1=2\n#### 2")
    assert of_sibling in hinted
