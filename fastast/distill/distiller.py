"""The frozen teacher beside a student in training.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fastast.classes import is_same_order, match_classes
from fastast.distill.distillation import Distillation, DistillationError
from fastast.frontend import Normalisation
from fastast.scores import ACTIVATIONS

if TYPE_CHECKING:
    from fastast.distill.targets import StoredTargets
    from fastast.teachers import Teacher


class FrozenTeacher:
    """A teacher that answers and never learns: in evaluation mode, without gradients, its statistics untouched."""

    def __init__(
        self,
        model: nn.Module,
        *,
        normalisation: Normalisation | None = None,
        columns: Sequence[int] | None = None,
    ) -> None:
        """`normalisation` is the one of the spectrograms to come; where the teacher has another, they are converted.

        `columns`: which of the teacher's outputs each class of the student is; None where the order is the same.
        """
        self.model = model.eval().requires_grad_(False)
        self.columns = None if columns is None or is_same_order(columns) else tuple(columns)
        own = getattr(model, "normalisation", None)
        self._from = normalisation if own is not None and own != normalisation else None
        self._to = own
        self._dtype = next((p.dtype for p in model.parameters()), None)

    @torch.inference_mode()
    def _answer(self, fbank: Tensor) -> Tensor:
        # A student in float64 has its spectrograms so; under autocast both are float32. Stored answers are to float32.
        fbank = fbank if self._dtype is None else fbank.to(self._dtype)
        if self._from is not None and self._to is not None:
            fbank = self._to(self._from.undo(fbank))
        logits = self.model(fbank)  # (b, c)
        return logits if self.columns is None else logits[:, list(self.columns)]

    @property
    def identity(self) -> str:
        """SHA-256 of all that decides the answers, the order of the classes among it."""
        from fastast.teachers import teacher_identity

        own = teacher_identity(self.model)
        return own if self.columns is None else hashlib.sha256(f"{own} {self.columns}".encode()).hexdigest()

    def __call__(self, fbank: Tensor) -> Tensor:
        """(b, f, m) -> float32 logits (b, c), under the autocast of the caller."""
        if self.model.training:
            raise DistillationError(
                "distillation: the teacher is in training mode, so dropout and batch statistics would change its "
                "answers; leave it in eval() and out of what the loop trains"
            )
        return self._answer(fbank).float().clone()  # an ordinary tensor: one of inference mode stops the backward pass


class Distiller:
    """A `Distillation` with its teacher, or with the answers the teacher gave before."""

    def __init__(
        self,
        distillation: Distillation,
        *,
        teacher: FrozenTeacher | None = None,
        targets: StoredTargets | None = None,
    ) -> None:
        if (teacher is None) == (targets is None):
            raise DistillationError("distillation: give a teacher or stored targets, and not both")
        self.distillation = distillation
        self.teacher = teacher
        self.targets = targets

    @property
    def needs_plain_fbank(self) -> bool:
        """Whether `loss` wants the clips without augmentation too, as `plain_fbank`."""
        return self.teacher is not None and not self.distillation.consistent

    def teacher_logits(
        self,
        *,
        fbank: Tensor,
        indices: Tensor | None = None,
        plain_fbank: Tensor | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """What the teacher says to a batch, (b, c) float32; see `loss` for the arguments."""
        if self.targets is not None:
            if indices is None:
                raise DistillationError("distillation: stored targets are found by the clips' indices; pass indices=")
            return self.targets.logits(indices, seed=seed).to(fbank.device)
        assert self.teacher is not None
        if self.distillation.consistent:
            return self.teacher(fbank)
        if plain_fbank is None:
            raise DistillationError(
                "distillation: without consistent teaching the teacher sees clips that are not augmented; pass "
                "plain_fbank= (Augmentation.plain makes it)"
            )
        return self.teacher(plain_fbank)

    def loss(
        self,
        student_logits: Tensor,
        labels: Tensor,
        *,
        fbank: Tensor,
        indices: Tensor | None = None,
        base_loss: Tensor | None = None,
        plain_fbank: Tensor | None = None,
        seed: int | None = None,
    ) -> dict[str, Tensor]:
        """Return the scalars `loss`, `label_loss` and `teacher_loss` of a batch, as `Distillation.loss` does.

        student_logits, labels: (b, c). fbank: (b, f, m), what the student saw. plain_fbank: the same clips without
        augmentation, where `needs_plain_fbank`. indices: (b,) and seed, the augmentation's: for stored targets.
        """
        teacher_logits = self.teacher_logits(fbank=fbank, indices=indices, plain_fbank=plain_fbank, seed=seed)
        return self.distillation.loss(student_logits, labels, teacher_logits=teacher_logits, base_loss=base_loss)


def create_distiller(
    distillation: Distillation,
    *,
    num_classes: int,
    normalisation: Normalisation,
    shape: tuple[int, int] | None = None,
    labels: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    question: Mapping[str, Any] | None = None,
) -> Distiller:
    """Load what a `Distillation` names: its teacher onto `device`, or its stored targets.

    `num_classes`, `normalisation`, `shape` (frames, mel bins) and `labels` (names of the classes) are the student's.
    With `shape` the teacher is tried on an empty clip, with `labels` its classes are matched by name (its outputs are
    then in the student's order), so that what does not fit is reported before the training starts. `question` says
    which clips, in which batches and with which augmentation (`targets_question`); stored targets of another are
    refused.
    Raises DistillationError, TeacherError or CheckpointError (all ValueError) where teacher or targets do not fit,
    FileNotFoundError where there are none.
    """
    from fastast.teachers import load_teacher

    model = load_teacher(distillation.teacher, num_classes=num_classes if labels is None else None)
    if model.loss is not None and ACTIVATIONS[model.loss] != distillation.activation:
        raise DistillationError(
            f"{distillation.teacher}: this teacher was trained with loss {model.loss!r}, so its answers are a "
            f"{ACTIVATIONS[model.loss]}; distillation.activation is {distillation.activation!r}. Take a teacher that "
            f"was trained with the student's loss, or train the student with loss = {model.loss!r}"
        )
    columns = None if labels is None else match_teacher(distillation, model, labels)
    if model.normalisation is None:
        raise DistillationError(
            f"{distillation.teacher}: nothing says with which normalisation this teacher was trained; write it anew "
            "with it, as in fastast.save_checkpoint(path, model, normalisation=fastast.frontend.AUDIOSET)"
        )
    if distillation.targets:
        from fastast.distill.targets import load_targets

        targets = load_targets(
            Path(distillation.targets),
            num_classes=num_classes,
            activation=distillation.activation,
            consistent=distillation.consistent,
            teacher_identity=FrozenTeacher(model, columns=columns).identity,
            question=question or {},
        )
        return Distiller(distillation, targets=targets)
    teacher = FrozenTeacher(model.to(device), normalisation=normalisation, columns=columns)
    if shape is not None:
        try:
            teacher(torch.zeros(1, *shape, device=device))
        except ValueError as error:
            raise DistillationError(
                f"{distillation.teacher}: this teacher cannot take the student's filterbank of {shape[0]} frames and "
                f"{shape[1]} mel bins: {error}"
            ) from error
    return Distiller(distillation, teacher=teacher)


def match_teacher(distillation: Distillation, teacher: Teacher, classes: Sequence[str]) -> tuple[int, ...]:
    """Return which of a teacher's outputs each class of the student is. Raises ClassesError where it has others."""
    return match_classes(
        distillation.teacher,
        teacher.labels,
        teacher.num_classes,
        classes,
        stated=distillation.labels,
        option="distillation.labels",
        advice=f"train a teacher on them: create_teacher(name, {len(classes)}, checkpoint=..., new_head=True) keeps "
        "all weights but the last layer's",
    )
