"""The transformer against transformers' own, its cache against itself."""

import pytest
import torch
import transformers
from conftest import small_config, small_model

from model import KVCache, Transformer
from support.hub import ModelConfig

CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    "gemma": (transformers.GemmaConfig, transformers.GemmaForCausalLM),
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "factor": 4.0}
IDS = torch.randint(0, 97, (3, 40), generator=torch.Generator().manual_seed(5))
SIZE_FIELDS = ("vocab", "hidden", "inter", "num", "head")


def theirs(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def save_random(folder, family, tied, **changes):
    """A random checkpoint written by transformers, no parameter at its initial value."""
    fields = vars(small_config())
    sizes = {name: value for name, value in fields.items() if name.startswith(SIZE_FIELDS)}
    settings = {**sizes, "max_position_embeddings": 64, "tie_word_embeddings": tied, **changes}
    config_class, model_class = CLASSES[family]
    torch.manual_seed(1)
    reference = model_class(config_class(**settings))
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    reference.save_pretrained(folder)
    return theirs(folder)


@torch.no_grad()
def difference(a, b, ids=IDS) -> float:
    return (a(ids) - b(ids).logits).abs().max().item()


# ---------------------------------------------------------------- beside transformers


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", list(CLASSES))
def test_logits_equal_transformers_in_both_directions(tmp_path, family, tied):
    reference = save_random(tmp_path / "theirs", family, tied)
    ours = Transformer.from_pretrained(tmp_path / "theirs")
    assert difference(ours, reference) < 1e-4
    ours.save_pretrained(tmp_path / "ours")
    assert difference(ours, theirs(tmp_path / "ours")) < 1e-4
    again = Transformer.from_pretrained(tmp_path / "ours")
    for a, b in zip(ours.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("family", ["qwen3", "gemma"])
def test_heads_wider_than_their_share_of_the_hidden_state_equal_transformers(tmp_path, family):
    """4 heads of 16 at a hidden width of 32: Gemma 7B and the small Qwen3 have such heads."""
    reference = save_random(tmp_path / "theirs", family, True, head_dim=16)
    ours = Transformer.from_pretrained(tmp_path / "theirs")
    assert ours.model.layers[0].self_attn.q_proj.weight.shape == (64, 32)
    assert difference(ours, reference) < 1e-4
    ours.save_pretrained(tmp_path / "ours")
    assert difference(ours, theirs(tmp_path / "ours")) < 1e-4


@pytest.mark.parametrize("missing", ["tanh GELU", "norms of 1 + w", "scaled embeddings"])
def test_nothing_that_gemma_does_its_own_way_could_be_missing_unnoticed(tmp_path, missing):
    reference = save_random(tmp_path, "gemma", False, head_dim=16)
    ours = Transformer.from_pretrained(tmp_path)
    if missing == "tanh GELU":
        for block in ours.model.layers:
            block.mlp.activation = torch.nn.GELU()
    if missing == "norms of 1 + w":
        ours.model.layers[0].input_layernorm.adds_one = False
    if missing == "scaled embeddings":
        with torch.no_grad():
            ours.model.embed_tokens.weight /= 32**0.5
    assert difference(ours, reference) > 1e-3


@pytest.mark.parametrize("scaling", [LLAMA3, LINEAR], ids=["llama3", "linear"])
def test_scaled_rope_equals_transformers(tmp_path, scaling):
    changes = {"rope_scaling": scaling, "rope_theta": 500.0}
    reference = save_random(tmp_path / "theirs", "llama", True, **changes)
    ours = Transformer.from_pretrained(tmp_path / "theirs")
    assert difference(ours, reference) < 1e-4
    ours.save_pretrained(tmp_path / "ours")
    assert difference(ours, theirs(tmp_path / "ours")) < 1e-4
    plain = Transformer(ModelConfig(**{**vars(ours.config), "rope_scaling": None}))
    plain.load_state_dict(ours.state_dict())
    assert (plain(IDS) - ours(IDS)).abs().max() > 1e-2  # the scaling does something


def test_smollm2_equals_transformers(smollm2, tmp_path):
    ids = torch.randint(0, 49152, (2, 48), generator=torch.Generator().manual_seed(0))
    ours = Transformer.from_pretrained(smollm2)
    assert difference(ours, theirs(smollm2), ids) < 1e-4
    ours.save_pretrained(tmp_path)
    assert difference(ours, theirs(tmp_path), ids) < 1e-4


# ---------------------------------------------------------------- rows and the cache


def test_padding_on_the_right_changes_nothing():
    """Trap 3: padding, position or batch-mates change the log-probs (TRL #2708)."""
    model = small_model()
    padding = torch.zeros(3, 20, dtype=torch.long)
    padded = torch.cat((IDS[:, :20], padding), dim=1)
    assert torch.allclose(model(padded)[:, :20], model(IDS[:, :20]), atol=1e-5)
    assert torch.allclose(model(IDS[1:2]), model(IDS)[1:2], atol=1e-5)


@torch.no_grad()
def go_on_one_token_at_a_time(model: Transformer, cache: KVCache) -> None:
    """Twenty steps from the cache's own lengths, each against one plain pass over all tokens."""
    whole = model(IDS)  # (3, 40, V)
    rows = torch.arange(3)
    for _ in range(20):
        places = cache.lengths.clone()  # (3,) of the tokens that come next
        ids = IDS[rows, places][:, None]  # (3, 1)
        logits = model.logits(model.hidden_after(cache, ids))[:, 0]  # (3, V)
        assert torch.allclose(logits, whole[rows, places], atol=1e-5)
        assert torch.equal(cache.lengths, places + 1)


@torch.no_grad()
def test_one_token_at_a_time_equals_all_at_once_for_rows_of_different_lengths():
    """Trap 3: with one query and a cache, SDPA's is_causal sees key 0 only (pytorch #108108)."""
    model = small_model("qwen3", False)
    cache = KVCache(model, 3, 40)
    cache.rows_in_use = 3
    model.hidden_after(cache, IDS[:, :9])  # rows 0 and 2 have rubbish after their prompts
    cache.lengths[:] = torch.tensor([3, 9, 6])
    go_on_one_token_at_a_time(model, cache)


@torch.no_grad()
@pytest.mark.parametrize("family", list(CLASSES))
def test_rows_that_were_padded_on_the_right_go_on_in_the_slots_of_their_padding(family):
    """The same where the cache is told how many tokens of each row are real."""
    model = small_model(family, False)
    lengths = torch.tensor([3, 9, 6])
    padded = IDS[:, :9].clone()
    padded[torch.arange(9) >= lengths[:, None]] = 0
    cache = KVCache(model, 3, 40)
    cache.rows_in_use = 3
    hidden = model.hidden_after(cache, padded, counts=lengths)  # (3, 9, C)
    assert cache.lengths.tolist() == [3, 9, 6]
    ends = (torch.arange(3), lengths - 1)
    assert torch.allclose(model.logits(hidden[ends]), model(IDS)[ends], atol=1e-5)
    go_on_one_token_at_a_time(model, cache)


@torch.no_grad()
def test_several_tokens_at_once_go_on_after_rows_of_different_lengths():
    """Padded on the right once more, on top of what the cache holds: a row's padding is never read,
    and the row's next tokens take its place."""
    model = small_model("qwen3")
    whole = model(IDS)  # (3, 40, V)
    cache = KVCache(model, 3, 40)
    cache.rows_in_use = 3
    done = torch.zeros(3, dtype=torch.long)
    for counts in torch.tensor([[3, 9, 6], [4, 1, 2], [1, 1, 5], [7, 6, 1]]):
        steps = torch.arange(int(counts.max()))
        places = done[:, None] + steps  # (3, T)
        ids = IDS.gather(1, places)  # (3, T)
        real = steps < counts[:, None]  # (3, T)
        ids[~real] = 96
        logits = model.logits(model.hidden_after(cache, ids, counts))  # (3, T, V)
        for row in range(3):
            expected = whole[row, places[row][real[row]]]
            assert torch.allclose(logits[row][real[row]], expected, atol=1e-5)
        done = done + counts
        assert torch.equal(cache.lengths, done)


@torch.no_grad()
def test_rubbish_in_unused_slots_changes_nothing():
    model = small_model()
    outputs = []
    for rubbish in (0.0, 1e4):
        cache = KVCache(model, 4, 40)
        cache.kv += rubbish
        cache.rows_in_use = 3
        model.hidden_after(cache, IDS[:, :9])
        cache.lengths[:3] = torch.tensor([3, 9, 6])
        outputs.append(model.hidden_after(cache, IDS[:, 9:11]))
    assert torch.equal(*outputs)


# ---------------------------------------------------------------- the network itself


@pytest.mark.parametrize("family", list(CLASSES))
def test_a_model_from_a_config_alone_starts_close_to_uniform(family):
    torch.manual_seed(0)
    logits = Transformer(small_config(family))(IDS)
    assert logits.shape == (3, 40, 97)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    assert loss.item() == pytest.approx(torch.log(torch.tensor(97.0)).item(), abs=0.1)


def test_a_layer_that_was_replaced_is_used():
    """What a fork does to try LoRA."""
    model = small_model()
    before = model(IDS)
    for block in model.model.layers:
        block.self_attn.v_proj = torch.nn.Linear(32, 16, bias=False)
    assert not torch.allclose(model(IDS), before, atol=1e-2)


def test_attention_does_without_cudnn():
    """It makes a plan for every new shape, and the sampler has a new one at nearly every token."""
    assert not torch.backends.cuda.cudnn_sdp_enabled()
