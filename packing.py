"""What is trained on, packed for one pass through the model.

A batch of answers holds each question's prompt many times, and padding wherever lengths differ. Here its tokens form
one row without either: all that works token by token (projections, norms, the feed-forward part) sees the row, and
attention alone takes it apart again.

Letters in shapes: N tokens of the row; P prompts of at most S tokens; B answers of at most T tokens.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Trajectory:
    """What is trained on: an answer to a prompt, whoever made it."""

    prompt_ids: list[int]
    token_ids: list[int]  # stop id included
    reward: float = 1.0
    group: int = 0  # the question
    kind: str = "sampled"  # or "constructed"
    logprobs: list[float] | None = None  # the sampler's, for sampled ones
    teacher_logprobs: list[float] | None = None  # under the policy with a right answer in sight (OPSD)
    prefix: int = 0  # tokens of the wrong prefix, for constructed ones
    diagnosis: int = 0  # and of the diagnosis after it

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.token_ids)


def micro_batches(rows: list[Trajectory], budget: int) -> list[list[int]]:
    """Indices of rows in batches of at most `budget` tokens: a prompt counts once, an answer as the longest one of its
    batch. Answers to one prompt stay together, the longest go first."""
    first: dict[tuple[int, ...], int] = {}
    owner = [first.setdefault(tuple(row.prompt_ids), i) for i, row in enumerate(rows)]  # the first row of its prompt
    size = [0] * len(rows)
    for row, o in zip(rows, owner, strict=True):
        size[o] = max(size[o], len(row))
    batches: list[list[int]] = []
    prompts = longest = 0
    for i in sorted(range(len(rows)), key=lambda i: (-size[owner[i]], owner[i], -len(rows[i]))):
        prompt, answer = len(rows[i].prompt_ids), len(rows[i].token_ids)
        if batches and owner[batches[-1][-1]] != owner[i]:
            prompts += prompt
        if not batches or prompts + (len(batches[-1]) + 1) * max(longest, answer) > budget:
            batches.append([])
            prompts, longest = prompt, 0
        batches[-1].append(i)
        longest = max(longest, answer)
    return batches


class Packed(NamedTuple):
    """Answers behind their prompts as one row of tokens, each different prompt once, and how to take it apart."""

    ids: Tensor  # (1, N) the prompts, then the answers
    positions: Tensor  # (1, N) of each token in its own text
    prompts: Tensor  # (P, S) where in the row each prompt's tokens stand; 0 behind its end
    answers: Tensor  # (B, T) where each answer's tokens stand
    context: Tensor  # (B, S + T) where what it can see stands: its prompt, then itself
    seen: Tensor  # (B, 1, T, S + T) bool, what each of its tokens does see
    unpadded: Tensor  # (N,) where the row's tokens stand in prompts and answers, flattened one after the other
    before: Tensor  # (B, T) where the token stands that predicts an answer's token
    mask: Tensor  # (B, T) 1 on the answers' tokens, their stop ids included

    @property
    def targets(self) -> Tensor:
        """(B, T) the answers' token ids; anything outside the mask."""
        return self.ids[0][self.answers]


def pack(rows: list[Trajectory], device: torch.device) -> Packed:
    """The rows in one; a prompt that several of them share is in it once.

    The mask is made from lengths: a pad id that equals the stop id hides nothing (nanochat #810). That a token is
    predicted where the one before it stands (`before`) is said here and nowhere else.
    """
    index: dict[tuple[int, ...], int] = {}  # each different prompt, numbered
    owner = [index.setdefault(tuple(row.prompt_ids), len(index)) for row in rows]
    texts, P = [*index, *(row.token_ids for row in rows)], len(index)
    lengths = torch.tensor([len(text) for text in texts])  # (P + B,)
    starts = lengths.cumsum(dim=0) - lengths  # of each text in the row

    def places(texts: slice) -> tuple[Tensor, Tensor]:  # where their tokens stand, and where there is one
        steps = torch.arange(int(lengths[texts].max()))
        there = steps < lengths[texts, None]
        return torch.where(there, starts[texts, None] + steps, 0), there

    (prompts, of_prompt), (answers, of_answer) = places(slice(P)), places(slice(P, None))  # (P, S), (B, T)
    T, after = answers.shape[1], lengths[owner]  # (B,) an answer's positions go on after its prompt's
    shift = torch.cat((torch.zeros_like(starts[:P]), after)) - starts
    last = (starts[owner] + after - 1)[:, None]  # (B, 1) the last token of each one's prompt
    own = torch.ones(T, T, dtype=torch.bool).tril().expand(len(rows), -1, -1)
    packed = Packed(
        ids=torch.tensor([token for text in texts for token in text])[None],
        positions=(torch.arange(int(lengths.sum())) + shift.repeat_interleave(lengths))[None],
        prompts=prompts,
        answers=answers,
        context=torch.cat((prompts[owner], answers), dim=1),
        seen=torch.cat((of_prompt[owner][:, None].expand(-1, T, -1), own), dim=-1)[:, None],
        unpadded=torch.cat((of_prompt.flatten(), of_answer.flatten())).nonzero()[:, 0],
        before=torch.cat((last, answers[:, :-1]), dim=1),
        mask=of_answer.float(),
    )
    return Packed(*(x.to(device) for x in packed))


def packed_attention(q: Tensor, k: Tensor, v: Tensor, packed: Packed) -> Tensor:
    """(1, heads, N, D) each -> (1, N, H * D): prompts attend to themselves, answers to their prompt and themselves."""
    width = q.shape[-1]
    q, k, v = (x[0].transpose(0, 1).flatten(1) for x in (q, k, v))  # (N, heads * D)

    def rows(x: Tensor, places: Tensor) -> Tensor:  # an embedding, since its gradient adds up where a place recurs
        return F.embedding(places, x).unflatten(-1, (-1, width)).transpose(1, 2)  # (rows, heads, tokens, D)

    first = F.scaled_dot_product_attention(
        rows(q, packed.prompts), rows(k, packed.prompts), rows(v, packed.prompts), is_causal=True, enable_gqa=True
    )
    then = F.scaled_dot_product_attention(
        rows(q, packed.answers), rows(k, packed.context), rows(v, packed.context), packed.seen, enable_gqa=True
    )
    both = torch.cat([y.transpose(1, 2).flatten(0, 1).flatten(1) for y in (first, then)])  # (P * S + B * T, H * D)
    return F.embedding(packed.unpadded, both)[None]
