"""The cold start: supervised examples of solving, reflective solving and construction.

Without it the policy neither reflects nor answers a synthesis prompt, and TAPO has nothing to work with. A
model from the hub learns from its own verified rollouts, as in the paper. The tiny model has no answers of its own
at first, so the generator of the built-in problems writes both mistakes and corrections; in the second half the
mistakes are its own, and the generator, which knows the first wrong line, corrects them.

Departure: in the tiny model's reflective examples the mistake is given and not learned [inferred]; trained on it, the
policy errs on purpose. construction_report says how well the policy constructs when RL begins.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Any

import torch
from tqdm import tqdm

from augment import (
    KINDS,
    Construction,
    Group,
    builtin_example,
    common_prefix,
    construction_metrics,
    format_reply,
    is_reflective,
    mean,
    rollout_metrics,
    synthesis_prompt,
)
from data import builtin_rungs, is_builtin
from support.hub import InputError
from support.packing import Trajectory, micro_batches, pack
from support.runs import Run
from tasks.builtin import Problem, builtin_problems, is_sound, parting, spoil

MISTAKE_QUESTIONS = 64  # asked for the policy's own mistakes
REPORT_QUESTIONS = 128  # asked at most for the report before RL


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


def builtin_examples(run: Run) -> Iterator[Trajectory]:
    """Endless examples from the built-in problems. In the second half of the cold start the mistakes are the
    policy's own: every coldstart_refresh updates it answers new questions, and the generator corrects it."""
    c, tokenizer, rng = run.config, run.tokenizer, random.Random(run.seed("cold start"))
    total = c.coldstart_updates * c.coldstart_batch
    own: list[tuple[Problem, str, str]] = []
    for i, problem in enumerate(builtin_problems("train", run.seed("cold start"), builtin_rungs(c.data))):
        refresh, rest = divmod(i, c.coldstart_refresh * c.coldstart_batch)
        if rest == 0 and i >= total / 2:
            own = own_mistakes(run, refresh) or own
        kind = rng.choices(KINDS, c.mix())[0]
        if kind == "solve" or not own:
            wrong, right = spoil(problem, rng), problem.solution or ""
        else:
            problem, wrong, right = rng.choice(own)
        request, text = builtin_example(kind, problem, wrong, right, c.synthesis)
        prompt, answer = tokenizer.prompt(request), [*tokenizer.encode(text), tokenizer.eos_id]
        if kind == "reflect":  # to repair is taught, to err is not: the mistake is given
            given = common_prefix(answer, tokenizer.encode(wrong))
            yield Trajectory(prompt + answer[:given], answer[given:])
        else:  # a model that starts from nothing learns the requests too: half of a synthesis prompt is worked lines
            yield Trajectory(prompt, answer) if c.model else Trajectory(prompt[:1], prompt[1:] + answer)


def own_mistakes(run: Run, refresh: int) -> list[tuple[Problem, str, str]]:
    """(problem, wrong answer, right sibling) from the policy's answers to MISTAKE_QUESTIONS questions."""
    rng, n, mistakes = random.Random(run.seed("mistakes", refresh)), MISTAKE_QUESTIONS, []
    at = n * refresh % max(len(run.problems) - n, 1)
    for group in run.answer(run.problems[at : at + n], "mistakes", refresh):
        ended = [
            (text, r)
            for text, r, a in zip(group.texts, group.rewards, group.rollouts, strict=True)
            if a.finish == "stop"
        ]
        right = [text for text, reward in ended if reward and is_sound(group.problem, text)]
        wrong = [text for text, reward in ended if not reward]
        mistakes += [(group.problem, text, rng.choice(right)) for text in wrong if right]
    return mistakes


def construction_report(run: Run) -> dict[str, Any]:
    """How well the policy constructs before RL, on training questions, as many as are held out and REPORT_QUESTIONS at
    most; parsed and kept are shares of the eligible ones' pairs, the rest of what was kept. On built-in problems, where
    the first wrong line is known, fidelity is reported too."""
    groups = run.answer(run.problems[-min(run.config.eval_problems, REPORT_QUESTIONS) :], "report")
    made = run.rewrite(groups, "report")
    solved = Counter(int(sum(group.rewards)) for group in groups)
    report = rollout_metrics(groups, run.config.n_pos, run.config.n_neg) | construction_metrics(made)
    report |= {"groups_by_right_answers": [solved[right] for right in range(run.config.k + 1)]}
    return report | (fidelity(groups, made) if is_builtin(run.config.data) else {})


def fidelity(groups: list[Group], made: list[Construction]) -> dict[str, float | None]:
    """Shares of the constructions kept that hold the wrong answer verbatim up to its first wrong line and then
    turn, and whose diagnosis quotes that line."""
    verbatim, quoted = [], []
    for m in made:
        if not m.refused:
            lines, wrong = m.text.split("\n"), m.wrong.split("\n")
            at, _ = parting(wrong, (groups[m.group].problem.solution or "").split("\n"))
            turn = (lines[at + 1 :] or [""])[0]
            verbatim.append(lines[: at + 1] == wrong[: at + 1] and is_reflective(turn))
            quoted.append(any(is_reflective(line) and wrong[at] in line for line in lines))
    return {"verbatim_share": mean(verbatim), "quoted_share": mean(quoted)}


def examples_of(run: Run) -> Iterator[Trajectory]:
    """Endless training examples for the run's model."""
    if is_builtin(run.config.data):
        yield from builtin_examples(run)
    else:
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
                packed = pack([batch[i] for i in rows], run.device)
                with run.autocast():
                    logp, _ = run.model.logprobs(packed)
                loss = -(logp * packed.mask).sum() / tokens
                loss.backward()
                loss_sum += loss.item()
            decay = (1 - (update - 1) / c.coldstart_updates) * min(1.0, update / max(c.coldstart_warmup, 1))
            norm = run.update(optimizers, c.coldstart_lr * decay)
            if update % 20 == 0 or update == c.coldstart_updates:
                run.log("metrics.jsonl", {"stage": "coldstart", "step": update, "loss": loss_sum, "grad_norm": norm})
                bar.set_postfix(loss=f"{loss_sum:.3f}")
            bar.update()
