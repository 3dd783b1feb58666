"""Weights laid out for oneDNN's kernels beforehand, for sampling large models on a CPU.

A decode step reads every weight for a handful of rows. torch's private operator
mkldnn._linear_pointwise does that from a copy in oneDNN's own layout in 60 to 75% of F.linear's
time with 1 to 16 rows of SmolLM2's shape; for the tiny model, whose weights stay in the CPU's
cache, it is 3 to 6% slower (bench/README.md). Called by rollout.sample, once, and by
support/plan.py (pays_off); elsewhere than on a CPU, for small or compiled models and where torch
lacks the operator, or the CPU its kernel, it does nothing. Deleting it costs speed alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from support.hub import ModelConfig

LARGE = 4 * 10**6  # weights in a model's matrices from which on the copy pays


def pays_off(config: ModelConfig) -> bool:
    """Whether the model's matrices are large enough."""
    heads = config.num_attention_heads + config.num_key_value_heads
    block = config.hidden_size * (2 * heads * config.head_dim + 3 * config.intermediate_size)
    return config.num_hidden_layers * block + config.vocab_size * config.hidden_size >= LARGE


@contextmanager
def prepacked_weights(model: Any) -> Iterator[None]:
    """Within it, the model's matrix products use copies of its weights as they are now.

    The copies are made on entry and end on exit, so they cannot go stale (TRL #3247). Where
    gradients are wanted, the weights themselves are used.
    """
    on_cpu = model.device.type == "cpu"
    is_large = pays_off(model.config)
    can_pack = on_cpu and has_kernel(model.compute_dtype)
    if not (can_pack and is_large) or has_compiled_parts(model):
        yield
        return
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    layers = [layer for layer in linear if layer.weight is not model.head]  # that is for logits
    try:
        for layer in layers:
            vars(layer)["forward"] = product(layer.weight, layer.bias, model.compute_dtype)
        vars(model)["logits"] = product(model.head, None, model.compute_dtype)
        yield
    finally:
        for module in [*layers, model]:
            vars(module).pop("forward", None)
            vars(module).pop("logits", None)


def has_kernel(dtype: torch.dtype) -> bool:
    """Whether torch has the operator, and this CPU the instructions for it: in bfloat16 it raises
    RuntimeError without AVX-512 or AVX-NE-CONVERT."""
    mkldnn = torch.ops.mkldnn
    if not hasattr(mkldnn, "_linear_pointwise"):
        return False
    if dtype != torch.bfloat16:
        return True
    return hasattr(mkldnn, "_is_mkldnn_bf16_supported") and mkldnn._is_mkldnn_bf16_supported()


def has_compiled_parts(model: Any) -> bool:
    """Whether a part of it would be compiled again by every swap."""
    return any(getattr(module, "_compiled_call_impl", None) for module in model.modules())


def product(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """x (..., in) -> x weight^T + bias (..., out) in dtype, from a copy of weight (out, in)."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype))
    return partial(packed_product, packed, weight, bias)


def packed_product(packed: Tensor, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    if torch.is_grad_enabled():  # the operator has no backward pass, and would lose the gradient
        return F.linear(x, weight, bias)
    x = x.to(packed.dtype)
    bias = None if bias is None else bias.to(packed.dtype)
    y = torch.ops.mkldnn._linear_pointwise(x.flatten(0, -2), packed, bias, "none", [], "")
    return y.view(*x.shape[:-1], len(weight))
