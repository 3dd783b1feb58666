"""One micro-reflective trajectory of a policy, part by part, as text and as a picture.

    python bench/example.py CHECKPOINT [--svg results/two_prompts.svg] [--questions 32] [--seed 0]

Makes the first step of a run from this checkpoint, up to the loss: samples, grades, selects,
constructs. Of the questions whose constructions are not all right or all wrong it takes the one
with the shortest text, and prints a right construction of it with rewards, advantages and the mean
OTS weight of each part. The picture shows the two prompts: the one under which the trajectory was
made, and the one under which it is trained on.
"""

import argparse
import html
import tempfile
from pathlib import Path
from typing import Any

import common  # noqa: F401  (finds the product)
import torch

import augment
import tapo_loss
import train
from rollout import answer_problems
from support.logprobs import packed_logprobs
from support.packing import pack
from support.settings import parse_settings, seed_of

COLOURS = {"prefix": "#f8c9c4", "diagnosis": "#fbe7a1", "correction": "#c5e8c5", "": "#ffffff"}
LINE = 17  # pixels
WIDTH = 560


def first_step(checkpoint: Path, questions: int, seed: int, folder: str) -> dict[str, Any]:
    """The step's groups and constructions, and the trajectories with their advantages."""
    flags = (
        f"--stage rl --model {checkpoint} --out {folder}/run --questions {questions} --seed {seed}"
    )
    settings = parse_settings([*flags.split(), "--eval-problems", "1", "--device", "cpu"])
    run, _ = train.open_run(settings)
    problems = train.problems_of_step(run.problems, settings, 0)
    seed_of_answers = seed_of(settings.seed, "rollout", 0)
    groups = answer_problems(run.policy, problems, settings, seed_of_answers)
    seed_of_pairs = seed_of(settings.seed, "construct", 0)
    pairs = augment.select_candidates(groups, settings, seed_of_pairs)
    constructions = augment.construct(run.policy, pairs, settings, seed_of_pairs)
    augment.grade_constructions(constructions, settings)
    constructed = train.constructed_trajectories(constructions, groups)
    batch = train.sampled_trajectories(groups) + constructed
    advantages = train.advantages_of(batch, settings)[:, 0].tolist()
    return {
        "run": run,
        "settings": settings,
        "groups": groups,
        "constructions": [made for made in constructions if not made.refused],
        "constructed": constructed,
        "advantages": advantages[-len(constructed) :],
        "batch": batch,
        "all_advantages": advantages,
    }


def choose(step: dict[str, Any]) -> int:
    """A right construction with all three parts, of a question whose constructions differ in
    reward."""
    found = []
    for i, made in enumerate(step["constructions"]):
        whole = made.grade.right and made.prefix_tokens and made.diagnosis_tokens and made.parts[2]
        if whole and step["advantages"][i] > 0:
            found.append((len(made.pair.problem.question) + len(made.y_ref), i))
    if not found:
        raise SystemExit("no question of this step has right and wrong constructions; try --seed 1")
    return min(found)[1]


@torch.no_grad()
def weights_by_part(step: dict[str, Any], chosen: int) -> dict[str, float]:
    """Mean OTS weight of each part, under the bare question."""
    trajectory = step["constructed"][chosen]
    packed = pack([trajectory], torch.device("cpu"))
    logp, entropy = packed_logprobs(step["run"].policy.model, packed)  # (1, T)
    weights = tapo_loss.ots_weights(logp, entropy)[0]  # (T,)
    prefix = torch.tensor([trajectory.prefix_tokens])
    diagnosis = torch.tensor([trajectory.diagnosis_tokens])
    parts = tapo_loss.token_parts(prefix, diagnosis, len(weights))[0]  # (T,)
    names = {
        "prefix": tapo_loss.PREFIX,
        "turn": tapo_loss.TURN,
        "diagnosis": tapo_loss.REST_OF_DIAGNOSIS,
        "correction": tapo_loss.CORRECTION,
    }
    return {name: weights[parts == part].mean().item() for name, part in names.items()}


def lines_by_part(parts: list[str], weights: dict[str, float]) -> list[tuple[str, str, str]]:
    """(text, part, remark) of each line of y_ref."""
    rest = f"{weights['diagnosis']:.2f}"
    remarks = {
        "prefix": f"w = {weights['prefix']:.2f}",
        "diagnosis": f"w = {weights['turn']:.2f} on its first token, then {rest}",
        "correction": f"w = {weights['correction']:.2f}",
    }
    lines = []
    for part, text in zip(remarks, parts, strict=True):
        remark = remarks[part]
        for line in text.split("\n"):
            lines.append((line, part, remark))
            remark = ""
    return lines


def wrapped(text: str, columns: int = 62) -> list[str]:
    """Lines of at most so many characters, cut at spaces."""
    lines = []
    for line in text.split("\n"):
        while len(line) > columns:
            cut = line.rfind(" ", 0, columns) + 1 or columns
            lines.append(line[:cut])
            line = line[cut:]
        lines.append(line)
    return lines


def box(x: int, title: str, lines: list[tuple[str, str, str]]) -> str:
    """A column of the picture: a title, then monospaced lines on the colours of their parts."""
    drawn = [f'<text x="{x}" y="22" class="title">{html.escape(title)}</text>']
    for i, (text, part, remark) in enumerate(lines):
        y = 36 + i * LINE
        drawn.append(
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{LINE}" fill="{COLOURS[part]}"/>'
        )
        drawn.append(f'<text x="{x + 6}" y="{y + 13}">{html.escape(text)}</text>')
        if remark:
            at = x + WIDTH - 6
            drawn.append(f'<text x="{at}" y="{y + 13}" class="remark">{html.escape(remark)}</text>')
    return "\n".join(drawn)


def picture(request: str, reply: str, question: str, y_ref: list[tuple[str, str, str]]) -> str:
    """The SVG: on the left how the trajectory is made, on the right how it is trained on."""
    left = [(line, "", "") for line in wrapped(request)]
    left += [("", "", ""), *((line, "", "") for line in wrapped(reply))]
    right = [*((line, "", "") for line in wrapped(question)), ("", "", ""), *y_ref]
    height = 50 + LINE * max(len(left), len(right))
    width = 2 * WIDTH + 48
    style = (
        "text { font: 12px monospace; fill: #222; white-space: pre } "
        ".title { font: bold 14px sans-serif } .remark { text-anchor: end; fill: #555 }"
    )
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" '
            f'viewBox="0 0 {width} {height}" width="{width}">',
            f'<style>{style}</style><rect width="{width}" height="{height}" fill="#ffffff"/>',
            box(12, "constructed under the synthesis prompt", left),
            box(36 + WIDTH, "trained on under the bare question", right),
            "</svg>\n",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--svg", type=Path, help="write the picture to this file")
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        step = first_step(options.checkpoint, options.questions, options.seed, folder)
    chosen = choose(step)
    made = step["constructions"][chosen]
    weights = weights_by_part(step, chosen)
    lines = lines_by_part(made.parts, weights)

    print(f"question   {made.pair.problem.question}\n")
    print("y-, wrong\n" + made.pair.wrong + "\n\ny+, a right sibling\n" + made.pair.sibling + "\n")
    print("y_ref")
    for text, part, remark in lines:
        print(f"  {part:>10} | {text:<40} {remark}")
    for name, origin in (("G_orig", "sampled"), ("G_ref", "constructed")):
        shown = []
        for trajectory, advantage in zip(step["batch"], step["all_advantages"], strict=True):
            is_of_question = trajectory.question_number == made.pair.question_number
            if is_of_question and trajectory.origin == origin:
                shown.append(f"{trajectory.reward:g} ({advantage:+.2f})")
        print(f"\n{name}: rewards (advantages) {', '.join(shown)}")
    if options.svg:
        settings = step["settings"]
        request = augment.request_of(made.pair, settings)
        question = made.pair.problem.question + "\nAnswer:"
        options.svg.write_text(picture(request, made.reply, question, lines), encoding="utf-8")
        print(f"\nwritten: {options.svg}")


if __name__ == "__main__":
    main()
