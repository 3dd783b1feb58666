"""Hugging Face folders, in and out: the architecture's settings and the tensors of a checkpoint.

A setting that model.py does not build is refused by name instead of being ignored.
Called by model.py, coldstart.py and, in support/, by tokenizer, weights, rope, prepacked and plan.
"""

import json
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from support.files import InputError, read_json, write_text

# model_type -> the class that a config.json names for it
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma": "GemmaForCausalLM",
}

# rope_type -> the numbers that belong to it
ROPE_FIELDS: dict[str, list[str]] = {
    "default": [],
    "linear": ["factor"],
    "llama3": ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
}

# The fields that are whole numbers above 0. One that can be worked out stands behind its sources.
SIZES = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
]

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
DOWNLOADED = ["*.json", "*.safetensors", "*.jinja"]


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
    # qwen2: bias on q, k, v; qwen3: norm on every head's q and k;
    # gemma: GELU, scaled embeddings, norms that multiply by 1 + weight
    model_type: str = "llama"
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None  # rope_type "linear" or "llama3" and its numbers
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    @property
    def hidden_act(self) -> str:
        """The activation of the feed-forward layers, by the name transformers has for it."""
        return "gelu_pytorch_tanh" if self.model_type == "gemma" else "silu"

    @classmethod
    def read(cls, path: Path) -> "ModelConfig":
        """Read config.json; raises InputError that names the file and the field."""
        raw = read_json(path)
        check_is_built(raw, path)
        settings: dict[str, Any] = {"tie_word_embeddings": raw["model_type"] == "gemma"}
        for field in fields(cls):
            if raw.get(field.name) is not None:
                settings[field.name] = raw[field.name]
        settings |= read_rope(raw, path)
        settings |= read_sizes(raw, path)
        return cls(**settings)

    def write(self, path: Path) -> None:
        """Write a config.json that transformers reads as the same model."""
        settings: dict[str, Any] = {"architectures": [ARCHITECTURES[self.model_type]]}
        settings["hidden_act"] = self.hidden_act
        if self.model_type == "gemma":
            # Older transformers read this field for Gemma, and warn where it is absent.
            settings["hidden_activation"] = self.hidden_act
        settings |= asdict(self)
        settings["torch_dtype"] = "float32"
        write_text(path, json.dumps(settings, indent=2) + "\n")


def check_is_built(raw: dict[str, Any], path: Path) -> None:
    """Raises InputError for a setting that changes the model and that model.py does not have."""
    for field, built in built_values(raw).items():
        found = raw.get(field)
        if found not in built:
            names = ["nothing" if value is None else repr(value) for value in built]
            raise InputError(f"{path}: {field} = {found!r}, expected {' or '.join(names)}")


def built_values(raw: dict[str, Any]) -> dict[str, list[Any]]:
    """The values that model.py builds of each such field, the model type first.

    None stands for a field that is absent or null.
    """
    model_type = str(raw.get("model_type"))
    layers = raw.get("layer_types") or []
    off = [None, False]
    activations: list[Any] = [None, "silu"]
    hidden_activations: list[Any] = [None, "silu"]
    if model_type == "gemma":
        # The first files of Gemma say "gelu" in hidden_act and mean its tanh approximation.
        activations = [None, "gelu", "gelu_pytorch_tanh"]
        hidden_activations = [None, "gelu_pytorch_tanh"]
    return {
        "model_type": list(ARCHITECTURES),
        "architectures": [None, [ARCHITECTURES.get(model_type)]],
        "attention_bias": off,
        "mlp_bias": off,
        "use_sliding_window": off,
        "use_bidirectional_attention": off,
        "hidden_act": activations,
        "hidden_activation": hidden_activations,
        "layer_types": [None, ["full_attention"] * len(layers)],
        "partial_rotary_factor": [None, 1.0],
        "quantization_config": [None],
    }


def read_rope(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """rope_theta and rope_scaling; raises InputError for a scaling that model.py does not build."""
    # transformers 5 writes rope_parameters; transformers 4 wrote rope_theta beside rope_scaling.
    rope = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
    theta = rope.pop("rope_theta", None) or raw.get("rope_theta") or 10000.0
    if not rope.get("rope_type"):
        rope["rope_type"] = rope.pop("type", None) or "default"  # "type" is the older name
    rope_type = rope["rope_type"]
    needed = ROPE_FIELDS.get(rope_type)
    if needed is None or any(rope.get(field) is None for field in needed):
        scalings = [f"{name} with {', '.join(of)}" for name, of in ROPE_FIELDS.items() if of]
        expected = "; ".join(scalings)
        raise InputError(f"{path}: rope_scaling = {rope}, expected none, {expected}")
    return {"rope_theta": theta, "rope_scaling": None if rope_type == "default" else rope}


def read_sizes(raw: dict[str, Any], path: Path) -> dict[str, int]:
    """Every one of SIZES; raises InputError for one that is missing or no whole number above 0."""
    sizes: dict[str, int] = {}
    for field in SIZES:
        size = raw.get(field)
        if size is None:
            size = size_when_absent(field, sizes, raw["model_type"])
        if not isinstance(size, int) or size < 1:
            raise InputError(f"{path}: {field} = {size!r}, expected a whole number above 0")
        sizes[field] = size
    return sizes


def size_when_absent(field: str, sizes: dict[str, int], model_type: str) -> int | None:
    """What follows from the sizes that were read before it; None for one that must be given."""
    if field == "num_key_value_heads":
        return sizes["num_attention_heads"]
    # A head of Qwen3 or Gemma can be wider than its share of the hidden state.
    if field == "head_dim" and model_type in ("llama", "qwen2"):
        return sizes["hidden_size"] // sizes["num_attention_heads"]
    return None


def resolve_folder(name: str | os.PathLike[str]) -> Path:
    """The local folder of a checkpoint: `name` itself, or a download of that hub repository.

    Raises InputError for a name that is neither, and for a download that fails.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    text = str(name)
    if folder.is_file() or text.startswith(".") or not HUB_NAME.fullmatch(text):
        expected = "a Hugging Face model folder or a hub name such as Qwen/Qwen3-0.6B"
        raise InputError(f"{name}: expected {expected}")
    try:
        downloaded = snapshot_download(text, allow_patterns=DOWNLOADED, ignore_patterns=["*/*"])
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        message = f"{name}: no such folder, and the hub did not give it ({reason})"
        raise InputError(message) from None
    return Path(downloaded)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint folder by name; raises InputError for a file it cannot read."""
    tensors: dict[str, Tensor] = {}
    for file in tensor_files(folder):
        path = folder / file
        try:
            tensors.update(load_file(path))
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: not readable as safetensors ({error})") from None
    return tensors


def tensor_files(folder: Path) -> list[str]:
    """The folder's one file, or the several that its index names."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    file_of_tensor = read_json(index)["weight_map"]
    return sorted(set(file_of_tensor.values()))
