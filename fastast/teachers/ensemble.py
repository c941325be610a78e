"""Combine several teachers into one that returns the mean of their logits.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes, `e` members.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastast.classes import ClassesError, match_classes
from fastast.frontend import Normalisation
from fastast.scores import Loss
from fastast.teachers.protocol import Teacher, TeacherError

NAME = "ensemble"


class EnsembleTeacher(Teacher):
    """Returns the mean of its members' logits: the logarithm of the geometric mean of their odds.

    An ensemble of networks of different kinds teaches better than its members (CMKD, Gong et al. 2022, teaches with
    one network; Hinton et al. 2015, arXiv 1503.02531, with an ensemble).
    """

    def __init__(self, members: Sequence[Teacher], columns: Sequence[Sequence[int]] | None = None) -> None:
        """`columns`: for each member, the index of its output for each class of the ensemble; None: all in one order.

        The ensemble has the classes of its first member and takes that member's filterbank, which is renormalised for
        the others. Raises TeacherError for fewer than two members, or if one has no normalisation, other classes,
        another loss or filterbanks of another shape, or is an ensemble itself.
        """
        if len(members) < 2:
            raise TeacherError(f"ensemble: {len(members)} member; give at least two teachers")
        first = members[0]
        super().__init__(num_classes=first.num_classes)
        losses = [member.loss for member in members if member.loss is not None]
        frames = [found for member in members if (found := _frames(member)) is not None]
        bins = [member.num_mel_bins for member in members if member.num_mel_bins is not None]
        own = []
        for number, member in enumerate(members, 1):
            if misfit := _misfit(member, first.num_classes, losses, frames, bins):
                raise TeacherError(f"ensemble: member {number} ({member.name}) {misfit}")
            assert member.normalisation is not None
            own.append(member.normalisation)
        self._own = tuple(own)
        order = list(range(first.num_classes))
        self.columns = [list(one) for one in columns or [order] * len(members)]
        if len(self.columns) != len(members) or any(sorted(one) != order for one in self.columns):
            raise TeacherError("ensemble: columns must give every class of every member once")
        self.members = nn.ModuleList(members)
        self.name = NAME
        self.labels, self.normalisation = first.labels, first.normalisation
        self.loss = losses[0] if losses else None
        hints = frames + [member.num_frames for member in members if member.num_frames]
        self.num_frames = hints[0] if hints else None
        self.num_mel_bins = bins[0] if bins else None
        self.options = {"members": [_description(member) for member in members], "columns": self.columns}

    def forward(self, fbank: Tensor) -> Tensor:
        """Map a filterbank (b, f, m), normalised as for the first member, to logits (b, c)."""
        total = fbank.new_zeros(len(fbank), self.num_classes, dtype=torch.float32)  # (b, c)
        for member, own, columns in zip(self.members, self._own, self.columns, strict=True):
            total += member(_converted(fbank, self._own[0], own)).float()[:, columns]
        return total / len(self.members)


def _misfit(
    member: Teacher, num_classes: int, losses: Sequence[Loss], frames: Sequence[int], bins: Sequence[int]
) -> str:
    """Return the reason why a teacher does not fit into an ensemble; empty if it fits.

    The sequences are those of all members that state their loss, frames or mel bins.
    """
    if isinstance(member, EnsembleTeacher):
        return "is an ensemble itself; give its members"
    if member.normalisation is None:
        return "does not say its normalisation; write its file again with it"
    if member.num_classes != num_classes:
        return f"has {member.num_classes} classes, but the first has {num_classes}; all must have the same classes"
    if member.loss is not None and member.loss != losses[0]:
        return (
            f"was trained with loss {member.loss}, but an earlier one with {losses[0]}; their logits cannot be averaged"
        )
    for what, own, others in (("frames", _frames(member), frames), ("mel bins", member.num_mel_bins, bins)):
        if own is not None and own != others[0]:
            return (
                f"takes {own} {what}, but an earlier one takes {others[0]}, so no clip fits both; use teachers with "
                f"the same number of {what}"
            )
    return ""


def _frames(member: Teacher) -> int | None:
    """Return the only number of frames that a transformer takes; None for a CNN."""
    geometry = getattr(getattr(member, "model", None), "geometry", None)
    return None if geometry is None else int(geometry.num_frames)


def _converted(fbank: Tensor, was: Normalisation, wanted: Normalisation) -> Tensor:
    return fbank if was == wanted else wanted(was.undo(fbank))


def combine_teachers(members: Sequence[Teacher]) -> EnsembleTeacher:
    """Return the ensemble of trained teachers, with their classes matched by name.

    Raises TeacherError if they do not fit together, as when a member has other classes.
    """
    said = [number for number, member in enumerate(members, 1) if member.labels is not None]
    if not said:
        return EnsembleTeacher(members)
    columns = []
    for number, member in enumerate(members, 1):
        if member.labels is None:
            raise TeacherError(
                f"ensemble: member {number} ({member.name}) does not say its classes, but member {said[0]} does; write "
                "its file again with them: save_teacher(path, teacher, labels=...)"
            )
        try:
            columns.append(match_classes(member.name, member.labels, member.num_classes, members[0].labels or ()))
        except ClassesError as error:
            raise TeacherError(f"ensemble: member {number}: {error}") from error
    return EnsembleTeacher(members, columns)


def _description(member: Teacher) -> dict[str, Any]:
    """Return what `_rebuild_ensemble` needs to rebuild a member; JSON."""
    return {
        "name": member.name,
        "options": member.options,
        "normalisation": None if member.normalisation is None else dataclasses.asdict(member.normalisation),
    }
