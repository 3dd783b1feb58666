"""How fast rotary positions turn, with the scalings of long contexts.

Called by model.py. Letters in shapes: D head width.
"""

import math

import torch
from torch import Tensor

from support.hub import ModelConfig


def rope_frequencies(config: ModelConfig) -> Tensor:
    """Radians that each pair of numbers in a head turns per position, (D/2,).

    Source: RoFormer section 3.2. "linear" scaling slows all pairs down by `factor`. "llama3"
    scaling (Meta's Llama 3.1) slows only those that turn rarely within the old context, and blends
    in between.
    """
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim  # (D/2,)
    frequencies = 1.0 / config.rope_theta**exponents
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    slowed = frequencies / scaling["factor"]
    if scaling["rope_type"] == "linear":
        return slowed
    old_context = scaling["original_max_position_embeddings"]
    turns = old_context * frequencies / (2 * math.pi)  # (D/2,)
    low = scaling["low_freq_factor"]
    high = scaling["high_freq_factor"]
    kept = ((turns - low) / (high - low)).clamp(0, 1)  # 1: as it was, 0: slowed
    return (1 - kept) * slowed + kept * frequencies
