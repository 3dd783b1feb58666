"""Advantages, weights and losses against numbers that can be checked on paper."""

import math

import pytest
import torch
from conftest import next_token_logprobs, small_model

from tapo_loss import (
    CORRECTION,
    NO_DIAGNOSIS,
    PREFIX,
    REST_OF_DIAGNOSIS,
    TURN,
    clipped_surrogate,
    comparisons,
    decoupled_advantages,
    k3_kl,
    loss_scales,
    ots_weights,
    tapo_loss,
    token_parts,
    token_weights,
)

# ---------------------------------------------------------------- phase 4: advantages


def group_advantages(rewards, questions, **settings):
    """Advantages where nothing is constructed."""
    constructed = torch.zeros(len(rewards), dtype=torch.bool)
    return decoupled_advantages(rewards, questions, constructed, **settings)


def test_advantages_are_normalised_within_each_group():
    """Trap 6: a batch-wide std (VLM-R1 #129). Groups interleaved, of different sizes."""
    rewards = torch.tensor([1.0, 5.0, 0.0, 7.0, 1.0, 6.0])
    questions = torch.tensor([3, 8, 3, 8, 3, 8])
    # the sample standard deviations are sqrt(1/3) and 1
    first = 1 / (math.sqrt(1 / 3) + 1e-4)
    second = 1 / (1 + 1e-4)
    expected = [first / 3, -second, -2 * first / 3, second, first / 3, 0.0]
    assert group_advantages(rewards, questions).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 1 / 3])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_group_of_equal_rewards_gets_exactly_zero(reward, size):
    """0.1 * 3 / 3 is not 0.1 in floating point, and eps would turn that dust into a gradient."""
    rewards = torch.tensor([reward] * size + [0.0, 1.0])
    questions = torch.tensor([5] * size + [6, 6])
    advantages = group_advantages(rewards, questions)
    assert (advantages[:size] == 0).all()
    assert advantages[size:].abs().min() > 0.5


def test_rewards_come_back_to_their_own_rows_after_a_shuffle():
    """Trap 6: groups misaligned after a sort or a filter (prime-rl #600)."""
    questions = torch.arange(4).repeat_interleave(3)  # (12,)
    rewards = 100.0 * questions + torch.tensor([0.0, 1.0, 2.0] * 4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = group_advantages(rewards[order], questions[order])
    in_order = group_advantages(rewards, questions)
    assert torch.allclose(shuffled, in_order[order])
    assert in_order.tolist() == pytest.approx([-1 / 1.0001, 0, 1 / 1.0001] * 4, abs=1e-5)


def test_without_scaling_advantages_are_differences_from_the_mean():
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    one_question = torch.zeros(4, dtype=torch.long)
    got = group_advantages(rewards, one_question, divide_by_std=False)
    assert got.tolist() == [0.75, -0.25, -0.25, -0.25]


def test_constructed_rewards_never_move_the_advantages_of_sampled_answers():
    """DAE: in one group, four right constructions would make the ordinary answers look bad."""
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    alone = group_advantages(rewards, torch.zeros(4, dtype=torch.long))
    questions = torch.zeros(8, dtype=torch.long)
    constructed = torch.arange(8) >= 4
    for of_constructed in ([1.0] * 4, [0.0] * 4, [1.0, 0.0, 1.0, 1.0]):
        both = torch.cat((rewards, torch.tensor(of_constructed)))
        for dae in ("own", "batch", "sampled"):
            advantages = decoupled_advantages(both, questions, constructed, dae)
            assert torch.equal(advantages[:4], alone), dae
        mixed = decoupled_advantages(both, questions, constructed, "off")
        assert not torch.equal(mixed[:4], alone)


@pytest.mark.parametrize(
    ("dae", "expected"),
    [  # (r - mean) / std of two questions' constructed answers, by hand: rewards 1, 1 and 1, 0
        # the first question's are all right: no gradient
        ("own", [0, 0, 0.5 / 0.5**0.5, -0.5 / 0.5**0.5]),
        # mean 3/4, std 1/2
        ("batch", [0.5, 0.5, 0.5, -1.5]),
        # means 1/4 and 3/4, std 1/2
        ("sampled", [0.75 / 0.5, 0.75 / 0.5, 0.25 / 0.5, -0.75 / 0.5]),
        # means 1/2 and 2/3, variances 3/10 and 4/15
        (
            "off",
            [0.5 / 0.3**0.5, 0.5 / 0.3**0.5, 1 / 3 / (4 / 15) ** 0.5, -2 / 3 / (4 / 15) ** 0.5],
        ),
    ],
)
def test_constructed_rewards_are_compared_with_what_the_setting_names(dae, expected):
    rewards = torch.tensor([1.0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0])
    questions = torch.tensor([0] * 4 + [1] * 4 + [0, 0, 1, 1])
    constructed = torch.arange(12) >= 8
    got = decoupled_advantages(rewards, questions, constructed, dae, eps=0)
    assert got[8:].tolist() == pytest.approx(expected, abs=1e-5)


def test_constructions_without_sampled_peers_have_no_advantage():
    questions = torch.tensor([0, 0])
    constructed = torch.tensor([True, True])
    rewards = torch.tensor([1.0, 0.0])
    assert decoupled_advantages(rewards, questions, constructed, "sampled").tolist() == [0, 0]


def test_an_unknown_comparison_is_refused():
    says = "expected own, batch, sampled or off, found 'none'"
    with pytest.raises(ValueError, match=says):
        comparisons(torch.tensor([0]), torch.tensor([False]), "none")


# ---------------------------------------------------------------- phase 5: token weights


def test_ots_weight_is_one_for_a_typical_token_and_clamped_without_gradient():
    logp = torch.tensor([-math.log(4), -10.0, 0.0], requires_grad=True)
    entropy = torch.tensor([math.log(4), 0.5, 5.0], requires_grad=True)
    weights = ots_weights(logp, entropy)
    assert weights.tolist() == pytest.approx([1.0, 0.01, 10.0])
    assert not weights.requires_grad


LETTERS = {PREFIX: "p", TURN: "t", REST_OF_DIAGNOSIS: "d", CORRECTION: "c", NO_DIAGNOSIS: "-"}


@pytest.mark.parametrize(
    ("prefix", "diagnosis", "expected"),
    [
        (2, 3, "pptddcc"),
        (2, 1, "pptcccc"),
        (2, 0, "pp-----"),
        (0, 3, "tddcccc"),
        (0, 0, "-------"),
        (7, 0, "ppppppp"),
        (4, 3, "pppptdd"),
    ],
)
def test_every_token_of_a_construction_belongs_to_the_part_it_is_in(prefix, diagnosis, expected):
    (parts,) = token_parts(torch.tensor([prefix]), torch.tensor([diagnosis]), longest=7).tolist()
    assert "".join(LETTERS[part] for part in parts) == expected


def test_the_parts_of_a_batch_are_those_of_each_row_alone():
    prefix = torch.tensor([2, 2, 0, 0, 7])
    diagnosis = torch.tensor([3, 0, 3, 0, 0])
    rows = [token_parts(prefix[i : i + 1], diagnosis[i : i + 1], 7) for i in range(5)]
    assert torch.equal(token_parts(prefix, diagnosis, 7), torch.cat(rows))


def test_ots_weighs_every_part_alike():
    """The parts are there for forks; the paper's rule does not look at them."""
    logp = torch.tensor([[-0.1, -2.0, -0.7, -4.0]])
    entropy = torch.tensor([[0.2, 1.0, 0.7, 0.1]])
    parts = torch.tensor([[PREFIX, TURN, REST_OF_DIAGNOSIS, CORRECTION]])
    weights = token_weights(logp, entropy, parts)
    assert torch.equal(weights, ots_weights(logp, entropy))
    assert torch.equal(weights, token_weights(logp, entropy, parts.flip(1)))


# ---------------------------------------------------------------- phase 6: the clipped surrogate


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
    """Trap 7: a clip chosen by the ratio alone is inverted for A < 0 (reasoning-from-scratch
    #243)."""
    logp = torch.tensor([[math.log(ratio)]], requires_grad=True)
    advantages = torch.tensor([[advantage]])
    loss, clipped = clipped_surrogate(logp, torch.zeros(1, 1), advantages, 0.2, 0.3)
    loss.sum().backward()
    assert logp.grad is not None
    assert loss.item() == pytest.approx(value)
    assert logp.grad.item() == pytest.approx(gradient)
    assert clipped.item() == (gradient == 0)


def test_the_ratio_is_of_tokens_and_not_of_sequences():
    """Trap 7: ratios 2 and 1/2 make a sequence ratio of 1, which would clip nothing."""
    logp = torch.log(torch.tensor([[2.0, 0.5]]))
    loss, clipped = clipped_surrogate(logp, torch.zeros(1, 2), torch.ones(1, 1), 0.2, 0.2)
    assert loss[0].tolist() == pytest.approx([-1.2, -0.5])
    assert clipped[0].tolist() == [True, False]


def test_an_advantage_a_token_weighs_each_token():
    """OPSD's: the gradient of the expected loss is that of the per-token KL to the teacher,
    enumerated here."""
    logits = torch.tensor([0.3, -0.2, 1.1, 0.0, -0.7], requires_grad=True)
    teacher = torch.tensor([0.5, 0.5, -0.4, 0.1, 0.0]).log_softmax(dim=0)
    logp = logits.log_softmax(dim=0)
    now = logp.detach()
    kl = (logp.exp() * (logp - teacher)).sum()
    (expected,) = torch.autograd.grad(kl, logits, retain_graph=True)
    loss, _ = clipped_surrogate(logp[None], now[None], (teacher - now)[None], 0.2, 0.2)
    mean_loss = (loss[0] * now.exp()).sum()  # over the policy's samples
    (got,) = torch.autograd.grad(mean_loss, logits)
    assert torch.allclose(got, expected, atol=1e-6)


# ---------------------------------------------------------------- phase 6: the KL


def test_k3_has_the_value_of_the_kl_and_the_gradient_of_the_reverse_one():
    """Trap 7: k1 as a loss has zero expected gradient (TRL #3032). Enumerated over 5 tokens."""
    logits = torch.tensor([0.3, -1.0, 0.8, 0.0, -0.4], requires_grad=True)
    start = torch.log_softmax(torch.tensor([1.0, 0.2, -0.5, 0.3, 0.0]), dim=0)
    logp = logits.log_softmax(dim=0)
    p = logp.exp().detach()
    kl = (p * (logp.detach() - start)).sum()
    expected_k3 = (p * k3_kl(logp, start)).sum()
    assert expected_k3.item() == pytest.approx(kl.item(), abs=1e-6)
    (gradient,) = torch.autograd.grad(expected_k3, logits, retain_graph=True)
    other_way = (start.exp() * (start - logp)).sum()
    (expected,) = torch.autograd.grad(other_way, logits, retain_graph=True)
    assert torch.allclose(gradient, expected, atol=1e-6)
    assert gradient.abs().max() > 0.01
    (k1,) = torch.autograd.grad((p * (logp - start)).sum(), logits)
    assert k1.abs().max() < 1e-6
    assert (k3_kl(torch.randn(100), torch.randn(100)) >= 0).all()


def test_the_kl_term_has_its_coefficient_and_k3s_value():
    logp = torch.full((1, 1), -1.0)
    start_logp = torch.full((1, 1), -2.0)
    ones = torch.ones(1, 1)
    loss, _ = tapo_loss(
        logp,
        logp,
        advantages=torch.zeros(1, 1),
        mask=ones,
        weights=ones,
        scales=torch.ones(1),
        kl_coef=0.5,
        start_logp=start_logp,
    )
    assert loss.item() == pytest.approx(0.5 * math.exp(-1))  # k3 = e^-1 + 1 - 1


# ---------------------------------------------------------------- phase 6: normalisation


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("grpo", [1 / (2 * 2), 1 / (6 * 2), 0.5 / 4]),
        ("dapo", [1 / 8, 1 / 8, 0.5 / 4]),
        ("dr_grpo", [1 / 20, 1 / 20, 0.5 / 10]),
    ],
)
def test_normalisers_are_of_the_whole_batch_and_of_sampled_and_constructed_apart(
    normalization, expected
):
    lengths = torch.tensor([2, 6, 4])
    constructed = torch.tensor([False, False, True])
    scales = loss_scales(lengths, constructed, normalization, lambda_=0.5, max_tokens=10)
    assert scales.tolist() == pytest.approx(expected)


def test_normalisers_of_a_batch_without_constructions_are_finite():
    scales = loss_scales(torch.tensor([3, 5]), torch.tensor([False, False]), "grpo", 1.0, 8)
    assert scales.tolist() == pytest.approx([1 / 6, 1 / 10])


def test_an_unknown_normalisation_is_refused():
    says = "expected grpo, dapo or dr_grpo, found 'mean'"
    with pytest.raises(ValueError, match=says):
        loss_scales(torch.tensor([3]), torch.tensor([False]), "mean", 1.0, 8)


def batch_loss(model, ids, mask, advantages, scales, constructed, cuts):
    """The loss and its gradient, summed over the micro-batches that the cuts name."""
    model.zero_grad()
    total = 0.0
    for rows in cuts:
        hidden = model.hidden(ids[rows])  # (B, T, C)
        logp, entropy = next_token_logprobs(hidden, model.head, ids[rows], mask[rows])
        weights = torch.where(constructed[rows, None], ots_weights(logp, entropy), 1.0)
        loss, _ = tapo_loss(
            logp, logp.detach(), advantages[rows, None], mask[rows], weights, scales[rows]
        )
        loss.backward()
        total += loss.item()
    return total, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("normalization", ["grpo", "dapo", "dr_grpo"])
def test_the_loss_does_not_depend_on_how_the_batch_is_cut(normalization):
    """Trap 5: a mean per micro-batch weighs short ones more (TRL #3021, nanochat #590)."""
    model = small_model(scale=4.0)
    ids = torch.randint(0, 97, (6, 12), generator=torch.Generator().manual_seed(3))
    lengths = torch.tensor([9, 2, 5, 1, 7, 4])
    places = torch.arange(12)
    mask = ((places >= 3) & (places < 3 + lengths[:, None])).float()
    constructed = torch.tensor([False, False, False, False, True, True])
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5, 1.0, -1.0])
    scales = loss_scales(lengths, constructed, normalization, 1.0, 12)
    arguments = (model, ids, mask, advantages, scales, constructed)
    whole_loss, whole_gradient = batch_loss(*arguments, [[0, 1, 2, 3, 4, 5]])
    for cuts in ([[0, 1, 2], [3, 4, 5]], [[i] for i in range(6)], [[5, 0], [3, 1], [4, 2]]):
        loss, gradient = batch_loss(*arguments, cuts)
        assert loss == pytest.approx(whole_loss, abs=1e-6)
        assert torch.allclose(gradient, whole_gradient, atol=1e-6)


def test_rows_without_answer_tokens_give_zero_and_not_nan():
    """Trap 5: an empty micro-batch divides by its own length (TRL #5619)."""
    logp = torch.zeros(2, 4, requires_grad=True)
    scales = loss_scales(torch.tensor([0, 0]), torch.tensor([False, True]), "grpo", 1.0, 4)
    ones = torch.ones(2, 4)
    nothing = torch.zeros(2, 4)
    loss, clipped = tapo_loss(logp, logp.detach(), torch.ones(2, 1), nothing, ones, scales)
    loss.backward()
    assert logp.grad is not None
    assert loss.item() == 0 and not clipped.any() and (logp.grad == 0).all()


def test_lambda_scales_the_constructed_loss_and_nothing_else():
    logp = torch.zeros(2, 3)
    ones = torch.ones(2, 3)
    advantages = torch.tensor([[1.0], [2.0]])
    for lambda_ in (0.0, 1.0, 2.5):
        scales = loss_scales(
            torch.tensor([3, 3]), torch.tensor([False, True]), "dapo", lambda_, max_tokens=3
        )
        loss, _ = tapo_loss(logp, logp, advantages, ones, ones, scales)
        assert loss.item() == pytest.approx(-1.0 - 2.0 * lambda_)


def test_an_outsider_to_peers_without_variance_gets_a_difference_and_no_blow_up():
    """A right construction beside sampled answers that are all wrong: 1 / eps would be 10,000."""
    rewards = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0])
    constructed = torch.tensor([False, False, False, True, True])
    questions = torch.zeros(5, dtype=torch.long)
    got = decoupled_advantages(rewards, questions, constructed, dae="sampled")
    assert got.tolist() == [0, 0, 0, 1, 0]
