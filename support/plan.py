"""What a run will need of the device's memory and of the disk, worked out from its shapes before
the first step.

Two moments are candidates for the peak: sampling, when the KV cache is at its fullest, and the
update, with the activations and the gradients of one micro-batch. Parameters, gradients and
optimizer state are float32; what is computed is bfloat16 on a GPU (--dtype).
The cold start's minutes are worked out too (coldstart_cost), at rates that are assumed.
Called by train.py, and by bench/scaling.py and bench/gpu.py, which print these plans beside
measured peaks.
"""

import math
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import torch

from support.hub import ModelConfig
from support.logprobs import CHUNK
from support.packing import ATTENDED
from support.prepacked import pays_off
from support.settings import Settings

Bytes = dict[str, float]  # what is held -> how many bytes it takes

# Measured with Qwen2.5-Coder-0.5B on an H200 and on two cores: FLOP/s of an update, and tokens a
# second that are written in 768 and in 64 rows. Writing is bound by reading the weights and, on a
# GPU, by starting kernels, so that FLOP say nothing there. Without cuDNN's attention (model.py) an
# H200 writes 6,000 tokens a second in 256 rows and 15,000 in 1,024; updates are faster too.
FLOP_RATE = {"cuda": 60e12, "cpu": 0.1e12}
TOKEN_RATE = {"cuda": 7500, "cpu": 90}


def total(parts: Bytes) -> float:
    return sum(parts.values())


class Plan(NamedTuple):
    kept: Bytes  # all the time
    sampling: Bytes  # on top of it, while answers or constructions are sampled
    update: Bytes  # on top of it, during a micro-batch

    @property
    def peak(self) -> float:
        return total(self.kept) + max(total(self.sampling), total(self.update))


class Call(NamedTuple):
    """One call of the sampler."""

    prompts: int
    n: int  # answers to each
    prompt: int  # tokens of the longest
    reply: int  # tokens of the longest


class Sizes:
    """What a model's shape comes to on a device, in bytes."""

    def __init__(self, config: ModelConfig, device: str, dtype: str = "auto"):
        self.config = config
        width = config.hidden_size
        inner = config.intermediate_size
        queries = config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        layers = config.num_hidden_layers
        head = config.vocab_size * width
        matrices = layers * width * (2 * queries + 2 * keys + 3 * inner) + head
        parameters = matrices if config.tie_word_embeddings else matrices + head

        self.weights = 4 * parameters  # and as much for gradients, and for each moment of AdamW
        self.head = 4 * head
        is_rounded = dtype == "bfloat16" or (dtype == "auto" and device == "cuda")
        computed = 2 if is_rounded else 4  # bytes of a number that is computed
        self.bfloat16 = 2 * parameters if is_rounded else 0  # the copy that is computed with
        self.prepacked = (
            computed * matrices if device == "cpu" and pays_off(config) else 0
        )  # at most

        # Of one token: in the KV cache, made by a block, kept of a block for its backward pass
        # (where attention gathers the keys and values for each answer), and the blocks' inputs.
        self.cached = computed * 2 * layers * keys
        self.block = computed * (4 * width + 2 * queries + 4 * keys + 4 * inner)
        self.kept = self.block + computed * (2 * width + 2 * queries + 2 * keys * ATTENDED)
        self.inputs = 4 * layers * width
        # Under autocast the residual stream and the norms stay float32: 4 numbers of the width.
        self.kept += (4 - computed) * 4 * width


def sampling_bytes(sizes: Sizes, call: Call, max_rows: int, prefill_tokens: int) -> Bytes:
    """What one call of the sampler holds when its rows are in use and their cache is full."""
    rows = min(max_rows, call.prompts * call.n)
    prompts = math.ceil(rows / call.n)  # prefilled at once
    prefilled = min(prefill_tokens, prompts * call.prompt)
    return {
        "KV cache": rows * (call.prompt + call.reply) * sizes.cached,
        "prefill": prefilled * (sizes.block + sizes.cached),
        # logits, probabilities, their sums in float64 and a copy
        "distributions": rows * sizes.config.vocab_size * 24,
        "bfloat16 weights": sizes.bfloat16,
        "prepacked weights": sizes.prepacked,
    }


def update_bytes(sizes: Sizes, micro_tokens: int, checkpointing: bool) -> Bytes:
    """What the forward and backward pass of a micro-batch of micro_tokens holds."""
    config = sizes.config
    kept = config.num_hidden_layers * sizes.kept
    if checkpointing:  # one block at a time is computed again from its input
        kept = sizes.inputs + sizes.kept
    heads = 2 if config.tie_word_embeddings else 1  # a tied head has the embedding's gradient too
    return {
        "gradients": sizes.weights,
        "activations": micro_tokens * kept,
        "chunk of logits": 3 * 4 * min(CHUNK, micro_tokens * config.vocab_size),
        "gradient of the head": heads * sizes.head,
        "bfloat16 weights": sizes.bfloat16,
    }


def memory_plan(
    settings: Settings,
    config: ModelConfig,
    calls: list[Call],
    *,
    device: str,
    micro_tokens: int,
    prefill_tokens: int,
) -> Plan:
    """The plan of steps that make these calls of the sampler, and update from micro-batches.

    micro_tokens: tokens of the largest micro-batch
    prefill_tokens: tokens of prompts that go through the model at once, at most
    """
    sizes = Sizes(config, device, settings.dtype)
    starts = bool(settings.kl_rows or settings.kl_coef)  # the starting policy is kept for the KL
    sampling = [sampling_bytes(sizes, call, settings.max_rows, prefill_tokens) for call in calls]
    return Plan(
        kept={
            "weights": sizes.weights,
            "AdamW": 2 * sizes.weights,
            "starting policy": sizes.weights if starts else 0,
        },
        sampling=max(sampling, key=total),
        update=update_bytes(sizes, micro_tokens, settings.checkpointing),
    )


def plan_of(
    settings: Settings,
    config: ModelConfig,
    *,
    device: str,
    prompt_tokens: int,
    request_tokens: int,
    held_out: int,
    coldstart_questions: int,
    prefill_tokens: int,
) -> Plan:
    """The plan of a run, from its settings and its longest prompts.

    device: "cpu" or "cuda"
    prompt_tokens: of the longest question's prompt
    request_tokens: of the longest synthesis prompt without its two answers
    held_out: how many questions the policy is measured on
    coldstart_questions: the most that a cold start asks at once
    prefill_tokens: as in memory_plan
    """
    c = settings
    context = config.max_position_embeddings
    has_coldstart = c.stage != "rl"
    asked = max(c.questions, coldstart_questions if has_coldstart else 0)

    def call(prompts: int, n: int, prompt: int, reply: int) -> Call:
        prompt = min(prompt, context - 1)
        return Call(prompts, n, prompt, min(reply, context - prompt))

    calls = [
        call(asked, c.k, prompt_tokens, c.max_new_tokens),
        call(held_out, c.eval_samples, prompt_tokens, c.max_new_tokens),
    ]
    if c.constructs or has_coldstart:
        request = request_tokens + 2 * c.max_new_tokens  # a synthesis prompt holds two answers
        calls.append(call(asked * c.m_max, 1, request, c.max_reply_tokens))

    answers = c.k + c.m_max if c.constructs else c.k
    tokens_of_step = c.questions * (prompt_tokens + answers * c.max_new_tokens)  # at most
    longest = max(call.prompt + call.reply for call in calls)
    if has_coldstart:
        longest = max(longest, min(constructing_tokens(c, request_tokens), context))
    micro_tokens = max(min(c.micro_tokens, tokens_of_step), longest)  # one long row still goes
    return memory_plan(
        c, config, calls, device=device, micro_tokens=micro_tokens, prefill_tokens=prefill_tokens
    )


def constructing_tokens(settings: Settings, request_tokens: int) -> int:
    """Of the longest example that teaches to construct: two answers in the request, then an
    analysis, which is part of a reply, and a reconstruction, as long as an answer."""
    return request_tokens + 3 * settings.max_new_tokens + settings.max_reply_tokens


class ColdstartCost(NamedTuple):
    """What a cold start on a checkpoint's own answers takes, at most."""

    questions: int  # asked
    sampled: int  # tokens written, at most
    token_rate: float  # tokens a second
    trained: int  # tokens of the examples of all updates, at most
    flop: float  # of these updates
    flop_rate: float  # FLOP a second


def coldstart_cost(
    settings: Settings,
    config: ModelConfig,
    *,
    device: str,
    problems: int,
    prompt_tokens: int,
    request_tokens: int,
) -> ColdstartCost:
    """The cost where every question is asked, and every answer as long as it may be.

    problems: how many questions there are to ask
    device, prompt_tokens, request_tokens: as in plan_of
    """
    c = settings
    portions = math.ceil(min(problems, c.coldstart_questions) / c.questions)
    questions = c.coldstart_rounds * portions * c.questions
    asked = questions + min(problems, c.report_questions)
    sampled = asked * (c.k * c.max_new_tokens + c.m_max * c.max_reply_tokens)
    example = max(prompt_tokens + c.max_new_tokens, constructing_tokens(c, request_tokens))
    trained = c.coldstart_updates * c.coldstart_batch * example

    parameters = Sizes(config, device).weights / 4
    passes = 4 if c.checkpointing else 3  # forward, backward (as two), and forward again
    return ColdstartCost(
        questions=questions,
        sampled=sampled,
        # The kernels of a smaller model take as long to start: it is not taken to be faster.
        token_rate=TOKEN_RATE[device] * min(1, 0.5e9 / parameters),
        trained=trained,
        flop=passes * 2 * parameters * trained,
        flop_rate=FLOP_RATE[device],
    )


def format_cost(cost: ColdstartCost) -> str:
    """The cost of the cold start in two lines, with the rates at which it was counted."""
    sampling = math.ceil(cost.sampled / cost.token_rate / 60)  # minutes
    updating = math.ceil(cost.flop / cost.flop_rate / 60)
    sampled = f"{cost.sampled:,} tokens written"
    trained = f"{cost.trained:,.0f} tokens, {cost.flop / 1e12:,.0f} TFLOP"
    return (
        f"cold start: at most {cost.questions:,} questions, {sampled}: "
        f"{sampling:,} min at {cost.token_rate:,.0f} tokens/s\n"
        f"  its updates: {trained}: "
        f"{updating:,} min at {cost.flop_rate / 1e12:g} TFLOP/s"
    )


def device_memory(device: torch.device) -> int:
    """Bytes that the device has, in all."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def disk_bytes(settings: Settings, config: ModelConfig) -> int:
    """The most that the checkpoints of a run take: step-0 is weights alone, the others have the two
    moments of AdamW beside them."""
    weights = Sizes(config, "cpu").weights
    every_step = settings.save_minutes or settings.eval_every  # perhaps
    made = settings.steps if every_step else math.ceil(settings.steps / settings.save_every)
    newest = settings.keep or made
    whole = newest + 2  # and the best one, and one that is being written
    return weights + whole * 3 * weights


def format_disk(needed: int, folder: Path) -> str:
    """The bytes that checkpoints take in a folder, beside what is free there, in a line or two."""
    free = shutil.disk_usage(folder).free
    line = f"disk: checkpoints take {needed / 1e9:.2f} GB at most, {free / 1e9:.2f} GB are free"
    if needed > free:
        line += "\n  this will not fit: free some, or lower --keep"
    return line


def format_plan(plan: Plan, available: int) -> str:
    """The plan in a few lines, with what to lower where it needs more than the available bytes."""
    peak = f"memory: about {plan.peak / 1e9:.2f} GB at the peak"
    lines = [f"{peak}, the device has {available / 1e9:.2f} GB"]
    for name, parts in plan._asdict().items():
        items = ", ".join(f"{part} {size / 1e9:.2f}" for part, size in parts.items() if size)
        lines.append(f"  {name:<10} {total(parts) / 1e9:6.2f} GB  ({items})")

    kept = total(plan.kept)
    advice = {
        "lower --max-rows, or --max-new-tokens and --max-reply-tokens": plan.sampling,
        "lower --micro-tokens, or add --checkpointing": plan.update,
    }
    for remedy, parts in advice.items():
        if kept > 0.9 * available:
            remedy = "take a smaller --model"
        if kept + total(parts) > available:
            lines.append(f"  this will not fit: {remedy}")
    return "\n".join(lines)
