"""Log-probs and entropies of answer tokens, without ever holding all logits of a batch.

The logits are a batch's largest tensor by far: 16 bytes x V a token with their gradient, 20 GB at
8k tokens and V = 152k (OpenRLHF #1047). Here they are made a chunk at a time, once in the forward
pass and once more in the backward pass. Called by train.py, coldstart.py, rollout.py
(autocast) and support/baselines.py.

Letters in shapes: B answers, T tokens of the longest, M tokens of a packed row, N predicted tokens,
n those of one chunk, C hidden width, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from support.packing import HasTokens, Packed, micro_batches, pack

CHUNK = 2**25  # logits held at a time: 128 MB in float32, whatever the vocabulary


class HeadLogprobs(torch.autograd.Function):
    """Log-prob of a target after each hidden state, and the entropy of the distribution there.

    With p the probabilities of a chunk, made again in the backward pass from the kept normalisers:

        d log p_target / d logit_v = [v = target] - p_v
        d H / d logit_v            = -p_v (log p_v + H)

    The second is computed only if somebody uses the entropy in a loss.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """hidden (N, C), head (V, C), targets (N,) -> log-probs, entropies (N,) float32, in
        nats."""
        device = hidden.device.type
        matrix = head  # what the products use: bfloat16 under autocast
        if torch.is_autocast_enabled(device):
            matrix = head.to(torch.get_autocast_dtype(device))
        logp = hidden.new_empty(len(hidden), dtype=torch.float32)
        entropy = torch.empty_like(logp)
        normaliser = torch.empty_like(logp)
        all_logp = hidden.new_empty(0, 0)
        with torch.autocast(device, enabled=False):  # all but the products is in float32
            for chunk in chunks(hidden, head):
                all_logp = (hidden[chunk].to(matrix.dtype) @ matrix.T).float()  # (n, V) logits
                normaliser[chunk] = all_logp.logsumexp(dim=-1)
                all_logp -= normaliser[chunk, None]
                logp[chunk] = all_logp.gather(-1, targets[chunk, None])[:, 0]
                entropy[chunk] = -all_logp.exp().mul_(all_logp).sum(dim=-1)
        ctx.save_for_backward(hidden, head, targets, normaliser, entropy, matrix)
        # kept, so that a batch of one chunk makes its logits once
        ctx.last_logp = all_logp if any(ctx.needs_input_grad) else None
        ctx.set_materialize_grads(False)  # the gradient of an output that nobody uses is None
        return logp, entropy

    @staticmethod
    def backward(ctx: Any, grad_logp: Tensor | None, grad_entropy: Tensor | None) -> Any:
        hidden, head, targets, normaliser, entropy, matrix = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_head = torch.zeros_like(head)
        for chunk in chunks(hidden, head):
            x = hidden[chunk].to(matrix.dtype)  # (n, C)
            if chunk.stop >= len(hidden) and ctx.last_logp is not None:
                all_logp = ctx.last_logp  # (n, V)
            else:
                all_logp = (x @ matrix.T).float().sub_(normaliser[chunk, None])
            slope = logit_gradient(
                all_logp,
                targets[chunk],
                entropy[chunk],
                None if grad_logp is None else grad_logp[chunk],
                None if grad_entropy is None else grad_entropy[chunk],
            ).to(matrix.dtype)
            grad_hidden[chunk] = slope @ matrix
            if slope.dtype == head.dtype:
                grad_head.addmm_(slope.T, x)  # no second (V, C) matrix in between
            else:
                grad_head += slope.T @ x
        ctx.last_logp = None  # it was overwritten
        return grad_hidden, grad_head, None


def logit_gradient(
    all_logp: Tensor,
    targets: Tensor,
    entropy: Tensor,
    grad_logp: Tensor | None,
    grad_entropy: Tensor | None,
) -> Tensor:
    """Gradient (n, V) at the logits. all_logp: (n, V), its memory is used again; the others:
    (n,)."""
    from_entropy = None
    if grad_entropy is not None:
        from_entropy = all_logp.exp() * (all_logp + entropy[:, None]) * -grad_entropy[:, None]
    if grad_logp is None:
        return torch.zeros_like(all_logp) if from_entropy is None else from_entropy
    p = all_logp.exp_()
    # p - 1 before p is rounded to bfloat16, in which nothing lies between 0.996 and 1
    minus_one = torch.full_like(grad_logp, -1.0)[:, None]
    slope = p.scatter_add_(-1, targets[:, None], minus_one).mul_(-grad_logp[:, None])
    return slope if from_entropy is None else slope + from_entropy


def chunks(hidden: Tensor, head: Tensor) -> Iterator[slice]:
    """Slices of hidden (N, C) whose logits under head (V, C) are at most CHUNK numbers."""
    size = max(1, CHUNK // len(head))
    for start in range(0, len(hidden), size):
        yield slice(start, start + size)


def token_logprobs(
    hidden: Tensor,
    head: Tensor,
    predictors: Tensor,
    targets: Tensor,
    mask: Tensor,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Log-prob of each answer token given those before it, and the entropy of its distribution.

    hidden: (M, C) last hidden states; head: (V, C), logits = hidden head^T / temperature;
    predictors: (B, T) which hidden state predicts a token; targets: (B, T) the tokens; mask: (B,
    T), 1 on those that count. Returns two (B, T) in nats, 0 outside the mask. Both carry a gradient
    for whoever uses them.
    """
    counts = mask.bool()
    # the state at a prompt's end predicts the first token of each of its answers
    predicting = F.embedding(predictors[counts], hidden)  # (N, C)
    logp, entropy = HeadLogprobs.apply(predicting / temperature, head, targets[counts])  # (N,) each
    zeros = hidden.new_zeros(mask.shape, dtype=torch.float32)  # (B, T)
    return zeros.masked_scatter(counts, logp), zeros.masked_scatter(counts, entropy)


def packed_logprobs(model: Any, packed: Packed, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probs of the tokens of packed answers, and entropies there; two (B, T) in nats."""
    hidden = model.run_blocks(packed.ids, packed.positions, packed.attend)[0]  # (M, C)
    return token_logprobs(
        hidden, model.head, packed.predictors, packed.targets, packed.mask, temperature
    )


def autocast(model: Any) -> torch.autocast:
    """Within it, the model computes in its compute_dtype; parameters and optimizer state stay
    float32."""
    is_rounded = model.compute_dtype == torch.bfloat16
    return torch.autocast(model.device.type, torch.bfloat16, enabled=is_rounded)


@torch.no_grad()
def score(
    model: Any, rows: Sequence[HasTokens], temperature: float, micro_tokens: int
) -> list[list[float]]:
    """The model's log-probs of each row's answer tokens, in nats, without gradients."""
    scored: list[list[float]] = [[] for _ in rows]
    for indices in micro_batches(rows, micro_tokens):
        packed = pack([rows[i] for i in indices], model.device)
        with autocast(model):
            logp, _ = packed_logprobs(model, packed, temperature)  # (B, T)
        for i, values in zip(indices, logp.tolist(), strict=True):
            scored[i] = values[: len(rows[i].token_ids)]
    return scored


def padded(values: list[list[float]]) -> Tensor:
    """Numbers of each answer's tokens as (N, T), 0 after them."""
    return pad_sequence([torch.tensor(numbers) for numbers in values], batch_first=True)


def supervised_gradients(model: Any, rows: Sequence[HasTokens], micro_tokens: int) -> float:
    """Add the gradients of the mean negative log-prob of an answer token; returns that mean, in
    nats."""
    tokens = sum(len(row.token_ids) for row in rows)
    loss_sum = 0.0
    for indices in micro_batches(rows, micro_tokens):
        packed = pack([rows[i] for i in indices], model.device)
        with autocast(model):
            logp, _ = packed_logprobs(model, packed)  # (B, T)
        loss = -(logp * packed.mask).sum() / tokens
        loss.backward()
        loss_sum += loss.item()
    return loss_sum
