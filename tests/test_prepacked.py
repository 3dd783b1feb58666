"""Prepacked weights: the same numbers, never of old weights, and never a gradient lost."""

import pytest
import torch
from conftest import small_config, small_model
from torch import nn

from rollout import sample
from support import prepacked
from support.logprobs import autocast
from support.prepacked import has_kernel, pays_off, prepacked_weights

pytestmark = pytest.mark.skipif(not has_kernel(torch.float32), reason="torch has no such operator")
IDS = torch.randint(0, 97, (3, 40), generator=torch.Generator().manual_seed(5))
FAMILIES = [("llama", True), ("qwen2", False), ("qwen3", True), ("gemma", True)]


@pytest.fixture
def any_size(monkeypatch) -> None:
    """Small models are prepacked too."""
    monkeypatch.setattr(prepacked, "LARGE", 0)


def replaced(model: nn.Module) -> list[nn.Module]:
    """The modules whose products are made from a copy of their weights."""
    return [m for m in model.modules() if "forward" in vars(m) or "logits" in vars(m)]


# ---------------------------------------------------------------- what it computes


@torch.no_grad()
@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize(("family", "tied"), FAMILIES)
def test_prepacked_weights_give_the_same_logits_and_leave_nothing_behind(family, tied):
    model = small_model(family, tied)
    names = set(model.state_dict())
    plain = model(IDS)
    with prepacked_weights(model):
        in_use = replaced(model)
        assert len(in_use) == 2 * 7 + 1  # 7 matrices a block, and the head once, tied or not
        assert torch.allclose(model(IDS), plain, atol=1e-5)
        assert set(model.state_dict()) == names
        model.model.layers[0].mlp.up_proj.weight.mul_(2)
        # a copy: it knows nothing of new weights,
        assert torch.allclose(model(IDS), plain, atol=1e-5)
    # so it ends here
    assert not torch.allclose(model(IDS), plain, atol=1e-2)
    assert replaced(model) == []


@torch.no_grad()
@pytest.mark.usefixtures("any_size")
@pytest.mark.skipif(not has_kernel(torch.bfloat16), reason="this CPU has no kernel for bfloat16")
@pytest.mark.parametrize(("family", "tied"), FAMILIES)
def test_in_bfloat16_the_copies_are_rounded_as_autocast_rounds(family, tied):
    model = small_model(family, tied)
    exact = model(IDS)
    model.compute_in = "bfloat16"
    with autocast(model):
        rounded = model(IDS)
        with prepacked_weights(model):
            packed = model(IDS)
    off = (rounded - exact).abs().mean()
    assert rounded.dtype == packed.dtype == torch.bfloat16
    assert off > 1e-3
    assert (packed - rounded).abs().mean() < off / 2


@pytest.mark.usefixtures("any_size")
def test_a_layer_that_was_replaced_is_the_one_that_is_packed():
    """What a fork does to try LoRA."""
    model = small_model()
    before = sample(model, [[5, 6]], stop_ids=[], max_new_tokens=8, temperature=0)
    for block in model.model.layers:
        block.self_attn.v_proj = nn.Linear(32, 16, bias=False)
    with torch.no_grad(), prepacked_weights(model):
        packed = model(IDS)
    assert torch.allclose(packed, model(IDS), atol=1e-5)
    after = sample(model, [[5, 6]], stop_ids=[], max_new_tokens=8, temperature=0)
    assert after[0][0].token_ids != before[0][0].token_ids


# ---------------------------------------------------------------- when it ends


@pytest.mark.usefixtures("any_size")
def test_prepacked_weights_end_whatever_happens(monkeypatch):
    model = small_model()
    calls = []
    product = prepacked.product

    def product_that_fails(weight, bias, dtype):
        calls.append(1)
        if len(calls) == 4:
            raise MemoryError("no room for another copy")
        return product(weight, bias, dtype)

    monkeypatch.setattr(prepacked, "product", product_that_fails)
    with pytest.raises(MemoryError), prepacked_weights(model):
        raise AssertionError("never entered")
    assert len(calls) == 4 and replaced(model) == []

    calls.clear()
    monkeypatch.setattr(prepacked, "product", product)
    with pytest.raises(KeyboardInterrupt), prepacked_weights(model):
        assert replaced(model)
        raise KeyboardInterrupt
    assert replaced(model) == []


@pytest.mark.usefixtures("any_size")
def test_prepacked_weights_never_hide_a_gradient():
    """torch's operator has no backward pass: what went through it would just not be trained."""
    gradients = []
    for packed in (False, True):
        model = small_model()
        if packed:
            with prepacked_weights(model):
                assert replaced(model)
                model(IDS).square().mean().backward()
        else:
            model(IDS).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.equal(*gradients) and gradients[0].any()


@pytest.mark.usefixtures("any_size")
def test_the_sampler_packs_for_itself_and_ends_it():
    model = small_model()
    with prepacked_weights(model):
        sample(model, [[5, 6]], 1, stop_ids=[], max_new_tokens=2)
        model(IDS).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert replaced(model) == []


# ---------------------------------------------------------------- where it is of use


def test_a_small_model_is_left_as_it_is():
    model = small_model()
    assert not pays_off(model.config)
    with torch.no_grad(), prepacked_weights(model):
        assert replaced(model) == []


class Lacking:
    """torch.ops.mkldnn of a torch without the operator, or on a CPU without its bfloat16 kernel."""

    def __init__(self, operator: bool):
        if operator:
            self._linear_pointwise = torch.ops.mkldnn._linear_pointwise
            self._reorder_linear_weight = torch.ops.mkldnn._reorder_linear_weight

    def _is_mkldnn_bf16_supported(self) -> bool:
        return False


@pytest.mark.parametrize(("operator", "dtype"), [(False, "float32"), (True, "bfloat16")])
def test_where_the_operator_or_its_kernel_is_lacking_nothing_happens(
    any_size, monkeypatch, operator, dtype
):
    """In bfloat16 the operator ended a run on every CPU without AVX-512."""
    monkeypatch.setattr(torch.ops, "mkldnn", Lacking(operator))
    model = small_model()
    model.compute_in = dtype
    with torch.no_grad(), prepacked_weights(model):
        assert replaced(model) == []
    assert sample(model, [[5, 6]], stop_ids=[], max_new_tokens=2)[0][0].token_ids


@pytest.mark.usefixtures("any_size")
def test_a_cpu_without_the_bfloat16_kernel_packs_in_float32(monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", Lacking(operator=True))
    model = small_model()
    with torch.no_grad(), prepacked_weights(model):
        assert replaced(model)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma"])
def test_what_pays_off_is_counted_from_the_matrices_themselves(family, monkeypatch):
    """The bound is met by exactly as many weights as the products have."""
    model = small_model(family, head_dim=16)
    matrices = {id(m.weight): m.weight for m in model.modules() if isinstance(m, nn.Linear)}
    matrices[id(model.head)] = model.head
    weights = sum(matrix.numel() for matrix in matrices.values())
    config = small_config(family, head_dim=16)
    monkeypatch.setattr(prepacked, "LARGE", weights)
    assert pays_off(config)
    monkeypatch.setattr(prepacked, "LARGE", weights + 1)
    assert not pays_off(config)
