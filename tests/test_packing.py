"""Answers packed after their prompts, against each of them alone in one plain pass."""

import pytest
import torch
import torch.nn.functional as F
from conftest import full_logprobs, small_model

from rollout import Trajectory
from support.blocks import checkpoint_blocks
from support.logprobs import packed_logprobs, token_logprobs
from support.packing import ATTENDED, micro_batches, pack

CPU = torch.device("cpu")
# Two prompts that several answers share, one of them of a single token, and a third that begins
# like another.
ROWS = [
    Trajectory([5, 6, 7, 8], [9, 3, 11]),
    Trajectory([4], [12, 13, 14, 15, 16, 17]),
    Trajectory([5, 6, 7, 8], [20, 21, 22, 23, 24, 25, 0]),
    Trajectory([5, 6], [7, 8, 9]),
    Trajectory([4], [0]),
    Trajectory([5, 6, 7, 8], [9, 3, 11]),
]
# The example that is drawn in support/packing.py: a b -> p q, a b -> r, c -> s t u
EXAMPLE = [Trajectory([1, 2], [4, 5]), Trajectory([1, 2], [6]), Trajectory([3], [7, 8, 9])]
STOPPED = [Trajectory([1, 2], [7, 0]), Trajectory([1], [5, 6, 7, 0])]  # both end in the stop id 0


def alone(model, row, temperature=1.0):
    """Log-probs and entropies of one answer by the plain forward pass over prompt and answer."""
    ids = torch.tensor([row.prompt_ids + row.token_ids])
    logp, entropy = full_logprobs(model(ids), ids, temperature)
    start = len(row.prompt_ids)
    return logp[0, start:], entropy[0, start:]


def together(model, rows, temperature=1.0):
    """The same of all rows in one packed row, taken apart."""
    packed = pack(rows, model.device)
    logp, entropy = packed_logprobs(model, packed, temperature)
    outside = 1 - packed.mask
    assert (logp * outside == 0).all() and (entropy * outside == 0).all()
    lengths = [len(row.token_ids) for row in rows]
    return [(logp[i, :length], entropy[i, :length]) for i, length in enumerate(lengths)]


# ---------------------------------------------------------------- what the model says of it


@pytest.mark.parametrize("temperature", [0.6, 1.0])
@pytest.mark.parametrize(
    ("family", "checkpointing"),
    [("llama", False), ("qwen2", False), ("qwen3", True), ("gemma", False)],
)
def test_packed_answers_have_the_logprobs_and_gradients_of_each_alone(
    family, checkpointing, temperature
):
    """Trap 3: position, padding or batch-mates change the log-probs (TRL #2708)."""
    weights = [torch.linspace(-1, 1, len(row.token_ids)) for row in ROWS]
    results = []
    gradients = []
    for packed in (False, True):
        model = small_model(family, scale=4.0)
        if checkpointing:
            checkpoint_blocks(model)
        if packed:
            values = together(model, ROWS, temperature)
        else:
            values = [alone(model, row, temperature) for row in ROWS]
        losses = [(logp * w).sum() for (logp, _), w in zip(values, weights, strict=True)]
        sum(losses).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        results.append(torch.cat([torch.cat(pair).detach() for pair in values]))
    assert torch.allclose(*results, atol=1e-5)
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-5) and gradients[0].abs().max() > 0.1


def test_an_answer_sees_no_sibling():
    """In one row with it, a sibling must change nothing, whatever it says."""
    model = small_model()
    one = Trajectory([5, 6, 7], [8, 9, 10])
    results = []
    for token_ids in ([1], [90, 91, 92, 93, 94]):
        sibling = Trajectory([5, 6, 7], token_ids)
        logp, _ = packed_logprobs(model, pack([sibling, one, sibling], model.device))
        results.append(logp[1, :3])
    assert torch.allclose(*results, atol=1e-6)


def test_under_autocast_the_same_answers_are_scored():
    """On a GPU the row is computed in bfloat16, and attention must get along with its mask."""
    model = small_model(scale=4.0)
    packed = pack(ROWS, CPU)
    with torch.autocast("cpu", torch.bfloat16):
        logp, _ = packed_logprobs(model, packed)
    expected, _ = packed_logprobs(model, packed)
    assert torch.allclose(logp, expected, atol=0.2) and logp.dtype == torch.float32


# ---------------------------------------------------------------- who sees whom

# The drawn example by hand, a line for each of a b c p q r s t u: x where it sees the token.
SEES = """
x........
xx.......
..x......
xx.x.....
xx.xx....
xx...x...
..x...x..
..x...xx.
..x...xxx
"""


def test_the_drawn_example_is_taken_apart_as_it_is_drawn():
    packed = pack(EXAMPLE, CPU)
    assert packed.ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9]]
    assert packed.positions.tolist() == [[0, 1, 0, 2, 3, 2, 1, 2, 3]]
    assert packed.mask.tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    predicting = packed.ids[0][packed.predictors]  # (B, T)
    assert predicting[0, :2].tolist() == [2, 4]
    assert predicting[1, :1].tolist() == [2]
    assert predicting[2].tolist() == [3, 7, 8]


@pytest.mark.parametrize(("H", "G"), [(4, 4), (4, 2), (4, 1)])
def test_attention_in_the_drawn_example_is_that_of_a_plain_mask(H, G):
    """The outputs and the gradients of q, k and v, where every token sees what it is drawn to."""
    packed = pack(EXAMPLE, CPU)
    sees = torch.tensor([[mark == "x" for mark in line] for line in SEES.split()])  # (M, M)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, 9, 8, generator=generator) for heads in (H, G, G))
    weight = torch.randn(1, H, 9, 8, generator=generator)

    def attended(attend):
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        y = attend(*inputs)  # (1, H, M, D)
        return y, *torch.autograd.grad((y * weight).sum(), inputs)

    ours = attended(lambda q, k, v: packed.attend(0, q, k, v))
    plain = attended(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=sees, enable_gqa=True)
    )
    for a, b in zip(ours, plain, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


# ---------------------------------------------------------------- the packed row


def test_each_prompt_goes_through_the_model_once_and_nothing_is_padded():
    packed = pack(ROWS, CPU)
    answers = [token for row in ROWS for token in row.token_ids]
    assert packed.ids.tolist() == [[5, 6, 7, 8, 4, 5, 6, *answers]]
    assert packed.ids.shape[1] == 7 + len(answers) == len(packed.unpadded)


def test_the_mask_covers_the_stop_id_though_it_equals_the_padding():
    """Trap 1: pad == EOS masked the EOS, and stopping was never trained (TRL PR #4970)."""
    packed = pack(STOPPED, CPU)
    assert packed.mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert packed.targets[0, :2].tolist() == [7, 0] and packed.targets[1].tolist() == [5, 6, 7, 0]


def test_gradient_reaches_the_logit_of_the_stop_id_and_nothing_behind_it(model):
    packed = pack(STOPPED, model.device)
    hidden = model.run_blocks(packed.ids, packed.positions, packed.attend)
    logits = model.logits(hidden)[0].detach().requires_grad_()  # (M, V)
    head = torch.eye(97)
    logp, _ = token_logprobs(logits, head, packed.predictors, packed.targets, packed.mask)
    logp.sum().backward()
    # the row holds the prompts 1 2 and 1, then the answers 7 0 and 5 6 7 0
    reached = logits.grad.abs().sum(dim=-1) > 0
    assert reached.tolist() == [False, True, True, True, False, True, True, True, False]
    assert logits.grad[3, 0] > 0 and logits.grad[7, 0] > 0  # where the stop id is predicted


@pytest.mark.parametrize(
    "rows", [[], [Trajectory([], [1])], [Trajectory([1], []), Trajectory([1], [2])]]
)
def test_a_row_without_a_prompt_or_an_answer_is_refused(rows):
    with pytest.raises(ValueError, match="at least one token"):
        pack(rows, CPU)


# ---------------------------------------------------------------- which rows go together


def test_micro_batches_hold_every_row_once_within_the_budget():
    rows = [Trajectory([1] * (i % 7 + 1), [2] * (i % 5 + 1)) for i in range(23)]
    batches = micro_batches(rows, 20)
    assert sorted(i for batch in batches for i in batch) == list(range(23))
    packed = [pack([rows[i] for i in batch], CPU) for batch in batches]
    sizes = [row.ids.shape[1] for row in packed]
    assert max(sizes) <= 20 and sum(sizes) > 12 * len(batches)
    assert micro_batches([Trajectory([1] * 50, [2])], 20) == [[0]]  # one long row still goes


A_LONG_PROMPT_WITH_SHORT_ANSWERS = [Trajectory([1] * 90, [i + 1]) for i in range(40)]
A_LONG_PROMPT_AMONG_SHORT_ONES = [
    Trajectory([1] * (80 if i == 7 else 2) + [i], [2]) for i in range(40)
]
A_LONG_ANSWER_AMONG_SHORT_ONES = [
    Trajectory([1], [i + 1] * (90 if i == 7 else 1)) for i in range(40)
]


@pytest.mark.parametrize(
    "rows",
    [
        A_LONG_PROMPT_WITH_SHORT_ANSWERS,
        A_LONG_PROMPT_AMONG_SHORT_ONES,
        A_LONG_ANSWER_AMONG_SHORT_ONES,
    ],
)
def test_what_attention_works_on_stays_near_the_budget(rows):
    for batch in micro_batches(rows, 100):
        packed = pack([rows[i] for i in batch], CPU)
        assert packed.prompts.numel() + packed.context.numel() <= ATTENDED * 100


def test_micro_batches_keep_answers_to_one_prompt_together():
    rows = [Trajectory([i % 3] * 10, [2] * (i + 1)) for i in range(9)]  # answers of 1 to 9 tokens
    batches = micro_batches(rows, 40)
    assert [{i % 3 for i in batch} for batch in batches] == [{2}, {1}, {0}]
    longest_first = [8, 5, 2, 7, 4, 1, 6, 3, 0]
    assert [i for batch in batches for i in batch] == longest_first
