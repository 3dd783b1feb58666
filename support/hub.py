"""Hugging Face folders, in and out: where they are, and the architecture that config.json says.

A setting that model.py does not build is refused by name instead of being ignored. Where a file
says one thing twice, what transformers 5 takes is taken, and a note on stderr says what was not.
Called by model.py, coldstart.py and, in support/, by tokenizer, rope, prepacked and plan.
"""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from support.files import InputError, note, one_line, read_json, write_text

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

# Where a file has both, transformers 5 takes the first and drops the second.
ROPE_SOURCES = ["rope_scaling", "rope_parameters"]

# The fields that are whole numbers above 0, each with the most that is believed: far above every
# model there is, and low enough that a wrong config.json cannot make us build for hours.
# A field that can be worked out stands after its sources.
SIZES = {
    "vocab_size": 10**7,
    "hidden_size": 10**6,
    "intermediate_size": 10**6,
    "num_hidden_layers": 500,
    "num_attention_heads": 10**4,
    "num_key_value_heads": 10**4,
    "head_dim": 10**4,
    "max_position_embeddings": 10**9,
}

# Other numbers lie between these two, so that what is computed of them stays in float32's range.
LEAST = 1e-15
MOST = 1e18

# The objects within a config.json that are read, or that say nothing about the model.
KNOWN_OBJECTS = {
    *ROPE_SOURCES,
    "auto_map",
    "id2label",
    "label2id",
    "task_specific_params",
    "transformers.js_config",
}

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
        settings: dict[str, Any] = {"model_type": raw["model_type"]}
        settings |= read_sizes(raw, path)
        settings |= read_rope(raw, path)
        settings |= read_token_ids(raw, path)
        settings["tie_word_embeddings"] = read_tied(raw, path)
        eps = raw.get("rms_norm_eps")
        if eps is not None:
            settings["rms_norm_eps"] = number(eps, f"{path}: rms_norm_eps")
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
    for field, value in raw.items():
        # transformers finds settings in some: per_layer_config changes single layers.
        if isinstance(value, dict) and value and field not in KNOWN_OBJECTS:
            raise InputError(f"{path}: {field!r} = {value!r}, expected no such object of settings")


def built_values(raw: dict[str, Any]) -> dict[str, list[Any]]:
    """The values that model.py builds of each such field, the model type first.

    None stands for a field that is absent or null.
    """
    model_type = str(raw.get("model_type"))
    layers = raw.get("layer_types")
    layer_count = len(layers) if isinstance(layers, list) else 0
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
        "is_causal": [None, True],
        "hidden_act": activations,
        "hidden_activation": hidden_activations,
        "layer_types": [None, ["full_attention"] * layer_count],
        "partial_rotary_factor": [None, 1.0],
        "quantization_config": [None],
    }


# ---------------------------------------------------------------- numbers


def whole_number(value: Any, name: str, most: int) -> int:
    """The value itself; raises InputError where it is no whole number from 1 to `most`.

    name: the file and the field, for the error. True is no number here, though Python counts it.
    """
    if type(value) is int and 1 <= value <= most:
        return value
    raise InputError(f"{name} = {value!r}, expected a whole number from 1 to {most}")


def number(value: Any, name: str) -> float:
    """The value itself; raises InputError where it is no number from LEAST to MOST."""
    if type(value) in (int, float) and LEAST <= value <= MOST:  # NaN fails every comparison
        return value
    raise InputError(f"{name} = {value!r}, expected a number from {LEAST} to {MOST}")


def read_sizes(raw: dict[str, Any], path: Path) -> dict[str, int]:
    """Every one of SIZES; raises InputError for one that is missing, wrong or does not fit."""
    sizes: dict[str, int] = {}
    for field, most in SIZES.items():
        size = raw.get(field)
        if size is None:
            size = size_when_absent(field, sizes, raw["model_type"], path)
        sizes[field] = whole_number(size, f"{path}: {field}", most)

    heads = sizes["num_attention_heads"]
    shared_heads = sizes["num_key_value_heads"]
    if heads % shared_heads:
        expected = f"a divisor of num_attention_heads = {heads}"
        raise InputError(f"{path}: num_key_value_heads = {shared_heads}, expected {expected}")
    if sizes["head_dim"] % 2:
        # Rotary positions turn pairs of numbers.
        raise InputError(f"{path}: head_dim = {sizes['head_dim']}, expected an even number")
    layers = raw.get("layer_types")
    if layers is not None and len(layers) != sizes["num_hidden_layers"]:
        expected = f"num_hidden_layers = {sizes['num_hidden_layers']}"
        raise InputError(f"{path}: layer_types names {len(layers)} layers, expected {expected}")
    return sizes


def size_when_absent(field: str, sizes: dict[str, int], model_type: str, path: Path) -> int | None:
    """What follows from the sizes that were read before it; None for one that must be given."""
    if field == "num_key_value_heads":
        return sizes["num_attention_heads"]
    # A head of Qwen3 or Gemma can be wider than its share of the hidden state.
    if field == "head_dim" and model_type in ("llama", "qwen2"):
        hidden = sizes["hidden_size"]
        heads = sizes["num_attention_heads"]
        if hidden % heads:
            expected = f"a divisor of hidden_size = {hidden} where there is no head_dim"
            raise InputError(f"{path}: num_attention_heads = {heads}, expected {expected}")
        return hidden // heads
    return None


def read_tied(raw: dict[str, Any], path: Path) -> bool:
    """Whether head and embedding are one matrix; raises InputError for other than true or false."""
    tied = raw.get("tie_word_embeddings")
    if tied is None:
        return raw["model_type"] == "gemma"
    if not isinstance(tied, bool):
        raise InputError(f"{path}: tie_word_embeddings = {tied!r}, expected true or false")
    return tied


def read_token_ids(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """bos_token_id and eos_token_id; raises InputError for what is no token id (or list of them,
    for eos_token_id)."""
    bos = raw.get("bos_token_id")
    if bos is not None and not is_token_id(bos):
        raise InputError(f"{path}: bos_token_id = {bos!r}, expected a token id or nothing")
    eos = raw.get("eos_token_id")
    several = eos if isinstance(eos, list) else [eos]
    if eos is not None and not all(is_token_id(one) for one in several):
        expected = "a token id, a list of them or nothing"
        raise InputError(f"{path}: eos_token_id = {eos!r}, expected {expected}")
    return {"bos_token_id": bos, "eos_token_id": eos}


def is_token_id(value: Any) -> bool:
    return type(value) is int and value >= 0


# ---------------------------------------------------------------- rotary positions


def read_rope(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """rope_theta and rope_scaling; raises InputError for a scaling that model.py does not build.

    transformers 5 writes rope_parameters, transformers 4 wrote rope_theta beside rope_scaling, and
    files edited by hand have all three. What transformers 5 takes: rope_scaling rather than
    rope_parameters, and a rope_theta within the one taken rather than the one beside it.
    """
    theta = 10000.0
    if raw.get("rope_theta") is not None:
        theta = number(raw["rope_theta"], f"{path}: rope_theta")
    ropes: dict[str, dict[str, Any]] = {}
    for source in ROPE_SOURCES:
        given = raw.get(source)
        if given is not None and given != {}:
            ropes[source] = {"rope_theta": theta} | read_rope_object(given, f"{path}: {source}")

    rope = next(iter(ropes.values()), {"rope_type": "default", "rope_theta": theta})
    if any(other != rope for other in ropes.values()):
        note(f"{path}: rope_scaling and rope_parameters disagree, taken as in transformers: {rope}")
    if raw.get("rope_theta") is not None and theta != rope["rope_theta"]:
        note(f"{path}: rope_theta = {theta} is not used, taken as in transformers: {rope}")
    scaling = {field: value for field, value in rope.items() if field != "rope_theta"}
    is_scaled = rope["rope_type"] != "default"
    return {"rope_theta": rope["rope_theta"], "rope_scaling": scaling if is_scaled else None}


def read_rope_object(given: Any, name: str) -> dict[str, Any]:
    """rope_type, its numbers, and rope_theta where it is given; raises InputError for another type,
    for a number that is missing or wrong, and for a field that does not belong to the type.

    name: the file and the field, for the error.
    """
    if not isinstance(given, dict):
        raise InputError(f"{name} = {given!r}, expected an object")
    left = {field: value for field, value in given.items() if value is not None}
    rope_type = take_rope_type(left, name)
    rope: dict[str, Any] = {"rope_type": rope_type}
    for field in ROPE_FIELDS[rope_type]:
        rope[field] = number(left.pop(field, None), f"{name}: {field}")
    if "rope_theta" in left:
        rope["rope_theta"] = number(left.pop("rope_theta"), f"{name}: rope_theta")
    if left.get("partial_rotary_factor") == 1.0:
        del left["partial_rotary_factor"]  # 1: the whole head turns, as it does here
    if left:
        expected = f"{ROPE_FIELDS[rope_type]} where rope_type is {rope_type!r}"
        raise InputError(f"{name}: found also {left}, expected {expected}")

    low = rope.get("low_freq_factor", 0)
    high = rope.get("high_freq_factor", 1)
    if low >= high:
        expected = f"less than high_freq_factor = {high}"
        raise InputError(f"{name}: low_freq_factor = {low}, expected {expected}")
    return rope


def take_rope_type(left: dict[str, Any], name: str) -> str:
    """The rope_type, taken out of the fields that are left; "type" is its older name."""
    older = left.pop("type", None)
    rope_type = left.pop("rope_type", older)
    if older not in (None, rope_type):
        raise InputError(f"{name}: type = {older!r}, expected the rope_type, {rope_type!r}")
    if rope_type is None:
        return "default"
    if rope_type not in list(ROPE_FIELDS):
        raise InputError(f"{name}: rope_type = {rope_type!r}, expected one of {list(ROPE_FIELDS)}")
    return rope_type


# ---------------------------------------------------------------- folders


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
        reason = one_line(error)[:200]
        message = f"{name}: no such folder, and the hub did not give it ({reason})"
        raise InputError(message) from None
    return Path(downloaded)
