"""The names under which parts of a model stand in a trace."""

from __future__ import annotations

STAGES = ("attention", "plan", "merge", "mlp")
"""The labelled parts of a block; what is left of it is norms and residuals."""
MERGING = ("plan", "merge")
"""The parts that an unmerged block does not have."""
FORWARD = "forward"


def block_label(block: int) -> str:
    """Return the label of a block, counted from 1 as `fastast info` counts."""
    return f"block {block}"


def stage_label(block: int, stage: str) -> str:
    """Return the label of a stage of a block: `block 3 merge`."""
    return f"{block_label(block)} {stage}"
