"""The sampler: prompts in, token ids with their log-probs out. Phase 1 of a training step.

Each token comes with its log-prob. Training samples and scores at one temperature, and nothing is
cut off (no top-k, no top-p): the distribution is the policy's own.

How it is made fast (sample):
- each prompt goes through the model once, and its keys and values are copied to every row that
  answers it;
- when an answer ends, the last row moves into its place and the next answer gets the free row: rows
  do not wait for the longest answer (attention alone spans the longest row in use).

How it stays the same: every answer has random numbers of its own, made from the seed before the
start. Which answers share a batch, or how many rows fit in it, does not change what is drawn
(up to the rounding of logits).

Letters in shapes: R rows in use, P prompts, N answers in all, C hidden width, V vocabulary.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from checker import Grade, grade
from data import read_text
from model import KVCache, Transformer
from support.cli import ArgumentParser, run_main
from support.files import InputError
from support.logprobs import autocast
from support.prepacked import prepacked_weights
from support.settings import Settings, can_sample_at
from support.tokenizer import Tokenizer
from tasks import Problem

PREFILL_TOKENS = 16384  # tokens of prompts, padding included, that go through the model at once


# ---------------------------------------------------------------- what flows


@dataclass
class Policy:
    """The model that is trained, with the tokenizer that it reads and writes by."""

    model: Transformer
    tokenizer: Tokenizer

    @classmethod
    def from_pretrained(
        cls, name: str, device: str | torch.device, dtype: str = "auto"
    ) -> "Policy":
        """Read a Hugging Face folder or hub name; raises InputError.

        dtype: what is computed in, "float32" or "bfloat16"; "auto": bfloat16 on a GPU alone
        """
        model = Transformer.from_pretrained(name)
        model.compute_in = dtype
        tokenizer = Tokenizer.from_pretrained(name, model.config.vocab_size)
        return cls(model.to(device), tokenizer)


@dataclass
class Rollout:
    """One sampled answer. token_ids holds the stop id that ended it, with its log-prob, if one
    did."""

    prompt_ids: list[int]
    token_ids: list[int]
    logprobs: list[float]  # nats, one for each token id
    finish: str  # "stop": ended by a stop id; "length": out of room


@dataclass
class Answer:
    """A rollout as the answer to a question: its text, and what the checker says of it."""

    rollout: Rollout
    text: str
    grade: Grade

    @property
    def ended(self) -> bool:
        """Whether it ended by itself, and was not cut off."""
        return self.rollout.finish == "stop"


@dataclass
class Group:
    """The K answers to one problem."""

    problem: Problem
    answers: list[Answer]

    @property
    def n_right(self) -> int:
        return sum(answer.grade.right for answer in self.answers)


@dataclass
class Trajectory:
    """A prompt, and the tokens after it that are trained on.

    In RL the prompt is the bare question, and the answer was sampled or constructed (augment.py).
    In the cold start it is a supervised example: the prompt is what is given, token_ids are
    learned, and the other fields are not used.
    """

    prompt_ids: list[int]
    token_ids: list[int]  # stop id included
    reward: float = 1.0
    question_number: int = 0  # in the step
    origin: str = "sampled"  # or "constructed"
    right: bool = True
    logprobs: list[float] = field(default_factory=list)  # the sampler's: measured, not trained by
    prefix_tokens: int = 0  # how many the wrong prefix has, for constructed ones
    diagnosis_tokens: int = 0  # and the diagnosis after it
    # To be looked at, of constructed ones that an update has seen (train.measure_and_note_ots):
    advantage: float = 0.0
    token_measures: list[list[float]] = field(default_factory=list)  # log-prob, entropy, OTS weight


# ---------------------------------------------------------------- phase 1 of a training step


def answer_problems(
    policy: Policy, problems: list[Problem], settings: Settings, seed: int
) -> list[Group]:
    """K answers to each problem, each with what the checker says of it."""
    prompts = [policy.tokenizer.question_prompt(problem.question) for problem in problems]
    rollouts = sample(
        policy.model,
        prompts,
        settings.k,
        stop_ids=policy.tokenizer.stop_ids,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seed=seed,
        max_rows=settings.max_rows,
    )
    return graded(problems, rollouts, policy.tokenizer, settings.strict)


def graded(
    problems: list[Problem], rollouts: list[list[Rollout]], tokenizer: Tokenizer, strict: bool
) -> list[Group]:
    """rollouts[i][j], each with its text and its grade as an answer to problems[i]."""
    groups = []
    for problem, of_problem in zip(problems, rollouts, strict=True):
        answers = []
        for rollout in of_problem:
            text = tokenizer.decode(rollout.token_ids)
            answers.append(Answer(rollout, text, grade(problem, text, strict)))
        groups.append(Group(problem, answers))
    return groups


# ---------------------------------------------------------------- one token


def sampling_probs(logits: Tensor, temperature: float) -> Tensor:
    """Probabilities (R, V) of the distribution that is sampled; temperature 0 is all mass on the
    best token."""
    logits = logits.float()
    if temperature == 0:
        best = logits.argmax(dim=-1, keepdim=True)  # (R, 1)
        return torch.zeros_like(logits).scatter_(-1, best, 1.0)
    if temperature != 1:  # at 1 no copy of the logits is made
        logits = logits / temperature
    return logits.softmax(dim=-1)


def draw(probs: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (R,) and their log-probs (R,), by inverse CDF of probs (R, V) at uniform (R,) in [0,
    1).

    Summed in float64: in float32 the sums of a tail of rare tokens would be equal, and none of them
    ever drawn.
    """
    cdf = probs.cumsum(dim=-1, dtype=torch.float64)  # (R, V)
    target = (uniform * cdf[:, -1])[:, None]  # (R, 1)
    # The first token whose sum is above the target. So its own probability is not 0.
    token = torch.searchsorted(cdf, target, right=True)  # (R, 1)
    # The target can round up to the whole sum. Then no sum is above it.
    token = token.clamp(max=probs.shape[-1] - 1)
    return token[:, 0], probs.gather(-1, token)[:, 0].log()


def check_logits(logits: Tensor, places: list[int]) -> None:
    """Raises InputError for logits (R, V) that are not finite: no token may be drawn from those.

    places: how many tokens each of the R answers has so far, for the message.
    """
    is_finite = logits.isfinite().all(dim=-1).tolist()  # (R,)
    if not all(is_finite):
        token = places[is_finite.index(False)] + 1
        found = "found NaN or an infinite one"
        raise InputError(f"sampling, token {token} of an answer: expected finite logits, {found}")


# ---------------------------------------------------------------- many answers


@dataclass
class Draft:
    """An answer that is being written."""

    number: int  # of all N
    prompt_number: int
    room: int  # tokens it may have
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str = ""  # "" while it goes on

    def add(self, token: int, logprob: float, is_stop: bool) -> None:
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        if is_stop:
            self.finish = "stop"
        elif len(self.token_ids) == self.room:
            self.finish = "length"


@torch.no_grad()  # not inference_mode, in which autocast rounds all weights anew at every token
def sample(
    model: Transformer,
    prompts: list[list[int]],
    n: int = 1,
    *,
    stop_ids: tuple[int, ...] | list[int],
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    seed: int = 0,
    max_rows: int = 256,
    prompts_before: int = 0,
) -> list[list[Rollout]]:
    """n answers for each prompt: result[i][j] answers prompts[i].

    prompts_before: how many prompts stand before these in a list that is answered portion by
    portion; what is drawn is then what one call for the whole list would draw.

    max_new_tokens counts the stop id; the model's context can end an answer sooner. max_rows
    answers are written at once. Raises InputError for an empty prompt or one that leaves no room in
    the context, and for logits that are not finite.
    """
    context = model.config.max_position_embeddings
    check_prompts(prompts, context)
    check_sampling(n, max_new_tokens, max_rows, temperature, seed)
    if not prompts:
        return []

    N = len(prompts) * n
    max_new_tokens = min(max_new_tokens, context)
    generator = torch.Generator().manual_seed(seed)
    before = prompts_before * n
    uniform = torch.rand(before + N, max_new_tokens, generator=generator, dtype=torch.float64)
    uniform = uniform[before:]  # (N, max_new_tokens)
    drafts = []
    for number in range(N):
        prompt_number = number // n
        room = min(max_new_tokens, context - len(prompts[prompt_number]))
        drafts.append(Draft(number, prompt_number, room))

    def write(writing: list[Draft], hidden: Tensor) -> None:
        """One more token for each of these drafts (R), from the last hidden states (R, C)."""
        numbers = [draft.number for draft in writing]
        places = [len(draft.token_ids) for draft in writing]
        logits = model.logits(hidden)  # (R, V)
        check_logits(logits, places)
        probs = sampling_probs(logits, temperature)  # (R, V)
        tokens, logprobs = draw(probs, uniform[numbers, places].to(probs.device))  # (R,) each
        for draft, token, logprob in zip(writing, tokens.tolist(), logprobs.tolist(), strict=True):
            draft.add(token, logprob, token in stop_ids)

    with autocast(model), prepacked_weights(model):
        write_all(model, prompts, drafts, min(max_rows, N), write)

    rollouts = [
        Rollout(prompts[d.prompt_number], d.token_ids, d.logprobs, d.finish) for d in drafts
    ]
    return [rollouts[i * n : i * n + n] for i in range(len(prompts))]


def write_all(
    model: Transformer,
    prompts: list[list[int]],
    drafts: list[Draft],
    max_rows: int,
    write: Callable[[list[Draft], Tensor], None],
) -> None:
    """Write all drafts to their ends, at most max_rows of them at a time.

    A draft goes from `waiting` (its prompt has not gone through the model) to `ready` (it has, in
    the newest prefill, and waits for a row) to `rows` (it is being written). In each pass of the
    loop either ready drafts join, with their first token, while the others pause; or every row gets
    one more token.
    """
    lengths = [len(prompt) for prompt in prompts]
    slots = max(lengths[draft.prompt_number] + draft.room for draft in drafts)
    cache = KVCache(model, max_rows, slots)
    rows: list[Draft] = []  # rows[r] is written in row r of the cache
    # longest prompts first
    waiting = sorted(drafts, key=lambda draft: -lengths[draft.prompt_number])
    ready: list[Draft] = []  # their prompts have gone through the model, and they wait for a row
    while waiting or ready or rows:
        free = max_rows - len(rows)
        # A prefill waits until an eighth of the rows is free, so that it serves several drafts; if
        # no row is in use, it comes at once.
        enough = max(max_rows // 8, 1) if rows else 1
        if waiting and not ready and free >= enough:
            chosen = next_prompts(waiting, prompts, free)
            prefilled, last_hidden = prefill(model, [prompts[i] for i in chosen])
            ready = [draft for draft in waiting if draft.prompt_number in chosen]
            waiting = [draft for draft in waiting if draft.prompt_number not in chosen]
        # chosen, prefilled and last_hidden are those of the drafts in `ready`: the next prefill
        # comes only when all of them have joined
        if ready and free:
            joining = ready[:free]
            ready = ready[free:]
            source = torch.tensor([chosen.index(draft.prompt_number) for draft in joining])  # (R,)
            source = source.to(model.device)
            cache.append(prefilled, source)
            rows += joining
            write(joining, last_hidden[source])
        else:
            last = torch.tensor([[draft.token_ids[-1]] for draft in rows], device=model.device)
            write(rows, model.hidden_after(cache, last)[:, 0])
        retire(rows, cache)


def next_prompts(waiting: list[Draft], prompts: list[list[int]], free: int) -> list[int]:
    """The prompts of the next drafts: as many as fill the free rows and PREFILL_TOKENS hold, at
    least one."""
    chosen: list[int] = []
    for draft in waiting[:free]:
        if draft.prompt_number not in chosen:
            chosen.append(draft.prompt_number)
    longest = len(prompts[chosen[0]])  # the drafts that wait are sorted
    return chosen[: max(1, PREFILL_TOKENS // longest)]


def prefill(model: Transformer, prompts: list[list[int]]) -> tuple[KVCache, Tensor]:
    """Run the prompts once: a cache with a row for each, and the hidden states at their ends (P,
    C)."""
    device = model.device
    unpadded = [torch.tensor(prompt, device=device) for prompt in prompts]
    ids = pad_sequence(unpadded, batch_first=True)  # (P, T)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)  # (P,)
    cache = KVCache(model, len(prompts), ids.shape[1])
    cache.rows_in_use = len(prompts)
    hidden = model.hidden_after(cache, ids, counts=lengths)  # (P, T, C)
    return cache, hidden[torch.arange(len(prompts), device=device), lengths - 1]


def retire(rows: list[Draft], cache: KVCache) -> None:
    """Take out the drafts that have ended; the last row moves into each gap, so that the rows in
    use are the first ones.

    Five rows, of which the second has ended. The fifth moves into its place, and the next answer
    that waits will get the fifth row:

    >>> from unittest.mock import Mock
    >>> rows = [Draft(number, prompt_number=0, room=9) for number in (10, 11, 12, 13, 14)]
    >>> rows[1].finish = "stop"
    >>> cache = Mock()
    >>> retire(rows, cache)
    >>> [draft.number for draft in rows], cache.rows_in_use
    ([10, 14, 12, 13], 4)
    >>> cache.replace.call_args
    call(1, by=4)

    The others draw as before: the random numbers go by a draft's number, not by its row.
    """
    for row in reversed(range(len(rows))):  # the rows after it have been looked at already
        if rows[row].finish:
            last = len(rows) - 1
            if row < last:
                cache.replace(row, by=last)
                rows[row] = rows[last]
            rows.pop()
    cache.rows_in_use = len(rows)


def check_prompts(prompts: list[list[int]], context: int) -> None:
    for i, prompt in enumerate(prompts):
        if not 0 < len(prompt) < context:
            raise InputError(
                f"prompt {i}: expected 1 to {context - 1} tokens (the context is {context}), "
                f"found {len(prompt)}"
            )


def check_sampling(
    n: int, max_new_tokens: int, max_rows: int, temperature: float, seed: int
) -> None:
    if min(n, max_new_tokens, max_rows) < 1 or not can_sample_at(temperature):
        raise InputError(
            "sampling: expected n, max_new_tokens, max_rows >= 1, temperature 0 or 1e-6 to 1e6; "
            f"found {n=}, {max_new_tokens=}, {max_rows=}, {temperature=}"
        )
    if not 0 <= seed < 2**63:
        raise InputError(f"sampling: expected a seed of 0 to 2**63 - 1, found {seed}")


def main() -> None:
    parser = ArgumentParser(description="Sample answers of a model to one question.")
    parser.add_argument("model", help="a Hugging Face folder or a hub name")
    parser.add_argument("question")
    parser.add_argument("--samples", type=int, default=1, help="answers to draw")
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0 takes the best token each time"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = vars(parser.parse_args())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = Policy.from_pretrained(arguments.pop("model"), device)
    question = read_text(arguments.pop("question"), "question", "command line")
    prompt = policy.tokenizer.question_prompt(question)
    samples = arguments.pop("samples")
    stop_ids = policy.tokenizer.stop_ids
    for rollout in sample(policy.model, [prompt], samples, stop_ids=stop_ids, **arguments)[0]:
        print(policy.tokenizer.decode(rollout.token_ids))
        print(f"[{len(rollout.token_ids)} tokens, finish: {rollout.finish}]", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
