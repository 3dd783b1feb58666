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
    """torch.compile the norms and the feed-forward parts, for any number of rows and tokens.

    All blocks have one code, so that a few graphs serve them all. Attention is left as it is: its
    shapes change with every token.
    """
    for block in model.model.layers:
        block.input_layernorm.compile(dynamic=True)
        block.post_attention_layernorm.compile(dynamic=True)
        block.mlp.compile(dynamic=True)
