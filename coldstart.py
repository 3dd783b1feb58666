"""The cold start: supervised examples of solving, reflective solving and construction.

Without it the policy neither reflects nor answers a synthesis prompt, and TAPO has nothing to work with. A
model from the hub learns from its own verified rollouts, as in the paper. The tiny model has no answers
of its own yet, so the generator of the built-in problems writes its examples: it knows the first wrong line.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import count, islice

import torch
from tqdm import tqdm

from augment import builtin_examples, format_reply, synthesis_prompt
from data import builtin_problems
from hub import InputError
from rollout import Trajectory, collate, micro_batches
from run import Run
from tapo_loss import token_logprobs


def own_examples(run: Run) -> list[Trajectory]:
    """Rejection sampling from the policy: its right answers teach solving; its verified constructions teach
    construction (under the synthesis prompt) and reflective solving (under the bare question)."""
    c, tokenizer = run.config, run.tokenizer
    examples: list[Trajectory] = []
    bar = tqdm(total=c.coldstart_examples, desc="cold start: own rollouts", unit="example")
    for step in range(-(-len(run.problems) // c.questions)):
        groups = run.answer(run.problems[step * c.questions : (step + 1) * c.questions], "cold start", step)
        for group in groups:
            right = [
                r for r, reward in zip(group.rollouts, group.rewards, strict=True) if reward and r.finish == "stop"
            ]
            examples += [Trajectory(r.prompt_ids, r.token_ids) for r in right[:2]]
        for m in run.rewrite(groups, "cold start", step):
            if m.reward and (c.reconstruction == "full" or (m.prefix and m.diagnosis)):
                request = synthesis_prompt(m.question, m.wrong, m.right, c.synthesis, c.reconstruction)
                reply = [*tokenizer.encode(format_reply(m.analysis, m.text)), tokenizer.eos_id]
                examples.append(Trajectory(tokenizer.prompt(request), reply))
                examples.append(Trajectory(tokenizer.question_prompt(m.question), m.token_ids))
        bar.update(len(examples) - bar.n)
        if len(examples) >= c.coldstart_examples:
            break
    bar.close()
    if not examples:
        raise InputError(
            f"cold start: expected right answers among the model's own rollouts on {c.data}, found none; "
            "start from a stronger --model, give easier --data, or allow longer answers with --max-new-tokens"
        )
    return examples


def examples_of(run: Run) -> Iterator[Trajectory]:
    """Endless training examples for the run's model."""
    c, tokenizer = run.config, run.tokenizer
    if c.data == "builtin":
        problems = builtin_problems("train", run.seed("cold start"))
        for request, text in builtin_examples(problems, c.mix(), c.synthesis, c.reconstruction):
            prompt, answer = tokenizer.prompt(request), [*tokenizer.encode(text), tokenizer.eos_id]
            # a model that starts from nothing learns the requests too: half of a synthesis prompt is worked lines
            yield Trajectory(prompt, answer) if c.model else Trajectory(prompt[:1], prompt[1:] + answer)
    own = own_examples(run)
    for epoch in count():
        yield from random.Random(run.seed("cold start", epoch)).sample(own, len(own))


class Muon(torch.optim.Optimizer):
    """Momentum with every weight matrix's update made orthogonal, scaled to the size of AdamW's steps.

    From random weights it needs half of AdamW's updates here, or fewer. torch.optim.Muon does the same in bfloat16,
    which on a CPU costs more than the model itself. Source: Jordan et al., 2024; scale: Moonlight, 2025.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                average = self.state[p].setdefault("average", torch.zeros_like(p)).lerp_(p.grad, 1 - group["momentum"])
                x = p.grad.lerp(average, group["momentum"])  # Nesterov's look ahead
                tall = x.shape[0] > x.shape[1]
                x = (x.T if tall else x) / (x.norm() + 1e-7)
                for _ in range(5):  # Newton-Schulz: drives all singular values towards 1
                    a = x @ x.T
                    x = 3.4445 * x + (2.0315 * a @ a - 4.7750 * a) @ x
                p.add_(x.T if tall else x, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def coldstart(run: Run) -> None:
    """Maximise the log-prob of the examples' answers; every token of a batch weighs the same."""
    c = run.config
    examples, optimizers = examples_of(run), [run.optimizer(c.coldstart_lr)]
    if not c.model:
        matrices = [p for p in run.model.model.layers.parameters() if p.dim() == 2]
        optimizers = [Muon(matrices, c.coldstart_lr), run.optimizer(c.coldstart_lr, leave_out=matrices)]
    with tqdm(total=c.coldstart_updates, desc="cold start", unit="update") as bar:
        for update in range(1, c.coldstart_updates + 1):
            batch, loss_sum = list(islice(examples, c.coldstart_batch)), 0.0
            tokens = sum(len(row.token_ids) for row in batch)
            for rows in micro_batches(batch, c.micro_tokens):
                ids, mask = collate([batch[i] for i in rows], run.device)
                with run.autocast():
                    logp, _ = token_logprobs(run.model.hidden(ids), run.model.head, ids, mask)
                loss = -(logp * mask).sum() / tokens
                loss.backward()
                loss_sum += loss.item()
            decay = max(0.1, 1 - (update - 1) / c.coldstart_updates) * min(1.0, update / max(c.coldstart_warmup, 1))
            norm = run.update(optimizers, c.coldstart_lr * decay)
            if update % 20 == 0 or update == c.coldstart_updates:
                run.log("metrics.jsonl", {"stage": "coldstart", "step": update, "loss": loss_sum, "grad_norm": norm})
                bar.set_postfix(loss=f"{loss_sum:.3f}")
            bar.update()
