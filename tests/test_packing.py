"""Answers packed behind their prompts, against each of them alone in one plain pass."""

import pytest
import torch
from conftest import full_logprobs, small_model

from support.packing import ATTENDED, Trajectory, micro_batches, pack
from tapo_loss import token_logprobs

ROWS = [  # two prompts that several answers share, one of a single token, one that begins like another
    Trajectory([5, 6, 7, 8], [9, 3, 11]),
    Trajectory([4], [12, 13, 14, 15, 16, 17]),
    Trajectory([5, 6, 7, 8], [20, 21, 22, 23, 24, 25, 0]),
    Trajectory([5, 6], [7, 8, 9]),
    Trajectory([4], [0]),
    Trajectory([5, 6, 7, 8], [9, 3, 11]),
]


def alone(model, row, temperature=1.0):
    """Log-probs and entropies of one answer by the plain forward pass over prompt and answer."""
    ids = torch.tensor([row.prompt_ids + row.token_ids])
    return [x[0, len(row.prompt_ids) :] for x in full_logprobs(model(ids), ids, temperature)]


@pytest.mark.parametrize("temperature", [0.6, 1.0])
@pytest.mark.parametrize(("family", "checkpointing"), [("llama", False), ("qwen2", False), ("qwen3", True)])
def test_packed_answers_have_the_logprobs_and_gradients_of_each_alone(family, checkpointing, temperature):
    """Trap 3: position, padding or batch-mates change the log-probs (TRL #2708)."""
    weights = [torch.linspace(-1, 1, len(row.token_ids)) for row in ROWS]
    results, gradients = [], []
    for together in (False, True):
        model = small_model(family, scale=4.0)
        model.checkpointing = checkpointing
        if together:
            packed = pack(ROWS, model.device)
            logp, entropy = model.logprobs(packed, temperature)
            assert (logp * (1 - packed.mask) == 0).all() and (entropy * (1 - packed.mask) == 0).all()
            values = [[x[i, : len(row.token_ids)] for x in (logp, entropy)] for i, row in enumerate(ROWS)]
        else:
            values = [alone(model, row, temperature) for row in ROWS]
        sum((logp * weight).sum() for (logp, _), weight in zip(values, weights, strict=True)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        results.append(torch.cat([x.detach() for pair in values for x in pair]))
    assert torch.allclose(*results, atol=1e-5)
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-5) and gradients[0].abs().max() > 0.1


def test_each_prompt_goes_through_the_model_once_and_nothing_is_padded():
    packed = pack(ROWS, torch.device("cpu"))
    assert packed.ids.tolist() == [[5, 6, 7, 8, 4, 5, 6, *(token for row in ROWS for token in row.token_ids)]]
    assert packed.ids.shape[1] == 7 + sum(len(row.token_ids) for row in ROWS) == len(packed.unpadded)


def test_the_mask_covers_the_stop_id_though_it_equals_the_padding():
    """Trap 1: pad == EOS masked the EOS, and stopping was never trained (TRL PR #4970)."""
    packed = pack([Trajectory([1, 2], [7, 0]), Trajectory([1], [5, 6, 7, 0])], torch.device("cpu"))
    assert packed.mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert packed.targets[0, :2].tolist() == [7, 0] and packed.targets[1].tolist() == [5, 6, 7, 0]


def test_gradient_reaches_the_logit_of_the_stop_id_and_nothing_behind_it(model):
    packed = pack([Trajectory([1, 2], [7, 0]), Trajectory([1], [5, 6, 7, 0])], model.device)
    logits = model.logits(model.trunk(packed.ids, packed.positions, packed=packed))[0].detach().requires_grad_()
    logp, _ = token_logprobs(logits, torch.eye(97), packed.before, packed.targets, packed.mask)
    logp.sum().backward()
    reached = logits.grad.abs().sum(dim=-1) > 0  # the prompts 1 2 and 1, the answers 7 0 and 5 6 7 0
    assert reached.tolist() == [False, True, True, True, False, True, True, True, False]
    assert logits.grad[3, 0] > 0 and logits.grad[7, 0] > 0  # where the stop id is predicted


def test_an_answer_sees_no_sibling():
    """In one row with it, a sibling must change nothing, whatever it says."""
    model, one = small_model(), Trajectory([5, 6, 7], [8, 9, 10])
    results = []
    for sibling in ([1], [90, 91, 92, 93, 94]):
        packed = pack([Trajectory([5, 6, 7], sibling), one, Trajectory([5, 6, 7], sibling)], model.device)
        results.append(model.logprobs(packed)[0][1, :3])
    assert torch.allclose(*results, atol=1e-6)


def test_under_autocast_the_same_answers_are_scored():
    """On a GPU the row is computed in bfloat16, and the mask must be of that type."""
    model, packed = small_model(scale=4.0), pack(ROWS, torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        logp, _ = model.logprobs(packed)
    assert torch.allclose(logp, model.logprobs(packed)[0], atol=0.2) and logp.dtype == torch.float32


@pytest.mark.parametrize("rows", [[], [Trajectory([], [1])], [Trajectory([1], []), Trajectory([1], [2])]])
def test_a_row_without_a_prompt_or_an_answer_is_refused(rows):
    with pytest.raises(ValueError, match="at least one token"):
        pack(rows, torch.device("cpu"))


def test_micro_batches_hold_every_row_once_within_the_budget():
    rows = [Trajectory([1] * (i % 7 + 1), [2] * (i % 5 + 1)) for i in range(23)]
    batches = micro_batches(rows, 20)
    assert sorted(i for batch in batches for i in batch) == list(range(23))
    sizes = [pack([rows[i] for i in batch], torch.device("cpu")).ids.shape[1] for batch in batches]
    assert max(sizes) <= 20 and sum(sizes) > 12 * len(batches)
    assert micro_batches([Trajectory([1] * 50, [2])], 20) == [[0]]  # one long row still goes


@pytest.mark.parametrize(
    "rows",
    [
        [Trajectory([1] * 90, [i + 1]) for i in range(40)],  # a long prompt with short answers
        [Trajectory([1] * (80 if i == 7 else 2) + [i], [2]) for i in range(40)],  # or among short ones
        [Trajectory([1], [i + 1] * (90 if i == 7 else 1)) for i in range(40)],  # a long answer among short ones
    ],
)
def test_what_attention_works_on_stays_near_the_budget(rows):
    for batch in micro_batches(rows, 100):
        packed = pack([rows[i] for i in batch], torch.device("cpu"))
        assert packed.prompts.numel() + packed.context.numel() <= ATTENDED * 100


def test_micro_batches_keep_answers_to_one_prompt_together():
    rows = [Trajectory([i % 3] * 10, [2] * (i + 1)) for i in range(9)]  # 10 for a prompt, and answers of 1 to 9
    batches = micro_batches(rows, 40)
    assert [{i % 3 for i in batch} for batch in batches] == [{2}, {1}, {0}]
    assert [i for batch in batches for i in batch] == [8, 5, 2, 7, 4, 1, 6, 3, 0]  # the longest first
