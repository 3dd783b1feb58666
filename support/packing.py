"""What is trained on, packed for one pass through the model.

A batch of answers holds each question's prompt many times, and padding wherever lengths differ. Here its tokens form
one row without either: all that works token by token (projections, norms, the feed-forward part) sees the row, and
attention alone takes it apart again.

Letters in shapes: M tokens of the row; P prompts of at most S tokens; B answers of at most T tokens; H query heads,
G key/value heads, D head width.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ATTENDED = 4  # places that attention may work on, padding and copies of prompts included, for each token of the budget


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


def different_prompts(rows: list[Trajectory]) -> tuple[list[tuple[int, ...]], list[int]]:
    """(the different prompts of the rows, the index among them of each row's own)"""
    index: dict[tuple[int, ...], int] = {}
    owner = [index.setdefault(tuple(row.prompt_ids), len(index)) for row in rows]
    return list(index), owner


def micro_batches(rows: list[Trajectory], budget: int) -> list[list[int]]:
    """Indices of rows in batches whose packed row has at most `budget` tokens, and its attention at most ATTENDED times
    as many places. Answers to one prompt follow each other, the longest first."""
    texts, owner = different_prompts(rows)
    longest = [0] * len(texts)  # of the rows of each prompt
    for row, o in zip(rows, owner, strict=True):
        longest[o] = max(longest[o], len(row))

    def fits(batch: list[int]) -> bool:
        prompts = [len(texts[o]) for o in {owner[i] for i in batch}]
        answers = [len(rows[i].token_ids) for i in batch]
        attended = len(prompts) * max(prompts) + len(answers) * (max(prompts) + max(answers))
        return sum(prompts) + sum(answers) <= budget and attended <= ATTENDED * budget

    batches: list[list[int]] = []
    for i in sorted(range(len(rows)), key=lambda i: (-longest[owner[i]], owner[i], -len(rows[i]))):
        if not batches or not fits([*batches[-1], i]):
            batches.append([])
        batches[-1].append(i)
    return batches


class Packed(NamedTuple):
    """Answers behind their prompts as one row of tokens, each different prompt once, and how to take it apart."""

    ids: Tensor  # (1, M) the prompts, then the answers
    positions: Tensor  # (1, M) of each token in its own text
    prompts: Tensor  # (P, S) where in the row each prompt's tokens stand; 0 behind its end
    answers: Tensor  # (B, T) where each answer's tokens stand; 0 behind its end
    context: Tensor  # (B, S + T) where what it can see stands: its prompt, then itself
    seen: Tensor  # (B, T, S + T) bool, what each of its tokens does see
    unpadded: Tensor  # (M,) where the row's tokens stand in prompts and answers, flattened one after the other
    before: Tensor  # (B, T) where the token stands that predicts an answer's token
    mask: Tensor  # (B, T) 1 on the answers' tokens, their stop ids included

    @property
    def targets(self) -> Tensor:
        """(B, T) the answers' token ids; anything outside the mask."""
        return self.ids[0][self.answers]


def pack(rows: list[Trajectory], device: torch.device) -> Packed:
    """The rows in one; a prompt that several of them share is in it once. Neither prompts nor answers may be empty.

    The mask is made from lengths: a pad id that equals the stop id hides nothing (nanochat #810). That a token is
    predicted where the one before it stands (`before`) is said here and nowhere else in the product.
    """
    different, owner = different_prompts(rows)
    texts, P = [*different, *(row.token_ids for row in rows)], len(different)
    lengths = torch.tensor([len(text) for text in texts])  # (P + B,)
    if not rows or not lengths.all():
        raise ValueError("pack: expected rows with at least one token in each prompt and answer")
    starts = lengths.cumsum(dim=0) - lengths  # of each text in the row

    def places(part: slice) -> tuple[Tensor, Tensor]:  # where the tokens of some texts stand, and which there are
        steps = torch.arange(int(lengths[part].max()))
        there = steps < lengths[part, None]
        return torch.where(there, starts[part, None] + steps, 0), there

    (prompts, in_prompt), (answers, in_answer) = places(slice(P)), places(slice(P, None))  # (P, S), (B, T)
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
        seen=torch.cat((in_prompt[owner][:, None].expand(-1, T, -1), own), dim=-1),
        unpadded=torch.cat((in_prompt.flatten(), in_answer.flatten())).nonzero()[:, 0],
        before=torch.cat((last, answers[:, :-1]), dim=1),
        mask=in_answer.float(),
    )
    return Packed(*(x.to(device) for x in packed))


def packed_attention(q: Tensor, k: Tensor, v: Tensor, packed: Packed, mask: Tensor) -> Tensor:
    """(1, heads, M, D) each -> (1, M, H * D): prompts attend to themselves, answers to their prompt and themselves.

    mask: (B, 1, H/G * T, S + T) 0 on what is seen, else -inf: the H/G heads that share a key become queries of one
    head, since a GPU's kernels take a mask or such heads, but not both.
    """
    width, groups = k.shape[-1], k.shape[1]
    q, k, v = (x[0].transpose(0, 1).flatten(1) for x in (q, k, v))  # (M, heads * D)

    def gather(x: Tensor, places: Tensor) -> Tensor:  # embedding: indexing would do, with a slow backward pass on a CPU
        return F.embedding(places, x).unflatten(-1, (-1, width)).transpose(1, 2)  # (rows, heads, tokens, D)

    first = F.scaled_dot_product_attention(
        gather(q, packed.prompts), gather(k, packed.prompts), gather(v, packed.prompts), is_causal=True, enable_gqa=True
    )  # (P, H, S, D)
    queries = gather(q, packed.answers).unflatten(1, (groups, -1))  # (B, G, H/G, T, D)
    then = F.scaled_dot_product_attention(
        queries.flatten(2, 3), gather(k, packed.context), gather(v, packed.context), mask
    )  # (B, G, H/G * T, D)
    then = then.view_as(queries).flatten(1, 2)  # (B, H, T, D)
    y = torch.cat([y.transpose(1, 2).flatten(0, 1).flatten(1) for y in (first, then)])  # (P * S + B * T, H * D)
    return F.embedding(packed.unpadded, y)[None]
