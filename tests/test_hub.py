"""Folders as others write them: read as transformers reads them, or refused in one line."""

import json
import random

import pytest
import torch
import transformers
from conftest import mutated_bytes, small_model
from safetensors.torch import load_file, save_file

from model import Transformer
from support.files import InputError

IDS = torch.randint(0, 97, (3, 40), generator=torch.Generator().manual_seed(5))

# What a folder of small_model() says of itself, as transformers 4 would write it.
PLAIN = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
}
LINEAR = {"rope_type": "linear", "factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
ABSENT = object()


def write_config(folder, **changes) -> None:
    config = {field: value for field, value in (PLAIN | changes).items() if value is not ABSENT}
    (folder / "config.json").write_text(json.dumps(config))


def write_folder(folder, **changes) -> None:
    """PLAIN with some changes, beside the weights of small_model()."""
    small_model().save_pretrained(folder)
    write_config(folder, **changes)


def write_shards(folder, shards, index) -> None:
    """shards: file -> its tensors; index: what stands in the index, or the weight_map of one."""
    for file, tensors in shards.items():
        save_file(tensors, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def split_in_two(folder):
    """Put the folder's single file into two; returns (shards, weight_map), not yet written."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    half = names[: len(names) // 2]
    file_of = {name: "a.safetensors" if name in half else "b.safetensors" for name in names}
    shards = {"a.safetensors": {}, "b.safetensors": {}}
    for name, file in file_of.items():
        shards[file][name] = state[name]
    return shards, file_of


def theirs(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@torch.no_grad()
def difference(folder, reference=None) -> float:
    """Between our logits and transformers'."""
    reference = reference or theirs(folder)
    ours = Transformer.from_pretrained(folder)
    return (ours(IDS) - reference(IDS).logits).abs().max().item()


def refusal(folder) -> str:
    """The one line that names what is wrong with the folder."""
    with pytest.raises(InputError) as error:
        Transformer.from_pretrained(folder)
    line = str(error.value)
    assert "\n" not in line
    assert str(folder) in line
    return line


# ---------------------------------------------------------------- configs of real checkpoints

QWEN2_5 = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 56,
    "initializer_range": 0.02,
    "intermediate_size": 76,
    "max_position_embeddings": 32768,
    "max_window_layers": 24,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.1",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 97,
}
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 88,
    "max_position_embeddings": 2048,
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.35.0",
    "use_cache": True,
    "vocab_size": 97,
}
LLAMA_3 = LLAMA | {
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "rope_scaling": LLAMA3,
    "rope_theta": 500000.0,
}
# The fields and values of the published files, with small sizes; transformers 4 wrote them.
PUBLISHED = {
    "Qwen2.5": QWEN2_5,
    "Qwen2.5-Math": QWEN2_5
    | {"max_position_embeddings": 4096, "rope_theta": 10000, "sliding_window": 4096},
    "Qwen3": {
        **QWEN2_5,
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "eos_token_id": 151645,
        "head_dim": 16,
        "hidden_size": 64,
        "max_position_embeddings": 40960,
        "max_window_layers": 28,
        "model_type": "qwen3",
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "transformers_version": "4.51.0",
    },
    "DeepSeek-R1-Distill-Qwen": {
        **QWEN2_5,
        "bos_token_id": 151646,
        "hidden_size": 48,
        "max_position_embeddings": 131072,
        "max_window_layers": 21,
        "num_attention_heads": 12,
        "rope_theta": 10000,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
    },
    "DeepSeek-R1-Distill-Llama": LLAMA_3,
    "Llama-3.2": {
        **LLAMA_3,
        "eos_token_id": [128001, 128008, 128009],
        "head_dim": 8,
        "rope_scaling": LLAMA3 | {"factor": 32.0},
        "tie_word_embeddings": True,
    },
    "TinyLlama": LLAMA,
    "SmolLM2": {
        **LLAMA,
        "hidden_size": 72,
        "initializer_range": 0.041666666666666664,
        "is_llama_config": True,
        "max_position_embeddings": 8192,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "pad_token_id": 2,
        "rope_interleaved": False,
        "rope_theta": 100000,
        "tie_word_embeddings": True,
        "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16", "q4f16": "float16"}},
    },
    "deepseek-coder": {
        **LLAMA,
        "bos_token_id": 32013,
        "eos_token_id": 32014,
        "max_position_embeddings": 16384,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"factor": 4.0, "type": "linear"},
        "rope_theta": 100000,
    },
    "Yi": LLAMA | {"max_position_embeddings": 4096, "pad_token_id": 0, "rope_theta": 5000000.0},
    "Falcon3": {
        **LLAMA,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": 11,
        "head_dim": 16,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000042,
    },
}


@torch.no_grad()
def write_published(folder, config):
    """The config as it is given, beside random weights; returns transformers' model of it."""
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    settings = transformers.AutoConfig.from_pretrained(folder)
    reference = transformers.AutoModelForCausalLM.from_config(settings, dtype=torch.float32)
    for parameter in reference.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    tensors = reference.state_dict()
    if config["tie_word_embeddings"]:
        del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")
    return reference.eval()


@pytest.mark.parametrize("writer", ["as published", "as transformers 5 saves it"])
@pytest.mark.parametrize("name", list(PUBLISHED))
def test_a_published_config_gives_the_logits_and_greedy_tokens_of_transformers(
    tmp_path, name, writer
):
    reference = write_published(tmp_path, PUBLISHED[name])
    if writer != "as published":
        reference.save_pretrained(tmp_path)
        assert "rope_parameters" in json.loads((tmp_path / "config.json").read_text())
    ours = Transformer.from_pretrained(tmp_path)
    assert difference(tmp_path, reference) < 1e-4
    assert torch.allclose(ours.inv_freq, reference.model.rotary_emb.inv_freq, rtol=1e-6)

    prompt = IDS[:1, :12]
    greedy = reference.generate(prompt, max_new_tokens=12, do_sample=False, pad_token_id=0)
    with torch.no_grad():
        predicted = ours(greedy[:, :-1]).argmax(dim=-1)
    assert torch.equal(predicted[:, 11:], greedy[:, 12:])

    ours.save_pretrained(tmp_path / "again")
    assert difference(tmp_path / "again", reference) < 1e-4


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("TinyLlama", "model_type", "mistral"),
        ("TinyLlama", "model_type", "phi3"),
        ("TinyLlama", "model_type", "gemma2"),
        ("TinyLlama", "architectures", ["LlamaForSequenceClassification"]),
        ("TinyLlama", "hidden_act", "gelu"),
        ("TinyLlama", "attention_bias", True),
        ("Llama-3.2", "mlp_bias", True),
        ("Qwen3", "attention_bias", True),
        ("Qwen2.5", "use_sliding_window", True),
        ("Qwen2.5", "layer_types", ["sliding_attention", "full_attention"]),
        ("Qwen2.5", "rope_scaling", {**YARN, "type": "yarn"}),
        ("Qwen3", "rope_parameters", {**YARN, "rope_theta": 1000000.0}),
        ("TinyLlama", "rope_scaling", {"type": "dynamic", "factor": 2.0}),
        ("TinyLlama", "rope_scaling", {"rope_type": "longrope", "short_factor": [1.0] * 4}),
        ("Llama-3.2", "rope_scaling", {"rope_type": "llama3", "factor": 4.0}),
        ("Llama-3.2", "quantization_config", {"bits": 4}),
        ("Llama-3.2", "is_causal", False),
        # transformers 5 takes the settings of single layers from this one
        ("Qwen3", "per_layer_config", {"1": {"num_attention_heads": 8}}),
        ("Qwen3", "text_config", {"hidden_size": 32}),
        ("Yi", "partial_rotary_factor", 0.5),
    ],
)
def test_a_setting_that_is_not_built_is_refused_by_name(tmp_path, name, field, value):
    """Ignored, each of these would give a model that runs and is wrong."""
    write_published(tmp_path, PUBLISHED[name])
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[name] | {field: value}))
    line = refusal(tmp_path)
    assert "config.json" in line and field in line


# ---------------------------------------------------------------- one fact in two places


@pytest.mark.parametrize(
    "changes",
    [
        # A file of transformers 5 to which somebody has added rope_scaling, as model cards say.
        {"rope_parameters": {"rope_type": "default"}, "rope_scaling": LINEAR},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}, "rope_scaling": LINEAR},
        {"rope_parameters": LINEAR, "rope_scaling": {"rope_type": "default"}},
        {"rope_parameters": LINEAR, "rope_scaling": LINEAR | {"factor": 2.0}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"rope_scaling": LINEAR | {"rope_theta": 500.0}},
    ],
)
def test_where_rope_fields_disagree_it_is_as_in_transformers_and_said(tmp_path, capsys, changes):
    """rope_scaling was dropped without a word: logits off by 8, and yarn read as no scaling."""
    write_folder(tmp_path, **changes)
    assert difference(tmp_path) < 1e-4
    note = capsys.readouterr().err
    assert "config.json: rope" in note and "as in transformers" in note


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": LINEAR | {"rope_theta": 10000}, "rope_scaling": LINEAR},
        {"rope_parameters": LINEAR, "rope_scaling": {}},
        {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 4}},
        {"rope_parameters": LINEAR | {"rope_theta": 500.0}, "rope_theta": ABSENT},
        {"rope_scaling": LINEAR | {"type": "linear", "partial_rotary_factor": 1.0}},
    ],
)
def test_rope_fields_that_agree_are_read_without_a_word(tmp_path, capfd, changes):
    write_folder(tmp_path, **changes)
    reference = theirs(tmp_path)
    capfd.readouterr()
    assert difference(tmp_path, reference) < 1e-4
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rope_parameters": {"rope_type": "default"}, "rope_scaling": YARN}, "yarn"),
        ({"rope_parameters": YARN, "rope_scaling": LINEAR}, "yarn"),
        ({"rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 4.0}}, "yarn"),
        ({"rope_scaling": {"factor": 4.0}}, "factor"),
        ({"rope_scaling": LINEAR | {"attention_factor": 0.7}}, "attention_factor"),
        ({"rope_scaling": LINEAR | {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_parameters": {"full_attention": LINEAR}}, "full_attention"),
        ({"rope_scaling": {"rope_type": ["linear"], "factor": 4.0}}, "rope_type"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor"),
        ({"rope_scaling": LINEAR | {"factor": "4"}}, "factor"),
        ({"rope_scaling": LLAMA3 | {"high_freq_factor": 1.0}}, "low_freq_factor"),
        ({"rope_scaling": LLAMA3 | {"original_max_position_embeddings": None}}, "original_max"),
        ({"rope_scaling": "linear"}, "rope_scaling"),
        ({"rope_scaling": [LINEAR]}, "rope_scaling"),
    ],
)
def test_a_rope_that_is_not_built_is_refused_in_whichever_field_it_stands(tmp_path, changes, named):
    write_folder(tmp_path, **changes)
    line = refusal(tmp_path)
    assert "config.json: rope" in line and named in line


def test_a_tied_model_with_a_head_of_its_own_keeps_it_as_in_transformers(tmp_path, capsys):
    """The head was dropped without a word: logits off by 13."""
    write_folder(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    head = {"lm_head.weight": torch.randn(97, 32)}
    save_file(state | head, tmp_path / "model.safetensors")
    reference = theirs(tmp_path)
    assert difference(tmp_path, reference) < 1e-4
    assert "tie_word_embeddings" in capsys.readouterr().err

    ours = Transformer.from_pretrained(tmp_path)
    ours.save_pretrained(tmp_path / "again")
    assert difference(tmp_path / "again", reference) < 1e-4


@pytest.mark.parametrize("stored", ["both", "head alone", "both, one rounded to bfloat16"])
def test_a_tied_matrix_may_be_stored_under_either_name(tmp_path, capsys, stored):
    write_folder(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    matrix = state["model.embed_tokens.weight"].bfloat16().float()
    state["model.embed_tokens.weight"] = matrix
    state["lm_head.weight"] = matrix.clone()
    if stored == "head alone":
        del state["model.embed_tokens.weight"]
    elif stored == "both, one rounded to bfloat16":
        state["lm_head.weight"] = matrix.bfloat16()
    save_file(state, tmp_path / "model.safetensors")
    ours = Transformer.from_pretrained(tmp_path)
    assert ours.head is ours.model.embed_tokens.weight
    assert torch.equal(ours.head, matrix)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("head", [torch.zeros(96, 32), torch.zeros(97)])
def test_a_tied_head_that_does_not_fit_is_named(tmp_path, head):
    write_folder(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file(state | {"lm_head.weight": head}, tmp_path / "model.safetensors")
    assert "lm_head.weight" in refusal(tmp_path)


def test_a_model_that_is_not_tied_and_has_no_head_is_refused(tmp_path):
    write_folder(tmp_path, tie_word_embeddings=False)
    assert "lm_head.weight" in refusal(tmp_path)


# ---------------------------------------------------------------- the files of the weights


def test_a_checkpoint_in_several_files_is_read_through_its_index(tmp_path):
    write_folder(tmp_path)
    shards, file_of = split_in_two(tmp_path)
    write_shards(tmp_path, shards, {"metadata": {}, "weight_map": file_of})
    assert difference(tmp_path) < 1e-4


@pytest.mark.parametrize("old_shards", ["there", "gone"])
def test_a_single_file_is_read_whatever_index_an_older_save_has_left(tmp_path, capsys, old_shards):
    """The old shards were loaded without a word, or the folder refused where they were gone."""
    small_model(seed=1).save_pretrained(tmp_path)
    shards, file_of = split_in_two(tmp_path)
    write_shards(tmp_path, shards, {"metadata": {}, "weight_map": file_of})
    if old_shards == "gone":
        (tmp_path / "a.safetensors").unlink()
    write_folder(tmp_path)
    assert difference(tmp_path) < 1e-4
    assert torch.equal(Transformer.from_pretrained(tmp_path)(IDS), small_model()(IDS))
    assert "index.json is not used" in capsys.readouterr().err


@pytest.mark.parametrize(
    "index", [{}, {"weight_map": None}, {"weight_map": ["a.safetensors"]}, {"weight_map": "a"}, []]
)
def test_an_index_without_a_weight_map_is_named(tmp_path, index):
    write_folder(tmp_path)
    shards, _ = split_in_two(tmp_path)
    write_shards(tmp_path, shards, index)
    line = refusal(tmp_path)
    assert "index.json" in line and ("weight_map" in line or "list" in line)


@pytest.mark.parametrize(
    "file",
    ["c.safetensors", "", ".", "x" * 300, "nul\0", "\ud800", "sub", None, 3, ["a.safetensors"], {}],
)
def test_an_index_that_names_no_file_of_the_folder_is_refused(tmp_path, file):
    write_folder(tmp_path)
    shards, file_of = split_in_two(tmp_path)
    (tmp_path / "sub").mkdir()
    file_of["model.norm.weight"] = file
    write_shards(tmp_path, shards, {"metadata": {}, "weight_map": file_of})
    line = refusal(tmp_path)
    assert "index.json" in line and "model.norm.weight" in line


@pytest.mark.parametrize("way", ["..", "absolute", "below"])
def test_nothing_outside_of_the_folder_is_read(tmp_path, way):
    """The shards that these indexes name are whole, and reading them would give the model."""
    folder = tmp_path / "folder"
    write_folder(folder)
    shards, file_of = split_in_two(folder)
    places = {"..": tmp_path, "absolute": tmp_path, "below": folder / "sub"}
    places[way].mkdir(exist_ok=True)
    prefix = {"..": "../", "absolute": f"{tmp_path}/", "below": "./sub/"}[way]
    for file, tensors in shards.items():
        save_file(tensors, places[way] / file)
    moved = {name: prefix + file for name, file in file_of.items()}
    write_shards(folder, {}, {"metadata": {}, "weight_map": moved})
    assert "weight_map" in refusal(folder)


def test_a_shard_that_is_a_link_is_read_as_in_the_hub_s_cache(tmp_path):
    folder = tmp_path / "snapshot"
    write_folder(folder)
    shards, file_of = split_in_two(folder)
    write_shards(folder, shards, {"metadata": {}, "weight_map": file_of})
    (folder / "a.safetensors").rename(tmp_path / "blob")
    (folder / "a.safetensors").symlink_to(tmp_path / "blob")
    assert torch.equal(Transformer.from_pretrained(folder)(IDS), small_model()(IDS))


def test_a_tensor_in_two_shards_must_have_the_same_values_in_both(tmp_path):
    write_folder(tmp_path)
    shards, file_of = split_in_two(tmp_path)
    name = "model.norm.weight"
    assert file_of[name] == "b.safetensors"
    shards["a.safetensors"][name] = shards["b.safetensors"][name].clone()
    write_shards(tmp_path, shards, {"metadata": {}, "weight_map": file_of})
    assert torch.equal(Transformer.from_pretrained(tmp_path)(IDS), small_model()(IDS))

    shards["a.safetensors"][name] += 1
    write_shards(tmp_path, shards, {"metadata": {}, "weight_map": file_of})
    assert name in refusal(tmp_path)


def test_a_tensor_that_the_index_names_and_no_shard_has_is_missing(tmp_path):
    write_folder(tmp_path)
    shards, file_of = split_in_two(tmp_path)
    del shards["b.safetensors"]["model.norm.weight"]
    write_shards(tmp_path, shards, {"metadata": {}, "weight_map": file_of})
    assert "model.norm.weight" in refusal(tmp_path)


def test_an_adapter_beside_the_weights_is_not_dropped_without_a_word(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert "adapter_config.json" in refusal(tmp_path)


def test_an_old_conversion_that_kept_its_rope_buffers_is_read(tmp_path):
    small_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    save_file(state | extra, tmp_path / "model.safetensors")
    assert torch.equal(Transformer.from_pretrained(tmp_path)(IDS), small_model()(IDS))


def test_a_folder_that_is_missing_or_foreign_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for name in (tmp_path / "nowhere", tmp_path / "notes.txt", tmp_path):
        refusal(name)
    write_config(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    assert "expected model.safetensors or model.safetensors.index.json" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\ud800", "[" * 10**5, "9" * 5000, "NaN"])
def test_a_config_that_is_no_json_object_is_named(tmp_path, text):
    write_folder(tmp_path)
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogatepass"))
    assert "config.json" in refusal(tmp_path)


def test_weights_that_do_not_fit_are_named(tmp_path):
    small_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    bias = "model.layers.0.self_attn.q_proj.bias"
    without = {other: tensor for other, tensor in state.items() if other != name}
    of_another_shape = state | {name: torch.zeros(3, 3)}
    with_bias = state | {bias: torch.zeros(32)}
    for broken, named in ((without, name), (of_another_shape, name), (with_bias, bias)):
        save_file(broken, tmp_path / "model.safetensors")
        assert named in refusal(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    assert "model.safetensors" in refusal(tmp_path)


def test_weights_are_float32_whatever_the_folder_holds(tmp_path):
    """bfloat16 master weights lose updates (nanochat #808)."""
    small_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    rounded = {name: tensor.bfloat16() for name, tensor in state.items()}
    save_file(rounded, tmp_path / "model.safetensors")
    model = Transformer.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


# ---------------------------------------------------------------- numbers that are none


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), 1e300])
@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"])
def test_a_weight_that_is_not_finite_is_named(tmp_path, name, number):
    """Sampling from such a model drew one fixed token, and eval said 0.0% without an error."""
    small_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state[name] = state[name].double()  # 1e300 becomes infinite in float32
    state[name].view(-1)[7] = number
    save_file(state, tmp_path / "model.safetensors")
    line = refusal(tmp_path)
    assert "model.safetensors" in line and name in line and "finite" in line


def test_a_weight_that_is_not_finite_is_named_with_its_shard(tmp_path):
    write_folder(tmp_path)
    shards, file_of = split_in_two(tmp_path)
    weight = shards["b.safetensors"]["model.norm.weight"].bfloat16()
    weight[0] = float("nan")
    shards["b.safetensors"]["model.norm.weight"] = weight
    write_shards(tmp_path, shards, {"metadata": {}, "weight_map": file_of})
    line = refusal(tmp_path)
    assert "b.safetensors" in line and "model.norm.weight" in line


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_floats_are_named(tmp_path, dtype):
    """Quantized weights mean nothing without their scales."""
    small_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["model.norm.weight"] = state["model.norm.weight"].to(dtype)
    save_file(state, tmp_path / "model.safetensors")
    assert "model.norm.weight" in refusal(tmp_path)


WRONG_NUMBERS = ["10000", "1e-6", True, float("nan"), float("inf"), -1, 0, [1], {"a": 1}, 10**400]


@pytest.mark.parametrize("value", WRONG_NUMBERS)
@pytest.mark.parametrize("field", ["rope_theta", "rms_norm_eps", "factor", "rope theta within"])
def test_what_is_no_number_is_refused_by_its_field(tmp_path, field, value):
    changes = {field: value}
    if field == "factor":
        changes = {"rope_scaling": LINEAR | {"factor": value}}
    if field == "rope theta within":
        changes = {"rope_parameters": {"rope_type": "default", "rope_theta": value}}
    write_folder(tmp_path, **changes)
    line = refusal(tmp_path)
    assert "config.json" in line and field.split()[0] in line


SIZE_FIELDS = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
]


@pytest.mark.parametrize("value", ["32", "many", 32.5, 2.0, *WRONG_NUMBERS[2:], 10**12])
@pytest.mark.parametrize("field", SIZE_FIELDS)
def test_what_is_no_size_is_refused_by_its_field(tmp_path, field, value):
    """A size of 10**12 must not be built before it is found to be wrong."""
    write_folder(tmp_path, **{field: value})
    line = refusal(tmp_path)
    assert "config.json" in line and field in line


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_attention_heads": 5, "num_key_value_heads": 5, "head_dim": None}, "hidden_size"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"num_key_value_heads": 8}, "num_key_value_heads"),
        ({"head_dim": 7}, "head_dim"),
        ({"num_attention_heads": 32, "head_dim": None}, "head_dim"),
        ({"hidden_size": None}, "hidden_size"),
        ({"vocab_size": ABSENT}, "vocab_size"),
        ({"layer_types": ["full_attention"] * 3}, "layer_types"),
        ({"layer_types": 2}, "layer_types"),
        ({"layer_types": "full_attention"}, "layer_types"),
        ({"model_type": ["llama"]}, "model_type"),
        ({"model_type": None}, "model_type"),
        ({"architectures": "LlamaForCausalLM"}, "architectures"),
        ({"tie_word_embeddings": "true"}, "tie_word_embeddings"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings"),
        ({"bos_token_id": "1"}, "bos_token_id"),
        ({"bos_token_id": [1]}, "bos_token_id"),
        ({"eos_token_id": "2"}, "eos_token_id"),
        ({"eos_token_id": [2, None]}, "eos_token_id"),
        ({"eos_token_id": [[2]]}, "eos_token_id"),
        ({"eos_token_id": 2.0}, "eos_token_id"),
        ({"eos_token_id": True}, "eos_token_id"),
        ({"eos_token_id": -1}, "eos_token_id"),
        ({"eos_token_id": {"id": 2}}, "eos_token_id"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_field(tmp_path, changes, named):
    write_folder(tmp_path, **changes)
    line = refusal(tmp_path)
    assert "config.json" in line and named in line


def test_values_that_mean_the_same_are_taken(tmp_path):
    write_folder(
        tmp_path,
        rope_theta=10000,
        head_dim=None,
        eos_token_id=[2, 3],
        bos_token_id=None,
        layer_types=["full_attention"] * 2,
        auto_map={},
    )
    assert difference(tmp_path) < 1e-4


# ---------------------------------------------------------------- mutated folders


def outcome(folder) -> str:
    """ "loaded" with finite logits, or "refused" in one line; anything else fails."""
    try:
        model = Transformer.from_pretrained(folder)
    except InputError as error:
        assert "\n" not in str(error)
        assert str(folder) in str(error)
        return "refused"
    with torch.no_grad():
        assert model(IDS[:1]).isfinite().all()
    return "loaded"


VALUES = [
    *WRONG_NUMBERS,
    *[None, False, 1, 2, 3, 8, 1.0, 0.5, 1e-30, 1e30, 10**9, 10**18, "", "llama", "qwen2", "gemma"],
    *[[], {}, [None], [2, 3], {"rope_type": "linear", "factor": 1e18}, {"rope_theta": 1e-15}],
    *[LINEAR, LLAMA3, YARN, "silu", "../a", "a.safetensors", "\ud800", "two\nlines"],
]
FIELDS = [*PLAIN, "rope_parameters", "layer_types", "quantization_config", "auto_map", "new\nfield"]


def mutated_object(value, rng: random.Random, fields: list[str]) -> dict:
    """One to three fields of the object, or of an object within it, changed or left out."""
    value = dict(value)
    for _ in range(rng.randint(1, 3)):
        field = rng.choice(fields)
        inner = value.get(field)
        if isinstance(inner, dict) and inner and rng.random() < 0.7:
            value[field] = mutated_object(inner, rng, [*inner, "new", "rope_type", "type"])
        elif rng.random() < 0.2:
            value.pop(field, None)
        else:
            value[field] = rng.choice(VALUES)
    return value


def mutate_config(folder, rng) -> None:
    ropes = [{}, {"rope_scaling": LINEAR}, {"rope_parameters": LLAMA3 | {"rope_theta": 500.0}}]
    config = PLAIN | rng.choice(ropes)
    text = json.dumps(config).encode()
    if rng.random() < 0.6:
        text = json.dumps(mutated_object(config, rng, FIELDS)).encode()
    if rng.random() < 0.5:
        text = mutated_bytes(text, rng)
    (folder / "config.json").write_bytes(text)


def mutate_header(folder, rng) -> None:
    """A safetensors file starts with the header's length in 8 bytes, then has it as JSON."""
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    if rng.random() < 0.3:
        types = [b"F64", b"I32", b"BF16", b"U8", b"C64", b"F8_E4M3", b"F4", b"???"]
        header = header.replace(b"F32", rng.choice(types), rng.randint(1, 20))
    elif rng.random() < 0.9:
        header = mutated_bytes(header, rng)
    lengths = [length, len(header), 0, 1, 2**31, 2**63, 2**64 - 1]
    said = len(header) if rng.random() < 0.7 else rng.choice(lengths)
    mutated = said.to_bytes(8, "little") + header + data[8 + length :]
    (folder / "model.safetensors").write_bytes(mutated)


def mutate_index(folder, rng) -> None:
    shards, file_of = split_in_two(folder)
    index = {"metadata": {"total_size": 1}, "weight_map": file_of}
    write_shards(
        folder, shards, mutated_object(index, rng, ["metadata", "weight_map", "weight_map"])
    )
    path = folder / "model.safetensors.index.json"
    if rng.random() < 0.4:
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))


MUTATIONS = {"config": mutate_config, "header": mutate_header, "index": mutate_index}


def check_mutations(tmp_path, kind, seeds) -> None:
    write_folder(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    outcomes = set()
    for seed in seeds:
        (tmp_path / "model.safetensors").write_bytes(weights)
        MUTATIONS[kind](tmp_path, random.Random(seed))
        outcomes.add(outcome(tmp_path))
    assert outcomes == {"loaded", "refused"}


@pytest.mark.parametrize("kind", list(MUTATIONS))
def test_a_mutated_folder_is_a_model_or_one_line(tmp_path, kind):
    check_mutations(tmp_path, kind, range(120))


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(MUTATIONS))
def test_many_mutated_folders_are_models_or_one_line(tmp_path, kind):
    check_mutations(tmp_path, kind, range(1000, 3000))
