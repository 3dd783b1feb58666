"""The transformer and its KV cache: Llama, Qwen2, Qwen3 and Gemma 1 checkpoints in one plain
decoder.

A block is x + Attention(RMSNorm(x)), then x + GatedMLP(RMSNorm(x)). Attention is grouped-query
(several query heads share one key/value head) with rotary positions (RoPE). What the families add
to Llama:

    Qwen2    a bias on q, k and v
    Qwen3    a norm on every head's q and k
    Gemma 1  norms that multiply by 1 + w, GELU in place of SiLU, embeddings scaled by sqrt(C)

The modules carry the names of Hugging Face's tensors. Which tokens see each other is decided
outside of the blocks, by the `attend` function that is handed to them: causal_attention for plain
rows, KVCache.attend in the sampler, Packed.attend (support/packing.py) in the update.

Letters in shapes: B rows, T tokens, C hidden width, H query heads, G key/value heads, D head width,
S cache slots, L layers, V vocabulary.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from support.hub import ModelConfig, resolve_folder
from support.rope import rope_frequencies
from support.weights import has_tied_head, load_weights, read_tensors, save_weights

# (layer, q (B, H, T, D), k (B, G, T, D), v (B, G, T, D)) -> (B, H, T, D)
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (a, b) = (x[i], x[i + D/2]) into (a cos - b sin, b cos + a sin).

    x: (B, heads, T, D); cos, sin: (B or 1, 1, T, D), in both halves the same.
    """
    a, b = x.float().chunk(2, dim=-1)  # (B, heads, T, D/2) each
    quarter_turned = torch.cat((-b, a), dim=-1)
    return torch.addcmul(x * cos, quarter_turned, sin).to(x.dtype)


# ---------------------------------------------------------------- who sees whom

# cuDNN's attention, which torch prefers on some GPUs where there is a mask, makes a plan for every
# new shape, and here nearly every call has a new one. On an H200 the sampler took three times as
# long with it, an update six times (results/gsm8k/README.md, section 1; bench/gpu.py measures it).
torch.backends.cuda.enable_cudnn_sdp(False)


def causal_attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each token sees itself and those before it in its row. For as many queries as keys."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Each query sees the keys that the mask allows; k, v: (B, G, S, D).

    The H/G query heads that share a key head become H/G times as many queries of one head: no key
    has to be copied for them, and a GPU's kernels take a mask or such heads, but not both.

    mask: (B, 1, H/G * T, S), the T queries of one head after those of another; bool, or what is
    added to the scores.
    """
    B, G, _, D = k.shape
    queries = q.reshape(B, G, -1, D)  # (B, G, H/G * T, D)
    y = F.scaled_dot_product_attention(queries, k, v, attn_mask=mask)
    return y.reshape(q.shape)


class KVCache:
    """Keys and values of all tokens so far, in slots that are allocated once.

    Slot j of a row holds its token number j. Slot and position are one number, so rows of different
    lengths need no padding on the left. Attention runs over the slots of the longest row in use;
    those at or above a row's own length are masked, and may hold anything finite.
    """

    def __init__(self, model: "Transformer", max_rows: int, slots: int):
        config = model.config
        device = model.device
        shape = (
            config.num_hidden_layers,
            2,
            max_rows,
            config.num_key_value_heads,
            slots,
            config.head_dim,
        )
        dtype = model.compute_dtype
        self.kv = torch.zeros(shape, device=device, dtype=dtype)  # (L, 2, max_rows, G, S, D)
        self.lengths = torch.zeros(max_rows, dtype=torch.long, device=device)  # filled slots
        self.rows_in_use = 0  # the first ones; set by append and by rollout.py
        self.queries_per_key = config.num_attention_heads // config.num_key_value_heads  # H/G
        # Set by extend for the tokens of the current forward pass: their rows (B, 1), their
        # positions (B, T), and which of the first S' slots they see, (B, 1, H/G * T, S'); None
        # where nothing came before them.
        self.row_numbers = torch.zeros(0, 1, dtype=torch.long)
        self.positions = torch.zeros(0, 0, dtype=torch.long)
        self.mask: Tensor | None = None

    def extend(self, tokens: int, counts: Tensor | None = None) -> Tensor:
        """Make room for `tokens` more tokens of every row in use; returns their positions (B, T).

        counts: (B,) how many of them are real, where some rows are padded on the right. Two prompts
        of 2 and 4 tokens, padded to 4: both write slots 0 to 3, counts are 2 and 4, and the next
        token of the first goes into slot 2, over the padding.
        """
        before = self.lengths[: self.rows_in_use]  # (B,)
        steps = torch.arange(tokens, device=before.device)
        self.positions = before[:, None] + steps  # (B, T)
        self.row_numbers = torch.arange(self.rows_in_use, device=before.device)[:, None]  # (B, 1)
        longest = int(before.max())
        self.mask = None
        if longest > 0:
            slots = torch.arange(longest + tokens, device=before.device)  # (S',)
            visible = slots <= self.positions[..., None]  # (B, T, S')
            self.mask = visible.repeat(1, self.queries_per_key, 1)[:, None]
        self.lengths[: self.rows_in_use] += tokens if counts is None else counts
        return self.positions

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store the new keys and values, then let each new token see its row up to itself."""
        keys, values = self.kv[layer]  # (max_rows, G, S, D) each
        slots = (self.row_numbers, slice(None), self.positions)
        keys[slots] = k.transpose(1, 2).to(keys.dtype)  # (B, T, G, D)
        values[slots] = v.transpose(1, 2).to(values.dtype)
        if self.mask is None:
            return causal_attention(layer, q, k, v)
        # not is_causal: with 1 query and 5 keys it would show key 0 alone (pytorch #108108)
        seen = slice(0, self.mask.shape[-1])
        keys = keys[: self.rows_in_use, :, seen].to(q.dtype)  # (B, G, S', D)
        values = values[: self.rows_in_use, :, seen].to(q.dtype)
        return masked_attention(q, keys, values, self.mask)

    def append(self, other: "KVCache", source: Tensor) -> None:
        """Copy rows `source` (N,) of `other` after the rows in use: one prompt, many answers."""
        end = self.rows_in_use + len(source)
        rows = slice(self.rows_in_use, end)
        slots = slice(0, other.kv.shape[4])
        self.kv[:, :, rows, :, slots] = other.kv[:, :, source]
        self.lengths[rows] = other.lengths[source]
        self.rows_in_use = end

    def replace(self, row: int, by: int) -> None:
        """Copy row `by` over another one."""
        filled = slice(0, int(self.lengths[by]))
        self.kv[:, :, row, :, filled] = self.kv[:, :, by, :, filled]
        self.lengths[row] = self.lengths[by]


# ---------------------------------------------------------------- the network


class RMSNorm(nn.Module):
    def __init__(self, width: int, config: ModelConfig):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = config.rms_norm_eps
        self.adds_one = config.model_type == "gemma"
        if self.adds_one:
            nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        weight = 1 + self.weight if self.adds_one else self.weight
        y = F.rms_norm(x.float(), weight.shape, weight, self.eps)
        return y.to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.width = config.head_dim
        queries = config.num_attention_heads * self.width
        keys = config.num_key_value_heads * self.width
        bias = config.model_type == "qwen2"
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=bias)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=False)
        has_norms = config.model_type == "qwen3"
        self.q_norm = RMSNorm(self.width, config) if has_norms else nn.Identity()
        self.k_norm = RMSNorm(self.width, config) if has_norms else nn.Identity()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend, layer: int) -> Tensor:
        q = self.q_norm(self.heads(self.q_proj(x)))  # (B, H, T, D)
        k = self.k_norm(self.heads(self.k_proj(x)))  # (B, G, T, D)
        v = self.heads(self.v_proj(x))  # (B, G, T, D)
        q = rotate(q, cos, sin)
        k = rotate(k, cos, sin)
        y = attend(layer, q, k, v)  # (B, H, T, D)
        y = y.transpose(1, 2).flatten(2)  # (B, T, H * D)
        return self.o_proj(y)

    def heads(self, x: Tensor) -> Tensor:
        """(B, T, heads * D) -> (B, heads, T, D)"""
        by_heads = x.unflatten(-1, (-1, self.width))  # (B, T, heads, D)
        return by_heads.transpose(1, 2)


class GatedMLP(nn.Module):
    """SwiGLU, or GeGLU for Gemma."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.activation: nn.Module = nn.SiLU()
        if config.model_type == "gemma":
            self.activation = nn.GELU("tanh")

    def forward(self, x: Tensor) -> Tensor:
        gate = self.activation(self.gate_proj(x))  # (B, T, inner width)
        return self.down_proj(gate * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = GatedMLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend, layer: int) -> Tensor:
        normed = self.input_layernorm(x)
        x = x + self.self_attn(normed, cos, sin, attend, layer)
        normed = self.post_attention_layernorm(x)
        return x + self.mlp(normed)


class Decoder(nn.Module):
    """The part whose tensors Hugging Face names "model."."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config)


class Transformer(nn.Module):
    """Decoder-only language model. `Transformer(config)` has random weights, `from_pretrained` a
    folder's."""

    inv_freq: Tensor
    compute_in = "auto"  # or "float32", "bfloat16"; the weights are float32 whatever it says

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.register_buffer("inv_freq", rope_frequencies(config), persistent=False)
        residual_std = 0.02 / math.sqrt(2 * config.num_hidden_layers)  # GPT-2's recipe
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                ends_branch = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=residual_std if ends_branch else 0.02)

    @property
    def head(self) -> Tensor:
        """(V, C) the matrix that makes logits of hidden states."""
        tied = self.config.tie_word_embeddings
        return self.model.embed_tokens.weight if tied else self.lm_head.weight

    @property
    def device(self) -> torch.device:
        return self.model.norm.weight.device

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of products (under support.logprobs.autocast) and of the KV cache."""
        if self.compute_in == "auto":
            return torch.bfloat16 if self.device.type == "cuda" else torch.float32
        return torch.bfloat16 if self.compute_in == "bfloat16" else torch.float32

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of the next token at every position of ids (B, T); pad on the right."""
        return self.logits(self.hidden(ids))

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (..., V)"""
        return F.linear(hidden, self.head)

    def hidden(self, ids: Tensor) -> Tensor:
        """Last hidden states (B, T, C) of ids (B, T), each row a text of its own."""
        positions = torch.arange(ids.shape[1], device=ids.device)[None]  # (1, T)
        return self.run_blocks(ids, positions, causal_attention)

    def hidden_after(self, cache: KVCache, ids: Tensor, counts: Tensor | None = None) -> Tensor:
        """Last hidden states (B, T, C) of ids (B, T) that continue the cached rows; their keys and
        values are added to the cache. Where rows are padded on the right, counts (B,) says how many
        tokens are real."""
        positions = cache.extend(ids.shape[1], counts)  # (B, T)
        return self.run_blocks(ids, positions, cache.attend)

    def run_blocks(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """ids (B, T) at positions (B or 1, T) through all blocks: last hidden states (B, T, C)."""
        angles = (positions[..., None] * self.inv_freq)[:, None]  # (B or 1, 1, T, D/2)
        cos = angles.cos().repeat(1, 1, 1, 2)  # (B or 1, 1, T, D)
        sin = angles.sin().repeat(1, 1, 1, 2)
        x = self.model.embed_tokens(ids)  # (B, T, C)
        if self.config.model_type == "gemma":
            x = x * self.config.hidden_size**0.5
        for layer, block in enumerate(self.model.layers):
            x = block(x, cos, sin, attend, layer)
        return self.model.norm(x)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> "Transformer":
        """Read a Hugging Face folder (or hub name) into float32; raises InputError."""
        folder = resolve_folder(name)
        config = ModelConfig.read(folder / "config.json")
        tensors = read_tensors(folder)
        config.tie_word_embeddings = has_tied_head(tensors, config.tie_word_embeddings, folder)
        with torch.device("meta"):  # no weights are made, those of the folder take their places
            model = cls(config)
        load_weights(model, tensors, folder)
        model.inv_freq = rope_frequencies(config)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json and model.safetensors (float32), readable by transformers."""
        save_weights(self, Path(folder))
        self.config.write(Path(folder) / "config.json")
