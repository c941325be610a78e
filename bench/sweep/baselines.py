"""The baselines that a sweep can name, each with the function in `bench.cell.baselines` that builds its arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fastast.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class BuildArm(Protocol):
    """Builds the arm of a baseline, a callable that is timed, from a `bench.cell.arm_setting.ArmSetting`."""

    def __call__(self, at: object, /) -> Callable[..., Tensor] | None:
        """Return the arm; None where the cell's model or reduction has no such baseline."""
        ...


BASELINES: Registry[BuildArm] = Registry(
    "baseline",
    {
        "unmerged": "bench.cell.baselines.native:unmerged_arm",
        "slice": "bench.cell.baselines.native:slice_arm",
        "tome_plain": "bench.cell.baselines.tome_plain:tome_plain_arm",
        "timm": "bench.cell.baselines.timm_blocks:timm_arm",
        "timm_compiled": "bench.cell.baselines.timm_blocks:timm_compiled_arm",
        "hf": "bench.cell.baselines.hugging_face:hugging_face_arm",
        "model_alone": "bench.cell.baselines.native:model_alone_arm",
        "plain": "bench.cell.baselines.native:plain_arm",
        "fa4": "bench.cell.baselines.flash:fa4_arm",
        "fa4_bias": "bench.cell.baselines.flash:fa4_bias_arm",
        "flex_bias": "bench.cell.baselines.flash:flex_bias_arm",
    },
)
"""See `bench.cell.baselines`; new ones go to the end, as their order is part of a cell's identity."""
SCOPES: dict[str, tuple[str, ...]] = {
    "forward": tuple(name for name in BASELINES if name != "model_alone"),
    "waveform": tuple(BASELINES),
    "training_step": ("unmerged", "slice", "timm"),
    "stream": tuple(name for name in BASELINES if name != "model_alone"),
}
"""What can be timed, each with the baselines that it can be timed for; see `MeasureConfig.scope`."""
HOP_SECONDS = 1.0
"""Seconds between the windows of a stream whose question does not give them."""
