"""Two ways to run the blocks of a model that change its cost and not its results.

Called by train.py, for --checkpointing and --compile.
"""

from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(model: Any) -> None:
    """Keep each block's input alone, and compute the rest again in the backward pass.

    It takes less memory and a third more time.
    """
    for block in model.model.layers:
        block.forward = partial(
            checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
        )


def compile_blocks(model: Any) -> None:
    """torch.compile what a block does beside attention, for any number of rows and tokens.

    All blocks have one code, so that a few graphs serve them all. Attention's shapes change with
    every token: KVCache.attend and Packed.attend stay as they are.
    """
    for block in model.model.layers:
        block.compile(dynamic=True)
