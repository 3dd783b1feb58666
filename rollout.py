"""The sampler: prompts in, token ids with their log-probs out, through the model's own KV cache.

Prompts of different lengths share one batch without padding between their tokens (see model.KVCache).
Each prompt is prefilled once and its cache copied to every row that answers it; a row that ends leaves the
batch, and the next answer takes its place, so the cost is the sum of the lengths and not rows x longest.

The log-prob kept with a token is under the distribution it was drawn from: after temperature, top-k and
top-p. Training uses temperature 1 and no truncation, so that it is the policy's own (README, step 1).
Every answer has its own row of uniform numbers, made from the seed before the start: which prompts share
a batch, or how many rows fit in it, does not change what is drawn.

Letters in shapes: R rows in use, P prompts, N prompts x n answers, V vocabulary.
"""

import sys
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model import KVCache, Transformer, prepacked_weights
from support.hub import InputError

PREFILL_TOKENS = 16384  # tokens, padding included, that go through the model at once


@dataclass
class Rollout:
    """One sampled answer. token_ids holds the stop id that ended it, with its log-prob, if one did."""

    prompt_ids: list[int]
    token_ids: list[int]
    logprobs: list[float]  # nats, one per token id
    finish: str  # "stop": ended by a stop id; "length": out of room


def sampling_probs(logits: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Probabilities (R, V) of the distribution that is sampled; temperature 0 is all mass on the best token.

    Order as in transformers: temperature, then the top_k best tokens (0: all), then the smallest set of
    best tokens that holds at least top_p of the mass; what is left is normalised again.
    """
    logits = logits.float()
    if temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(dim=-1, keepdim=True), 1.0)
    if temperature != 1:
        logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        worst_kept = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < worst_kept, -torch.inf)
    if top_p < 1.0:
        ordered, order = logits.sort(dim=-1, descending=True)
        mass = ordered.softmax(dim=-1)
        drop = mass.cumsum(dim=-1) - mass >= top_p  # mass of the better tokens is enough already
        logits = logits.masked_fill(drop.scatter(-1, order, drop), -torch.inf)
    return logits.softmax(dim=-1)


def draw(probs: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (R,) and their log-probs (R,), by inverse CDF of probs (R, V) at uniform (R,) in [0, 1).

    Summed in float64: in float32 the sums of a tail of rare tokens would be equal, and none of them ever drawn.
    """
    cdf = probs.cumsum(dim=-1, dtype=torch.float64)  # (R, V)
    # the first token whose sum is above the target: its own probability cannot be 0
    token = torch.searchsorted(cdf, (uniform * cdf[:, -1])[:, None], right=True)  # (R, 1)
    token = token.clamp(max=probs.shape[-1] - 1)  # uniform x sum can round up to the sum itself
    return token[:, 0], probs.gather(-1, token)[:, 0].log()


@torch.inference_mode()  # no_grad with less to do for each operation
def sample(
    model: Transformer,
    prompts: list[list[int]],
    n: int = 1,
    *,
    stop_ids: tuple[int, ...] | list[int],
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    max_rows: int = 256,
) -> list[list[Rollout]]:
    """n answers for each prompt: result[i][j] answers prompts[i].

    max_new_tokens counts the stop id; the model's context can end a row sooner. max_rows answers are in
    work at once. Raises InputError for an empty prompt or one that leaves no room in the context.
    """
    context, device = model.config.max_position_embeddings, model.device
    for i, prompt in enumerate(prompts):
        if not 0 < len(prompt) < context:
            raise InputError(
                f"prompt {i}: expected 1 to {context - 1} tokens (the context is {context}), found {len(prompt)}"
            )
    if (
        min(n, max_new_tokens, max_rows) < 1
        or not (temperature == 0 or 1e-6 <= temperature < 1e6)
        or not 0 < top_p <= 1
        or top_k < 0
    ):
        raise InputError(
            "sampling: expected n, max_new_tokens, max_rows >= 1, top_k >= 0, 0 < top_p <= 1, temperature 0 or 1e-6 "
            f"to 1e6; found {n=}, {max_new_tokens=}, {max_rows=}, {top_k=}, {top_p=}, {temperature=}"
        )
    if not prompts:
        return []

    N = len(prompts) * n
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(N, max_new_tokens, generator=generator, dtype=torch.float64).to(device)
    tokens = torch.zeros(N, max_new_tokens, dtype=torch.long, device=device)
    logprobs = torch.zeros(N, max_new_tokens, device=device)
    lengths = torch.zeros(N, dtype=torch.long, device=device)  # tokens drawn so far
    stopped = torch.zeros(N, dtype=torch.bool, device=device)
    stops = torch.tensor(list(stop_ids), dtype=torch.long, device=device)
    sizes = torch.tensor([len(p) for p in prompts], device=device).repeat_interleave(n)
    room = (context - sizes).clamp(max=max_new_tokens)  # (N,) tokens each answer may have

    def step(answer: Tensor, hidden: Tensor) -> None:
        """Draw one token for each of the answers (R,) from hidden (R, C)."""
        at = lengths[answer]
        token, logprob = draw(sampling_probs(model.logits(hidden), temperature, top_k, top_p), uniform[answer, at])
        tokens[answer, at], logprobs[answer, at], stopped[answer] = token, logprob, torch.isin(token, stops)
        lengths[answer] += 1

    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"), prepacked_weights(model):
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        slots = int((sizes + room).max())
        if model.compiled_step:  # each new shape is compiled again: all rows, and slots rounded up
            slots = -(-slots // 256) * 256
        else:
            max_rows = min(max_rows, N)
        cache = KVCache(model.config, max_rows, slots, device, dtype)
        waiting = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # the longest go first
        active = torch.zeros(0, dtype=torch.long, device=device)  # (R,) the answer that each row writes
        queue, source = active, active  # answers whose prompt is prefilled, and its row in `prefilled`
        while waiting or len(queue) or len(active):
            free = max_rows - len(active)
            if not len(queue) and waiting and free >= (max(max_rows // 8, 1) if len(active) else 1):  # in bulk
                count = max(1, min(-(-free // n), PREFILL_TOKENS // len(prompts[waiting[-1]]), len(waiting)))
                chosen = [waiting.pop() for _ in range(count)]
                prefilled, first = prefill(model, [prompts[i] for i in chosen], dtype)
                queue = (torch.tensor(chosen, device=device)[:, None] * n + torch.arange(n, device=device)).flatten()
                source = torch.arange(count, device=device).repeat_interleave(n)
            if free and len(queue):  # the next answers get a row and their first token
                cache.append(prefilled, source[:free])
                active = torch.cat((active, queue[:free]))
                step(queue[:free], first[source[:free]])
                queue, source = queue[free:], source[free:]
            else:  # one more token for every row
                last = tokens[active, lengths[active] - 1]
                hidden = model.hidden(last[:, None], cache)[:, 0]
                cache.lengths[: len(active)] += 1
                step(active, hidden)
            active = retire(active, stopped[active] | (lengths[active] >= room[active]), cache)

    def answer(i: int) -> Rollout:
        size = all_lengths[i]
        finish = "stop" if all_stopped[i] else "length"
        return Rollout(prompts[i // n], all_tokens[i][:size], all_logprobs[i][:size], finish)

    all_tokens, all_logprobs = tokens.tolist(), logprobs.tolist()
    all_lengths, all_stopped = lengths.tolist(), stopped.tolist()
    return [[answer(i * n + j) for j in range(n)] for i in range(len(prompts))]


def prefill(model: Transformer, prompts: list[list[int]], dtype: torch.dtype) -> tuple[KVCache, Tensor]:
    """Run the prompts once: a cache with a row for each, and their last hidden states (P, C)."""
    ids = pad_sequence([torch.tensor(p) for p in prompts], batch_first=True).to(model.device)  # (P, T)
    cache = KVCache(model.config, ids.shape[0], ids.shape[1], model.device, dtype)
    cache.rows = len(prompts)
    hidden = model.hidden(ids, cache)  # (P, T, C)
    cache.lengths[:] = torch.tensor([len(p) for p in prompts])
    return cache, hidden[torch.arange(len(prompts), device=model.device), cache.lengths - 1]


def retire(active: Tensor, done: Tensor, cache: KVCache) -> Tensor:
    """Drop the rows that are done (R,): the last rows that go on move into the gaps."""
    rows = int((~done).sum())
    if rows == len(active):
        return active
    gaps = done[:rows].nonzero()[:, 0]
    movers = (~done[rows:]).nonzero()[:, 0] + rows
    active[gaps] = active[movers]
    cache.move(movers, gaps, rows)
    return active[:rows]


def main() -> None:
    from data import ArgumentParser, Tokenizer  # the tokenizer belongs to the prompts, one file further on

    parser = ArgumentParser(description="Sample answers of a model to one question.")
    parser.add_argument("model", help="a Hugging Face folder or a hub name")
    parser.add_argument("question")
    parser.add_argument("--samples", type=int, default=1, help="answers to draw")
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the best token each time")
    parser.add_argument("--top-k", type=int, default=0, help="0: all tokens")
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = Transformer.from_pretrained(args.model)
    tokenizer = Tokenizer.from_pretrained(args.model, model.config.vocab_size)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    answers = sample(
        model,
        [tokenizer.question_prompt(args.question)],
        args.samples,
        stop_ids=tokenizer.stop_ids,
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        seed=args.seed,
    )[0]
    for rollout in answers:
        print(tokenizer.decode(rollout.token_ids))
        print(f"[{len(rollout.token_ids)} tokens, finish: {rollout.finish}]", file=sys.stderr)


if __name__ == "__main__":
    from data import run_main

    run_main(main)
