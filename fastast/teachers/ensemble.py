"""Several teachers that answer as one, with the mean of their logits.

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
from fastast.teachers.protocol import Teacher, TeacherError

NAME = "ensemble"


class EnsembleTeacher(Teacher):
    """The mean of its members' logits: the normalised geometric mean of their odds.

    An ensemble of networks of different kinds teaches better than its members (CMKD, Gong et al. 2022, teaches with
    one network; Hinton et al. 2015, arXiv 1503.02531, with an ensemble).
    """

    def __init__(self, members: Sequence[Teacher], columns: Sequence[Sequence[int]] | None = None) -> None:
        """`columns`: for every member, which of its outputs each class of the ensemble is; None: all have one order.

        The ensemble takes the filterbank of its first member, and its classes; others are given theirs.
        Raises TeacherError for fewer than two members, or where one has no normalisation, other classes or another
        loss.
        """
        if len(members) < 2:
            raise TeacherError(f"ensemble: {len(members)} member; give at least two teachers")
        first = members[0]
        super().__init__(num_classes=first.num_classes)
        own = []
        for number, member in enumerate(members, 1):
            if misfit := _misfit(member, first):
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
        self.labels, self.normalisation, self.loss = first.labels, first.normalisation, first.loss
        self.num_frames = next((member.num_frames for member in members if member.num_frames), None)
        self.options = {"members": [_description(member) for member in members], "columns": self.columns}

    def forward(self, fbank: Tensor) -> Tensor:
        """Filterbank (b, f, m), normalised as for the first member -> logits (b, c)."""
        total = fbank.new_zeros(len(fbank), self.num_classes, dtype=torch.float32)  # (b, c)
        for member, own, columns in zip(self.members, self._own, self.columns, strict=True):
            total += member(_converted(fbank, self._own[0], own)).float()[:, columns]
        return total / len(self.members)


def _misfit(member: Teacher, first: Teacher) -> str:
    """Return what keeps a teacher out of an ensemble; empty where nothing does."""
    if isinstance(member, EnsembleTeacher):
        return "is an ensemble itself; give its members"
    if member.normalisation is None:
        return "says no normalisation; write it anew with it"
    if member.num_classes != first.num_classes:
        return f"has {member.num_classes} classes, the first has {first.num_classes}; all must know the same"
    if None not in (member.loss, first.loss) and member.loss != first.loss:
        return f"was trained with loss {member.loss}, the first with {first.loss}; their logits have no mean"
    return ""


def _converted(fbank: Tensor, was: Normalisation, wanted: Normalisation) -> Tensor:
    return fbank if was == wanted else wanted(was.undo(fbank))


def combine_teachers(members: Sequence[Teacher]) -> EnsembleTeacher:
    """Return the ensemble of trained teachers, their classes matched by name.

    Raises TeacherError where they cannot be one, ClassesError (a ValueError) where a member has other classes.
    """
    first = members[0] if members else None
    if first is None or first.labels is None:
        return EnsembleTeacher(members)
    columns = []
    for number, member in enumerate(members, 1):
        if member.labels is None:
            raise TeacherError(
                f"ensemble: member {number} ({member.name}) does not say its classes, the first does; write it anew "
                "with them: save_teacher(path, teacher, labels=...)"
            )
        try:
            columns.append(match_classes(member.name, member.labels, member.num_classes, first.labels))
        except ClassesError as error:
            raise TeacherError(f"ensemble: member {number}: {error}") from error
    return EnsembleTeacher(members, columns)


def _description(member: Teacher) -> dict[str, Any]:
    """Return what `rebuild_ensemble` needs; JSON."""
    return {
        "name": member.name,
        "options": member.options,
        "normalisation": None if member.normalisation is None else dataclasses.asdict(member.normalisation),
    }
