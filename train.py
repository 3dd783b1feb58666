"""Train with GRPO or TAPO: a supervised cold start, then reinforcement learning on verified answers.

    python train.py                                    # tiny model, built-in problems, minutes on a laptop
    python train.py --preset gsm8k --out runs/gsm8k    # one GPU

One RL step, in the order of rl_step and update_policy:

    problems -> sample K each -> reward -> choose candidates -> construct -> reward
             -> advantages (decoupled) -> old log-probs -> micro-batches -> loss -> one update

Departure from the paper: the first update of a step starts from the very weights that sampled, so its own
forward pass gives pi_old's log-probs, and there is no separate pass.

Letters in shapes: B answers of a micro-batch, T tokens of the longest, N trajectories of a step.
"""

import random
import signal
import sys
from collections import defaultdict
from dataclasses import asdict, replace
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from augment import Construction, Group, construction_metrics, format_parts, hinted_question, rollout_metrics
from coldstart import coldstart, construction_report
from data import Problem, run_main
from eval import format_table
from model import Transformer
from support.hub import read_lines
from support.packing import Trajectory, micro_batches, pack
from support.plan import device_memory, format_plan, plan_of
from support.runs import Config, Run, parse_config
from tapo_loss import decoupled_groups, group_advantages, k3_kl, ots_weights, row_scales, tapo_loss


def problems_of(run: Run, step: int) -> list[Problem]:
    """The step's questions: each pass over the problems goes in a new order."""
    size, n = len(run.problems), run.config.questions
    indices = range(step * n, step * n + n)
    orders = {e: random.Random(run.seed("order", e)).sample(range(size), size) for e in {i // size for i in indices}}
    return [run.problems[orders[i // size][i % size]] for i in indices]


def rl_step(run: Run, step: int, optimizer: torch.optim.Optimizer, start: Transformer | None) -> dict[str, Any]:
    """One step of any --algo; returns its metrics. start is the policy that RL began with."""
    c = run.config
    with run.phase("sample"):
        groups = run.answer(problems_of(run, step), "rollout", step)
    rows = [
        Trajectory(r.prompt_ids, r.token_ids, reward, i, logprobs=r.logprobs)
        for i, group in enumerate(groups)
        for r, reward in zip(group.rollouts, group.rewards, strict=True)
    ]
    metrics = rollout_metrics(groups, c.n_pos, c.n_neg)
    metrics["kl"] = kl_to(start, run, rows[: c.kl_rows]) if start and c.kl_rows else None
    made: list[Construction] = []
    if c.constructs:
        with run.phase("construct"):
            made = run.rewrite(groups, step)
        for m in made:
            if not m.refused:
                bare = groups[m.group].rollouts[0].prompt_ids  # the question without the synthesis prompt
                row = Trajectory(bare, m.token_ids, m.reward, m.group, "constructed")
                rows.append(replace(row, prefix=m.prefix, diagnosis=m.diagnosis_tokens))
        run.log("samples.jsonl", *({"step": step + 1, **asdict(m)} for m in made))
        metrics |= construction_metrics(made)
    with run.phase("update"):
        if c.algo == "opsd":
            rows = taught(run, groups, rows, step)
        elif c.algo == "sft":
            rows = [row for row in rows if row.kind == "constructed" and row.reward]
        metrics |= update_policy(run, rows, optimizer, c.lr * min(1.0, (step + 1) / max(c.warmup, 1)), start)
    if step % c.show_every == 0:
        show(groups, made, step)
    return metrics


def taught(run: Run, groups: list[Group], rows: list[Trajectory], step: int) -> list[Trajectory]:
    """OPSD: the sampled answers that have a right sibling, with the log-probs of their tokens under the same policy
    with that sibling in sight, its teacher."""
    c, rng, kept, hinted = run.config, random.Random(run.seed("teacher", step)), [], []
    for n, row in enumerate(rows):
        group, own = groups[row.group], n % c.k
        right = [text for j, text in enumerate(group.texts) if group.rewards[j] and j != own]
        if right:
            request = hinted_question(group.problem.question, rng.choice(right), c.synthesis)
            teacher = Trajectory(run.tokenizer.question_prompt(request), row.token_ids)
            if len(teacher) <= run.model.config.max_position_embeddings:
                kept.append(row)
                hinted.append(teacher)
    scored = logprobs_of(run.model, run, hinted)
    return [replace(row, teacher_logprobs=logprobs) for row, logprobs in zip(kept, scored, strict=True)]


def advantages_of(rows: list[Trajectory], c: Config) -> Tensor:
    """One advantage a trajectory, (N,); --algo opsd has one a token instead, made in update_policy."""
    rewards = torch.tensor([row.reward for row in rows], dtype=torch.float)  # (N,)
    if c.algo == "sft":  # then the gradient is that of the mean negative log-prob
        return torch.ones_like(rewards)
    constructed = torch.tensor([row.kind == "constructed" for row in rows], dtype=torch.bool)
    groups, counted = decoupled_groups(torch.tensor([row.group for row in rows], dtype=torch.long), constructed, c.dae)
    return group_advantages(rewards, groups, counted, scale=c.loss != "dr_grpo")


def update_policy(
    run: Run, rows: list[Trajectory], optimizer: torch.optim.Optimizer, lr: float, start: Transformer | None
) -> dict[str, Any]:
    """Advantages, then c.updates updates from the whole batch of trajectories; returns metrics."""
    c = run.config
    advantages = advantages_of(rows, c)
    constructed = torch.tensor([row.kind == "constructed" for row in rows], dtype=torch.bool)
    lengths = torch.tensor([len(row.token_ids) for row in rows], dtype=torch.long)
    scales = row_scales(lengths, constructed, c.loss, c.lambda_, c.max_new_tokens)
    # A row without advantage moves no weight, and row_scales has counted it: its forward pass can be left out.
    # Constructed rows stay, so that OTS weights are measured on all of them.
    needed = (scales > 0) & (constructed | (advantages != 0) | (c.kl_coef > 0) | (c.algo == "opsd"))
    rows = [row for row, need in zip(rows, needed.tolist(), strict=True) if need]
    advantages, scales, constructed = advantages[needed], scales[needed], constructed[needed]

    metrics: dict[str, Any] = {"trained_rows": len(rows), "loss": None, "grad_norm": None}
    old: list[Tensor] = []  # pi_old's log-probs of each micro-batch
    means: dict[str, Tensor] = defaultdict(lambda: torch.zeros(2, device=run.device))  # name -> (sum, count)
    batches: list[tuple[bool, list[int]]] = []  # of one kind each, so that the gradient of each kind can be told
    for kind in (False, True):
        of_kind = (constructed == kind).nonzero()[:, 0].tolist()
        batches += [(kind, [of_kind[i] for i in b]) for b in micro_batches([rows[i] for i in of_kind], c.micro_tokens)]
    for update in range(c.updates if rows else 0):
        loss_sum = torch.zeros((), device=run.device)
        from_sampled: list[Tensor] = []
        for b, (is_ref, indices) in enumerate(batches):
            batch = [rows[i] for i in indices]
            packed = pack(batch, run.device)
            mask, scale = packed.mask, scales[indices].to(run.device)  # (B, T), (B,)
            advantage = advantages[indices, None].to(run.device)  # (B, 1)
            if b and is_ref and not batches[b - 1][0] and c.split_gradients:  # all sampled ones are done
                from_sampled = [p.grad.clone() for p in run.model.parameters() if p.grad is not None]
            with run.autocast():
                logp, entropy = run.model.logprobs(packed, c.temperature)  # (B, T)
            ots = ots_weights(logp, entropy)
            weight = ots if is_ref and c.ots and c.algo == "tapo" else torch.ones_like(ots)
            if is_ref and not c.train_prefix:
                weight = weight * (places_of(batch, mask) >= 0)
            if update == 0:  # theta is still pi_old
                old.append(logp.detach())
                measure(means, batch, logp.detach(), ots, mask)
            if c.algo == "opsd":  # its expected gradient is that of each token's KL(policy || teacher)
                advantage = padded([row.teacher_logprobs or [] for row in batch], mask) - old[b]  # (B, T)
            ref_logp = None
            if c.kl_coef and start and not is_ref:
                with torch.no_grad(), run.autocast():
                    ref_logp, _ = start.logprobs(packed, c.temperature)
            loss, clipped = tapo_loss(
                logp, old[b], advantage, mask, weight, scale, c.clip_low, c.clip_high, c.kl_coef, ref_logp
            )
            loss.backward()
            loss_sum += loss.detach()
            for name, of_sign in (("clip_low_share", advantage < 0), ("clip_high_share", advantage > 0)):
                means[name] += torch.stack(((clipped & of_sign).sum(), mask.sum()))
        if from_sampled:
            metrics |= gradient_metrics(run.model, from_sampled)
        norm = run.update([optimizer], lr)
        metrics |= {"loss": loss_sum.item(), "grad_norm": norm, "skipped": norm is None}
    return metrics | {name: (total / count).item() for name, (total, count) in means.items() if count > 0}


# ---------------------------------------------------------------- what is measured


def places_of(batch: list[Trajectory], mask: Tensor) -> Tensor:
    """Place of each token (B, T) from the first one after the wrong prefix, the one that decides to reflect."""
    turn = torch.tensor([[row.prefix] for row in batch], device=mask.device)  # (B, 1)
    return torch.arange(mask.shape[1], device=mask.device) - turn


def padded(values: list[list[float]], mask: Tensor) -> Tensor:
    """Numbers of each answer's tokens as (B, T), 0 behind them."""
    return pad_sequence([torch.tensor(numbers) for numbers in values], batch_first=True).to(mask.device)


def measure(means: dict[str, Tensor], batch: list[Trajectory], logp: Tensor, ots: Tensor, mask: Tensor) -> None:
    """Add the token sums of a micro-batch, all of one kind; logp, ots, mask (B, T). Sampled answers: |trainer's -
    sampler's log-prob| in nats. Constructed ones: OTS weights, in all and by part: the wrong prefix, and of those that
    turn after it the diagnosis, whose first token is the turn, and the correction."""
    if batch[0].kind == "sampled":
        parts = {"mismatch": mask}
        values = (logp - padded([row.logprobs or [] for row in batch], mask)).abs()
    else:
        place, values = places_of(batch, mask), ots
        end = torch.tensor([[row.diagnosis] for row in batch], device=mask.device)  # (B, 1)
        turned = mask * (end > 0)
        parts = {
            "ots_weight": mask,
            "ots_weight_prefix": mask * (place < 0),
            "ots_weight_turn": turned * (place == 0),
            "ots_weight_diagnosis": turned * (place >= 0) * (place < end),
            "ots_weight_correction": turned * (place >= end),
        }
    for name, where in parts.items():
        means[name] += torch.stack(((values * where).sum(), where.sum()))


def gradient_metrics(model: Transformer, from_sampled: list[Tensor]) -> dict[str, float | None]:
    """Norms of the gradients of sampled and of constructed rows, and their cosine: below 0 they pull apart."""
    total = [p.grad for p in model.parameters() if p.grad is not None]
    a = torch.cat([g.flatten() for g in from_sampled])
    b = torch.cat([(g - s).flatten() for g, s in zip(total, from_sampled, strict=True)])
    norms, product = (a.norm().item(), b.norm().item()), torch.dot(a, b).item()
    cosine = product / (norms[0] * norms[1]) if min(norms) > 0 else None
    return {"grad_norm_sampled": norms[0], "grad_norm_ref": norms[1], "grad_cosine": cosine}


@torch.no_grad()
def logprobs_of(model: Transformer, run: Run, rows: list[Trajectory]) -> list[list[float]]:
    """The model's log-probs of each row's answer tokens, in nats."""
    scored: list[list[float]] = [[] for _ in rows]
    for indices in micro_batches(rows, run.config.micro_tokens):
        with run.autocast():
            logp, _ = model.logprobs(pack([rows[i] for i in indices], run.device), run.config.temperature)
        for i, numbers in zip(indices, logp.tolist(), strict=True):
            scored[i] = numbers[: len(rows[i].token_ids)]
    return scored


def kl_to(start: Transformer, run: Run, rows: list[Trajectory]) -> float:
    """k3 estimate of KL(policy || start) on sampled answers, nats a token."""
    ref = torch.tensor([x for logprobs in logprobs_of(start, run, rows) for x in logprobs])
    return k3_kl(torch.tensor([x for row in rows for x in row.logprobs or []]), ref).mean().item()


def show(groups: list[Group], made: list[Construction], step: int) -> None:
    """Three whole samples: a right answer, a wrong one, and a construction, where there is one."""
    samples = [sample for group in groups for sample in zip(group.rewards, group.texts, repeat(group.problem))]
    blocks = [f"--- step {step + 1}"]
    for wanted in (1.0, 0.0):
        for reward, text, problem in [sample for sample in samples if sample[0] == wanted][:1]:
            blocks.append(f"[sampled, reward {reward:g}, gold {problem.answer}] {problem.question}\n{text}")
    for m in [m for m in made if m.reward and m.diagnosis][:1]:
        blocks.append(f"[constructed, reward {m.reward:g}] {m.question}\n{format_parts(m)}")
    tqdm.write("\n\n".join(blocks) + "\n")


# ---------------------------------------------------------------- the loop


def rl(run: Run) -> None:
    """c.steps steps of RL, measured before and after on held-out problems."""
    c, optimizer = run.config, run.optimizer(run.config.lr)
    if run.resumed:
        run.restore(optimizer)
    elif c.stage == "rl":  # else the cold start has been saved
        run.save(0)
    before = next((r for r in read_lines(run.out / "metrics.jsonl") if r["stage"] == "eval"), None) or run.look(0)
    start = None
    if c.kl_rows or c.kl_coef:  # the policy that RL began with
        start = Transformer.from_pretrained(run.out / "checkpoints" / "step-0").to(run.device).requires_grad_(False)
    stop: list[int] = []  # Ctrl-C lets the step end first: half an update must not be saved
    default = signal.signal(signal.SIGINT, lambda number, _: stop.append(number))
    with tqdm(total=c.steps, initial=run.first, desc=c.algo, unit="step") as bar:
        for step in range(run.first, c.steps):
            run.seconds.clear()
            metrics = rl_step(run, step, optimizer, start)
            seconds = {name: round(value, 3) for name, value in run.seconds.items()}
            tokens = {"tokens_generated": run.tokens_generated}
            run.log("metrics.jsonl", {"stage": "rl", "step": step + 1, **metrics, **tokens, "seconds": seconds})
            bar.set_postfix(reward=f"{metrics['reward']:.3f}", eligible=f"{metrics['eligible_share']:.2f}")
            bar.update()
            if c.eval_every and (step + 1) % c.eval_every == 0 and step + 1 < c.steps:
                run.look(step + 1)
            if stop or ((step + 1) % c.save_every == 0 and step + 1 < c.steps):
                folder = run.save(step + 1, optimizer)
            if stop:
                signal.signal(signal.SIGINT, default)
                raise SystemExit(f"\nstopped; {folder} is saved, go on with --resume")
    signal.signal(signal.SIGINT, default)
    print(f"\ncheckpoint: {run.save(c.steps, optimizer)}\n")
    examples = [m for m in read_lines(run.out / "samples.jsonl") if m["reward"] and m["diagnosis"] and m["prefix"]]
    if examples:
        step = examples[-1].pop("step")
        print(f"A trajectory that the policy constructed in step {step}, from a wrong answer of its own:\n")
        print(format_parts(Construction(**examples[-1])) + "\n")
    print(f"{len(run.held_out)} held-out problems, sampled at temperature {c.temperature}, seed {c.seed}:\n")
    print(format_table({"before RL": before, f"{c.algo}, {c.steps} steps": run.look(c.steps)}))


def main() -> None:
    run = Run(parse_config())
    print(format_plan(plan_of(run), device_memory(run.device)), file=sys.stderr)
    if run.config.stage != "rl" and not run.resumed:
        coldstart(run)
        folder = run.save(0)
        run.log("metrics.jsonl", {"stage": "constructions", "step": 0, **construction_report(run)})
    if run.config.stage == "coldstart":
        print(f"\ncheckpoint: {folder}\n\n{format_table({'cold start': run.look(0)})}")
    else:
        rl(run)


if __name__ == "__main__":
    run_main(main)
