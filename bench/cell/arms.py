"""The arms of a performance cell: candidate and baselines with the same weights, in the cell's scope."""

from __future__ import annotations

from bench.cell.arm_setting import Arm, ArmSetting
from bench.cell.inputs import synthetic_waveforms
from bench.cell.stream import StreamArm
from bench.sweep.baselines import BASELINES
from bench.sweep.cells import Cell
from fastast.attention.flash import MissingAttentionError
from fastast.model import AudioSpectrogramTransformer


def build_arms(
    cell: Cell,
    model: AudioSpectrogramTransformer,
    candidate: AudioSpectrogramTransformer,
    *,
    own: AudioSpectrogramTransformer | None = None,
) -> dict[str, Arm]:
    """Return candidate and baselines by name, all with the same weights.

    `unmerged` and `slice` run on the candidate's engine, the others on theirs. If the candidate itself is unmerged, the
    arm `unmerged` is the same model again, and the ratio of the two shows the noise of the machine. For training steps,
    every arm has its own copy of the weights, and `unmerged` is the plain model on PyTorch's fastest attention,
    whatever the engine. If the cell has another stride, unmerged arms use the model at its own stride, `own`.
    """
    at = ArmSetting(cell=cell, model=model, candidate=candidate, own=own or model)
    arms = {"candidate": candidate_arm(at)}
    for name in cell.question["measure"]["baselines"]:
        if (arm := BASELINES.get(name)(at)) is not None:
            arms[name] = arm
    return _in_scope(at, arms)


def build_where_installed(
    cell: Cell,
    model: AudioSpectrogramTransformer,
    candidate: AudioSpectrogramTransformer,
    *,
    own: AudioSpectrogramTransformer | None = None,
) -> tuple[dict[str, Arm], dict[str, str]]:
    """Return the arms of `measure.where_installed` that can run here, and the reasons why others cannot."""
    at = ArmSetting(cell=cell, model=model, candidate=candidate, own=own or model)
    arms, left_out = {}, {}
    for name in cell.question["measure"].get("where_installed", ()):
        try:
            arm = BASELINES.get(name)(at)
        except (ModuleNotFoundError, MissingAttentionError) as error:
            left_out[name] = str(error)
        else:
            if arm is not None:
                arms[name] = arm
    return _in_scope(at, arms), left_out


def _in_scope(at: ArmSetting, arms: dict[str, Arm]) -> dict[str, Arm]:
    """Return the arms in the form that the cell's scope times."""
    cell = at.cell
    if cell.measure.scope != "stream":
        return arms
    sound = synthetic_waveforms(cell, at.model, 1)
    return {name: StreamArm(arm, sound, cell.measure.hop_seconds, cell.device) for name, arm in arms.items()}


def candidate_arm(at: ArmSetting) -> Arm:
    """Return the cell's model with its reduction."""
    if at.trains:
        return at.training_of(at.reduction)
    return at.engine(at.reduction) if at.on_engine else at.plain(at.candidate)
