"""The `distillation` section of a recipe, and its loss.

Shapes: `b` batch, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastast.distill.losses import bernoulli_kl, binary_cross_entropy, softmax_cross_entropy, softmax_kl
from fastast.finite import is_number

ACTIVATIONS = ("sigmoid", "softmax")
FORMS = ("kl", "bce")
_LOSSES: dict[tuple[str, str], Callable[[Tensor, Tensor, float], Tensor]] = {
    ("sigmoid", "kl"): bernoulli_kl,
    ("sigmoid", "bce"): binary_cross_entropy,
    ("softmax", "kl"): softmax_kl,
    ("softmax", "bce"): softmax_cross_entropy,
}


class DistillationError(ValueError):
    """Distillation is impossible: a setting is invalid, or a teacher or stored answers do not fit."""


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How a student learns from a frozen teacher (CMKD, Gong et al. 2022, arXiv 2203.06760).

    loss = label_weight * L_g(student, labels) + (1 - label_weight) * L_d(student, teacher / temperature)
    """

    teacher: str
    """A trained teacher: the name of an embedded model (`ast_tiny_soundscapes`), or the path of a file written by
    `fastast.teachers.save_teacher` or `fastast.save_checkpoint`, or of any AST checkpoint."""
    label_weight: float = 0.5
    """Lambda, the weight of the loss against the labels, from 0 to 1 (CMKD: 0.5; code of Behera et al.: 0.1)."""
    temperature: float = 1.0
    """Tau, by which the teacher's logits, and only those, are divided."""
    form: str = "kl"
    """`kl`: the divergence, as in CMKD; `bce`: cross-entropy against the teacher's probabilities, as in the
    published code of Behera et al. Their gradients are the same: they differ by the teacher's entropy, which does not
    depend on the student."""
    activation: str = "sigmoid"
    """`sigmoid` if a clip can have several labels (`loss = "bce"`), `softmax` if it has exactly one (`loss = "ce"`)."""
    consistent: bool = True
    """Consistent teaching: the teacher sees the same augmented and mixed spectrogram as the student. If false, it sees
    the clip without augmentation."""
    labels: str = ""
    """Names of the teacher's classes if its file has none or other names: a file with one name per line, in the order
    of its outputs, or `data` if the outputs are unnamed and in the order of the data's classes."""
    targets: str = ""
    """A file of stored answers, written by `fastast record`, to learn from instead of running the teacher."""

    def __post_init__(self) -> None:
        if not isinstance(self.teacher, str) or not self.teacher:
            raise DistillationError(
                f"distillation: teacher is {self.teacher!r}; give the name of an embedded model or the path of a file"
            )
        for name, low, high in (("label_weight", 0.0, 1.0), ("temperature", 1e-3, 1e3)):
            value = getattr(self, name)
            if not is_number(value) or not low <= value <= high:
                raise DistillationError(
                    f"distillation: {name} is {value!r}; it must be a number from {low:g} to {high:g}"
                )
        for name, allowed in (("form", FORMS), ("activation", ACTIVATIONS)):
            if getattr(self, name) not in allowed:
                raise DistillationError(
                    f"distillation: {name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}"
                )
        if not isinstance(self.consistent, bool):
            raise DistillationError(f"distillation: consistent is {self.consistent!r}; it must be true or false")
        for name in ("labels", "targets"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise DistillationError(f"distillation: {name} is {value!r}; it must be the path of a file, or empty")

    def loss(
        self, student_logits: Tensor, labels: Tensor, *, teacher_logits: Tensor, base_loss: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the scalars `loss` (to differentiate) and, both detached, `label_loss` (L_g) and `teacher_loss` (L_d).

        Logits and labels: (b, c). `base_loss`: L_g if the caller has computed its own, such as one with class weights;
        otherwise it is `label_loss`. Raises ValueError where the logits differ in shape.
        """
        label_loss = self.label_loss(student_logits, labels) if base_loss is None else base_loss
        teacher_loss = _LOSSES[self.activation, self.form](student_logits, teacher_logits, self.temperature)
        loss = self.label_weight * label_loss + (1 - self.label_weight) * teacher_loss
        return {"loss": loss, "label_loss": label_loss.detach(), "teacher_loss": teacher_loss.detach()}

    def label_loss(self, student_logits: Tensor, labels: Tensor) -> Tensor:
        """Return L_g: binary cross-entropy for `sigmoid`; cross-entropy, labels as probabilities, for `softmax`."""
        with torch.autocast(student_logits.device.type, enabled=False):
            logits = student_logits.to(torch.float64 if student_logits.dtype == torch.float64 else torch.float32)
            if self.activation == "sigmoid":
                return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
            return F.cross_entropy(logits, labels.to(logits.dtype))
