"""FastAST's own model without a reduction, and with a free one."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from fastast.hosts import reduce
from fastast.macs import BlockPlace
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import PerBlock, Schedule

if TYPE_CHECKING:
    from bench.cell.arm_setting import Arm, ArmSetting


def unmerged(model: AudioSpectrogramTransformer) -> AudioSpectrogramTransformer:
    """Return a model without reduction that shares all weights with `model`."""
    twin = copy.copy(model)
    twin.attached = None
    twin.attention_kernel = "auto"
    return twin


def sliced(model: AudioSpectrogramTransformer, schedule: Schedule) -> AudioSpectrogramTransformer:
    """Return a model that shares all weights with `model` and drops the tokens of `schedule` for free."""
    twin = unmerged(model)
    reduce(twin, slicing(schedule))
    return twin


def slicing(schedule: Schedule, place: BlockPlace = "between") -> TokenReduction:
    """Return the oracle as a reduction: it leaves as many tokens as any method with this schedule, for free."""
    return TokenReduction(schedule=schedule, method="slice", proportional=False, place=place)


def unmerged_arm(at: ArmSetting) -> Arm:
    """Build the arm `unmerged` on the candidate's engine; training steps run in plain PyTorch whatever the engine."""
    if at.trains:
        return at.training(unmerged(at.own))
    return at.unmerged()


def plain_arm(at: ArmSetting) -> Arm:
    """Build the arm `plain`: the unmerged model in plain PyTorch, the common reference of all engines."""
    return at.plain(unmerged(at.own))


def slice_arm(at: ArmSetting) -> Arm | None:
    """Build the arm `slice` on the candidate's engine; None if nothing is removed."""
    if at.reduction is None:
        return None
    oracle = slicing(PerBlock(at.removals), at.reduction.place)
    return at.training_of(oracle) if at.trains else at.engine(oracle)


def model_alone_arm(at: ArmSetting) -> Arm:
    """Build the arm `model_alone`: the candidate, fed with filterbanks."""
    return at.engine(at.reduction, front_end=False) if at.on_engine else at.candidate
