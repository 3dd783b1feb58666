"""Train a policy with TAPO or GRPO. Start reading here: train_step is the whole method in one page.

    python train.py                                    # tiny model, on a laptop: 12 minutes of cold
                                                       # start, then 30 steps of TAPO
    python train.py --preset gsm8k --out runs/gsm8k    # one GPU

    problems -> sample K each -> grade -> select candidates -> construct -> grade
             -> advantages (decoupled) -> token weights -> loss -> one update

The comments 1 to 6 in train_step are the phases of the README. GRPO is the same code with nothing
constructed. OPSD and SFT, the paper's other baselines, come from support/baselines.py. The second
half of this file, from "the loop" on, is what any trainer has.

Letters in shapes: N trajectories of a step, B those of a micro-batch, T tokens of the longest
answer.
"""

import random
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import augment
import coldstart
import tapo_loss
from augment import Construction, construct, grade_constructions, is_eligible, select_candidates
from data import load_problem_sets
from eval import evaluate
from model import Transformer
from rollout import PREFILL_TOKENS, Group, Policy, Trajectory, answer_problems
from support import baselines, blocks, metrics, plan
from support.cli import print_above_bar, progress_bar, run_main
from support.files import InputError, note, read_lines
from support.logprobs import autocast, packed_logprobs, padded, score
from support.optim import adamw, clipped_update
from support.packing import micro_batches, pack
from support.runs import Interrupts, Laps, RunFolder, is_in_coldstart, step_of
from support.settings import Settings, check_start, note_settings_of_tiny, parse_settings, seed_of
from support.summaries import format_table
from support.trackers import tracker
from tasks import Problem, task_with_mistakes

# ---------------------------------------------------------------- one step


def train_step(
    policy: Policy,
    start_model: Transformer | None,
    problems: list[Problem],
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    step: int,
) -> "StepReport":
    """One step on these problems.

    start_model: the policy that RL began with, frozen (GRPO's reference policy), where a KL to it
    is wanted. "ref" in a name means y_ref, G_ref or L_ref, never this policy.
    """
    laps = Laps()

    # 1  K answers to each question, each graded by the checker
    rollout_seed = seed_of(settings.seed, "rollout", step)
    groups = answer_problems(policy, problems, settings, rollout_seed)
    laps.lap("sample")

    # 2  questions at the edge of what the policy can do (DCS): some of their wrong answers, each
    #    paired with a right sibling
    eligible = [is_eligible(group, settings) for group in groups]
    construct_seed = seed_of(settings.seed, "construct", step)
    pairs = select_candidates(groups, settings, construct_seed) if settings.constructs else []

    # 3  the policy rewrites them: its own wrong beginning, a diagnosis, the correction
    constructions = construct(policy, pairs, settings, construct_seed)
    grade_constructions(constructions, settings)
    laps.lap("construct")

    # 4  advantages within each group; constructed answers are compared among themselves (DAE)
    sampled = sampled_trajectories(groups)
    constructed = constructed_trajectories(constructions, groups)
    batch = sampled + constructed
    if settings.algo in ("tapo", "grpo"):
        advantages = advantages_of(batch, settings)  # (N, 1)
    else:
        batch, advantages = baselines.baseline_batch(policy, groups, batch, settings, step)

    # 5, 6  token weights (OTS), clipped loss, one update
    lr = settings.lr * min(1.0, (step + 1) / max(settings.warmup, 1))
    update = update_policy(policy, start_model, batch, advantages, optimizer, settings, lr)
    kl = kl_to_start(start_model, sampled, settings)
    laps.lap("update")
    return StepReport(groups, eligible, constructions, constructed, update, kl, laps.seconds)


@dataclass
class StepReport:
    """What a step made and measured."""

    groups: list[Group]
    eligible: list[bool]  # of each group, whether its wrong answers may be rewritten (DCS)
    constructions: list[Construction]
    constructed: list[Trajectory]  # one for each construction that was not refused, in their order
    update: dict[str, Any]  # metrics of the update
    kl: float | None  # to the starting policy, nats a token
    # of "sample" (phase 1), "construct" (2, 3) and "update" (4 to 6, and the KL)
    seconds: dict[str, float]


def sampled_trajectories(groups: list[Group]) -> list[Trajectory]:
    """Every answer, with the token ids that the sampler gave, untouched."""
    trajectories = []
    for number, group in enumerate(groups):
        for answer in group.answers:
            trajectories.append(
                Trajectory(
                    answer.rollout.prompt_ids,
                    answer.rollout.token_ids,
                    reward=answer.grade.reward,
                    right=answer.grade.right,
                    question_number=number,
                    logprobs=answer.rollout.logprobs,
                )
            )
    return trajectories


def constructed_trajectories(
    constructions: list[Construction], groups: list[Group]
) -> list[Trajectory]:
    """Every y_ref as an answer to the *bare* question: after the prompt that was sampled from."""
    trajectories = []
    for made in constructions:
        if not made.refused:
            trajectories.append(
                Trajectory(
                    groups[made.pair.question_number].answers[0].rollout.prompt_ids,
                    made.token_ids,
                    reward=made.grade.reward,
                    right=made.grade.right,
                    question_number=made.pair.question_number,
                    origin="constructed",
                    prefix_tokens=made.prefix_tokens,
                    diagnosis_tokens=made.diagnosis_tokens,
                )
            )
    return trajectories


# ---------------------------------------------------------------- phases 4 to 6


def advantages_of(batch: list[Trajectory], settings: Settings) -> Tensor:
    """One advantage for each trajectory, (N, 1)."""
    rewards = torch.tensor([t.reward for t in batch])  # (N,)
    questions = torch.tensor([t.question_number for t in batch])  # (N,)
    divide_by_std = settings.loss != "dr_grpo"
    advantages = tapo_loss.decoupled_advantages(
        rewards, questions, is_constructed(batch), settings.dae, divide_by_std
    )
    return advantages[:, None]


def is_constructed(batch: list[Trajectory]) -> Tensor:
    return torch.tensor([t.origin == "constructed" for t in batch], dtype=torch.bool)  # (N,)


@dataclass
class MicroBatch:
    """Trajectories of one origin that go through the model together."""

    trajectories: list[Trajectory]
    advantages: Tensor  # (B, 1); OPSD: (B, longest of the whole batch), cut to T where it is used
    scales: Tensor  # (B,) the factor of each in the loss (loss_scales)
    old_logp: Tensor | None = None  # (B, T) log-probs under pi_old, once they are known


def update_policy(
    policy: Policy,
    start_model: Transformer | None,
    batch: list[Trajectory],
    advantages: Tensor,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    lr: float,
) -> dict[str, Any]:
    """Loss and update (settings.updates of them) from the whole batch; returns metrics.

    advantages: (N, 1), or (N, T) with one for each token (OPSD).
    """
    constructed = is_constructed(batch)  # (N,)
    lengths = torch.tensor([len(t.token_ids) for t in batch])  # (N,)
    scales = tapo_loss.loss_scales(
        lengths, constructed, settings.loss, settings.lambda_, settings.max_new_tokens
    )  # (N,)

    # Trajectories that cannot move the weights are left out: those of scale 0 (constructed ones
    # where lambda is 0), and, without a KL term, sampled ones of advantage 0. No mean changes: the
    # scales are those of the whole batch. Constructed ones of advantage 0 move nothing either, but
    # stay, at the cost of a pass, so that OTS is measured on all of them.
    moves = (advantages != 0).any(dim=1)  # (N,)
    needed = (scales > 0) & (constructed | moves | (settings.kl_coef > 0))
    needed_sampled = needed & ~constructed
    needed_constructed = needed & constructed
    sampled_part = micro_batches_of(batch, advantages, scales, needed_sampled, settings)
    constructed_part = micro_batches_of(batch, advantages, scales, needed_constructed, settings)

    measured: dict[str, Any] = {"trained_rows": int(needed.sum()), "loss": None, "grad_norm": None}
    if settings.constructs:
        measured["taught_rows"] = int((needed_constructed & moves).sum())
    if not needed.any():
        return measured
    means = metrics.Means()
    split = settings.split_gradients and bool(sampled_part) and bool(constructed_part)
    for _ in range(settings.updates):
        # L_GRPO
        loss = add_gradients(policy, start_model, sampled_part, settings, means)
        from_sampled = metrics.gradients(policy.model) if split else []  # a copy, to measure
        # + lambda L_ref
        loss += add_gradients(policy, start_model, constructed_part, settings, means)
        if split:
            measured |= metrics.gradient_metrics(policy.model, from_sampled)
        # clips, updates and clears the gradients; where they are not finite: no update, norm None
        norm = clipped_update(policy.model, [optimizer], lr, settings.grad_clip)
        measured |= {"loss": loss, "grad_norm": norm, "skipped": norm is None}
    return measured | means.result()


def micro_batches_of(
    batch: list[Trajectory], advantages: Tensor, scales: Tensor, chosen: Tensor, settings: Settings
) -> list[MicroBatch]:
    """The chosen trajectories (N,), all of one origin, in micro-batches of at most micro_tokens."""
    numbers = chosen.nonzero()[:, 0].tolist()
    found = []
    for indices in micro_batches([batch[i] for i in numbers], settings.micro_tokens):
        members = [numbers[i] for i in indices]
        trajectories = [batch[i] for i in members]
        found.append(MicroBatch(trajectories, advantages[members], scales[members]))
    return found


def add_gradients(
    policy: Policy,
    start_model: Transformer | None,
    micro_batches: list[MicroBatch],
    settings: Settings,
    means: metrics.Means,
) -> float:
    """Forward and backward pass of these micro-batches, whose gradients add up in the parameters;
    returns the sum of the losses. All are of one origin, sampled or constructed.

    Loss and gradients do not depend on how the batch was cut: the scales are those of the whole
    batch. What goes through the model is one row of tokens without padding, each prompt in it once;
    its attention lets an answer see its prompt and itself alone. What comes out, log-probs and
    entropies, is padded to (B, T). The shift by one is in support/packing.py (`predictors`) alone.
    """
    device = policy.model.device
    loss_sum = 0.0
    for micro in micro_batches:
        packed = pack(micro.trajectories, device)
        mask = packed.mask  # (B, T)
        advantages = micro.advantages[:, : mask.shape[1]].to(device)  # (B, 1) or (B, T)
        parts = parts_of(micro.trajectories, mask)  # (B, T), None for sampled ones
        with autocast(policy.model):
            logp, entropy = packed_logprobs(policy.model, packed, settings.temperature)  # (B, T)

        is_first_pass = micro.old_logp is None
        if micro.old_logp is None:
            # The first pass of this step. The weights have not moved since the answers were
            # sampled, so these log-probs are those of pi_old, and the ratio is 1: clipping acts
            # with --updates above 1 alone. (In the paper pi_old has a pass of its own [inferred];
            # its numbers are the same.) Of a constructed trajectory the sampler's log-probs would
            # be wrong here: it was written under the synthesis prompt and is trained under the
            # bare question, where its tokens have other probabilities.
            micro.old_logp = logp.detach()  # (B, T)
            if parts is None:
                measure_mismatch(micro, mask, means)
            else:
                measure_and_note_ots(micro, parts, mask, entropy, means)

        start_logp = None
        if settings.kl_coef and start_model is not None and parts is None:
            with torch.no_grad(), autocast(start_model):
                start_logp, _ = packed_logprobs(start_model, packed, settings.temperature)

        loss, clipped = tapo_loss.tapo_loss(
            logp,
            micro.old_logp,
            advantages,
            mask,
            weights_of(parts, logp, entropy, settings),
            micro.scales.to(device),
            settings.clip_low,
            settings.clip_high,
            settings.kl_coef,
            start_logp,
        )
        loss.backward()
        loss_sum += loss.item()
        if not is_first_pass:
            measure_clip(clipped, advantages, mask, means)
    return loss_sum


def parts_of(trajectories: list[Trajectory], mask: Tensor) -> Tensor | None:
    """tapo_loss.token_parts of constructed trajectories, of mask's shape; None for sampled ones."""
    if trajectories[0].origin == "sampled":
        return None
    device = mask.device
    prefix = torch.tensor([t.prefix_tokens for t in trajectories], device=device)  # (B,)
    diagnosis = torch.tensor([t.diagnosis_tokens for t in trajectories], device=device)  # (B,)
    return tapo_loss.token_parts(prefix, diagnosis, mask.shape[1])


def weights_of(parts: Tensor | None, logp: Tensor, entropy: Tensor, settings: Settings) -> Tensor:
    """Token weights (B, T): 1 on sampled trajectories, OTS on constructed ones (1 with --no-ots).

    With --no-train-prefix the wrong prefix has weight 0. A trajectory is still divided by its whole
    length (loss_scales), so that its other tokens weigh no more than before.
    """
    weights = torch.ones_like(logp)
    if parts is None:
        return weights
    if settings.ots and settings.algo == "tapo":  # SFT is plain likelihood
        weights = tapo_loss.token_weights(logp, entropy, parts)
    if not settings.train_prefix:
        weights = weights.masked_fill(parts == tapo_loss.PREFIX, 0.0)
    return weights


def measure_clip(clipped: Tensor, advantages: Tensor, mask: Tensor, means: metrics.Means) -> None:
    """The share of tokens whose ratio is clipped, of those that have an advantage."""
    can_clip = mask * (advantages != 0)  # (B, T)
    means.add("clip_low_share", clipped & (advantages < 0), can_clip)
    means.add("clip_high_share", clipped & (advantages > 0), can_clip)


def measure_mismatch(micro: MicroBatch, mask: Tensor, means: metrics.Means) -> None:
    """How far the trainer's and the sampler's log-probs of sampled answers lie apart, in nats."""
    assert micro.old_logp is not None
    sampler_logp = padded([t.logprobs for t in micro.trajectories]).to(mask.device)  # (B, T)
    means.add("mismatch", (micro.old_logp - sampler_logp).abs(), mask)


def measure_and_note_ots(
    micro: MicroBatch, parts: Tensor, mask: Tensor, entropy: Tensor, means: metrics.Means
) -> None:
    """OTS weights of constructed trajectories by part. Also notes in each of them what
    samples.jsonl will say of it: its advantage, and log-prob, entropy and weight of every token."""
    logp = micro.old_logp  # (B, T)
    assert logp is not None
    weights = tapo_loss.ots_weights(logp, entropy)  # (B, T)
    means.add("ots_weight", weights, mask)
    for name, numbers in tapo_loss.MEASURED_PARTS.items():
        of_part = torch.isin(parts, torch.tensor(numbers, device=mask.device))  # (B, T)
        means.add(f"ots_weight_{name}", weights, mask * of_part)
    measures = torch.stack([logp, entropy, weights], dim=-1).tolist()  # B x T x 3
    for row, trajectory in enumerate(micro.trajectories):
        trajectory.advantage = micro.advantages[row, 0].item()
        trajectory.token_measures = measures[row][: len(trajectory.token_ids)]


def kl_to_start(
    start_model: Transformer | None, sampled: list[Trajectory], settings: Settings
) -> float | None:
    """k3 estimate of KL(policy that sampled || start), nats a token, on kl_rows of the sampled
    answers, spread over all questions."""
    if start_model is None or not settings.kl_rows:
        return None
    rows = min(settings.kl_rows, len(sampled))
    chosen = [sampled[i * len(sampled) // rows] for i in range(rows)]
    scored = score(start_model, chosen, settings.temperature, settings.micro_tokens)
    start_logp = torch.tensor([x for logprobs in scored for x in logprobs])
    logp = torch.tensor([x for t in chosen for x in t.logprobs])
    return tapo_loss.k3_kl(logp, start_logp).mean().item()


# ---------------------------------------------------------------- the loop

TOKENS_KEPT = 8  # constructions of a step whose tokens are written down one by one


@dataclass
class Run:
    """What stands around the steps: the policy in training, its folder, what is measured."""

    folder: RunFolder
    settings: Settings
    policy: Policy
    problems: list[Problem]
    held_out: list[Problem]
    tokens_generated: int = 0  # by the steps so far
    has_warned: bool = False  # that too few constructions are of use

    def measured_or_logged(self, step: int) -> dict[str, Any]:
        """What measure_held_out gives at this step, or gave before the run was resumed."""
        for record in self.folder.logged("eval"):
            if record["step"] == step:
                return record
        return self.measure_held_out(step)

    def measure_held_out(self, step: int) -> dict[str, Any]:
        """Measure the policy on the held-out problems: sampled, at the temperature of training."""
        settings = self.settings
        summary, _ = evaluate(
            self.policy,
            self.held_out,
            samples=settings.eval_samples,
            temperature=settings.temperature,
            strict=settings.strict,
            max_new_tokens=settings.max_new_tokens,
            seed=seed_of(settings.seed, "eval"),
            max_rows=settings.max_rows,
        )
        record = {"stage": "eval", "step": step, "tokens_generated": self.tokens_generated}
        self.folder.log("metrics.jsonl", record | summary)
        return summary

    def save_is_due(self, step: int) -> bool:
        """By steps, by minutes, or because no policy that was measured so far was better."""
        settings = self.settings
        if is_due(step, settings.eval_every) and self.folder.best_step() == step:
            return True
        by_minutes = self.folder.save_is_due(settings.save_minutes)
        return by_minutes or is_due(step, settings.save_every)

    def save(self, step: int, *optimizers: torch.optim.Optimizer) -> Path:
        return self.folder.save(
            self.folder.checkpoint(step),
            self.policy.model,
            self.policy.tokenizer,
            optimizers,
            state={"tokens_generated": self.tokens_generated},
            keep=self.settings.keep,
        )

    def log(self, report: StepReport, step: int) -> dict[str, Any]:
        """Count a step's tokens, write its metrics and constructions down; returns the metrics."""
        answers = [answer for group in report.groups for answer in group.answers]
        self.tokens_generated += sum(len(answer.rollout.token_ids) for answer in answers)
        self.tokens_generated += sum(made.reply_tokens for made in report.constructions)
        measured = metrics.rollout_metrics(report.groups, report.eligible) | {"kl": report.kl}
        if self.settings.constructs:
            measured |= metrics.construction_metrics(report.constructions)
        measured |= report.update
        measured |= {"tokens_generated": self.tokens_generated, "seconds": report.seconds}
        self.folder.log("metrics.jsonl", {"stage": "rl", "step": step, **measured})
        self.folder.log("samples.jsonl", *self.construction_records(report, step))
        return measured

    def construction_records(self, report: StepReport, step: int) -> list[dict[str, Any]]:
        """A step's constructions as lines of samples.jsonl, the first few with their tokens."""
        records = []
        for made in report.constructions:
            request = augment.request_of(made.pair, self.settings)
            records.append(metrics.construction_record(made, step) | {"request": request})
        first = [record for record in records if not record["refused"]][:TOKENS_KEPT]
        for record, trajectory in zip(first, report.constructed[:TOKENS_KEPT], strict=True):
            record |= metrics.token_record(trajectory, self.policy.tokenizer)
        return records


def train(run: Run, checkpoint: Path) -> None:
    """RL from this checkpoint on, to settings.steps steps in all; measured before and after on
    held-out problems. Raises KeyboardInterrupt when a signal has stopped it after a step.

    `step` counts from 0; what is written down counts from 1.
    """
    settings = run.settings
    optimizer = adamw(run.policy.model.parameters(), settings.lr)
    needed = ["tokens_generated"]
    state = run.folder.restore(checkpoint, run.policy.model, [optimizer], needed)
    run.tokens_generated = state["tokens_generated"]
    steps_made = step_of(checkpoint)
    if steps_made and not any(record["step"] == 0 for record in run.folder.logged("eval")):
        where = run.folder.path / "metrics.jsonl"
        expected = "what was measured before the first step"
        raise InputError(f"{where}: expected {expected}, found nothing; --resume needs all logs")
    before = run.measured_or_logged(0)
    start_model = load_start_model(run)

    bar = progress_bar(settings.steps, settings.algo, "step", initial=steps_made)
    with Interrupts() as interrupts, bar:
        for step in range(steps_made, settings.steps):
            problems = problems_of_step(run.problems, settings, step)
            report = train_step(run.policy, start_model, problems, optimizer, settings, step)
            measured = run.log(report, step + 1)
            warn_of_few_constructions(run)
            if step % settings.show_every == 0:
                samples = metrics.whole_samples(report.groups, report.constructions, step + 1)
                print_above_bar(samples)
            eligible = f"{measured['eligible_share']:.2f}"
            bar.set_postfix(refresh=False, reward=f"{measured['reward']:.3f}", eligible=eligible)
            bar.update()
            is_last = step + 1 == settings.steps
            if is_due(step + 1, settings.eval_every) and not is_last:
                run.measure_held_out(step + 1)
            stops = interrupts.came
            if stops or is_last or run.save_is_due(step + 1):
                run.save(step + 1, optimizer)
            if stops:
                break  # leaving Interrupts then raises KeyboardInterrupt
    after = run.measured_or_logged(settings.steps)
    print_outcome(run, before, after)


def warn_of_few_constructions(run: Run) -> None:
    """Say once that hardly any diagnosis is concrete, as soon as a few steps show it."""
    is_tapo = run.settings.algo == "tapo" and run.settings.reconstruction == "prefix"
    if is_tapo and not run.has_warned:
        warning = metrics.warning_of_few(run.folder.logged("rl"))
        if warning:
            note(warning)
            run.has_warned = True


def problems_of_step(problems: list[Problem], settings: Settings, step: int) -> list[Problem]:
    """The step's questions: each pass over the problems goes in a new order."""
    size = len(problems)
    wanted = range(step * settings.questions, (step + 1) * settings.questions)
    order_of_pass = {}
    for number in {i // size for i in wanted}:
        rng = random.Random(seed_of(settings.seed, "order", number))
        order_of_pass[number] = rng.sample(range(size), size)
    return [problems[order_of_pass[i // size][i % size]] for i in wanted]


def is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def load_start_model(run: Run) -> Transformer | None:
    """The model of the policy that RL began with, where a KL to it is wanted."""
    if not (run.settings.kl_rows or run.settings.kl_coef):
        return None
    start_model = Transformer.from_pretrained(run.folder.checkpoint(0))
    start_model.compute_in = run.settings.dtype
    return start_model.to(run.policy.model.device).requires_grad_(False)


def print_outcome(run: Run, before: dict[str, Any], after: dict[str, Any]) -> None:
    """A construction of the run, and the table of what was measured before and after."""
    settings = run.settings
    print(f"\ncheckpoint: {run.folder.checkpoint(settings.steps)}\n")
    for record in reversed(read_lines(run.folder.path / "samples.jsonl")):
        if record["right"] and record.get("diagnosis_tokens") and record.get("prefix_tokens"):
            print(f"A trajectory that the policy constructed in step {record['step']},", end=" ")
            parts = metrics.format_parts(record["parts"], has_diagnosis=True)
            print(f"from a wrong answer of its own:\n\n{parts}\n")
            break
    if settings.constructs:
        counts = metrics.counts_of_steps(run.folder.logged("rl"))
        print(f"constructed in all: {metrics.format_counts(counts)}\n")
    drawn = f"sampled at temperature {settings.temperature}, seed {settings.seed}"
    print(f"{len(run.held_out)} held-out problems, {drawn}:\n")
    print(format_table({"before RL": before, f"{settings.algo}, {settings.steps} steps": after}))


# ---------------------------------------------------------------- the command


def open_run(settings: Settings) -> tuple[Run, Path | None]:
    """Load all that a run needs, and make its folder when nothing can be refused any more.

    Returns the run, and the checkpoint that it goes on from, if any. Raises InputError.
    """
    check_start(settings, can_start_anew=task_with_mistakes(settings.data) is not None)
    folder = RunFolder(settings.out)
    resumed = None
    if settings.resume:
        folder.lock()
        resumed = folder.checkpoint_to_resume(settings.steps)
    else:
        folder.refuse_if_used()
    problems, held_out = load_problem_sets(settings)
    policy = load_policy(settings, resumed)
    context = policy.model.config.max_position_embeddings
    check = policy.tokenizer.check_prompts
    check([problem.question for problem in problems], context, settings.data)
    check([problem.question for problem in held_out], context, settings.eval_data or settings.data)
    with folder.guard():
        folder.make(settings.resume)
        folder.drop_logged_after(resumed)
        folder.write_settings(asdict(settings))
        folder.track = tracker(settings.track, folder.path, asdict(settings))
    return Run(folder, settings, policy, problems, held_out), resumed


def load_policy(settings: Settings, resumed: Path | None) -> Policy:
    """The checkpoint to resume, else --model, else a tiny model that knows nothing."""
    cuda = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    device = "cuda" if cuda else "cpu"
    name = str(resumed or settings.model)
    if name:
        policy = Policy.from_pretrained(name, device, settings.dtype)
    else:
        policy = coldstart.new_policy(settings, device)
        policy.model.compute_in = settings.dtype
    if settings.checkpointing:
        blocks.checkpoint_blocks(policy.model)
    if settings.compile:
        blocks.compile_blocks(policy.model)
    return policy


def print_plan(run: Run) -> None:
    """The memory and the disk that the run will need, and what a cold start on the policy's own
    answers costs, before its first step."""
    settings = run.settings
    longest = max((p.question for p in run.problems + run.held_out), key=len)
    tokenizer = run.policy.tokenizer
    requests = [
        augment.synthesis_prompt(longest, "", "", synthesis, settings.reconstruction)
        for synthesis in (settings.synthesis, augment.unassisted(settings).synthesis)
    ]
    config = run.policy.model.config
    sizes: dict[str, Any] = {
        "device": run.policy.model.device.type,
        "prompt_tokens": len(tokenizer.question_prompt(longest)),
        "request_tokens": max(len(tokenizer.prompt(request)) for request in requests),
    }
    planned = plan.plan_of(
        settings,
        config,
        **sizes,
        held_out=len(run.held_out),
        coldstart_questions=coldstart.most_questions(settings),
        prefill_tokens=PREFILL_TOKENS,
    )
    available = plan.device_memory(run.policy.model.device)
    print(plan.format_plan(planned, available), file=sys.stderr)
    needed = plan.disk_bytes(settings, config)
    print(plan.format_disk(needed, run.folder.path), file=sys.stderr)
    has_coldstart = settings.stage != "rl" and not settings.resume
    if has_coldstart and task_with_mistakes(settings.data) is None:
        cost = plan.coldstart_cost(settings, config, **sizes, problems=len(run.problems))
        print(plan.format_cost(cost), file=sys.stderr)


def start_of_rl(run: Run, resumed: Path | None) -> Path:
    """Make what is still missing of: the cold start, the checkpoint step-0, and after a cold start
    the report on constructions. Returns the checkpoint that RL starts from or goes on from."""
    settings = run.settings
    if resumed is not None and step_of(resumed) > 0:
        return resumed  # RL is under way
    has_coldstart = settings.stage != "rl"
    checkpoint = resumed
    if checkpoint is None or is_in_coldstart(checkpoint):
        if has_coldstart:
            coldstart.coldstart(run.policy, run.problems, settings, run.folder, resumed)
        checkpoint = run.save(0)
    if has_coldstart and not run.folder.logged("constructions"):
        report = coldstart.construction_report(run.policy, run.problems, settings)
        run.folder.log("metrics.jsonl", {"stage": "constructions", "step": 0, **report})
    return checkpoint


def main() -> None:
    settings = parse_settings()
    run, resumed = open_run(settings)
    print_plan(run)
    can_start_anew = task_with_mistakes(settings.data) is not None
    note_settings_of_tiny(settings, can_start_anew)
    with run.folder.guard():
        checkpoint = start_of_rl(run, resumed)
        if settings.stage == "coldstart":
            print(f"\ncheckpoint: {checkpoint}\n")
            print(format_table({"cold start": run.measured_or_logged(0)}))
        else:
            train(run, checkpoint)


if __name__ == "__main__":
    run_main(main)
