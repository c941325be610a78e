"""The names under which parts of a model stand in a trace."""

from __future__ import annotations

import re

STAGES = ("attention", "plan", "merge", "mlp")
"""What a block is divided into; what is left of it is norms and residuals. The plain model's labels are these."""
MERGING = ("plan", "merge")
"""The parts that an unmerged block does not have."""
FORWARD = "forward"

OUTSIDE = 0
"""Stands for the number of a block where a stage is in none; blocks are counted from 1, as `fastast info` counts."""

CHOOSING = ("key metric", "best partner", "merge plan")
"""The engine's stages that choose which tokens merge."""
MERGE_NORM = "merge + norm"
"""Averages tokens, and in the same kernel adds the residual and normalises what comes out."""
STAGE_OF = {
    **{stage: stage for stage in STAGES},
    **dict.fromkeys(("qkv", "weighted attention", "projection", "head's tokens"), "attention"),
    **dict.fromkeys(CHOOSING, "plan"),
    MERGE_NORM: "merge",
    **dict.fromkeys(("mlp, first product", "mlp, second product"), "mlp"),
}
"""The part of a block that a label counts as, of `STAGES`; what is not here is norms and residuals."""

_BLOCK = re.compile(r"block (?P<block>[1-9][0-9]*)(?: (?P<stage>.+))?")
_OUTSIDE = ("filterbank", "patch tokens", "first norm", "head")


def block_label(block: int) -> str:
    """Return the label of a block, counted from 1."""
    return f"block {block}"


def stage_label(block: int, stage: str) -> str:
    """Return the label of a stage of a block: `block 3 merge`; of one outside of blocks it is the stage's name."""
    return stage if block == OUTSIDE else f"{block_label(block)} {stage}"


def read_label(label: str) -> tuple[int, str | None] | None:
    """Return the block and stage that a label names, (3, None) for all of block 3; None for what is no such label."""
    if label in _OUTSIDE:
        return OUTSIDE, label
    found = _BLOCK.fullmatch(label)
    return None if found is None else (int(found["block"]), found["stage"])
