"""Advantages, weights and losses against numbers that can be checked on paper."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import full_logprobs, next_token_logprobs, small_model

import tapo_loss as loss_module
from tapo_loss import decoupled_groups, decoupled_surrogate, group_advantages, k3_kl, ots_weights, row_scales, tapo_loss


def test_logprobs_stand_at_their_own_tokens():
    """Trap 2: log-probs shifted by one against tokens or mask (TRL #3681, prime-rl PR #1525)."""
    logits = torch.log(torch.tensor([[[0.1, 0.2, 0.7], [0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]]]))
    logp, entropy = next_token_logprobs(logits, torch.eye(3), torch.tensor([[2, 1, 0]]), torch.ones(1, 3))
    assert logp.exp()[0].tolist() == pytest.approx([1.0, 0.2, 0.5])  # nothing predicts the first token
    assert entropy[0, 2].item() == pytest.approx(1.5 * math.log(2))  # of (1/2, 1/4, 1/4)


@pytest.mark.parametrize("temperature", [0.6, 1.0])
@pytest.mark.parametrize("chunk", [1, 97 * 5, 2**24])
def test_chunks_give_the_value_and_the_gradient_of_the_full_logits(chunk, temperature, monkeypatch):
    """Trap 12: the full logits are the memory peak, and what avoids them must be exact."""
    monkeypatch.setattr(loss_module, "CHUNK", chunk)
    model, g = small_model(), torch.Generator().manual_seed(2)
    ids = torch.randint(0, 97, (3, 9), generator=g)
    mask = (torch.rand(3, 9, generator=g) < 0.6).float()
    weight = torch.randn(3, 9, generator=g)
    results = []
    for full in (True, False):
        hidden = model.hidden(ids).detach().requires_grad_()
        head = model.head.detach().clone().requires_grad_()
        if full:
            logp, entropy = full_logprobs(hidden @ head.T, ids, temperature)
            logp, entropy = (torch.where(mask.bool(), x, 0.0) for x in (logp, entropy))
        else:
            logp, entropy = next_token_logprobs(hidden, head, ids, mask, temperature)
        (logp * weight).sum().backward()
        results.append((logp.detach(), entropy, hidden.grad, head.grad))
    assert not entropy.requires_grad and logp[:, 0].eq(0).all()
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sharpness", [1.0, 30.0])
def test_under_autocast_only_the_products_are_rounded(sharpness):
    """bfloat16 has 8 bits: 1 - p of a confident token would be 0 in it, and a logsumexp off by whole nats."""
    g = torch.Generator().manual_seed(2)
    head = torch.randn(97, 32, generator=g).requires_grad_()
    ids, ones = torch.randint(0, 97, (2, 30), generator=g), torch.ones(2, 30)
    hidden = torch.cat((head[ids[:, 1:]], head[ids[:, :1]]), dim=1).detach() * sharpness / 32  # predicts its target
    hidden = (hidden + 0.1 * torch.randn(hidden.shape, generator=g)).requires_grad_()
    full = full_logprobs((hidden.bfloat16().float() @ head.bfloat16().float().T).bfloat16().float(), ids)
    exact = torch.autograd.grad(full_logprobs(hidden @ head.T, ids)[0].sum(), (hidden, head))
    with torch.autocast("cpu", torch.bfloat16):
        logp, entropy = next_token_logprobs(hidden, head, ids, ones)
        usual = torch.autograd.grad(full_logprobs(F.linear(hidden, head), ids)[0].sum(), (hidden, head))
    logp.sum().backward()
    assert torch.allclose(logp, full[0], atol=1e-4) and torch.allclose(entropy, full[1], atol=1e-4)
    for ours, theirs, want in zip((hidden.grad, head.grad), usual, exact, strict=True):
        assert ours.dtype == torch.float32 and (ours - want).norm() < 1.3 * (theirs - want).norm()


def test_nothing_in_the_mask_gives_zeros_and_no_gradient():
    hidden, head = torch.randn(2, 4, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    logp, entropy = next_token_logprobs(hidden, head, torch.zeros(2, 4, dtype=torch.long), torch.zeros(2, 4))
    logp.sum().backward()
    assert not (logp.any() or entropy.any() or hidden.grad.any() or head.grad.any())


def test_a_changed_token_changes_logprobs_from_itself_on_only():
    model = small_model()
    ids = torch.randint(0, 97, (1, 10), generator=torch.Generator().manual_seed(1))
    other = ids.clone()
    other[0, 6] = (ids[0, 6] + 1) % 97
    a, b = (next_token_logprobs(model.hidden(x), model.head, x, torch.ones(1, 10))[0] for x in (ids, other))
    assert torch.equal(a[:, :6], b[:, :6])
    assert (a[:, 6:] != b[:, 6:]).all()


def test_prompt_tokens_get_no_gradient():
    """The logits that predict prompt tokens stay out of the loss; the one that predicts the first answer
    token, at the prompt's last position, and the one that predicts the stop id are in it."""
    logits = torch.randn(1, 6, 5, requires_grad=True, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 2, 3, 4, 0, 0]])  # prompt 1 2 3, answer 4 and stop id 0, one pad that is 0 as well
    mask = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 0.0]])
    logp, _ = next_token_logprobs(logits, torch.eye(5), ids, mask)
    ones = torch.ones_like(logp)
    tapo_loss(logp, logp.detach(), torch.ones(1, 1), mask, ones, torch.tensor([1.0]))[0].backward()
    assert logits.grad is not None
    touched = logits.grad.abs().sum(dim=-1)[0] > 0
    assert touched.tolist() == [False, False, True, True, False, False]


def test_entropy_and_its_weight_survive_impossible_tokens():
    logits = torch.tensor([[[0.0, -1e30, 0.0], [0.0, 0.0, 0.0]]])
    logp, entropy = next_token_logprobs(logits, torch.eye(3), torch.tensor([[0, 2]]), torch.ones(1, 2))
    assert entropy[0, 1].item() == pytest.approx(math.log(2))
    assert ots_weights(logp, entropy)[0, 1].item() == pytest.approx(1.0)


def test_advantages_are_normalised_within_each_group():
    """Trap 6: a batch-wide std (VLM-R1 #129). Groups interleaved, of different sizes."""
    rewards = torch.tensor([1.0, 5.0, 0.0, 7.0, 1.0, 6.0])
    groups = torch.tensor([3, 8, 3, 8, 3, 8])
    first, second = 1 / (math.sqrt(1 / 3) + 1e-4), 1 / (1 + 1e-4)  # sample stds: sqrt(1/3) and 1
    expected = [first / 3, -second, -2 * first / 3, second, first / 3, 0.0]
    assert group_advantages(rewards, groups).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 1 / 3])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_group_of_equal_rewards_gets_exactly_zero(reward, size):
    """0.1 * 3 / 3 is not 0.1 in floating point, and eps would turn that dust into a gradient."""
    rewards = torch.tensor([reward] * size + [0.0, 1.0])
    groups = torch.tensor([5] * size + [6, 6])
    advantages = group_advantages(rewards, groups)
    assert (advantages[:size] == 0).all()
    assert advantages[size:].abs().min() > 0.5


def test_rewards_come_back_to_their_own_rows_after_a_shuffle():
    """Trap 6: groups misaligned after a sort or a filter (prime-rl #600)."""
    rewards = torch.tensor([100.0 * q + s for q in range(4) for s in range(3)])
    groups = torch.tensor([q for q in range(4) for _ in range(3)])
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = group_advantages(rewards[order], groups[order])
    assert torch.allclose(shuffled, group_advantages(rewards, groups)[order])
    assert group_advantages(rewards, groups).tolist() == pytest.approx([-1 / 1.0001, 0, 1 / 1.0001] * 4, abs=1e-5)


def test_without_scaling_advantages_are_differences_from_the_mean():
    got = group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.zeros(4, dtype=torch.long), scale=False)
    assert got.tolist() == [0.75, -0.25, -0.25, -0.25]


def test_constructed_rewards_never_move_the_advantages_of_sampled_answers():
    """DAE: in one group, four right constructions would make the ordinary answers look bad."""
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    alone = group_advantages(rewards, torch.zeros(4, dtype=torch.long))
    for ref in ([1.0] * 4, [0.0] * 4, [1.0, 0.0, 1.0, 1.0]):
        both, groups = torch.cat((rewards, torch.tensor(ref))), torch.zeros(8, dtype=torch.long)
        constructed = torch.arange(8) >= 4
        for dae in ("own", "batch", "sampled"):
            assert torch.equal(group_advantages(both, *decoupled_groups(groups, constructed, dae))[:4], alone), dae
        assert not torch.equal(group_advantages(both, *decoupled_groups(groups, constructed, "off"))[:4], alone)


@pytest.mark.parametrize(
    ("dae", "expected"),
    [  # (r - mean) / std of two questions' constructed answers, by hand: rewards 1, 1 and 1, 0
        ("own", [0, 0, 0.5 / 0.5**0.5, -0.5 / 0.5**0.5]),  # the first question's are all right: no gradient
        ("batch", [0.5, 0.5, 0.5, -1.5]),  # mean 3/4, std 1/2
        ("sampled", [0.75 / 0.5, 0.75 / 0.5, 0.25 / 0.5, -0.75 / 0.5]),  # means 1/4 and 3/4, std 1/2
        ("off", [0.5 / 0.3**0.5, 0.5 / 0.3**0.5, 1 / 3 / (4 / 15) ** 0.5, -2 / 3 / (4 / 15) ** 0.5]),
    ],
)
def test_constructed_rewards_are_compared_with_what_the_setting_names(dae, expected):
    rewards = torch.tensor([1.0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0])
    groups = torch.tensor([0] * 4 + [1] * 4 + [0, 0, 1, 1])
    constructed = torch.arange(12) >= 8
    got = group_advantages(rewards, *decoupled_groups(groups, constructed, dae), eps=0)
    assert got[8:].tolist() == pytest.approx(expected, abs=1e-5)


def test_an_unknown_comparison_is_refused():
    with pytest.raises(ValueError, match="expected own, batch, sampled or off, found 'none'"):
        decoupled_groups(torch.tensor([0]), torch.tensor([False]), "none")


def test_an_advantage_a_token_weighs_each_token():
    """OPSD's: the gradient of the expected loss is that of the per-token KL to the teacher, enumerated here."""
    logits = torch.tensor([0.3, -0.2, 1.1, 0.0, -0.7], requires_grad=True)
    teacher = torch.tensor([0.5, 0.5, -0.4, 0.1, 0.0]).log_softmax(dim=0)
    logp = logits.log_softmax(dim=0)
    kl = (logp.exp() * (logp - teacher)).sum()
    (expected,) = torch.autograd.grad(kl, logits, retain_graph=True)
    loss, _ = decoupled_surrogate(logp[None], logp.detach()[None], (teacher - logp.detach())[None], 0.2, 0.2)
    (got,) = torch.autograd.grad((loss[0] * logp.detach().exp()).sum(), logits)  # the mean over the policy's samples
    assert torch.allclose(got, expected, atol=1e-6)


def test_ots_weight_is_one_for_a_typical_token_and_clamped_without_gradient():
    logp = torch.tensor([-math.log(4), -10.0, 0.0], requires_grad=True)
    entropy = torch.tensor([math.log(4), 0.5, 5.0])
    weight = ots_weights(logp, entropy)
    assert weight.tolist() == pytest.approx([1.0, 0.01, 10.0])
    assert not weight.requires_grad


@pytest.mark.parametrize(
    ("advantage", "ratio", "value", "gradient"),
    [  # loss value and d loss / d log p, by hand, with clips 0.2 and 0.3
        (2.0, 0.5, -1.0, -1.0),  # below, A > 0: min(1.0, 1.6), the ratio still counts
        (2.0, 1.0, -2.0, -2.0),
        (2.0, 1.5, -2.6, 0.0),  # above, A > 0: clipped at 1.3
        (-2.0, 0.5, 1.6, 0.0),  # below, A < 0: clipped at 0.8
        (-2.0, 1.0, 2.0, 2.0),
        (-2.0, 1.5, 3.0, 3.0),  # above, A < 0: pessimistic, not clipped
    ],
)
def test_clip_is_pessimistic_for_either_sign_of_the_advantage(advantage, ratio, value, gradient):
    """Trap 7: a clip chosen by the ratio alone is inverted for A < 0 (reasoning-from-scratch #243)."""
    logp = torch.tensor([[math.log(ratio)]], requires_grad=True)
    loss, clipped = decoupled_surrogate(logp, torch.zeros(1, 1), torch.tensor([[advantage]]), 0.2, 0.3)
    loss.sum().backward()
    assert logp.grad is not None
    assert loss.item() == pytest.approx(value)
    assert logp.grad.item() == pytest.approx(gradient)
    assert clipped.item() == (gradient == 0)


def test_the_ratio_is_of_tokens_and_not_of_sequences():
    """Trap 7: ratios 2 and 1/2 make a sequence ratio of 1, which would clip nothing."""
    logp = torch.log(torch.tensor([[2.0, 0.5]]))
    loss, clipped = decoupled_surrogate(logp, torch.zeros(1, 2), torch.ones(1, 1), 0.2, 0.2)
    assert loss[0].tolist() == pytest.approx([-1.2, -0.5])
    assert clipped[0].tolist() == [True, False]


def test_k3_has_the_value_of_the_kl_and_the_gradient_of_the_reverse_one():
    """Trap 7: k1 as a loss has zero expected gradient (TRL #3032). Enumerated over 5 tokens."""
    logits = torch.tensor([0.3, -1.0, 0.8, 0.0, -0.4], requires_grad=True)
    reference = torch.log_softmax(torch.tensor([1.0, 0.2, -0.5, 0.3, 0.0]), dim=0)
    logp = logits.log_softmax(dim=0)
    p = logp.exp().detach()
    kl = (p * (logp.detach() - reference)).sum()
    assert (p * k3_kl(logp, reference)).sum().item() == pytest.approx(kl.item(), abs=1e-6)
    (gradient,) = torch.autograd.grad((p * k3_kl(logp, reference)).sum(), logits, retain_graph=True)
    other_way = (reference.exp() * (reference - logp)).sum()
    (expected,) = torch.autograd.grad(other_way, logits, retain_graph=True)
    assert torch.allclose(gradient, expected, atol=1e-6)
    assert gradient.abs().max() > 0.01
    (k1,) = torch.autograd.grad((p * (logp - reference)).sum(), logits)
    assert k1.abs().max() < 1e-6
    assert (k3_kl(torch.randn(100), torch.randn(100)) >= 0).all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("grpo", [1 / (2 * 2), 1 / (6 * 2), 0.5 / 4]),
        ("dapo", [1 / 8, 1 / 8, 0.5 / 4]),
        ("dr_grpo", [1 / 20, 1 / 20, 0.5 / 10]),
    ],
)
def test_normalisers_are_of_the_whole_batch_and_of_each_kind(kind, expected):
    lengths, constructed = torch.tensor([2, 6, 4]), torch.tensor([False, False, True])
    scales = row_scales(lengths, constructed, kind, ref_coef=0.5, max_tokens=10)
    assert scales.tolist() == pytest.approx(expected)


def test_normalisers_of_a_batch_without_constructions_are_finite():
    scales = row_scales(torch.tensor([3, 5]), torch.tensor([False, False]), "grpo", 1.0, 8)
    assert scales.tolist() == pytest.approx([1 / 6, 1 / 10])


def batch_loss(model, ids, mask, advantage, scale, constructed, cuts, kind="grpo"):
    model.zero_grad()
    total = 0.0
    for rows in cuts:
        rows = torch.tensor(rows, dtype=torch.long)
        logp, entropy = next_token_logprobs(model.hidden(ids[rows]), model.head, ids[rows], mask[rows])
        weight = torch.where(constructed[rows][:, None], ots_weights(logp, entropy), 1.0)
        loss, _ = tapo_loss(logp, logp.detach(), advantage[rows, None], mask[rows], weight, scale[rows])
        loss.backward()
        total += loss.item()
    return total, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo"])
def test_the_loss_does_not_depend_on_how_the_batch_is_cut(kind):
    """Trap 5: a mean per micro-batch weighs short ones more (TRL #3021, nanochat #590)."""
    model, g = small_model(scale=4.0), torch.Generator().manual_seed(3)
    ids = torch.randint(0, 97, (6, 12), generator=g)
    lengths = torch.tensor([9, 2, 5, 1, 7, 4])
    mask = ((torch.arange(12) >= 3) & (torch.arange(12) < 3 + lengths[:, None])).float()
    constructed = torch.tensor([False, False, False, False, True, True])
    advantage = torch.tensor([1.0, -1.0, 0.5, -0.5, 1.0, -1.0])
    scale = row_scales(lengths, constructed, kind, 1.0, 12)
    arguments = (model, ids, mask, advantage, scale, constructed)
    whole = batch_loss(*arguments, [[0, 1, 2, 3, 4, 5]])
    for cuts in ([[0, 1, 2], [3, 4, 5]], [[i] for i in range(6)], [[5, 0], [3, 1], [4, 2]]):
        loss, gradient = batch_loss(*arguments, cuts)
        assert loss == pytest.approx(whole[0], abs=1e-6)
        assert torch.allclose(gradient, whole[1], atol=1e-6)


def test_rows_without_answer_tokens_give_zero_and_not_nan():
    """Trap 5: an empty micro-batch divides by its own length (TRL #5619)."""
    logp = torch.zeros(2, 4, requires_grad=True)
    scale = row_scales(torch.tensor([0, 0]), torch.tensor([False, True]), "grpo", 1.0, 4)
    ones = torch.ones(2, 4)
    loss, clipped = tapo_loss(logp, logp.detach(), torch.ones(2, 1), torch.zeros(2, 4), ones, scale)
    loss.backward()
    assert logp.grad is not None
    assert loss.item() == 0 and not clipped.any() and (logp.grad == 0).all()


def test_the_kl_term_has_its_coefficient_and_k3s_value():
    logp, ref, ones = torch.full((1, 1), -1.0), torch.full((1, 1), -2.0), torch.ones(1, 1)
    loss, _ = tapo_loss(logp, logp, torch.zeros(1, 1), ones, ones, torch.ones(1), kl_coef=0.5, ref_logp=ref)
    assert loss.item() == pytest.approx(0.5 * math.exp(-1))  # k3 = e^-1 + 1 - 1


def test_lambda_scales_the_constructed_loss_and_nothing_else():
    logp, ones = torch.zeros(2, 3), torch.ones(2, 3)
    for lam in (0.0, 1.0, 2.5):
        scale = row_scales(torch.tensor([3, 3]), torch.tensor([False, True]), "dapo", lam, 3)
        loss, _ = tapo_loss(logp, logp, torch.tensor([[1.0], [2.0]]), ones, ones, scale)
        assert loss.item() == pytest.approx(-1.0 - 2.0 * lam)
