"""The names of a model's parts in a trace."""

from __future__ import annotations

import re

STAGES = ("attention", "plan", "merge", "mlp")
"""The labelled parts of a block of the plain model; the remainder is norms and residuals."""
MERGING = ("plan", "merge")
"""The parts that an unmerged block does not have."""
FORWARD = "forward"

OUTSIDE = 0
"""Block number of a stage that is in no block; blocks are counted from 1, as in `fastast info`."""

CHOOSING = ("key metric", "best partner", "merge plan")
"""The engine's stages that choose which tokens merge."""
MERGE_NORM = "merge + norm"
"""The engine's stage that averages tokens, adds the residual and normalises the result in one kernel."""
STAGE_OF = {
    **{stage: stage for stage in STAGES},
    **dict.fromkeys(("qkv", "weighted attention", "projection", "head's tokens"), "attention"),
    **dict.fromkeys(CHOOSING, "plan"),
    MERGE_NORM: "merge",
    **dict.fromkeys(("mlp, first product", "mlp, second product"), "mlp"),
}
"""By label, the part of `STAGES` that it counts towards; labels that are not listed are norms and residuals."""

_BLOCK = re.compile(r"block (?P<block>[1-9][0-9]*)(?: (?P<stage>.+))?")
_OUTSIDE = ("filterbank", "patch tokens", "first norm", "head")


def block_label(block: int) -> str:
    """Return the label of a block, counted from 1."""
    return f"block {block}"


def stage_label(block: int, stage: str) -> str:
    """Return the label of a stage of a block, such as `block 3 merge`; outside the blocks, the stage's own name."""
    return stage if block == OUTSIDE else f"{block_label(block)} {stage}"


def read_label(label: str) -> tuple[int, str | None] | None:
    """Return the block and stage that a label names, (3, None) for the whole of block 3; None for any other label."""
    if label in _OUTSIDE:
        return OUTSIDE, label
    found = _BLOCK.fullmatch(label)
    return None if found is None else (int(found["block"]), found["stage"])
