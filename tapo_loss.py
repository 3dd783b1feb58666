"""The TAPO loss: advantages, token weights and clipped surrogates. Tensors in, tensors out, torch only.

    log p and entropy of an answer's tokens      token_logprobs
    README step 4, decoupled advantages (DAE)    group_advantages, decoupled_groups
    README step 5, token suppression (OTS)       ots_weights
    README step 6, clipped surrogate             decoupled_surrogate
    README step 6, L_GRPO + lambda L_ref         row_scales (normalisers and lambda), tapo_loss (the sum)

Departures and inferences, each also where it is made:
- The standard deviation is the sample's (n - 1), eps is 1e-4, as in TRL; the paper leaves both open.
- The normalisers are worked out once for the whole batch and become one factor per row, so a loss does
  not depend on how the batch is cut into micro-batches.
- L_GRPO and L_ref are each normalised over their own rows [inferred], so lambda weighs one mean against
  another. The KL term is on sampled rows only: on constructed ones the estimate would not be of the KL.

Letters in shapes: N trajectories of a batch, B rows of a micro-batch, T tokens, M tokens of a packed row, V vocabulary.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 2**25  # logits held at a time: 128 MB in float32, whatever the vocabulary


class HeadLogprobs(torch.autograd.Function):
    """Log-prob of a target after each hidden state, and the entropy there, a chunk of logits at a time.

    The logits of a batch are its largest tensor by far: 16 bytes x V a token with their gradient, 20 GB at 8k
    tokens and V = 152k (OpenRLHF #1047). Here the backward pass makes each chunk's logits again, turns them
    in place into probabilities p, and is done with them: d log p_target / d logit_v = [v = target] - p_v. The
    last chunk's p are kept, so that a batch of one chunk does nothing twice.
    """

    @staticmethod
    def forward(ctx, hidden, head, targets):  # type: ignore[no-untyped-def]
        """hidden (N, C), head (V, C), targets (N,) -> logp, entropy (N,) float32, in nats."""
        kind = hidden.device.type
        matrix = head.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else head
        logp, entropy, normaliser = (hidden.new_empty(len(hidden), dtype=torch.float32) for _ in range(3))
        odds, total = hidden.new_empty(0, 0), hidden.new_empty(0)
        with torch.autocast(kind, enabled=False):  # only the products are in bfloat16
            for rows in chunks(hidden, head):
                scores = (hidden[rows].to(matrix.dtype) @ matrix.T).float()  # (n, V)
                top = scores.amax(dim=-1)
                scores -= top[:, None]
                odds = scores.exp()
                total = odds.sum(dim=-1)
                normaliser[rows] = top + total.log()
                logp[rows] = scores.gather(-1, targets[rows, None])[:, 0] - total.log()
                entropy[rows] = total.log() - scores.mul_(odds).sum(dim=-1) / total
            ctx.p_last = odds.div_(total[:, None]) if any(ctx.needs_input_grad) else None
        ctx.save_for_backward(hidden, head, targets, normaliser, matrix)
        ctx.mark_non_differentiable(entropy)  # nobody trains on it
        return logp, entropy

    @staticmethod
    def backward(ctx, grad, _):  # type: ignore[no-untyped-def]
        hidden, head, targets, normaliser, matrix = ctx.saved_tensors
        grad_hidden, grad_head = torch.empty_like(hidden), torch.zeros_like(head)
        for rows in chunks(hidden, head):
            x, g, target = (
                hidden[rows].to(matrix.dtype),
                grad[rows, None],
                targets[rows, None],
            )  # (n, C), (n, 1), (n, 1)
            p = ctx.p_last if rows.stop >= len(hidden) else None  # (n, V)
            if p is None:
                p = (x @ matrix.T).float().sub_(normaliser[rows, None]).exp_()
            # p - 1 before p is rounded to bfloat16, in which nothing lies between 0.996 and 1
            slope = p.scatter_add_(-1, target, torch.full_like(g, -1.0)).mul_(-g).to(matrix.dtype)
            grad_hidden[rows] = slope @ matrix
            if slope.dtype == head.dtype:
                grad_head.addmm_(slope.T, x)  # no (V, C) in between
            else:
                grad_head += slope.T @ x
        ctx.p_last = None  # it was overwritten
        return grad_hidden, grad_head, None


def chunks(hidden: Tensor, head: Tensor) -> Iterator[slice]:
    """Slices of hidden (N, C) whose logits under head (V, C) are at most CHUNK numbers."""
    size = max(1, CHUNK // len(head))
    return (slice(i, i + size) for i in range(0, len(hidden), size))


def token_logprobs(
    hidden: Tensor, head: Tensor, before: Tensor, targets: Tensor, mask: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-prob of each answer token given those before it, and the entropy of its distribution.

    hidden: (M, C) last hidden states; head: (V, C), logits = hidden head^T / temperature; before: (B, T) which hidden
    state predicts a token; targets: (B, T) the tokens; mask: (B, T), 1 on those that count. Returns two (B, T) in
    nats, 0 outside the mask. The entropy carries no gradient.
    """
    wanted = mask.bool()
    predictors = F.embedding(before[wanted], hidden)  # (n, C); the end of a prompt predicts many first tokens
    values = HeadLogprobs.apply(predictors / temperature, head, targets[wanted])  # two (n,)
    empty = hidden.new_zeros(mask.shape, dtype=torch.float32)
    logp, entropy = (empty.masked_scatter(wanted, v) for v in values)  # (B, T)
    return logp, entropy


def group_advantages(
    rewards: Tensor, groups: Tensor, counted: Tensor | None = None, scale: bool = True, eps: float = 1e-4
) -> Tensor:
    """(r - mean) / (std + eps) within each group.

    rewards: (N,); groups: (N,) integers, equal for members of one group, in any order; counted: (N,) bool, the members
    that mean and std are of (all). Returns (N,). A member that differs from none of them gets exactly 0: a group whose
    rewards are all equal, or that has one member. scale=False leaves out the division (Dr. GRPO). Source: DeepSeekMath
    (GRPO) section 4.1, README step 4.
    """
    rewards = rewards.float()
    same = groups[:, None] == groups[None, :]  # (N, N)
    same = same if counted is None else same & counted
    count = same.sum(dim=1).clamp(min=1)
    mean = (same * rewards).sum(dim=1) / count  # (N,) of each member's group
    advantages = rewards - mean
    if scale:
        variance = (same * (rewards - mean[:, None]) ** 2).sum(dim=1) / (count - 1).clamp(min=1)
        advantages = advantages / (variance.sqrt() + eps)
    # the mean of equal numbers can be off by a rounding that eps would blow up: compare the rewards themselves
    mixed = (same & (rewards != rewards[:, None])).any(dim=1)
    return torch.where(mixed, advantages, 0.0)


def decoupled_groups(groups: Tensor, constructed: Tensor, dae: str = "own") -> tuple[Tensor, Tensor]:
    """(group ids (N,), counted (N,) bool) for group_advantages: what constructed rewards are compared with.

    groups: (N,) the question of each trajectory; constructed: (N,) bool. dae is
    "own":     the other constructed trajectories of the question, DAE as in the paper: constructed rewards cannot move
               the advantage of a sampled answer ("gradient contamination", README step 4)
    "batch":   all constructed trajectories of the batch
    "sampled": the question's sampled answers, whose mean and std stay their own
    "off":     everything of the question, in one group
    """
    counted = torch.ones_like(constructed)
    if dae == "own":
        groups = groups * 2 + constructed.long()
    elif dae == "batch":
        groups = torch.where(constructed, -1, groups)
    elif dae == "sampled":
        counted = ~constructed
    elif dae != "off":
        raise ValueError(f"dae: expected own, batch, sampled or off, found {dae!r}")
    return groups, counted


def ots_weights(logprobs: Tensor, entropies: Tensor, low: float = 0.01, high: float = 10.0) -> Tensor:
    """w = clamp(exp(log p + H), low, high) for each token, without gradient [inferred]; any shape, in nats.

    A token as likely as the policy's typical choice has w near 1, since E[log p] = -H; one that the policy
    would hardly say has w near 0. Source: README step 5.
    """
    return (logprobs.detach() + entropies.detach()).exp().clamp(low, high)


def row_scales(lengths: Tensor, constructed: Tensor, kind: str, ref_coef: float, max_tokens: int) -> Tensor:
    """The factor (N,) on each trajectory's token sum, so that the batch's sum is L_GRPO + ref_coef L_ref.

    lengths: (N,) response tokens; constructed: (N,) bool. kind is the loss's normalisation:
    "grpo":    mean over a row's tokens, then over rows (short answers weigh more per token)
    "dapo":    mean over all tokens of the batch (every token weighs the same)
    "dr_grpo": sum over tokens / (rows x max_tokens), a constant (no length bias)
    """
    lengths = lengths.float()
    scales = torch.zeros_like(lengths)
    for rows, factor in ((~constructed, 1.0), (constructed, ref_coef)):
        count, tokens = rows.sum().clamp(min=1), (lengths * rows).sum().clamp(min=1)
        if kind == "grpo":
            each = 1 / (lengths.clamp(min=1) * count)
        elif kind == "dapo":
            each = (1 / tokens).expand_as(lengths)
        elif kind == "dr_grpo":
            each = (1 / (count * max_tokens)).expand_as(lengths)
        else:
            raise ValueError(f"loss normalisation: expected grpo, dapo or dr_grpo, found {kind!r}")
        scales = torch.where(rows, factor * each, scales)
    return scales


def decoupled_surrogate(
    logp: Tensor, old_logp: Tensor, advantage: Tensor, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """Clipped policy-gradient loss of each token, and where the clip is active; both (B, T).

    logp, old_logp: (B, T) log-probs of the taken tokens under pi_theta and pi_old, in nats; advantage: (B, 1)
    one per trajectory, from its own group, or (B, T). Source: PPO eq. 7 per token, GRPO eq. 3; the two clips of DAPO.
    """
    ratio = torch.exp(logp - old_logp)  # (B, T), token by token: GRPO's ratio is not the sequence's
    # min() keeps the pessimistic branch for either sign; choosing by the ratio alone inverts it for advantages < 0
    gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)
    return -gain, gain < ratio * advantage


def k3_kl(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(pi_theta || pi_ref) at each token, any shape, in nats, never negative.

    Its mean over the policy's own samples is that KL. As a loss on such samples its gradient is that of
    KL(pi_ref || pi_theta), as in GRPO eq. 4; log p - log p_ref as a loss would have none on average.
    """
    log_ratio = ref_logp - logp
    return log_ratio.exp() - log_ratio - 1


def tapo_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    mask: Tensor,
    weight: Tensor,
    scale: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    kl_coef: float = 0.0,
    ref_logp: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss of one micro-batch; summed over micro-batches it is L_GRPO + lambda L_ref of the batch.

    logp, old_logp, ref_logp: (B, T) nats; mask: (B, T) 1 on response tokens, the stop id included;
    weight: (B, T) OTS weights, 1 on sampled rows; advantage: (B, 1) or (B, T); scale: (B,), of row_scales.
    Returns (loss, clipped (B, T) bool within the mask). Masked entries may hold anything finite.
    """
    loss, clipped = decoupled_surrogate(logp, old_logp, advantage, clip_low, clip_high)
    loss = loss * weight
    if kl_coef and ref_logp is not None:
        loss = loss + kl_coef * k3_kl(logp, ref_logp)
    return (loss * mask * scale[:, None]).sum(), clipped & mask.bool()
