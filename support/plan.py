"""What a run will need of the device's memory, worked out from its shapes before the first step.

Two moments are candidates for the peak: sampling (the KV cache at its fullest) and the update (activations and
gradients of one micro-batch). bench/scaling.py prints these plans beside measured peaks. Counted in bytes.
"""

import os
from typing import NamedTuple

import torch

from augment import synthesis_prompt
from coldstart import MISTAKE_QUESTIONS, REPORT_QUESTIONS
from rollout import PREFILL_TOKENS
from support.hub import ModelConfig
from support.packing import ATTENDED
from support.runs import Run
from tapo_loss import CHUNK


class Plan(NamedTuple):
    kept: dict[str, float]  # there all the time
    sampling: dict[str, float]  # on top of it, while answers or constructions are sampled
    update: dict[str, float]  # on top of it, during a micro-batch

    @property
    def peak(self) -> float:
        return sum(self.kept.values()) + max(sum(self.sampling.values()), sum(self.update.values()))


class Call(NamedTuple):
    """One call of the sampler."""

    prompts: int
    n: int  # answers to each
    prompt: int  # tokens, of the longest
    reply: int


def memory_plan(
    m: ModelConfig, calls: list[Call], *, device: str, max_rows: int, batch: int, checkpointing: bool, copy: bool
) -> Plan:
    """The plan of steps that make these calls and update from micro-batches of at most `batch` tokens; copy:
    the starting policy is kept for the KL."""
    cuda = device == "cuda"
    size = 2 if cuda else 4  # of what is computed, in bytes; parameters and their like are float32
    V, C, inner, L = m.vocab_size, m.hidden_size, m.intermediate_size, m.num_hidden_layers
    q, kv = m.num_attention_heads * m.head_dim, m.num_key_value_heads * m.head_dim
    matrices = L * (C * (2 * q + 2 * kv) + 3 * C * inner) + V * C
    parameters = matrices + (0 if m.tie_word_embeddings else V * C)
    cached = 2 * L * kv * size  # of one token
    block = 4 * C + 2 * q + 4 * kv + 4 * inner  # numbers that one block makes of a token
    kept = block + 2 * C + 2 * q  # what autograd keeps of them,
    kept += 2 * kv * ATTENDED  # and the keys and values that attention gathers for each answer
    copies = {"bfloat16 weights": 2 * parameters} if cuda else {"prepacked weights": 4 * matrices}

    def sampling(call: Call) -> dict[str, float]:
        rows = min(max_rows, call.prompts * call.n)
        filled = min(PREFILL_TOKENS, -(-rows // call.n) * call.prompt)
        return {
            "KV cache": rows * (call.prompt + call.reply) * cached,
            "prefill": filled * (block * size + cached),
            "distributions": rows * V * 24,  # logits, probabilities, their sums in float64 and a copy
            **copies,
        }

    return Plan(
        kept={"weights": 4 * parameters, "AdamW": 8 * parameters, "starting policy": 4 * parameters * copy},
        sampling=max(map(sampling, calls), key=lambda parts: sum(parts.values())),
        update={
            "gradients": 4 * parameters,
            "activations": batch * size * (L * C + kept if checkpointing else L * kept),
            "chunk of logits": 3 * 4 * min(CHUNK, batch * V),
            "gradient of the head": 4 * V * C * (2 if m.tie_word_embeddings else 1),
            "bfloat16 weights": 2 * parameters * cuda,
        },
    )


def plan_of(run: Run) -> Plan:
    """The plan of a run, from its settings and its longest question (in characters)."""
    c, room = run.config, run.model.config.max_position_embeddings
    question = max((p.question for p in run.problems + run.held_out), key=len)
    asked = c.questions
    if c.stage != "rl":  # the cold start asks too
        asked = max(asked, MISTAKE_QUESTIONS, min(c.eval_problems, REPORT_QUESTIONS))

    def call(prompts: int, n: int, prompt: int, reply: int) -> Call:
        prompt = min(prompt, room - 1)
        return Call(prompts, n, prompt, min(reply, room - prompt))

    bare = len(run.tokenizer.question_prompt(question))
    calls = [call(asked, c.k, bare, c.max_new_tokens), call(len(run.held_out), c.eval_samples, bare, c.max_new_tokens)]
    if c.constructs or c.stage != "rl":  # a synthesis prompt holds two answers
        request = len(run.tokenizer.prompt(synthesis_prompt(question, "", "", c.synthesis, c.reconstruction)))
        calls.append(call(asked * c.m_max, 1, request + 2 * c.max_new_tokens, c.max_reply_tokens))
    step = c.questions * (bare + (c.k + c.m_max * c.constructs) * c.max_new_tokens)  # tokens, at most
    longest = max(call.prompt + call.reply for call in calls)  # one long row still goes
    batch = max(min(c.micro_tokens, step), longest)
    return memory_plan(
        run.model.config, calls, device=run.device.type, max_rows=c.max_rows, batch=batch,
        checkpointing=c.checkpointing, copy=bool(c.kl_rows or c.kl_coef),
    )  # fmt: skip


def device_memory(device: torch.device) -> int:
    """Bytes that the device has, in all."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def format_plan(plan: Plan, available: int) -> str:
    """The plan in a few lines, with what to lower where it does not fit."""

    def line(name: str, parts: dict[str, float]) -> str:
        items = ", ".join(f"{part} {n / 1e9:.2f}" for part, n in parts.items() if n)
        return f"  {name:<10} {sum(parts.values()) / 1e9:6.2f} GB  ({items})"

    lines = [f"memory: about {plan.peak / 1e9:.2f} GB at the peak, the device has {available / 1e9:.2f} GB"]
    lines += [line(name, parts) for name, parts in plan._asdict().items()]
    kept = sum(plan.kept.values())
    for parts, advice in (
        (plan.sampling, "--max-rows, or --max-new-tokens and --max-reply-tokens"),
        (plan.update, "--micro-tokens, or add --checkpointing"),
    ):
        if kept + sum(parts.values()) > available:
            small = kept > 0.9 * available
            lines.append("  this will not fit: " + ("take a smaller --model" if small else f"lower {advice}"))
    return "\n".join(lines)
