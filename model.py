"""The transformer and its KV cache: Llama, Qwen2 and Qwen3 checkpoints in one plain decoder.

A block is x + Attention(RMSNorm(x)), then x + SwiGLU(RMSNorm(x)). Attention is grouped-query with rotary
positions (RoPE); Qwen2 adds a bias to q, k and v, Qwen3 a norm on every head's q and k. The modules carry the
names of Hugging Face's tensors. Settings that are not built here are refused by name instead of being ignored.

Letters in shapes: B rows, T tokens, C hidden width, H query heads, G key/value heads, D head width,
S cache slots, L layers, V vocabulary.
"""

import json
import math
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
LLAMA3 = ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
ROPE_FIELDS: dict[str, list[str]] = {"default": [], "linear": ["factor"], "llama3": LLAMA3}


class InputError(ValueError):
    """Something the user gave is wrong. The message is one line: what, where, expected, found."""


@dataclass
class ModelConfig:
    """The architecture, field by field as in a Hugging Face config.json."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    model_type: str = "llama"  # qwen2: bias on q, k, v; qwen3: norm on every head's q and k
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None  # rope_type "linear" or "llama3" and its numbers
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    @classmethod
    def read(cls, path: Path) -> "ModelConfig":
        """Read config.json; raises InputError that names the file and the field."""
        raw = read_json(path)
        off, full = [None, False], ["full_attention"] * len(raw.get("layer_types") or [])
        implemented: dict[str, list[Any]] = {
            "model_type": list(ARCHITECTURES), "architectures": [None, [ARCHITECTURES.get(str(raw.get("model_type")))]],
            "attention_bias": off, "mlp_bias": off, "use_sliding_window": off, "hidden_act": [None, "silu"],
            "layer_types": [None, full], "partial_rotary_factor": [None, 1.0], "quantization_config": [None],
        }  # fmt: skip
        for field, values in implemented.items():
            if raw.get(field) not in values:
                expected = " or ".join(repr(value) if value is not None else "nothing" for value in values)
                raise InputError(f"{path}: {field} = {raw.get(field)!r}, expected {expected}")

        # transformers 5 writes rope_parameters, 4 wrote rope_theta beside rope_scaling
        rope = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
        theta = rope.pop("rope_theta", None) or raw.get("rope_theta") or 10000.0
        kind = rope["rope_type"] = rope.get("rope_type") or rope.pop("type", None) or "default"
        if kind not in ROPE_FIELDS or any(rope.get(field) is None for field in ROPE_FIELDS[kind]):
            built = "; ".join(f"{kind} with {', '.join(need)}" for kind, need in ROPE_FIELDS.items() if need)
            raise InputError(f"{path}: rope_scaling = {rope}, expected none, {built}")

        known = {field: raw[field] for field in cls.__dataclass_fields__ if raw.get(field) is not None}
        known |= {"rope_theta": theta, "rope_scaling": None if kind == "default" else rope}
        known.setdefault("num_key_value_heads", known.get("num_attention_heads"))
        for field in list(cls.__dataclass_fields__)[:8]:  # the sizes
            if field == "head_dim" and field not in known and known["model_type"] != "qwen3":
                known[field] = known["hidden_size"] // known["num_attention_heads"]
            if not isinstance(known.get(field), int) or known[field] < 1:
                raise InputError(f"{path}: {field} = {known.get(field)!r}, expected a whole number above 0")
        return cls(**known)

    def write(self, path: Path) -> None:
        """Write a config.json that transformers reads."""
        fields = {"architectures": [ARCHITECTURES[self.model_type]], "hidden_act": "silu", **asdict(self)}
        write_text(path, json.dumps(fields | {"torch_dtype": "float32"}, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises InputError when it is missing or not one."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a file of a Hugging Face model folder ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def write_text(path: Path, text: str) -> None:
    """Write under a temporary name, then rename: a reader never sees half a file."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def resolve_folder(name: str | os.PathLike[str]) -> Path:
    """The local folder of a checkpoint: `name` itself, or a download of that hub repository."""
    folder = Path(name)
    if folder.is_dir():
        return folder
    if folder.is_file() or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)) or str(name).startswith("."):
        raise InputError(f"{name}: expected a Hugging Face model folder or a hub name such as Qwen/Qwen3-0.6B")
    try:
        return Path(
            snapshot_download(str(name), allow_patterns=["*.json", "*.safetensors", "*.jinja"], ignore_patterns=["*/*"])
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: no such folder, and the hub did not give it ({reason[:200]})") from None


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
    """Turn each pair (x[i], x[i + D/2]) of x (B, heads, T, D); cos, sin (B or 1, 1, T, D/2)."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class KVCache:
    """Keys and values of every layer in one block: (2, L, B, G, S, D), allocated once.

    Slot j of a row holds its token number j, so slot and position are one number and rows of different
    lengths need no padding. What lies in slots at or above lengths[b] is never read.
    """

    def __init__(self, config: ModelConfig, rows: int, slots: int, device: torch.device, dtype: torch.dtype):
        layers, groups, width = config.num_hidden_layers, config.num_key_value_heads, config.head_dim
        self.kv = torch.zeros(2, layers, rows, groups, slots, width, device=device, dtype=dtype)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)  # filled slots of each row
        self.rows = 0  # the rows in use are the first ones
        self.longest = 0  # the largest of their lengths, known without asking the device

    def write(self, layer: int, positions: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store k, v (B, G, T, D) at positions (B, T); return all slots that can matter, (2, B, G, S', D)."""
        row = torch.arange(self.rows, device=k.device)[:, None]  # (B, 1)
        kv = torch.stack((k, v)).permute(1, 3, 0, 2, 4)  # (B, T, 2, G, D), as the indexing below wants it
        self.kv[:, layer][:, row, :, positions] = kv.to(self.kv.dtype)
        return self.kv[:, layer, : self.rows, :, : self.longest]

    def append(self, other: "KVCache", n: int) -> None:
        """Add n copies of every row of `other` behind the rows in use: one prefill, n samples."""
        new, slots = slice(self.rows, self.rows + other.rows * n), other.longest
        self.kv[:, :, new, :, :slots] = other.kv[:, :, : other.rows, :, :slots].repeat_interleave(n, dim=2)
        self.lengths[new] = other.lengths[: other.rows].repeat_interleave(n)
        self.rows, self.longest = new.stop, max(self.longest, slots)

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

    cos: Tensor  # (B or 1, 1, T, D/2), of RoPE's angles
    sin: Tensor
    positions: Tensor  # (B or 1, T)
    cache: KVCache | None
    mask: Tensor | None  # (B, 1, T, S') slots to see; None: the keys are the same T tokens, causal


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

    def forward(self, x: Tensor, where: Where, layer: int) -> Tensor:
        B, T, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(B, T, -1, self.width)).transpose(1, 2)  # (B, H, T, D)
        k = self.k_norm(self.k_proj(x).view(B, T, -1, self.width)).transpose(1, 2)  # (B, G, T, D)
        v = self.v_proj(x).view(B, T, -1, self.width).transpose(1, 2)  # (B, G, T, D)
        q, k = rotate(q, where.cos, where.sin), rotate(k, where.cos, where.sin)
        if where.cache is not None:
            stored = where.cache.write(layer, where.positions, k, v)
            if where.mask is not None:
                k, v = stored.to(q.dtype)  # (B, G, S', D)
        if T == 1:  # the heads that share a key become queries of one head: no key is copied for them
            q = q.view(B, k.shape[1], -1, self.width)  # (B, G, H/G, D)
        # is_causal is for equal queries and keys: 1 query and 5 keys would see key 0 alone (pytorch #108108)
        causal = where.mask is None and T > 1
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=where.mask, is_causal=causal, enable_gqa=T > 1)
        return self.o_proj(y.reshape(B, T, -1) if T == 1 else y.transpose(1, 2).reshape(B, T, -1))


class SwiGLU(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


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
        self.register_buffer("inv_freq", rope_frequencies(config), persistent=False)
        for name, parameter in self.named_parameters():  # GPT-2's recipe
            if parameter.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * config.num_hidden_layers) if residual else 0.02)

    @property
    def device(self) -> torch.device:
        return self.model.norm.weight.device

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of the next token at every position of ids (B, T); pad on the right."""
        return self.logits(self.hidden(ids))

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (..., V)"""
        return F.linear(hidden, (self.model.embed_tokens if self.config.tie_word_embeddings else self.lm_head).weight)

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Last hidden states (B, T, C). With a cache, ids follow on each row's first lengths[b] tokens;
        their keys and values are written there, and the caller then sets cache.lengths."""
        T = ids.shape[1]
        positions, mask = torch.arange(T, device=ids.device)[None], None  # (1, T)
        if cache is not None:
            positions = positions + cache.lengths[: cache.rows, None]  # (B, T)
            cache.longest += T
            if cache.longest > T:  # there is something before these tokens
                slots = torch.arange(cache.longest, device=ids.device)
                mask = (slots <= positions[..., None])[:, None]  # (B, 1, T, S')
        angles = (positions[..., None] * self.inv_freq)[:, None]  # (B or 1, 1, T, D/2)
        where = Where(angles.cos(), angles.sin(), positions, cache, mask)
        x = self.model.embed_tokens(ids)  # (B, T, C)
        for layer, block in enumerate(self.model.layers):
            x = block(x, where, layer)
        return self.model.norm(x)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> "Transformer":
        """Read a Hugging Face folder (or hub name) into float32; raises InputError."""
        folder = resolve_folder(name)
        config = ModelConfig.read(folder / "config.json")
        index, state = folder / "model.safetensors.index.json", {}
        files = set(read_json(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
        for file in sorted(files):
            try:
                state.update(load_file(folder / file))
            except (OSError, SafetensorError) as error:
                raise InputError(f"{folder / file}: not readable as safetensors ({error})") from None
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
