"""The forks that the README describes, made through the very lines that it names."""

import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

import augment
import checker
import tapo_loss
import train
from checker import Grade
from data import load_problems
from rollout import Answer, Group, Policy, Rollout, Trajectory, answer_problems
from support.metrics import Means
from support.settings import Settings, parse_settings
from tasks import Problem

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = {
    "tapo_loss.py": tapo_loss,
    "train.py": train,
    "augment.py": augment,
    "checker.py": checker,
}


def forked(file: str) -> SimpleNamespace:
    """The module with the README's change to this file, in a namespace of its own."""
    section = README[README.index("## Where forks go") :]
    (change,) = re.findall(rf"`{re.escape(file)}`:\n\n```diff\n(.*?)```", section, re.DOTALL)
    source = (ROOT / file).read_text(encoding="utf-8")
    for place in change.split("\n\n"):
        lines = place.splitlines()
        old = "".join(line[1:] + "\n" for line in lines if line.startswith("-"))
        new = "".join(line[1:] + "\n" for line in lines if line.startswith("+"))
        assert source.count(old) == 1, f"the README's lines stand {source.count(old)} times: {old}"
        source = source.replace(old, new)
    module = ModuleType(MODULES[file].__name__)
    # dataclasses look their module up by its name, so the original stays in sys.modules
    exec(compile(source, file, "exec"), module.__dict__)
    return module  # type: ignore[return-value]


def test_another_token_weight_is_one_line():
    parts = tapo_loss.token_parts(torch.tensor([2]), torch.tensor([2]), 6)  # (1, 6)
    logp = torch.full((1, 6), -5.0)
    weights = forked("tapo_loss.py").token_weights(logp, torch.zeros(1, 6), parts)
    assert weights[0, 2] == 1.0 and (parts[0] == tapo_loss.TURN).tolist().index(True) == 2
    others = parts[0] != tapo_loss.TURN
    assert torch.equal(
        weights[0, others], tapo_loss.ots_weights(logp, torch.zeros(1, 6))[0, others]
    )


def test_the_worked_ablation_makes_the_change_of_the_readme():
    guide = (ROOT / "results/ablation/README.md").read_text(encoding="utf-8")
    (change,) = re.findall(r"```diff\n.*?```", guide, re.DOTALL)
    assert change in README


def gradient_of(module, policy: Policy, settings: Settings) -> torch.Tensor:
    """Of two answers with advantages, by add_gradients of this module."""
    batch = [Trajectory([1, 2], [3, 4, 1]), Trajectory([1, 2], [5, 1], origin="sampled")]
    for trajectory in batch:
        trajectory.logprobs = [0.0] * len(trajectory.token_ids)
    advantages = torch.tensor([[1.0], [-1.0]])
    scales = torch.tensor([0.5, 0.25])
    chosen = torch.tensor([True, True])
    micro = module.micro_batches_of(batch, advantages, scales, chosen, settings)
    policy.model.zero_grad()
    module.add_gradients(policy, None, micro, settings, Means())
    return torch.cat([p.grad.flatten() for p in policy.model.parameters()])


def test_an_entropy_bonus_has_the_gradient_of_the_full_logits(model):
    settings = Settings()
    policy = Policy(model, SimpleNamespace())
    plain = gradient_of(train, policy, settings)
    with_bonus = gradient_of(forked("train.py"), policy, settings)

    model.zero_grad()
    for answer, scale in (([3, 4, 1], 0.5), ([5, 1], 0.25)):
        logits = model(torch.tensor([[1, 2, *answer]]))[
            0, 1:-1
        ]  # (T, V) those that predict the answer
        logp = logits.log_softmax(dim=-1)
        entropy = -(logp.exp() * logp).sum(dim=-1)  # (T,)
        (-0.01 * scale * entropy.sum()).backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert expected.abs().max() > 1e-3
    assert torch.allclose(with_bonus - plain, expected, atol=1e-5)


def group_of(rights: list[bool]) -> Group:
    answers = []
    for i, right in enumerate(rights):
        rollout = Rollout([1], [1], [0.0], "stop")
        answers.append(Answer(rollout, f"answer {i}", Grade(right, float(right))))
    return Group(Problem("Q", "1", solution="1+0=1\n#### 1"), answers)


def test_the_gold_solution_can_be_the_teacher_where_no_answer_is_right():
    settings = Settings(n_pos=0)
    nothing_right = group_of([False] * 8)
    assert augment.select_candidates([nothing_right], settings, 0) == []  # no sibling, no pair
    pairs = forked("augment.py").select_candidates([nothing_right], settings, 0)
    assert [pair.sibling for pair in pairs] == ["1+0=1\n#### 1"] * settings.m_max
    nothing_right.problem = Problem("Q", "1")  # without a solution
    assert forked("augment.py").select_candidates([nothing_right], settings, 0) == []


def test_another_reward_moves_advantages_and_not_what_is_right(monkeypatch):
    problem = Problem("Q", "4")
    texts = ["#### 4", "2+2 is what we look for.\n#### 4", "#### 5"]
    before = [checker.grade(problem, text) for text in texts]
    monkeypatch.setattr(checker, "reward_of", forked("checker.py").reward_of)
    after = [checker.grade(problem, text) for text in texts]
    assert [g.right for g in after] == [g.right for g in before] == [True, True, False]
    assert before[0].reward == before[1].reward == 1.0
    assert after[0].reward > after[1].reward > after[2].reward

    def advantages(grades: list[Grade]) -> list[float]:
        batch = [Trajectory([1], [2], reward=grade.reward) for grade in grades]
        return train.advantages_of(batch, Settings())[:, 0].tolist()

    assert (
        advantages(before)[0] == advantages(before)[1]
        and advantages(after)[0] > advantages(after)[1]
    )


def test_a_family_with_a_verifier_is_one_file():
    train_problems, test_problems = (
        load_problems("prime_sums", split, 50) for split in ("train", "test")
    )
    assert not {p.question for p in train_problems} & {p.question for p in test_problems}
    problem = next(p for p in load_problems("prime_sums", "test", 500) if " 30 " in p.question)
    for text, right in {
        "11 is prime.\n#### 11+19": True,
        "#### 7+23": True,
        "So it is \\boxed{7 + 23}.": True,  # as a chat template asks for it
        "\\boxed{7+23} or \\boxed{11+17}": False,
        "#### 15+15": False,
        "#### 11+17": False,
        "30": False,
    }.items():
        assert checker.grade(problem, text).right is right, text


def test_the_new_family_is_trained_on_through_the_command(learned, tmp_path):
    flags = f"--stage rl --model {learned} --data prime_sums --out {tmp_path}/run --steps 1".split()
    flags += "--questions 2 --max-new-tokens 16 --eval-problems 2 --kl-rows 0".split()
    run, _ = train.open_run(parse_settings(flags))
    groups = answer_problems(run.policy, run.problems[:2], run.settings, 0)
    assert all(answer.grade.right is False for group in groups for answer in group.answers)
    report = train.train_step(
        run.policy,
        None,
        run.problems[:2],
        torch.optim.SGD(run.policy.model.parameters()),
        run.settings,
        0,
    )
    assert [group.problem for group in report.groups] == run.problems[:2]
