"""The frozen teacher of a student in training.

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
    """A teacher that never changes: in evaluation mode, without gradients, its batch-norm statistics fixed."""

    def __init__(
        self,
        model: nn.Module,
        *,
        normalisation: Normalisation | None = None,
        columns: Sequence[int] | None = None,
    ) -> None:
        """`normalisation`: that of the spectrograms it will get; they are converted if the teacher's own is another.

        `columns`: index of the teacher's output for each class of the student; None where the order is the same.
        """
        self.model = model.eval().requires_grad_(False)
        self.columns = None if columns is None or is_same_order(columns) else tuple(columns)
        own = getattr(model, "normalisation", None)
        self._from = normalisation if own is not None and own != normalisation else None
        self._to = own
        self._dtype = next((p.dtype for p in model.parameters()), None)

    @torch.inference_mode()
    def _answer(self, fbank: Tensor) -> Tensor:
        # A float64 student has float64 spectrograms; the teacher keeps its own precision, and its answers are float32.
        fbank = fbank if self._dtype is None else fbank.to(self._dtype)
        if self._from is not None and self._to is not None:
            fbank = self._to(self._from.undo(fbank))
        logits = self.model(fbank)  # (b, c)
        return logits if self.columns is None else logits[:, list(self.columns)]

    @property
    def identity(self) -> str:
        """SHA-256 of everything that decides the answers, including the order of the classes."""
        from fastast.teachers import teacher_identity

        own = teacher_identity(self.model)
        return own if self.columns is None else hashlib.sha256(f"{own} {self.columns}".encode()).hexdigest()

    def __call__(self, fbank: Tensor) -> Tensor:
        """Map spectrograms (b, f, m) to float32 logits (b, c), under the caller's autocast.

        Raises DistillationError where the teacher has been put in training mode.
        """
        if self.model.training:
            raise DistillationError(
                "distillation: the teacher is in training mode, so dropout and batch statistics would change its "
                "answers; leave it in eval(), and do not train it in the loop"
            )
        return self._answer(fbank).float().clone()  # an ordinary tensor: autograd cannot save one of inference mode


class Distiller:
    """A `Distillation` with its teacher, or with the teacher's stored answers."""

    def __init__(
        self,
        distillation: Distillation,
        *,
        teacher: FrozenTeacher | None = None,
        targets: StoredTargets | None = None,
    ) -> None:
        if (teacher is None) == (targets is None):
            raise DistillationError("distillation: give either a teacher or stored targets, not both")
        self.distillation = distillation
        self.teacher = teacher
        self.targets = targets

    @property
    def needs_plain_fbank(self) -> bool:
        """Whether `loss` also needs the clips without augmentation, as `plain_fbank`."""
        return self.teacher is not None and not self.distillation.consistent

    def teacher_logits(
        self,
        *,
        fbank: Tensor,
        indices: Tensor | None = None,
        plain_fbank: Tensor | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Return the teacher's logits for a batch, (b, c) float32; arguments and errors as for `loss`."""
        if self.targets is not None:
            if indices is None:
                raise DistillationError("distillation: stored targets are looked up by clip index; pass indices=")
            return self.targets.logits(indices, seed=seed).to(fbank.device)
        assert self.teacher is not None
        if self.distillation.consistent:
            return self.teacher(fbank)
        if plain_fbank is None:
            raise DistillationError(
                "distillation: without consistent teaching the teacher sees the clips without augmentation; pass "
                "plain_fbank= (made by Augmentation.plain)"
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

        student_logits, labels: (b, c). fbank: (b, f, m), the spectrograms that the student saw. plain_fbank: the same
        clips without augmentation, where `needs_plain_fbank`. For stored targets, indices: (b,), the clips', and seed:
        the augmentation's. Raises DistillationError where an argument is needed but missing, or answers are not stored.
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
    """Load the teacher of a `Distillation` onto `device`, or its stored targets.

    `num_classes`, `normalisation`, `shape` (frames, mel bins) and `labels` (names of the classes) are the student's.
    To report a misfit before training starts, the teacher runs on an empty clip of that `shape`, and its classes are
    matched by name to `labels`; its outputs are then in the student's order. `question` states which clips are seen, in
    which batches and with which augmentation (`targets_question`); stored targets for another question are refused.

    Raises DistillationError, TeacherError, CheckpointError or ClassesError (all ValueError) where teacher or targets do
    not fit, FileNotFoundError where there are none.
    """
    from fastast.teachers import load_teacher

    model = load_teacher(distillation.teacher, num_classes=num_classes if labels is None else None)
    if model.loss is not None and ACTIVATIONS[model.loss] != distillation.activation:
        raise DistillationError(
            f"{distillation.teacher}: this teacher was trained with loss {model.loss!r}, so its logits are meant for "
            f"{ACTIVATIONS[model.loss]}, but distillation.activation is {distillation.activation!r}. Use a teacher "
            f"trained with the student's loss, or train the student with loss = {model.loss!r}"
        )
    columns = None if labels is None else match_teacher(distillation, model, labels)
    if model.normalisation is None:
        raise DistillationError(
            f"{distillation.teacher}: nothing says which normalisation this teacher was trained with; save it again "
            "with one, as in fastast.save_checkpoint(path, model, normalisation=fastast.frontend.AUDIOSET)"
        )
    if distillation.targets:
        from fastast.distill.targets_file import load_targets

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
    """Return the index of the teacher's output for each of the student's `classes`.

    Raises ClassesError where the teacher's classes differ or are unknown.
    """
    return match_classes(
        distillation.teacher,
        teacher.labels,
        teacher.num_classes,
        classes,
        stated=distillation.labels,
        option="distillation.labels",
        advice=f"train a teacher on them: create_teacher(name, {len(classes)}, checkpoint=..., new_head=True) keeps "
        "all weights except the last layer's",
    )
