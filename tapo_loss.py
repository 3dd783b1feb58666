"""The TAPO loss: advantages, token weights, clipped surrogates. Tensors in, tensors out.

    phase 4, decoupled advantage estimation (DAE)           decoupled_advantages
    phase 5, out-of-distribution token suppression (OTS)    token_weights
    phase 6, clipped surrogate of each token                clipped_surrogate
    phase 6, L_GRPO + lambda L_ref                          loss_scales, tapo_loss

The phases are those of the README. A *sampled* trajectory is an answer of the policy to the
question; a *constructed* one, y_ref, is one of its wrong answers rewritten (augment.py). G_orig are
a question's sampled trajectories, G_ref its constructed ones.

Departures from the paper, and what it leaves open:
- The standard deviation is the sample's (n - 1), eps is 1e-4, as in TRL [inferred].
- OTS weights carry no gradient [inferred]. With --updates above 1 each update computes them anew
  from its own policy [inferred]; the logged ots_weight is that of the first.
- L_GRPO and L_ref are each the mean over their own trajectories of the batch [inferred], so that
  lambda weighs one mean against another. A constructed trajectory then weighs more the fewer there
  are: with 256 sampled ones and 40 constructed, 6.4 times as much as a sampled one, with 4 of
  them 64 times. By another reading L_ref is the mean over each question's trajectories, and then
  over all questions, where those without constructions count as 0. Each of a question's n
  constructions then weighs as much as K / n sampled answers, 2 if n is 4, whatever the other
  questions have.
- The normalisers are worked out once for the whole batch and become one factor per trajectory: a
  loss does not depend on how the batch is cut into micro-batches.
- The KL term, off by default, is on sampled trajectories only: constructed ones are no samples of
  the policy, and the estimate would not be of its KL.

Letters in shapes: N trajectories of a batch, B those of a micro-batch, T tokens of the longest
answer.
"""

import torch
from torch import Tensor

# The parts of a constructed trajectory, by which tokens are weighted and measured.
PREFIX = 1  # what y_ref and y- have in common from the start; meant to end with the error
# The first token after the prefix, if a diagnosis follows there: usually "Wait", where the policy
# decides to reflect, or a line break where the prefix ends without one (example in
# augment.measure).
TURN = 2
REST_OF_DIAGNOSIS = 3
CORRECTION = 4  # what follows it
NO_DIAGNOSIS = 5  # all that follows the prefix where no diagnosis does; in no mean by part
MEASURED_PARTS = {
    "prefix": [PREFIX],
    "turn": [TURN],
    "diagnosis": [TURN, REST_OF_DIAGNOSIS],
    "correction": [CORRECTION],
}


# ---------------------------------------------------------------- phase 4: advantages


def decoupled_advantages(
    rewards: Tensor,
    questions: Tensor,
    constructed: Tensor,
    dae: str = "own",
    divide_by_std: bool = True,
    eps: float = 1e-4,
) -> Tensor:
    """(r - mean) / (std + eps) among the peers that each trajectory is compared with.

    rewards: (N,); questions: (N,) integers, the question of each trajectory, in any order;
    constructed: (N,) bool. Returns (N,). divide_by_std=False leaves out the division (Dr. GRPO).
    Source: DeepSeekMath (GRPO) section 4.1; README, phase 4. With dae="own", as in the paper,
    sampled and constructed trajectories never move each other:

    >>> rewards = torch.tensor([1.0, 0, 0, 0, 1, 1])  # four sampled, then two constructed
    >>> questions = torch.zeros(6, dtype=torch.long)
    >>> constructed = torch.tensor([False, False, False, False, True, True])
    >>> [round(a, 2) for a in decoupled_advantages(rewards, questions, constructed).tolist()]
    [1.5, -0.5, -0.5, -0.5, 0.0, 0.0]

    The mean of the sampled rewards is 1/4 and their standard deviation 1/2. Where all rewards of a
    group are equal, as those of the two constructed ones, every advantage is exactly 0: a group in
    which every answer is right teaches nothing. And the advantages of a group sum to 0. So what all
    members of G_ref share, the decision to reflect above all, is hardly pushed up or down: DAE
    teaches which corrections are right, not that one should correct. In one group with the
    constructed ones, the right sampled answer would look less good and the wrong ones worse
    ("gradient contamination"):

    >>> mixed = decoupled_advantages(rewards, questions, constructed, dae="off")
    >>> [round(a, 2) for a in mixed.tolist()]
    [0.91, -0.91, -0.91, -0.91, 0.91, 0.91]
    """
    rewards = rewards.float()
    advantages = torch.zeros_like(rewards)  # (N,)
    for members, peers in comparisons(questions, constructed, dae):
        advantages[members] = advantages_among(rewards[peers], rewards[members], divide_by_std, eps)
    return advantages


def advantages_among(peers: Tensor, rewards: Tensor, divide_by_std: bool, eps: float) -> Tensor:
    """The advantages of these rewards (M,) among the rewards (P,) of their peers, one or more.

    Where all peers are equal there is nothing to divide by, and who equals them gets exactly 0.
    """
    if (peers == peers[0]).all():
        return rewards - peers[0]
    advantages = rewards - peers.mean()
    if divide_by_std:
        std = peers.var().sqrt()  # the sample's, with n - 1
        advantages = advantages / (std + eps)
    return advantages


def comparisons(questions: Tensor, constructed: Tensor, dae: str) -> list[tuple[Tensor, Tensor]]:
    """Who is compared with whom: (members, peers), two masks (N,). The rewards of the peers give
    the mean and the standard deviation for the members. Every trajectory is a member once.

    dae         for the sampled of a question    for the constructed of a question
    "own"       the same                         the same (the paper's DAE)
    "batch"     the same                         all constructed ones of the batch
    "sampled"   the same                         the sampled of the question
    "off"       all of the question              all of the question
    """
    found = []
    for question in questions.unique():
        of_question = questions == question  # (N,)
        g_orig = of_question & ~constructed
        g_ref = of_question & constructed
        if dae == "own":
            found += [(g_orig, g_orig), (g_ref, g_ref)]
        elif dae == "batch":
            found += [(g_orig, g_orig), (g_ref, constructed)]
        elif dae == "sampled":
            found += [(g_orig, g_orig), (g_ref, g_orig)]
        elif dae == "off":
            found += [(of_question, of_question)]
        else:
            raise ValueError(f"dae: expected own, batch, sampled or off, found {dae!r}")
    return [(members, peers) for members, peers in found if members.any() and peers.any()]


# ---------------------------------------------------------------- phase 5: token weights


def token_weights(logp: Tensor, entropy: Tensor, parts: Tensor) -> Tensor:
    """The weight (B, T) of each token of constructed trajectories in their loss. The place for a
    rule of your own; as it stands, OTS. With --no-ots this is not called.

    logp, entropy: (B, T) in nats; parts: (B, T) of the constants above, which OTS does not need.
    What is logged (train.measure_and_note_ots) are OTS's own weights, whatever stands here.
    """
    return ots_weights(logp, entropy)


def ots_weights(logp: Tensor, entropy: Tensor, low: float = 0.01, high: float = 10.0) -> Tensor:
    """w = clamp(exp(log p + H), low, high) for each token, without gradient [inferred]; any shape,
    in nats.

    A token as likely as the policy's typical choice has w near 1, since E[log p] = -H. One that the
    policy would hardly say has w near 0: OTS suppresses it. Source: README, phase 5. Five invented
    tokens; the third is "Wait", which this policy says with probability 0.005 after a line:

    >>> p = torch.tensor([0.97, 0.60, 0.005, 0.90, 0.30])
    >>> entropy = torch.tensor([0.15, 0.90, 0.30, 0.40, 1.60])
    >>> [round(w, 3) for w in ots_weights(p.log(), entropy).tolist()]
    [1.127, 1.476, 0.01, 1.343, 1.486]
    """
    return (logp.detach() + entropy.detach()).exp().clamp(low, high)


def token_parts(prefix: Tensor, diagnosis: Tensor, longest: int) -> Tensor:
    """The part (B, longest) that each token of constructed trajectories belongs to.

    prefix, diagnosis: (B,) tokens of the wrong prefix and of the diagnosis after it, 0 where there
    is none. Two trajectories of 7 tokens, each with a prefix of 2; the first has a diagnosis of 3
    tokens, the second none:

    >>> token_parts(torch.tensor([2, 2]), torch.tensor([3, 0]), longest=7).tolist()
    [[1, 1, 2, 3, 3, 4, 4], [1, 1, 5, 5, 5, 5, 5]]
    """
    positions = torch.arange(longest, device=prefix.device)  # (T,)
    place = positions - prefix[:, None]  # (B, T) from the prefix's end on
    diagnosis = diagnosis[:, None]  # (B, 1)
    # each line overwrites what those above it have set
    parts = torch.full_like(place, CORRECTION)
    parts[place < diagnosis] = REST_OF_DIAGNOSIS
    parts[place == 0] = TURN
    parts[(diagnosis == 0).expand_as(parts)] = NO_DIAGNOSIS
    parts[place < 0] = PREFIX
    return parts


# ---------------------------------------------------------------- phase 6: the loss


def clipped_surrogate(
    logp: Tensor, old_logp: Tensor, advantages: Tensor, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """Clipped policy-gradient loss of each token, and where the clip is active; both (B, T).

    logp, old_logp: (B, T) log-probs of the taken tokens under pi_theta and pi_old, in nats;
    advantages: (B, 1), one per trajectory, or (B, T). Source: PPO eq. 7 for each token, GRPO eq. 3;
    the two clips are DAPO's.
    """
    ratio = torch.exp(logp - old_logp)  # (B, T) per token, not per sequence
    clipped_ratio = ratio.clamp(1 - clip_low, 1 + clip_high)  # (B, T)
    # min() takes the smaller gain for either sign of the advantage
    gain = torch.minimum(ratio * advantages, clipped_ratio * advantages)
    return -gain, gain < ratio * advantages


def k3_kl(logp: Tensor, start_logp: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(pi_theta || pi_start) at each token, in nats, never negative.

    Any shape. Its mean over the policy's own samples is that KL. Used as a loss on them, as in GRPO
    eq. 4, its gradient is on average that of the KL in the other direction, KL(pi_start ||
    pi_theta). The simpler estimate log p - log p_start has the same mean, but its gradient is 0 on
    average.
    """
    log_ratio = start_logp - logp
    return log_ratio.exp() - log_ratio - 1


def loss_scales(
    lengths: Tensor, constructed: Tensor, normalization: str, lambda_: float, max_tokens: int
) -> Tensor:
    """One factor for each trajectory, (N,): its token losses, summed, are multiplied by it.

    Added up over the batch, these products are L_GRPO + lambda L_ref.

    lengths: (N,) answer tokens; constructed: (N,) bool; normalization of each of the two losses:
    "grpo":    mean over a trajectory's tokens, then trajectories: short ones' tokens weigh more
    "dapo":    mean over all tokens: every token weighs the same
    "dr_grpo": sum over tokens / (trajectories x max_tokens), a constant: no length bias
    """
    sampled_scales = normalisers(lengths, ~constructed, normalization, max_tokens)
    constructed_scales = normalisers(lengths, constructed, normalization, max_tokens)
    return torch.where(constructed, lambda_ * constructed_scales, sampled_scales)


def normalisers(lengths: Tensor, members: Tensor, normalization: str, max_tokens: int) -> Tensor:
    """(N,) factor of each trajectory if only the members (N,) bool make up a loss."""
    lengths = lengths.float()
    count = members.sum().clamp(min=1)
    tokens = (lengths * members).sum().clamp(min=1)
    if normalization == "grpo":
        return 1 / (lengths.clamp(min=1) * count)
    if normalization == "dapo":
        return (1 / tokens).expand_as(lengths)
    if normalization == "dr_grpo":
        return (1 / (count * max_tokens)).expand_as(lengths)
    raise ValueError(f"loss normalisation: expected grpo, dapo or dr_grpo, found {normalization!r}")


def tapo_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    weights: Tensor,
    scales: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    kl_coef: float = 0.0,
    start_logp: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss of one micro-batch. Summed over micro-batches it is L_GRPO + lambda L_ref of the
    batch.

    logp, old_logp, start_logp: (B, T) in nats; mask: (B, T) 1 on answer tokens, the stop id
    included; weights: (B, T) of token_weights, 1 on sampled trajectories; advantages: (B, 1) or (B,
    T); scales: (B,), of loss_scales. Returns (loss, clipped (B, T) bool within the mask). Masked
    entries may hold anything finite.
    """
    surrogate, clipped = clipped_surrogate(logp, old_logp, advantages, clip_low, clip_high)
    token_loss = surrogate * weights  # (B, T)
    if kl_coef and start_logp is not None:
        token_loss = token_loss + kl_coef * k3_kl(logp, start_logp)
    return (token_loss * mask * scales[:, None]).sum(), clipped & mask.bool()
