"""The losses between a student's logits and a teacher's.

Shapes: `b` batch, `c` classes.

All take raw logits, compute in float32 regardless of autocast (float64 for a float64 student), and return the mean over
clips. The temperature divides only the teacher's logits, and the loss is not multiplied by its square, as in CMKD (Gong
et al. 2022, arXiv 2203.06760): the student is trained to answer at the temperature at which it will be used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bernoulli_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the KL divergence of the student from the teacher, with each class a Bernoulli variable (multi-label).

    sum_c p log(p / q) + (1 - p) log((1 - p) / (1 - q)), p = sigmoid(teacher / temperature), q = sigmoid(student),
    divided by the number of classes, as binary cross-entropy is. Logits (b, c) -> a scalar.
    """
    student, teacher = _prepare(student, teacher, temperature)
    with torch.autocast(student.device.type, enabled=False):
        p = teacher.sigmoid()
        present = p * (F.logsigmoid(teacher) - F.logsigmoid(student))
        absent = (1 - p) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
        return (present + absent).mean()


def binary_cross_entropy(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the binary cross-entropy of the student against sigmoid(teacher / temperature), averaged over classes too.

    It is `bernoulli_kl` plus the teacher's entropy, so its gradient is the same. Logits (b, c) -> a scalar. The
    published code of Behera et al. (arXiv 2406.07676) uses this form.
    """
    student, teacher = _prepare(student, teacher, temperature)
    with torch.autocast(student.device.type, enabled=False):
        return F.binary_cross_entropy_with_logits(student, teacher.sigmoid())


def softmax_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the KL divergence of the student from the teacher over mutually exclusive classes (single-label).

    sum_c p log(p / q), p = softmax(teacher / temperature), q = softmax(student). Logits (b, c) -> a scalar.
    """
    student, teacher = _prepare(student, teacher, temperature)
    with torch.autocast(student.device.type, enabled=False):
        return F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), reduction="batchmean", log_target=True)


def softmax_cross_entropy(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the cross-entropy of the student against softmax(teacher / temperature).

    It is `softmax_kl` plus the teacher's entropy, so its gradient is the same. Logits (b, c) -> a scalar.
    """
    student, teacher = _prepare(student, teacher, temperature)
    with torch.autocast(student.device.type, enabled=False):
        return F.cross_entropy(student, teacher.softmax(-1))


def _prepare(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    if student.shape != teacher.shape or student.ndim != 2:
        raise ValueError(
            f"distillation: the student's logits have shape {tuple(student.shape)}, the teacher's "
            f"{tuple(teacher.shape)}; both must be (clips, classes) with the same classes"
        )
    precision = torch.float64 if student.dtype == torch.float64 else torch.float32
    return student.to(precision), teacher.to(precision) / temperature
