"""A model's tensors, in from a Hugging Face folder and out to one.

Called by model.py (Transformer.from_pretrained and save_pretrained).
"""

import os
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from support.files import InputError
from support.hub import read_tensors


def load_weights(model: nn.Module, folder: Path, tied: bool) -> None:
    """Give the model the folder's tensors, in float32; raises InputError where names or shapes
    differ.

    tied: the head is the embedding, and a head in the folder is left out.
    """
    tensors = read_tensors(folder)
    if tied:
        tensors.pop("lm_head.weight", None)
    for name in [name for name in tensors if name.endswith("rotary_emb.inv_freq")]:
        del tensors[name]  # old conversions kept what is computed from the config

    expected = model.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        want = list(expected[name].shape) if name in expected else "nothing"
        found = list(tensors[name].shape) if name in tensors else "nothing"
        if want != found:
            raise InputError(f"{folder}: tensor {name}: expected {want}, found {found}")

    # float32 master weights: in bfloat16 an update of 1e-6 is rounded away (nanochat #808)
    model.load_state_dict({name: t.float() for name, t in tensors.items()}, assign=True)


def save_weights(model: nn.Module, folder: Path) -> None:
    """Write model.safetensors under a temporary name, then rename it."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    temporary = folder / "model.safetensors.tmp"
    save_file(tensors, temporary, metadata={"format": "pt"})
    os.replace(temporary, folder / "model.safetensors")
