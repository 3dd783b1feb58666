"""What several test files share: small random models, and one small model that has learned
something."""

import json
import os
import random
import sys
from pathlib import Path

import pytest
import tokenizers
import torch
import torch.nn.functional as F
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from augment import TAGS, format_reply, synthesis_prompt
from model import Transformer
from rollout import Trajectory
from support.cli import run_main
from support.hub import ModelConfig
from support.logprobs import packed_logprobs, token_logprobs
from support.packing import pack
from support.tokenizer import PLAIN, Tokenizer

PROJECT = Path(__file__).parents[1]
SHARED = PROJECT.parent / "shared"  # development data beside the checkout; not part of the project
SMOLLM2 = Path(os.environ.get("NANOTAPO_SMOLLM2", PROJECT / "models" / "smollm2"))
QWEN = Path(os.environ.get("NANOTAPO_QWEN", PROJECT / "models" / "qwen"))

QUESTIONS = [f"Say {n}." for n in range(1, 5)]


def pytest_configure() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network
    torch.set_num_threads(min(2, torch.get_num_threads()))


# ---------------------------------------------------------------- files and checkpoints


def shared(name: str) -> Path:
    """A file of the development data; the test is skipped where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs ../shared/{name}, which is not part of the project")
    return path


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face folder."""
    if not (SMOLLM2 / "config.json").is_file():
        pytest.skip("needs SmolLM2-135M-Instruct in models/smollm2 or in $NANOTAPO_SMOLLM2")
    return SMOLLM2


@pytest.fixture(scope="session")
def qwen() -> Path:
    """Qwen2.5-Coder-0.5B-Instruct as a Hugging Face folder."""
    if not (QWEN / "config.json").is_file():
        pytest.skip("needs Qwen2.5-Coder-0.5B-Instruct in models/qwen or in $NANOTAPO_QWEN")
    return QWEN


# ---------------------------------------------------------------- random models


def small_config(family: str = "llama", tied: bool = True, **changes) -> ModelConfig:
    """Two layers, 4 query heads on 2 key/value heads, 97 tokens."""
    fields = {
        "model_type": family,
        "tie_word_embeddings": tied,
        "vocab_size": 97,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 64,
    }
    return ModelConfig(**{**fields, **changes})


def small_model(*args, seed: int = 0, scale: float = 8.0, **changes) -> Transformer:
    """Random weights, large enough that its distributions are far from uniform."""
    torch.manual_seed(seed)
    model = Transformer(small_config(*args, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter *= scale
            else:
                parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture
def model() -> Transformer:
    return small_model()


# ---------------------------------------------------------------- a tokenizer with a seam

BOUNDARY = "▁"
TEXTS = ["First 2+2=4\nWait, 2+2=5 is wrong.", "<|user|>\n<|assistant|>\n", "How many? Answer:\n"]
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def sentencepiece(kind: str) -> Tokenizer:
    """A tokenizer that marks the start of every word, as those of Llama 2 and Yi do."""
    inner = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if kind == "Prepend":
        replace = normalizers.Replace(" ", BOUNDARY)
        inner.normalizer = normalizers.Sequence([normalizers.Prepend(BOUNDARY), replace])
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(BOUNDARY, kind, split=False)
    to_spaces = decoders.Replace(BOUNDARY, " ")
    strip = decoders.Strip(" ", 1, 0)
    parts = [to_spaces, decoders.ByteFallback(), decoders.Fuse(), strip]
    inner.decoder = decoders.Sequence(parts)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=450, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False
    )
    inner.train_from_iterator(TEXTS * 9, trainer)
    # the bytes are ordinary pieces, and a line break is one of them
    fields = json.loads(inner.to_str())
    fields["added_tokens"] = fields["added_tokens"][:3]
    inner = tokenizers.Tokenizer.from_str(json.dumps(fields))
    return Tokenizer(inner, {}, ZEPHYR, "</s>")


# ---------------------------------------------------------------- log-probs of rows not packed


def full_logprobs(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The obvious token_logprobs, the oracle of ours.

    logits: (B, T, V) of ids (B, T). Returns log-probs and entropies (B, T), 0 for the first token.
    """
    logp = (logits[:, :-1].float() / temperature).log_softmax(dim=-1)  # (B, T-1, V)
    taken = logp.gather(-1, ids[:, 1:, None])[..., 0]  # (B, T-1)
    entropy = -(logp.exp() * logp).sum(dim=-1)  # (B, T-1)
    return F.pad(taken, (1, 0)), F.pad(entropy, (1, 0))


def next_token_logprobs(
    hidden: Tensor, head: Tensor, ids: Tensor, mask: Tensor, *temperature: float
) -> tuple[Tensor, Tensor]:
    """token_logprobs of rows that are not packed; two (B, T), entry t is token t's.

    hidden: (B, T, C) last hidden states of ids (B, T). Nothing predicts a row's first token.
    """
    predictors = torch.arange(ids.numel()).view(ids.shape) - 1  # (B, T) in the flattened rows
    mask = mask.clone()  # (B, T)
    mask[:, 0] = 0
    states = hidden.flatten(0, 1)  # (B * T, C)
    return token_logprobs(states, head, predictors, ids, mask, *temperature)


# ---------------------------------------------------------------- a small model that has learned


@pytest.fixture(scope="session")
def learned(tmp_path_factory) -> Path:
    """A folder with a model that answers "Say 3." with a number from 1 to 4 at random, so that it
    is right in a quarter to a half of the cases, and that answers synthesis prompts in the right
    format. It took 2 s to train, and problems.jsonl beside it holds its problems: a real policy,
    small enough for tests of the loop.
    """
    rng = random.Random(0)
    texts = [request_and_answer(rng) for _ in range(200)]
    laid_out = [PLAIN.format(text=request) + answer for request, answer in texts]
    tokenizer = Tokenizer.train(laid_out, TAGS)
    config = small_config(
        "qwen3",
        vocab_size=tokenizer.inner.get_vocab_size(),
        max_position_embeddings=256,
        eos_token_id=tokenizer.end_id,
    )
    torch.manual_seed(0)
    model = Transformer(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        batch = [request_and_answer(rng) for _ in range(16)]
        learn(model, optimizer, [as_trajectory(tokenizer, *texts) for texts in batch])

    folder = tmp_path_factory.mktemp("learned")
    model.save_pretrained(folder)
    tokenizer.save(folder)
    problems = [json.dumps({"question": q, "answer": q[4]}) for q in QUESTIONS * 4]
    (folder / "problems.jsonl").write_text("\n".join(problems) + "\n")
    return folder


def request_and_answer(rng: random.Random) -> tuple[str, str]:
    """A question with an answer that is often wrong, or a synthesis prompt with its reply."""
    n = rng.randint(1, 4)
    wrong = rng.choice([i for i in range(1, 5) if i != n])
    if rng.random() < 0.5:
        return f"Say {n}.", f"#### {n if rng.random() < 0.3 else rng.randint(1, 4)}"
    ending = rng.choice([n, n, wrong])
    reply = format_reply("A slip.", f"#### {wrong}\nWait, that is wrong.\n#### {ending}")
    return synthesis_prompt(f"Say {n}.", f"#### {wrong}", f"#### {n}", "brief", "prefix"), reply


def as_trajectory(tokenizer: Tokenizer, request: str, answer: str) -> Trajectory:
    return Trajectory(tokenizer.prompt(request), [*tokenizer.encode(answer), tokenizer.end_id])


def learn(
    model: Transformer, optimizer: torch.optim.Optimizer, trajectories: list[Trajectory]
) -> None:
    """One update towards the trajectories' answers."""
    packed = pack(trajectories, model.device)
    logp, _ = packed_logprobs(model, packed)  # (B, T)
    loss = -(logp * packed.mask).sum() / packed.mask.sum()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


# ---------------------------------------------------------------- commands


def run_cli(monkeypatch, capsys, main, *arguments: object) -> tuple[int, str, str]:
    """Run a command of ours in this process: (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    code = 0
    try:
        run_main(main)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    captured = capsys.readouterr()
    return code, captured.out, captured.err


class Killed(BaseException):
    """Stands for SIGKILL: no code of the product catches it."""


# ---------------------------------------------------------------- broken files


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """One of: some bytes changed, some left out, some put in, the end cut off."""
    place = rng.randrange(len(data) + 1)
    few = rng.randint(1, 4)
    rubbish = bytes(rng.choice(b'0123456789"{}[],:-.eE\\ nulF\x00\xff') for _ in range(few))
    mutations = [
        data[:place] + rubbish + data[place + few :],
        data[:place] + data[place + few :],
        data[:place] + rubbish + data[place:],
        data[:place],
    ]
    return rng.choice(mutations)
