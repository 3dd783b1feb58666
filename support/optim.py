"""Optimizers, and the one way in which gradients become an update.

Called by train.py (adamw) and coldstart.py (coldstart_optimizers); both use clipped_update.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


def adamw(parameters: Iterable[Tensor], lr: float) -> torch.optim.AdamW:
    """AdamW without weight decay."""
    # fused: one pass over the memory instead of a dozen, several times faster on a CPU too
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)


def clipped_update(
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    lr: float,
    largest_norm: float,
) -> float | None:
    """One update from the gathered gradients, scaled down where their norm is above largest_norm.

    Returns their norm before that. Where it is not finite, nothing is updated and None is returned.
    The gradients are gone in either case.
    """
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), largest_norm).item()
    finite = math.isfinite(norm)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
        if finite:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return norm if finite else None


def coldstart_optimizers(model: Any, lr: float, anew: bool) -> list[torch.optim.Optimizer]:
    """AdamW; for a model of random weights (anew), Muon for the matrices of its blocks."""
    parameters = list(model.parameters())
    if not anew:
        return [adamw(parameters, lr)]
    matrices = [p for p in model.model.layers.parameters() if p.dim() == 2]
    in_blocks = set(matrices)
    others = [p for p in parameters if p not in in_blocks]
    return [Muon(matrices, lr), adamw(others, lr)]


class Muon(torch.optim.Optimizer):
    """Momentum with every weight matrix's update made orthogonal, scaled to the size of AdamW's.

    From random weights the cold start needs half of AdamW's updates, or fewer. torch.optim.Muon
    does the same in bfloat16, which on a CPU costs more than the model itself.
    Source: Jordan et al., 2024; the scale: Moonlight, 2025.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            momentum = group["momentum"]
            for p in group["params"]:
                if "average" not in self.state[p]:
                    self.state[p]["average"] = torch.zeros_like(p)
                average = self.state[p]["average"]  # (rows, columns)
                average.lerp_(p.grad, 1 - momentum)
                ahead = p.grad.lerp(average, momentum)  # (rows, columns) Nesterov's look ahead
                rate = -group["lr"] * 0.2 * max(p.shape) ** 0.5
                p.add_(orthogonal(ahead), alpha=rate)


def orthogonal(x: Tensor) -> Tensor:
    """x (rows, columns), its singular values driven towards 1 by five Newton-Schulz iterations."""
    is_tall = x.shape[0] > x.shape[1]
    y = (x.T if is_tall else x) / (x.norm() + 1e-7)  # (short side, long side)
    for _ in range(5):
        a = y @ y.T  # (short side, short side)
        y = 3.4445 * y + (2.0315 * a @ a - 4.7750 * a) @ y
    return y.T if is_tall else y
