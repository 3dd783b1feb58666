"""Hugging Face folders, in and out: the architecture's settings and the tensors of a checkpoint.

Settings that model.py does not build are refused by name instead of being ignored.
"""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

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


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines log, none where it is absent; a kill can tear the last line, which is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


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


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder's one file, or of several through their index; raises InputError."""
    index, state = folder / "model.safetensors.index.json", {}
    files = set(read_json(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    for file in sorted(files):
        try:
            state.update(load_file(folder / file))
        except (OSError, SafetensorError) as error:
            raise InputError(f"{folder / file}: not readable as safetensors ({error})") from None
    return state
