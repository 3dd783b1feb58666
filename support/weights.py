"""A model's tensors, in from a Hugging Face folder and out to one.

Where a folder holds the same thing twice, what transformers 5 takes is taken, or the folder is
refused. Called by model.py (Transformer.from_pretrained and save_pretrained).
"""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from support.files import InputError, note, one_line, read_json

SINGLE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint folder by name, in float32; raises InputError for a file that is
    not readable, and for a tensor that holds other than finite numbers."""
    tensors: dict[str, Tensor] = {}
    for path in tensor_files(folder):
        for name, stored in read_tensor_file(path).items():
            if name.endswith("rotary_emb.inv_freq"):
                continue  # old conversions kept what is computed from the config
            tensor = as_weights(stored, f"{path}: tensor {name!r}")
            if name in tensors and not torch.equal(tensor, tensors[name]):
                expected = "the values that another file of the index has for it"
                raise InputError(f"{path}: tensor {name!r}: expected {expected}, found others")
            tensors[name] = tensor
    return tensors


def read_tensor_file(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not readable as safetensors ({one_line(error)})") from None


def as_weights(stored: Tensor, name: str) -> Tensor:
    """The tensor in float32; raises InputError where its numbers are no floats or not finite.

    name: the file and the tensor, for the error.
    """
    if not stored.is_floating_point():
        raise InputError(f"{name}: expected floating-point numbers, found {stored.dtype}")
    # float32 master weights: in bfloat16 an update of 1e-6 is rounded away (nanochat #808)
    tensor = stored.float()
    if not tensor.isfinite().all():
        raise InputError(f"{name}: expected finite numbers, found NaN or infinity")
    return tensor


def tensor_files(folder: Path) -> list[Path]:
    """The folder's one file, or the several that its index names; raises InputError where there is
    neither, and for an index that names other than files of the folder.

    Where a folder has both, the index is left from an older save, and transformers reads the file.
    """
    adapter = folder / "adapter_config.json"
    if adapter.exists():
        # transformers would add it to the weights.
        raise InputError(f"{adapter}: expected no adapter, merge it into the weights first")
    single = folder / SINGLE_FILE
    index = folder / INDEX
    if single.exists():
        if index.exists():
            note(f"{index} is not used, {SINGLE_FILE} beside it is read, as in transformers")
        return [single]
    if not index.exists():
        raise InputError(f"{folder}: expected {SINGLE_FILE} or {INDEX}, found neither")

    file_of_tensor = read_json(index).get("weight_map")
    if not isinstance(file_of_tensor, dict):
        raise InputError(f"{index}: weight_map = {file_of_tensor!r}, expected an object")
    # What lies outside of the folder is not in this list, so it is never read.
    here = [path.name for path in folder.iterdir() if path.is_file()]
    for name, file in file_of_tensor.items():
        if file not in here:
            expected = "the name of a file in this folder"
            raise InputError(f"{index}: weight_map: {name!r} is in {file!r}, expected {expected}")
    return [folder / file for file in sorted(set(file_of_tensor.values()))]


def has_tied_head(tensors: dict[str, Tensor], tied: bool, folder: Path) -> bool:
    """Whether head and embedding are one matrix; if so, it is left in `tensors` as the embedding.

    tied: what config.json says. The tensors have the last word, as in transformers 5: a head of
    other values than the embedding's is kept.
    """
    if not tied or HEAD not in tensors:
        return tied
    head = tensors[HEAD]
    embedding = tensors.setdefault(EMBEDDING, head)  # a tied matrix can be stored as the head alone
    if torch.equal(head, embedding):
        del tensors[HEAD]
        return True
    note(f"{folder}: tie_word_embeddings is true, but {HEAD} has values of its own; they are used")
    return False


def load_weights(model: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    """Give the model the folder's tensors; raises InputError where names or shapes differ."""
    expected = model.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        want = list(expected[name].shape) if name in expected else "nothing"
        found = list(tensors[name].shape) if name in tensors else "nothing"
        if want != found:
            raise InputError(f"{folder}: tensor {name!r}: expected {want}, found {found}")
    model.load_state_dict(tensors, assign=True)


def save_weights(model: nn.Module, folder: Path) -> None:
    """Write model.safetensors under a temporary name, then rename it."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    temporary = folder / f"{SINGLE_FILE}.tmp"
    save_file(tensors, temporary, metadata={"format": "pt"})
    os.replace(temporary, folder / SINGLE_FILE)
