"""Log-probs and entropies by chunks of logits, against the full logits and against paper."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import full_logprobs, next_token_logprobs, small_model

from rollout import Trajectory
from support import logprobs
from support.logprobs import score
from tapo_loss import ots_weights, tapo_loss

CHUNKS = [1, 97 * 5, 2**24]  # one token of 97 logits, a few, all


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch():
    """Token ids of three rows, a mask with holes, and numbers to weigh two results with."""
    g = generator(2)
    ids = torch.randint(0, 97, (3, 9), generator=g)
    mask = (torch.rand(3, 9, generator=g) < 0.6).float()
    weight = torch.randn(3, 9, generator=g)
    entropy_weight = torch.randn(3, 9, generator=g)
    return ids, mask, weight, entropy_weight


def of_full_logits(hidden, head, ids, mask, temperature=1.0):
    """What next_token_logprobs returns, by autograd on all logits at once."""
    logp, entropy = full_logprobs(hidden @ head.T, ids, temperature)
    counts = mask.bool()
    return torch.where(counts, logp, 0.0), torch.where(counts, entropy, 0.0)


def leaves(ids):
    """A small model's hidden states and head, each to take a gradient."""
    model = small_model()
    hidden = model.hidden(ids).detach().requires_grad_()
    head = model.head.detach().clone().requires_grad_()
    return hidden, head


def assert_close(results, expected):
    for a, b in zip(results, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- which token a number belongs to


def test_logprobs_stand_at_their_own_tokens():
    """Trap 2: log-probs shifted by one against tokens or mask (TRL #3681, prime-rl PR #1525)."""
    probs = torch.tensor([[[0.1, 0.2, 0.7], [0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]]])
    ids = torch.tensor([[2, 1, 0]])
    logp, entropy = next_token_logprobs(probs.log(), torch.eye(3), ids, torch.ones(1, 3))
    # nothing predicts the first token
    assert logp.exp()[0].tolist() == pytest.approx([1.0, 0.2, 0.5])
    assert entropy[0, 2].item() == pytest.approx(1.5 * math.log(2))  # of (1/2, 1/4, 1/4)


def test_a_changed_token_changes_logprobs_from_itself_on_only():
    model = small_model()
    ids = torch.randint(0, 97, (1, 10), generator=generator(1))
    other = ids.clone()
    other[0, 6] = (ids[0, 6] + 1) % 97
    ones = torch.ones(1, 10)
    a, _ = next_token_logprobs(model.hidden(ids), model.head, ids, ones)
    b, _ = next_token_logprobs(model.hidden(other), model.head, other, ones)
    assert torch.equal(a[:, :6], b[:, :6])
    assert (a[:, 6:] != b[:, 6:]).all()


def test_prompt_tokens_get_no_gradient():
    """The logits that predict prompt tokens stay out of the loss; the one that predicts the first
    answer token, at the prompt's last position, and the one that predicts the stop id are in it."""
    logits = torch.randn(1, 6, 5, requires_grad=True, generator=generator(0))
    # prompt 1 2 3, answer 4 and stop id 0, one pad that is 0 as well
    ids = torch.tensor([[1, 2, 3, 4, 0, 0]])
    mask = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 0.0]])
    logp, _ = next_token_logprobs(logits, torch.eye(5), ids, mask)
    ones = torch.ones_like(logp)
    loss, _ = tapo_loss(
        logp, logp.detach(), torch.ones(1, 1), mask, ones, scales=torch.tensor([1.0])
    )
    loss.backward()
    assert logits.grad is not None
    touched = logits.grad.abs().sum(dim=-1)[0] > 0
    assert touched.tolist() == [False, False, True, True, False, False]


# ---------------------------------------------------------------- values and gradients


@pytest.mark.parametrize("temperature", [0.6, 1.0])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_give_the_value_and_the_gradient_of_the_full_logits(
    chunk, temperature, batch, monkeypatch
):
    """Trap 12: the full logits are the memory peak, and what avoids them must be exact."""
    monkeypatch.setattr(logprobs, "CHUNK", chunk)
    ids, mask, weight, _ = batch
    results = []
    for function in (of_full_logits, next_token_logprobs):
        hidden, head = leaves(ids)
        logp, entropy = function(hidden, head, ids, mask, temperature)
        (logp * weight).sum().backward()
        results.append((logp.detach(), entropy.detach(), hidden.grad, head.grad))
    assert logp[:, 0].eq(0).all()
    assert_close(*results)


@pytest.mark.parametrize("with_logp", [False, True], ids=["alone", "with the log-prob"])
@pytest.mark.parametrize("temperature", [0.6, 1.0])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_the_entropy_carries_the_gradient_that_autograd_finds(
    chunk, temperature, with_logp, batch, monkeypatch
):
    """What a fork's entropy bonus needs."""
    monkeypatch.setattr(logprobs, "CHUNK", chunk)
    ids, mask, weight, entropy_weight = batch
    gradients = []
    for function in (of_full_logits, next_token_logprobs):
        hidden, head = leaves(ids)
        logp, entropy = function(hidden, head, ids, mask, temperature)
        loss = (entropy * entropy_weight).sum()
        if with_logp:
            loss = loss + (logp * weight).sum()
        loss.backward()
        gradients.append((hidden.grad, head.grad))
    assert_close(*gradients)
    assert min(gradient.abs().max() for gradient in gradients[0]) > 0.1


def test_the_entropys_gradient_is_that_of_finite_differences():
    """In float64 and without autograd's help, of 3 states and 7 tokens."""
    hidden = torch.randn(3, 4, generator=generator(3), dtype=torch.float64)
    head = torch.randn(7, 4, generator=generator(4), dtype=torch.float64)
    weight = torch.tensor([1.0, -2.0, 0.5])

    def weighted_entropy(hidden, head):
        logp = (hidden @ head.T).log_softmax(dim=-1)  # (N, V)
        return (-(logp.exp() * logp).sum(dim=-1) * weight).sum()

    leaf_hidden = hidden.float().requires_grad_()
    leaf_head = head.float().requires_grad_()
    targets = torch.zeros(3, dtype=torch.long)
    _, entropy = logprobs.HeadLogprobs.apply(leaf_hidden, leaf_head, targets)
    (entropy * weight).sum().backward()
    step = 1e-5
    for leaf, place in ((leaf_hidden, (1, 2)), (leaf_hidden, (2, 0)), (leaf_head, (6, 3))):
        moved = torch.zeros_like(leaf, dtype=torch.float64)
        moved[place] = step
        if leaf is leaf_hidden:
            up = weighted_entropy(hidden + moved, head)
            down = weighted_entropy(hidden - moved, head)
        else:
            up = weighted_entropy(hidden, head + moved)
            down = weighted_entropy(hidden, head - moved)
        assert leaf.grad[place].item() == pytest.approx(((up - down) / (2 * step)).item(), abs=1e-5)


@pytest.mark.parametrize("looked_at", [False, True], ids=["unused", "detached"])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_an_entropy_that_nobody_trains_on_changes_nothing_and_costs_nothing(
    chunk, looked_at, batch, monkeypatch
):
    """The gradient is that of the log-probs alone, and the entropy's is not even worked out."""
    monkeypatch.setattr(logprobs, "CHUNK", chunk)
    ids, mask, weight, _ = batch
    asked = []  # the gradients at the entropies, one for each chunk
    logit_gradient = logprobs.logit_gradient

    def recorded(*arguments):
        asked.append(arguments[-1])
        return logit_gradient(*arguments)

    monkeypatch.setattr(logprobs, "logit_gradient", recorded)
    gradients = []
    for function in (of_full_logits, next_token_logprobs):
        hidden, head = leaves(ids)
        logp, entropy = function(hidden, head, ids, mask)
        per_token = ots_weights(logp, entropy) if looked_at else 1.0
        (logp * per_token * weight).sum().backward()
        gradients.append((hidden.grad, head.grad))
    assert_close(*gradients)
    assert asked and all(gradient is None for gradient in asked)


def test_nothing_in_the_mask_gives_zeros_and_no_gradient():
    hidden = torch.randn(2, 4, 3, requires_grad=True)
    head = torch.randn(5, 3, requires_grad=True)
    ids = torch.zeros(2, 4, dtype=torch.long)
    logp, entropy = next_token_logprobs(hidden, head, ids, torch.zeros(2, 4))
    (logp + entropy).sum().backward()
    for numbers in (logp, entropy, hidden.grad, head.grad):
        assert not numbers.any()


def test_entropy_its_weight_and_its_gradient_survive_impossible_tokens():
    logits = torch.tensor([[[0.0, -1e30, 0.0], [0.0, 0.0, 0.0]]], requires_grad=True)
    ids = torch.tensor([[0, 2]])
    logp, entropy = next_token_logprobs(logits, torch.eye(3), ids, torch.ones(1, 2))
    assert entropy[0, 1].item() == pytest.approx(math.log(2))
    assert ots_weights(logp, entropy)[0, 1].item() == pytest.approx(1.0)
    (gradient,) = torch.autograd.grad(entropy.sum(), logits)
    assert gradient.abs().max() < 1e-6  # two equal tokens have the most entropy there is


# ---------------------------------------------------------------- under autocast


def confident_batch(sharpness):
    """Hidden states that predict their targets, and a head; both as leaves."""
    g = generator(2)
    head = torch.randn(97, 32, generator=g).requires_grad_()
    ids = torch.randint(0, 97, (2, 30), generator=g)
    own = torch.cat((head[ids[:, 1:]], head[ids[:, :1]]), dim=1).detach() * sharpness / 32
    hidden = (own + 0.1 * torch.randn(own.shape, generator=g)).requires_grad_()
    return hidden, head, ids


def rounded_products(hidden, head):
    """The logits as bfloat16 products give them, without autocast."""
    products = hidden.bfloat16().float() @ head.bfloat16().float().T
    return products.bfloat16().float()


@pytest.mark.parametrize("sharpness", [1.0, 30.0])
def test_under_autocast_only_the_products_are_rounded(sharpness):
    """bfloat16 has 8 bits: 1 - p of a confident token would be 0 in it, and a logsumexp off by
    whole nats."""
    hidden, head, ids = confident_batch(sharpness)
    values = full_logprobs(rounded_products(hidden, head), ids)
    exact_logp, _ = full_logprobs(hidden @ head.T, ids)
    exact = torch.autograd.grad(exact_logp.sum(), (hidden, head))
    with torch.autocast("cpu", torch.bfloat16):
        logp, entropy = next_token_logprobs(hidden, head, ids, torch.ones(2, 30))
        usual_logp, _ = full_logprobs(F.linear(hidden, head), ids)
        usual = torch.autograd.grad(usual_logp.sum(), (hidden, head))
    logp.sum().backward()
    for ours, expected in zip((logp, entropy), values, strict=True):
        assert torch.allclose(ours, expected, atol=1e-4)
    for leaf, theirs, want in zip((hidden, head), usual, exact, strict=True):
        assert leaf.grad.dtype == torch.float32
        assert (leaf.grad - want).norm() < 1.3 * (theirs - want).norm()


@pytest.mark.parametrize("with_logp", [False, True], ids=["alone", "with the log-prob"])
@pytest.mark.parametrize("sharpness", [1.0, 3.0, 30.0])
def test_under_autocast_the_entropys_gradient_is_as_close_as_the_usual_one(sharpness, with_logp):
    hidden, head, ids = confident_batch(sharpness)

    def gradients(logp, entropy):
        loss = entropy.sum() + (logp.sum() if with_logp else 0.0)
        return torch.autograd.grad(loss, (hidden, head))

    exact = gradients(*full_logprobs(hidden @ head.T, ids))
    with torch.autocast("cpu", torch.bfloat16):
        ours = gradients(*next_token_logprobs(hidden, head, ids, torch.ones(2, 30)))
        usual = gradients(*full_logprobs(F.linear(hidden, head), ids))
    for a, theirs, want in zip(ours, usual, exact, strict=True):
        assert a.dtype == torch.float32
        assert (a - want).norm() < 1.3 * (theirs - want).norm()
        assert (a - want).norm() < 0.05 * want.norm()


# ---------------------------------------------------------------- whole rows


def test_rows_are_scored_in_their_own_order_whatever_the_budget():
    """Micro-batches take the longest first; the numbers must come back to their own rows."""
    model = small_model()
    rows = [
        Trajectory([5, 6], [7]),
        Trajectory([8], [9, 10, 11, 12, 13]),
        Trajectory([5, 6], [14, 15, 16]),
    ]
    for budget in (1, 9, 100):
        scored = score(model, rows, temperature=0.6, micro_tokens=budget)
        for row, values in zip(rows, scored, strict=True):
            ids = torch.tensor([row.prompt_ids + row.token_ids])
            with torch.no_grad():
                logp, _ = full_logprobs(model(ids), ids, 0.6)
            expected = logp[0, len(row.prompt_ids) :].tolist()
            assert values == pytest.approx(expected, abs=1e-5)
