"""Checkpointed and compiled blocks compute what plain ones do."""

import shutil

import pytest
import torch
from conftest import small_model

from rollout import Trajectory, sample
from support.blocks import checkpoint_blocks, compile_blocks
from support.logprobs import packed_logprobs
from support.packing import pack

IDS = torch.randint(0, 97, (3, 40), generator=torch.Generator().manual_seed(5))
PROMPTS = [[5, 6, 7], [8], [9, 10, 11]]


def gradient_of(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def sampled(model):
    """Answers of different lengths, as one list: rows leave and others come."""
    settings = {"stop_ids": list(range(0, 97, 9)), "max_new_tokens": 12, "max_rows": 4}
    groups = sample(model, PROMPTS, 3, **settings)
    answers = [answer for group in groups for answer in group]
    assert len({len(answer.token_ids) for answer in answers}) > 3
    return answers


def assert_same_answers(answers, expected):
    for a, b in zip(answers, expected, strict=True):
        assert a.token_ids == b.token_ids
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        model = small_model("qwen3")
        if checkpointing:
            checkpoint_blocks(model)
        model(IDS).square().mean().backward()
        gradients.append(gradient_of(model))
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-7) and gradients[0].any()


def test_checkpointing_keeps_no_activations_of_a_block_but_its_input():
    """What it is there for. Counted: the numbers that the backward pass finds kept."""
    kept = []
    for checkpointing in (False, True):
        model = small_model("qwen3")
        if checkpointing:
            checkpoint_blocks(model)
        numbers = []

        def note(tensor, numbers=numbers):
            numbers.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(IDS)
        kept.append(sum(numbers))
    assert kept[1] < kept[0] / 3


def test_checkpointed_blocks_sample_the_same_answers():
    """The model that is trained with --checkpointing is the one that samples."""
    model = small_model("qwen3")
    checkpointed = small_model("qwen3")
    checkpoint_blocks(checkpointed)
    assert_same_answers(sampled(checkpointed), sampled(model))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_blocks_give_the_same_tokens_and_gradient(monkeypatch):
    """Both in the sampler, whose rows leave and come, and in the update, whose shapes vary.

    Past its limit of graphs for one code, torch runs it uncompiled with a mere warning.
    """
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    model = small_model("qwen3", num_hidden_layers=3)
    compiled = small_model("qwen3", num_hidden_layers=3)
    compile_blocks(compiled)
    answers = sampled(model)
    assert_same_answers(sampled(compiled), answers)
    trajectories = [Trajectory(answer.prompt_ids, answer.token_ids) for answer in answers]
    for each in (model, compiled):
        for rows in (trajectories, trajectories[:4], trajectories[4:]):  # of one prompt and several
            packed = pack(rows, each.device)
            logp, _ = packed_logprobs(each, packed)
            (logp.sum() / packed.mask.sum()).backward()
    for x, y in zip(model.parameters(), compiled.parameters(), strict=True):
        assert torch.allclose(x.grad, y.grad, rtol=1e-4, atol=1e-5)
