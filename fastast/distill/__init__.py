"""Cross-model knowledge distillation (CMKD): losses, the frozen teacher, and its stored answers.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from fastast.distill.distillation import Distillation, DistillationError
from fastast.distill.distiller import Distiller, FrozenTeacher, create_distiller
from fastast.distill.losses import bernoulli_kl, binary_cross_entropy, softmax_cross_entropy, softmax_kl
from fastast.distill.targets import StoredTargets
from fastast.distill.targets_file import load_targets
from fastast.distill.targets_question import targets_question

__all__ = [
    "Distillation",
    "DistillationError",
    "Distiller",
    "FrozenTeacher",
    "StoredTargets",
    "bernoulli_kl",
    "binary_cross_entropy",
    "create_distiller",
    "load_targets",
    "softmax_cross_entropy",
    "softmax_kl",
    "targets_question",
]
