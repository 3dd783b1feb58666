"""A whole GRPO step, sampling and training, beside TRL's GRPOTrainer: same weights, prompts and
work, in one process.

    python bench/step.py [--steps 6] [--quick]

Both sample 8 answers of exactly 64 tokens to each of 2 questions at temperature 1, get the same
alternating rewards, and make one AdamW update with GRPO's loss, no KL term, no activation
checkpointing, float32, two threads. Each of TRL's steps is followed by one of ours; the first pair
warms up. ours, other: seconds a step. Small: 12M weights; SmolLM2: the shape of SmolLM2-135M.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import common
import torch
import transformers
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from support.tokenizer import PLAIN

QUESTIONS, K, NEW = 2, 8, 64


class Pairs(transformers.TrainerCallback):
    """Times each step of TRL's, then makes one of ours."""

    def __init__(self, ours):
        self.ours = ours
        self.times = []
        self.lengths = set()

    def on_step_begin(self, *_, **__):
        self.start = time.perf_counter()

    def on_step_end(self, *_, **__):
        middle = time.perf_counter()
        metrics = self.ours()
        self.times.append((time.perf_counter() - middle, middle - self.start))
        self.lengths.add(metrics["length"])


def measure(shape: dict, steps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        common.make_folder(folder, shape)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, padding_side="left", pad_token="<|end|>"
        )
        lines = (folder / "problems.jsonl").read_text().splitlines()
        questions = [json.loads(line)["question"] for line in lines]
        lengths: set[int] = set()

        def reward(completion_ids, **_):
            lengths.update(map(len, completion_ids))
            return [float(i % 2) for i in range(len(completion_ids))]

        _, step = common.make_step(
            folder, f"{temporary}/run", questions=QUESTIONS, k=K, max_new_tokens=NEW
        )
        pairs = Pairs(step)
        config = GRPOConfig(
            output_dir=f"{temporary}/trl",
            use_cpu=True,
            bf16=False,
            max_steps=steps,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            per_device_train_batch_size=QUESTIONS * K,
            num_generations=K,
            max_completion_length=NEW,
            generation_kwargs={"min_new_tokens": NEW},
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            beta=0.0,
            loss_type="grpo",
            learning_rate=1e-6,
            lr_scheduler_type="constant",
            activation_checkpointing=False,
        )
        prompts = [{"prompt": PLAIN.format(text=question)} for question in questions]
        GRPOTrainer(
            model,
            reward,
            args=config,
            processing_class=tokenizer,
            callbacks=[pairs],
            train_dataset=Dataset.from_list(prompts),
        ).train()
        assert lengths == {NEW} == pairs.lengths, "the work was not equal"
        ours, other = (statistics.median(times) for times in zip(*pairs.times[1:], strict=True))
        return {"ours": ours, "other": other, "ratio": other / ours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--quick", action="store_true", help="the small shape, 3 steps")
    options = parser.parse_args()
    rows = []
    for name, shape in common.SHAPES.items():
        if not (options.quick and name != "small"):
            setting = f"{name}, {QUESTIONS} questions x {K} answers x {NEW} tokens"
            seconds = measure(shape, 3 if options.quick else options.steps)
            rows.append({"setting": setting, **seconds})
            print(rows[-1], flush=True)
    common.report("step", rows)


if __name__ == "__main__":
    main()
