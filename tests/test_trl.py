"""Our loss beside TRL's own code, on the same batch: value, gradient and old log-probs that
differ."""

import pytest
import torch
from conftest import small_model

from rollout import Trajectory
from support.logprobs import packed_logprobs
from support.packing import pack
from tapo_loss import loss_scales, tapo_loss

datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl")
transformers = pytest.importorskip("transformers")

GENERATOR = torch.Generator().manual_seed(4)


def random_ids(length: int) -> list[int]:
    return torch.randint(1, 97, (length,), generator=GENERATOR).tolist()


LENGTHS = ((5, 7), (3, 2), (8, 4), (3, 9))  # of prompts and answers
TRAJECTORIES = [Trajectory(random_ids(prompt), random_ids(answer)) for prompt, answer in LENGTHS]
ADVANTAGES = torch.tensor([1.5, -0.5, -1.0, 0.7])


def tokenizer_of_97():
    from tokenizers import Tokenizer, models

    vocab = {f"t{i}": i for i in range(97)}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="t0"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="t0", pad_token="t0"
    )


def trainer_of(model, normalization: str, folder):
    """TRL's trainer with the settings that the loss below has."""
    config = trl.GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to=[],
        loss_type=normalization,
        beta=0.1,
        epsilon=0.2,
        epsilon_high=0.3,
        num_generations=4,
        per_device_train_batch_size=4,
        max_completion_length=16,
        use_bias_correction_kl=False,  # GRPO's own KL term
    )
    trainer = trl.GRPOTrainer(
        model,
        lambda completions, **_: [0.0] * len(completions),
        args=config,
        processing_class=tokenizer_of_97(),
        train_dataset=datasets.Dataset.from_list([{"prompt": "t1"}] * 4),
    )
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def trl_inputs(old: torch.Tensor, start: torch.Tensor, tokens: torch.Tensor) -> dict:
    """The batch as TRL has it: prompts padded on the left, answers on the right."""
    longest_prompt = max(len(t.prompt_ids) for t in TRAJECTORIES)
    longest_answer = max(len(t.token_ids) for t in TRAJECTORIES)
    rows: dict[str, list[list[int]]] = {
        name: [] for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    }
    for trajectory in TRAJECTORIES:
        prompt = trajectory.prompt_ids
        answer = trajectory.token_ids
        left = [0] * (longest_prompt - len(prompt))
        right = [0] * (longest_answer - len(answer))
        rows["prompt_ids"].append(left + prompt)
        rows["prompt_mask"].append(left + [1] * len(prompt))
        rows["completion_ids"].append(answer + right)
        rows["completion_mask"].append([1] * len(answer) + right)
    return {
        **{name: torch.tensor(values) for name, values in rows.items()},
        "advantages": ADVANTAGES,
        "old_per_token_logps": old,
        "ref_per_token_logps": start,
        "num_items_in_batch": tokens,
    }


@pytest.mark.parametrize("normalization", ["grpo", "dapo", "dr_grpo"])
def test_loss_and_gradient_are_those_of_trl(normalization, tmp_path):
    ours = small_model(scale=4.0)
    ours.save_pretrained(tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", dtype=torch.float32
    )
    trainer = trainer_of(theirs, normalization, tmp_path / "trl")

    packed = pack(TRAJECTORIES, ours.device)
    mask = packed.mask  # (B, T)
    logp, _ = packed_logprobs(ours, packed)  # (B, T)
    noise = torch.randn(logp.shape, generator=GENERATOR) * mask
    old = logp.detach() + 0.3 * noise  # ratios on both sides of the clips
    start = logp.detach() - 0.5 * noise
    lengths = torch.tensor([len(t.token_ids) for t in TRAJECTORIES])
    sampled = torch.zeros(4, dtype=torch.bool)
    scales = loss_scales(lengths, sampled, normalization, lambda_=1, max_tokens=16)
    loss, clipped = tapo_loss(
        logp,
        old,
        ADVANTAGES[:, None],
        mask,
        weights=torch.ones_like(mask),
        scales=scales,
        clip_low=0.2,
        clip_high=0.3,
        kl_coef=0.1,
        start_logp=start,
    )
    loss.backward()
    assert 0 < clipped.sum() < mask.sum()

    theirs.train()
    expected = trainer._compute_loss(theirs, trl_inputs(old, start, mask.sum()))
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name].cpu(), atol=1e-5), name
    assert gradients["model.embed_tokens.weight"].abs().max() > 1e-2
