"""Our loss beside TRL's own code, on the same batch: value, gradient and old log-probs that differ."""

import pytest
import torch
from conftest import small_model

from support.packing import Trajectory, pack
from tapo_loss import row_scales, tapo_loss

datasets, trl, transformers = (pytest.importorskip(name) for name in ("datasets", "trl", "transformers"))
G = torch.Generator().manual_seed(4)
ROWS = [
    Trajectory(torch.randint(1, 97, (p,), generator=G).tolist(), torch.randint(1, 97, (t,), generator=G).tolist())
    for p, t in ((5, 7), (3, 2), (8, 4), (3, 9))
]
ADVANTAGES = torch.tensor([1.5, -0.5, -1.0, 0.7])


def tokenizer_of_97():
    from tokenizers import Tokenizer, models

    vocab = {f"t{i}": i for i in range(97)}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="t0"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="t0", pad_token="t0")


@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo"])
def test_loss_and_gradient_are_those_of_trl(kind, tmp_path):
    ours = small_model(scale=4.0)
    ours.save_pretrained(tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    config = trl.GRPOConfig(
        output_dir=str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to=[], loss_type=kind, beta=0.1,
        epsilon=0.2, epsilon_high=0.3, num_generations=4, per_device_train_batch_size=4, max_completion_length=16,
        use_bias_correction_kl=False,  # GRPO's own KL term
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        theirs, lambda completions, **_: [0.0] * len(completions), args=config, processing_class=tokenizer_of_97(),
        train_dataset=datasets.Dataset.from_list([{"prompt": "t1"}] * 4),
    )  # fmt: skip

    packed = pack(ROWS, ours.device)
    mask, (logp, _) = packed.mask, ours.logprobs(packed)
    noise = torch.randn(logp.shape, generator=G) * mask
    old, reference = (logp.detach() + 0.3 * noise, logp.detach() - 0.5 * noise)  # ratios on both sides of the clips
    scale = row_scales(
        torch.tensor([len(row.token_ids) for row in ROWS]), torch.zeros(4, dtype=torch.bool), kind, 1, 16
    )
    loss, clipped = tapo_loss(
        logp, old, ADVANTAGES[:, None], mask, torch.ones_like(mask), scale, 0.2, 0.3, kl_coef=0.1, ref_logp=reference
    )
    loss.backward()
    assert 0 < clipped.sum() < mask.sum()

    prompt = max(len(row.prompt_ids) for row in ROWS)
    answer = max(len(row.token_ids) for row in ROWS)
    left = [prompt - len(row.prompt_ids) for row in ROWS]  # TRL pads prompts on the left, answers on the right
    right = [answer - len(row.token_ids) for row in ROWS]

    inputs = {
        "prompt_ids": torch.tensor([[0] * n + row.prompt_ids for n, row in zip(left, ROWS, strict=True)]),
        "prompt_mask": torch.tensor([[0] * n + [1] * len(row.prompt_ids) for n, row in zip(left, ROWS, strict=True)]),
        "completion_ids": torch.tensor([row.token_ids + [0] * n for n, row in zip(right, ROWS, strict=True)]),
        "completion_mask": torch.tensor(
            [[1] * len(row.token_ids) + [0] * n for n, row in zip(right, ROWS, strict=True)]
        ),
        "advantages": ADVANTAGES,
        "old_per_token_logps": old,
        "ref_per_token_logps": reference,
        "num_items_in_batch": mask.sum(),
    }
    trainer.current_gradient_accumulation_steps = 1
    theirs.train()
    expected = trainer._compute_loss(theirs, inputs)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name].cpu(), atol=1e-5), name
    assert gradients["model.embed_tokens.weight"].abs().max() > 1e-2
