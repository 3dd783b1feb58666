"""The update: gradients that are clipped, gradients that are not finite, and Muon."""

import math

import pytest
import torch
from small_runs import make_run, same, take_steps, weights_of
from torch import Tensor

from rollout import Trajectory
from support.optim import Muon, adamw, clipped_update, orthogonal
from train import update_policy


def give_gradients(model: torch.nn.Module, value: float) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, value)


# ---------------------------------------------------------------- one update


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_gradients_that_are_not_finite_are_skipped_and_said(model, value):
    optimizer = adamw(model.parameters(), 1e-3)
    before = weights_of(model)
    give_gradients(model, value)
    assert clipped_update(model, [optimizer], 1e-3, largest_norm=1.0) is None
    assert same(before, weights_of(model))
    assert all(p.grad is None for p in model.parameters())
    assert not optimizer.state  # nor do its moments ever hold them


def test_one_gradient_that_is_not_finite_is_enough(model):
    give_gradients(model, 0.1)
    model.model.norm.weight.grad[3] = math.nan
    before = weights_of(model)
    assert clipped_update(model, [adamw(model.parameters(), 1e-3)], 1e-3, 1.0) is None
    assert same(before, weights_of(model))


def test_an_update_whose_loss_is_not_finite_is_logged_as_skipped(learned, tmp_path):
    run = make_run(learned, tmp_path)
    before = weights_of(run.policy.model)
    optimizer = adamw(run.policy.model.parameters(), 1e-3)
    batch = [Trajectory([1, 2], [3, 4], logprobs=[0.0, 0.0]) for _ in range(2)]
    metrics = {}
    for name, advantage in (("broken", math.nan), ("whole", 1.0)):
        advantages = torch.tensor([[1.0], [advantage]])
        metrics[name] = update_policy(
            run.policy, None, batch, advantages, optimizer, run.settings, 1e-3
        )
        assert same(before, weights_of(run.policy.model)) is (name == "broken")
    assert metrics["broken"]["skipped"] is True and metrics["broken"]["grad_norm"] is None
    assert metrics["whole"]["skipped"] is False and metrics["whole"]["grad_norm"] > 0


def test_a_run_goes_on_after_a_step_whose_gradient_is_not_finite(learned, tmp_path):
    """Also where the norms of the two losses are measured, as they are for the tiny model."""
    run = make_run(learned, tmp_path, questions=8, split_gradients=True)
    before = weights_of(run.policy.model)
    norm = run.policy.model.model.norm.weight
    hook = norm.register_hook(lambda gradient: gradient + math.inf)
    (broken,) = take_steps(run, 1)
    assert broken["skipped"] is True
    for name in ("grad_norm", "grad_norm_sampled", "grad_norm_ref", "grad_cosine"):
        assert broken[name] is None
    assert same(before, weights_of(run.policy.model))
    hook.remove()
    (whole,) = take_steps(run, 1)
    assert whole["skipped"] is False and whole["grad_norm_ref"] > 0


def test_a_gradient_is_scaled_to_the_largest_norm_and_its_own_is_returned():
    line = torch.nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(line.parameters(), lr=123.0)
    for largest_norm, moved in ((1.0, 1.0), (100.0, 5.0)):
        before = line.weight.detach().clone()  # (1, 3)
        line.weight.grad = torch.tensor([[3.0, 0.0, 4.0]])
        assert clipped_update(line, [optimizer], 0.1, largest_norm) == pytest.approx(5.0)
        distance = (line.weight - before).norm().item()
        assert distance == pytest.approx(0.1 * moved, rel=1e-4)  # with this update's own rate
        assert line.weight.grad is None


def test_several_optimizers_share_one_norm():
    """The cold start has Muon for the matrices and AdamW for the rest."""
    layers = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, False))
    optimizers = [torch.optim.SGD(layer.parameters(), lr=9.0) for layer in layers]
    before = torch.cat([p.detach().clone() for p in layers.parameters()])
    for parameter, value in zip(layers.parameters(), (3.0, 4.0), strict=True):
        parameter.grad = torch.full_like(parameter, value)
    assert clipped_update(layers, optimizers, 1.0, largest_norm=1.0) == pytest.approx(5.0)
    moved = before - torch.cat([p.detach() for p in layers.parameters()])
    assert moved.flatten().tolist() == pytest.approx([0.6, 0.8], rel=1e-4)


def test_weights_without_a_gradient_do_not_decay(model):
    before = weights_of(model)
    optimizer = adamw(model.parameters(), 1e-2)
    give_gradients(model, 0.0)
    clipped_update(model, [optimizer], 1e-2, 1.0)
    assert same(before, weights_of(model))


# ---------------------------------------------------------------- Muon


def random_matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator)


@pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 48)])
def test_an_orthogonal_matrix_keeps_directions_and_loses_sizes(shape):
    x = random_matrix(*shape)
    y = orthogonal(x)
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    assert y.shape == x.shape
    sizes = torch.diagonal(u.T @ y @ v.T)  # along the singular directions of x
    assert sizes.min() > 0.2 and sizes.max() < 1.3
    assert torch.allclose(u @ torch.diag(sizes) @ v, y, atol=1e-3)
    assert torch.allclose(orthogonal(1000 * x), y, atol=1e-3)


def test_muon_takes_steps_of_one_size_along_an_average_of_gradients():
    weight = torch.nn.Parameter(torch.zeros(16, 48))
    optimizer = Muon([weight], lr=0.1, momentum=0.5)
    average = torch.zeros(16, 48)
    expected = torch.zeros(16, 48)
    for seed in (0, 1):
        gradient = random_matrix(16, 48, seed)
        weight.grad = gradient.clone()
        optimizer.step()
        average = 0.5 * average + 0.5 * gradient
        ahead = 0.5 * gradient + 0.5 * average  # Nesterov
        expected -= 0.1 * 0.2 * math.sqrt(48) * orthogonal(ahead)
        assert torch.allclose(weight, expected, atol=1e-5)
