"""FlashAttention-4 and FlexAttention in the plain PyTorch model: unmerged, and with the sizes as a bias per key.

These are the strongest baselines that a reader can assemble: merging as in `fastast.reduce`, without our kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench.cell.baselines.native import unmerged
from fastast.attention.flash import MissingAttentionError, why_not_flash
from fastast.hosts import reduce

if TYPE_CHECKING:
    from bench.cell.arm_setting import Arm, ArmSetting


def fa4_arm(at: ArmSetting) -> Arm:
    """Build the arm `fa4`: the unmerged model on FlashAttention-4. Raises MissingAttentionError without it."""
    _require("fa4", "fa4", at)
    twin = unmerged(at.own)
    twin.attention_kernel = "fa4"
    return at.plain(twin)


def fa4_bias_arm(at: ArmSetting) -> Arm | None:
    """Build the arm `fa4_bias`; None if nothing is merged. Raises MissingAttentionError without FlashAttention-4."""
    return _merged("fa4_bias", "fa4", at)


def flex_bias_arm(at: ArmSetting) -> Arm | None:
    """Build the arm `flex_bias`; None if nothing is merged. Raises MissingAttentionError without FlexAttention."""
    return _merged("flex_bias", "flex", at)


def _merged(name: str, kernel: str, at: ArmSetting) -> Arm | None:
    if at.reduction is None:
        return None
    _require(name, kernel, at)
    twin = unmerged(at.model)
    reduce(twin, at.reduction, attention=kernel)
    return at.plain(twin)


def _require(name: str, kernel: str, at: ArmSetting) -> None:
    if reason := why_not_flash(kernel, torch.device(at.cell.device), at.model.cls_token.dtype):
        raise MissingAttentionError(
            f"baseline {name}: {reason}. Or take '{name}' out of measure.baselines; in measure.where_installed it is "
            "left out where it cannot run"
        )
