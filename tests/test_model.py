"""The transformer against transformers' own, its cache against itself, its folders both ways."""

import json
import shutil

import pytest
import torch
import transformers
from conftest import small_config, small_model
from safetensors.torch import load_file, save_file

from model import KVCache, Transformer, joined_layers, prepacked_weights
from rollout import sample
from support.hub import InputError, ModelConfig
from support.packing import Trajectory, pack

CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
IDS = torch.randint(0, 97, (3, 40), generator=torch.Generator().manual_seed(5))


def theirs(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def save_random(folder, family, tied, **changes):
    """A random checkpoint written by transformers, every parameter away from its initial value."""
    sizes = {k: v for k, v in vars(small_config()).items() if k.startswith(("vocab", "hidden", "inter", "num", "head"))}
    config = CLASSES[family][0](**sizes, max_position_embeddings=64, tie_word_embeddings=tied, **changes)
    torch.manual_seed(1)
    reference = CLASSES[family][1](config)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    reference.save_pretrained(folder)
    return theirs(folder)


@torch.no_grad()
def difference(a, b, ids=IDS) -> float:
    return (a(ids) - b(ids).logits).abs().max().item()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", list(CLASSES))
def test_logits_equal_transformers_in_both_directions(tmp_path, family, tied):
    reference = save_random(tmp_path / "theirs", family, tied)
    ours = Transformer.from_pretrained(tmp_path / "theirs")
    assert difference(ours, reference) < 1e-4
    ours.save_pretrained(tmp_path / "ours")
    assert difference(ours, theirs(tmp_path / "ours")) < 1e-4
    again = Transformer.from_pretrained(tmp_path / "ours")
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("scaling", [LLAMA3, {"rope_type": "linear", "factor": 4.0}], ids=["llama3", "linear"])
def test_scaled_rope_equals_transformers(tmp_path, scaling):
    reference = save_random(tmp_path / "theirs", "llama", True, rope_scaling=scaling, rope_theta=500.0)
    ours = Transformer.from_pretrained(tmp_path / "theirs")
    assert difference(ours, reference) < 1e-4
    ours.save_pretrained(tmp_path / "ours")
    assert difference(ours, theirs(tmp_path / "ours")) < 1e-4
    plain = Transformer(ModelConfig(**{**vars(ours.config), "rope_scaling": None}))
    plain.load_state_dict(ours.state_dict())
    assert (plain(IDS) - ours(IDS)).abs().max() > 1e-2  # the scaling does something


def test_a_checkpoint_in_several_files_is_read_through_its_index(tmp_path):
    reference = save_random(tmp_path, "qwen2", False)
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    half = sorted(state)[: len(state) // 2]
    parts = {"a.safetensors": half, "b.safetensors": [k for k in state if k not in half]}
    for file, names in parts.items():
        save_file({k: state[k] for k in names}, tmp_path / file)
    index = {"weight_map": {k: file for file, names in parts.items() for k in names}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert difference(Transformer.from_pretrained(tmp_path), reference) < 1e-4


def test_an_old_conversion_that_kept_its_rope_buffers_is_read(tmp_path):
    small_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    save_file(state | extra, tmp_path / "model.safetensors")
    assert torch.equal(Transformer.from_pretrained(tmp_path)(IDS), small_model()(IDS))


def test_smollm2_equals_transformers(smollm2, tmp_path):
    ids = torch.randint(0, 49152, (2, 48), generator=torch.Generator().manual_seed(0))
    ours = Transformer.from_pretrained(smollm2)
    assert difference(ours, theirs(smollm2), ids) < 1e-4
    ours.save_pretrained(tmp_path)
    assert difference(ours, theirs(tmp_path), ids) < 1e-4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "mistral"),
        ("architectures", ["LlamaForSequenceClassification"]),
        ("hidden_act", "gelu"),
        ("attention_bias", True),
        ("mlp_bias", True),
        ("use_sliding_window", True),
        ("layer_types", ["sliding_attention", "full_attention"]),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("rope_scaling", {"rope_type": "llama3", "factor": 4.0}),
        ("quantization_config", {"bits": 4}),
        ("hidden_size", None),
        ("vocab_size", "many"),
    ],
)
def test_a_setting_that_is_not_built_is_refused_by_name(tmp_path, field, value):
    """Ignored, each of these would give a model that runs and is wrong."""
    small_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(InputError, match=field) as error:
        Transformer.from_pretrained(tmp_path)
    assert "\n" not in str(error.value) and "config.json" in str(error.value)


def test_a_folder_that_is_missing_or_foreign_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for name in (tmp_path / "nowhere", tmp_path / "notes.txt", tmp_path):
        with pytest.raises(InputError, match=str(name)):
            Transformer.from_pretrained(name)


def test_weights_that_do_not_fit_are_named(tmp_path):
    small_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    for broken in ({k: v for k, v in state.items() if k != name}, state | {name: torch.zeros(3, 3)}):
        save_file(broken, tmp_path / "model.safetensors")
        with pytest.raises(InputError, match=name):
            Transformer.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        Transformer.from_pretrained(tmp_path)


def test_weights_are_float32_whatever_the_folder_holds(tmp_path):
    """bfloat16 master weights lose updates (nanochat #808)."""
    small_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file({k: v.bfloat16() for k, v in state.items()}, tmp_path / "model.safetensors")
    assert {p.dtype for p in Transformer.from_pretrained(tmp_path).parameters()} == {torch.float32}


def test_padding_on_the_right_changes_nothing():
    """Trap 3: padding, position or batch-mates change the log-probs (TRL #2708)."""
    model = small_model()
    padded = torch.cat((IDS[:, :20], torch.zeros(3, 20, dtype=torch.long)), dim=1)
    assert torch.allclose(model(padded)[:, :20], model(IDS[:, :20]), atol=1e-5)
    assert torch.allclose(model(IDS[1:2]), model(IDS)[1:2], atol=1e-5)


@torch.no_grad()
def test_one_token_at_a_time_equals_all_at_once_for_rows_of_different_lengths():
    """Trap 3: with one query and a cache, SDPA's is_causal sees key 0 only (pytorch #108108)."""
    model = small_model("qwen3", False)
    full, lengths = model(IDS), torch.tensor([3, 9, 6])
    cache = KVCache(model.config, 3, 40, model.device, torch.float32)
    cache.rows = 3
    model.hidden(IDS[:, :9], cache)  # rows 0 and 2 have rubbish behind their prompts
    cache.lengths[:] = lengths
    for _ in range(20):
        ids = IDS[torch.arange(3), cache.lengths][:, None]
        logits = model.logits(model.hidden(ids, cache))[:, 0]
        assert torch.allclose(logits, full[torch.arange(3), cache.lengths], atol=1e-5)
        cache.lengths += 1


@torch.no_grad()
def test_rubbish_in_unused_slots_changes_nothing():
    model = small_model()
    outputs = []
    for rubbish in (0.0, 1e4):
        cache = KVCache(model.config, 4, 40, model.device, torch.float32)
        cache.kv += rubbish
        cache.rows = 3
        model.hidden(IDS[:, :9], cache)
        cache.lengths[:3] = torch.tensor([3, 9, 6])
        outputs.append(model.hidden(IDS[:, 9:11], cache))
    assert torch.equal(*outputs)


def test_a_model_from_a_config_alone_starts_close_to_uniform():
    torch.manual_seed(0)
    logits = Transformer(small_config())(IDS)
    assert logits.shape == (3, 40, 97)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    assert loss.item() == pytest.approx(torch.log(torch.tensor(97.0)).item(), abs=0.1)


@torch.no_grad()
@pytest.mark.parametrize(("family", "tied"), [("llama", True), ("qwen2", False), ("qwen3", True)])
def test_prepacked_weights_give_the_same_logits_and_leave_nothing_behind(family, tied):
    model, names = small_model(family, tied), set(small_model(family, tied).state_dict())
    plain = model(IDS)
    with prepacked_weights(model):
        packed = joined_layers(model)
        assert len(packed) == 2 * 4 + 1 and all(hasattr(layers[0], "prepacked") for layers in packed)
        assert torch.allclose(model(IDS), plain, atol=1e-5)
        assert set(model.state_dict()) == names
        model.model.layers[0].mlp.up_proj.weight.mul_(2)
        assert torch.allclose(model(IDS), plain, atol=1e-5)  # a copy: it knows nothing of new weights,
    assert not torch.allclose(model(IDS), plain, atol=1e-2)  # so it ends here
    assert not any(hasattr(layers[0], "prepacked") for layers in packed)


def test_prepacked_weights_end_whatever_happens_and_never_hide_a_gradient(monkeypatch):
    model = small_model()
    with prepacked_weights(model):
        sample(model, [[5, 6]], 1, stop_ids=[], max_new_tokens=2)  # packs for itself, and ends it
        model(IDS).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    calls, cat = [], torch.cat
    monkeypatch.setattr(torch, "cat", lambda *a, **k: calls.append(1) or (1 / (len(calls) < 4) and cat(*a, **k)))
    with pytest.raises(ZeroDivisionError), prepacked_weights(model):
        pass
    assert not any(hasattr(module, "prepacked") for module in model.modules())


def test_a_layer_that_was_replaced_is_used():
    """What a fork does to try LoRA."""
    model = small_model()
    before = model(IDS)
    for attention in (block.self_attn for block in model.model.layers):
        attention.v_proj = torch.nn.Linear(32, 16, bias=False)
    assert not torch.allclose(model(IDS), before, atol=1e-2)


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        model = small_model("qwen3")
        model.checkpointing = checkpointing
        model(IDS).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-7) and gradients[0].any()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_blocks_give_the_same_tokens_and_gradient():
    """The sampler's blocks see one fixed shape whatever rows are in use, the update's any shape."""
    model, compiled = (small_model("qwen3", num_hidden_layers=1) for _ in range(2))
    compiled.compile_blocks()
    prompts, settings = [[5, 6, 7], [8], [9, 10, 11]], {"stop_ids": list(range(0, 97, 9)), "max_new_tokens": 12}
    a, b = (sample(m, prompts, 3, max_rows=4, **settings) for m in (model, compiled))
    a, b = ([rollout for group in groups for rollout in group] for groups in (a, b))
    assert len({len(x.token_ids) for x in a}) > 3  # rows leave and others come
    for x, y in zip(a, b, strict=True):
        assert x.token_ids == y.token_ids and x.logprobs == pytest.approx(y.logprobs, abs=1e-5)
    for m in (model, compiled):
        for rows in (a, a[:4], a[4:]):  # of one prompt and of several
            packed = pack([Trajectory(r.prompt_ids, r.token_ids) for r in rows], m.device)
            (m.logprobs(packed)[0].sum() / packed.mask.sum()).backward()
    for x, y in zip(model.parameters(), compiled.parameters(), strict=True):
        assert torch.allclose(x.grad, y.grad, rtol=1e-4, atol=1e-5)
