"""The transformer and its KV cache: Llama, Qwen2 and Qwen3 checkpoints in one plain decoder.

A block is x + Attention(RMSNorm(x)), then x + SwiGLU(RMSNorm(x)). Attention is grouped-query with rotary
positions (RoPE); Qwen2 adds a bias to q, k and v, Qwen3 a norm on every head's q and k. The modules carry the
names of Hugging Face's tensors.

Sampling (T = 1, no gradient) goes through the same modules: the cache holds keys and values in slots that were
allocated once, and on a CPU the weights are read from a copy that is packed for it beforehand (see prepacked_weights).

Letters in shapes: B rows, T tokens, C hidden width, H query heads, G key/value heads, D head width,
S cache slots (S' of them in sight), L layers, V vocabulary.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from support.hub import InputError, ModelConfig, read_tensors, resolve_folder
from support.packing import Packed, packed_attention
from tapo_loss import token_logprobs


def rope_frequencies(config: ModelConfig) -> Tensor:
    """Radians per position of each rotated pair, (D/2,). Source: RoFormer section 3.2; llama3 scaling as in
    Meta's Llama 3.1: long waves are slowed down by `factor`, short ones kept, those between are blended."""
    pairs = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    frequency = 1.0 / config.rope_theta**pairs  # (D/2,)
    scaling = config.rope_scaling
    if scaling is None:
        return frequency
    slowed = frequency / scaling["factor"]
    if scaling["rope_type"] == "linear":
        return slowed
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * frequency / (2 * math.pi)  # over the old context
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - keep) * slowed + keep * frequency


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (a, b) = (x[i], x[i + D/2]) of x (B, heads, T, D) into (a cos - b sin, b cos + a sin).
    cos, sin: (B or 1, 1, T, D), the first half of sin negative."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat((b, a), dim=-1), sin).to(x.dtype)


def products(x: Tensor, *layers: nn.Linear | nn.Embedding) -> tuple[Tensor, ...]:
    """x (..., in) times each layer's matrix, plus its bias; in one product of all, within prepacked_weights."""
    biases: list[Any] = [getattr(layer, "bias", None) for layer in layers]
    prepacked = getattr(layers[0], "prepacked", None)
    if prepacked is None or torch.is_grad_enabled():
        return tuple(F.linear(x, layer.weight, bias) for layer, bias in zip(layers, biases, strict=True))
    bias = None if biases[0] is None else torch.cat(biases)
    y = torch.ops.mkldnn._linear_pointwise(x.flatten(0, -2), prepacked, bias, "none", [], "")
    return y.view(*x.shape[:-1], -1).split([len(layer.weight) for layer in layers], dim=-1)


def joined_layers(model: nn.Module) -> list[tuple[nn.Linear | nn.Embedding, ...]]:
    """Every matrix product of the model: a module names in `joined` the layers whose matrices make one product."""
    return [layers for module in model.modules() for layers in getattr(module, "joined", [])]


@contextmanager
def prepacked_weights(model: "Transformer") -> Iterator[None]:
    """Within it, a second copy of the matrices, laid out for oneDNN's kernels, serves inference on a CPU.

    Products with 1 to 16 rows take 60 to 75% of F.linear's time (bench/README.md). The copy is made here, of the
    weights as they are, and ends here, so it cannot go stale (TRL #3247). On other devices, and for compiled
    blocks, this does nothing.
    """
    joined = joined_layers(model)
    if model.device.type != "cpu" or model.compiled_step or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        joined = []
    try:
        for layers in joined:
            weight = torch.cat([layer.weight.detach() for layer in layers])
            layers[0].prepacked = torch.ops.mkldnn._reorder_linear_weight(weight)
        yield
    finally:
        for layers in joined:
            vars(layers[0]).pop("prepacked", None)


class KVCache:
    """Keys and values of every layer in one block: (L, 2, B, G, S, D), allocated once.

    Slot j of a row holds its token number j, so slot and position are one number and rows of different
    lengths need no padding. What lies in slots at or above lengths[b] is never read.
    """

    def __init__(self, config: ModelConfig, rows: int, slots: int, device: torch.device, dtype: torch.dtype):
        layers, groups, width = config.num_hidden_layers, config.num_key_value_heads, config.head_dim
        self.kv = torch.zeros(layers, 2, rows, groups, slots, width, device=device, dtype=dtype)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)  # filled slots of each row
        self.rows = 0  # the rows in use are the first ones
        self.longest = 0  # the largest of their lengths

    def append(self, other: "KVCache", source: Tensor) -> None:
        """Copy rows `source` (N,) of `other` behind the rows in use: one prefill, many samples."""
        new, slots = slice(self.rows, self.rows + len(source)), other.longest
        self.kv[:, :, new, :, :slots] = other.kv[:, :, source, :, :slots]
        self.lengths[new] = other.lengths[source]
        self.rows, self.longest = new.stop, int(self.lengths[: new.stop].max())

    def move(self, source: Tensor, target: Tensor, rows: int) -> None:
        """Copy rows `source` over rows `target` and keep the first `rows` rows."""
        self.kv[:, :, target, :, : self.longest] = self.kv[:, :, source, :, : self.longest]
        self.lengths[target] = self.lengths[source]
        self.rows, self.longest = rows, int(self.lengths[:rows].max()) if rows else 0


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, self.eps).to(x.dtype)


class Where(NamedTuple):
    """Where a batch of tokens stands: what every block has to know beside the hidden states."""

    cos: Tensor  # (B or 1, 1, T, D), of RoPE's angles
    sin: Tensor
    kv: Tensor | None  # (L, 2, rows, G, S, D) the cache, of which the first B rows are used
    slots: Tensor | None  # (B * G * T,) where new keys and values go, in its rows, groups and slots seen as one
    mask: Tensor | None  # (B, 1, T, S') 0 on what is seen, else -inf; None: these T tokens alone, causal
    packed: Packed | None  # the tokens are a packed row; mask is of its answers, (B, 1, H/G * T, S + T)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.width, bias = config.head_dim, config.model_type == "qwen2"
        q, kv = config.num_attention_heads * self.width, config.num_key_value_heads * self.width
        self.q_proj = nn.Linear(config.hidden_size, q, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, kv, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, kv, bias=bias)
        self.o_proj = nn.Linear(q, config.hidden_size, bias=False)
        qwen3 = config.model_type == "qwen3"
        self.q_norm = RMSNorm(self.width, config.rms_norm_eps) if qwen3 else nn.Identity()
        self.k_norm = RMSNorm(self.width, config.rms_norm_eps) if qwen3 else nn.Identity()

    @property
    def joined(self) -> list[tuple[nn.Linear, ...]]:
        return [(self.q_proj, self.k_proj, self.v_proj), (self.o_proj,)]

    def forward(self, x: Tensor, where: Where, layer: int) -> Tensor:
        B, T, _ = x.shape
        q, k, v = (y.view(B, T, -1, self.width) for y in products(x, *self.joined[0]))
        q, k, v = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2), v.transpose(1, 2)
        q, k = rotate(q, where.cos, where.sin), rotate(k, where.cos, where.sin)  # (B, H, T, D), (B, G, T, D)
        if where.kv is not None and where.slots is not None:
            new = torch.stack((k, v)).to(where.kv.dtype).flatten(1, 3)  # (2, B * G * T, D)
            where.kv[layer].view(2, -1, self.width).index_copy_(1, where.slots, new)
            if where.mask is not None:
                k, v = where.kv[layer, :, :B, :, : where.mask.shape[-1]].to(q.dtype)  # (B, G, S', D)
        if where.packed is not None and where.mask is not None:
            y = packed_attention(q, k, v, where.packed, where.mask)
        elif T == 1:  # the heads that share a key become queries of one head: no key is copied for them
            q = q.view(B, k.shape[1], -1, self.width) * self.width**-0.5  # (B, G, H/G, D)
            scores = q @ k.mT if where.mask is None else (q @ k.mT).add_(where.mask)  # (B, G, H/G, S')
            y = (scores.softmax(dim=-1) @ v).view(B, T, -1)
        else:
            # is_causal is for equal queries and keys: 1 query and 5 keys would see key 0 alone (pytorch #108108)
            causal = where.mask is None
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=where.mask, is_causal=causal, enable_gqa=True)
            y = y.transpose(1, 2).reshape(B, T, -1)
        return products(y, self.o_proj)[0]


class SwiGLU(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    @property
    def joined(self) -> list[tuple[nn.Linear, ...]]:
        return [(self.gate_proj, self.up_proj), (self.down_proj,)]

    def forward(self, x: Tensor) -> Tensor:
        gate, up = products(x, *self.joined[0])
        return products(F.silu(gate) * up, self.down_proj)[0]


class Block(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.self_attn, self.mlp = Attention(config), SwiGLU(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, where: Where, layer: int) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), where, layer)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """The part that Hugging Face's tensor names put under "model."."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Transformer(nn.Module):
    """Decoder-only language model. `Transformer(config)` has random weights, `from_pretrained` a folder's."""

    inv_freq: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.checkpointing = False  # of activations: less memory in the update, a third more time
        self.compiled_step: Callable[..., Tensor] | None = None  # the blocks, for the sampler (compile_blocks)
        self.register_buffer("inv_freq", rope_frequencies(config), persistent=False)
        for name, parameter in self.named_parameters():  # GPT-2's recipe
            if parameter.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * config.num_hidden_layers) if residual else 0.02)

    @property
    def joined(self) -> list[tuple[nn.Linear | nn.Embedding]]:
        return [(self.model.embed_tokens if self.config.tie_word_embeddings else self.lm_head,)]

    @property
    def head(self) -> Tensor:
        """(V, C) the matrix that makes logits of hidden states."""
        return self.joined[0][0].weight

    @property
    def device(self) -> torch.device:
        return self.model.norm.weight.device

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of the next token at every position of ids (B, T); pad on the right."""
        return self.logits(self.hidden(ids))

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (..., V)"""
        return products(hidden, *self.joined[0])[0]

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Last hidden states (B, T, C). With a cache, ids follow on each row's first lengths[b] tokens;
        their keys and values are written there, cache.longest grows by T, and the caller then sets cache.lengths."""
        T = ids.shape[1]
        positions = torch.arange(T, device=ids.device)[None]  # (1, T)
        if cache is None:
            return self.trunk(ids, positions)
        cache.longest += T
        after = cache.longest > T  # there is something before these tokens
        if self.compiled_step and after and T == 1:  # all rows and slots, in use or not: the shapes never change
            ids = F.pad(ids, (0, 0, 0, len(cache.lengths) - cache.rows))
            return self.compiled_step(ids, cache.lengths[:, None], cache.kv, cache.kv.shape[4])[: cache.rows]
        return self.trunk(ids, positions + cache.lengths[: cache.rows, None], cache.kv, cache.longest if after else 0)

    def logprobs(self, packed: Packed, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Log-probs of the tokens of packed answers, and entropies there; two (B, T) in nats."""
        hidden = self.trunk(packed.ids, packed.positions, packed=packed)[0]  # (M, C)
        return token_logprobs(hidden, self.head, packed.before, packed.targets, packed.mask, temperature)

    def trunk(
        self, ids: Tensor, positions: Tensor, kv: Tensor | None = None, seen: int = 0, packed: Packed | None = None
    ) -> Tensor:
        """All blocks on ids (B, T) at positions (B or 1, T); of the cache kv they see the first `seen` slots."""
        angles = (positions[..., None] * self.inv_freq)[:, None]  # (B or 1, 1, T, D/2)
        cos, sin, slots, mask, unseen = angles.cos(), angles.sin(), None, None, None
        if kv is not None:
            groups, size = kv.shape[3:5]
            first = torch.arange(len(ids) * groups, device=ids.device).view(-1, groups, 1) * size  # (B, G, 1)
            slots = (first + positions[:, None]).flatten()
        if kv is not None and seen:
            unseen = torch.arange(seen, device=ids.device) > positions[..., None]  # (B, T, S')
        if packed is not None:
            unseen = ~packed.seen.repeat(1, self.config.num_attention_heads // self.config.num_key_value_heads, 1)
        if unseen is not None:  # in the type that attention computes in
            kind, mask = ids.device.type, torch.zeros(unseen.shape, device=ids.device)
            mask = mask.masked_fill_(unseen, -torch.inf)[:, None]
            mask = mask.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else mask
        where = Where(torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1), kv, slots, mask, packed)
        x = self.model.embed_tokens(ids)  # (B, T, C)
        for layer, block in enumerate(self.model.layers):
            if self.checkpointing and torch.is_grad_enabled():  # keep x alone, compute the rest again in backward
                x = checkpoint(block, x, where, layer, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, where, layer)
        return self.model.norm(x)

    def compile_blocks(self) -> None:
        """torch.compile the blocks, for any shape in the update and for one fixed shape in the sampler."""
        trunk = self.trunk
        # a function of its own: torch.compile counts the shapes of one function against a limit
        self.compiled_step = torch.compile(lambda *inputs: trunk(*inputs), dynamic=False)
        self.trunk = torch.compile(trunk, dynamic=True)  # type: ignore[method-assign]

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> "Transformer":
        """Read a Hugging Face folder (or hub name) into float32; raises InputError."""
        folder = resolve_folder(name)
        config = ModelConfig.read(folder / "config.json")
        state = read_tensors(folder)
        if config.tie_word_embeddings:
            state.pop("lm_head.weight", None)
        state = {key: value for key, value in state.items() if not key.endswith("rotary_emb.inv_freq")}  # old files
        with torch.device("meta"):
            model = cls(config)
        expected = model.state_dict()
        for key in sorted(expected.keys() | state.keys()):
            want, found = (list(d[key].shape) if key in d else "nothing" for d in (expected, state))
            if want != found:
                raise InputError(f"{folder}: tensor {key}: expected {want}, found {found}")
        # float32 master weights: in bfloat16 an update of 1e-6 is rounded away (nanochat #808)
        model.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
        model.inv_freq = rope_frequencies(config)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json and model.safetensors (float32), readable by transformers."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        save_file(state, folder / "model.safetensors.tmp", metadata={"format": "pt"})
        os.replace(folder / "model.safetensors.tmp", folder / "model.safetensors")
        self.config.write(folder / "config.json")
