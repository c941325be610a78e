"""Create teachers by name: untrained, or with a new head on trained weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fastast.frontend import Normalisation
from fastast.geometry import Geometry
from fastast.names import unknown_name
from fastast.registry import Registry
from fastast.teachers.ensemble import NAME as ENSEMBLE
from fastast.teachers.ensemble import EnsembleTeacher
from fastast.teachers.protocol import Teacher, TeacherError
from fastast.teachers.transformer import PatchoutTransformer, TransformerTeacher, create_transformer
from fastast.zoo import ARCHITECTURES, EMBEDDED


class BuildTeacher(Protocol):
    """Builds the teacher `name` for `num_classes` classes; its other parameters are the options."""

    def __call__(self, name: str, *, num_classes: int, normalisation: Normalisation | None, **options: Any) -> Teacher:
        """`normalisation`: that of the teacher's future inputs; None: that of its weights, if they have one."""
        ...


CNN = "fastast.teachers.cnn:CnnTeacher"

TEACHERS: Registry[BuildTeacher] = Registry(
    "teacher",
    {
        "efficientnet_b0": CNN,
        "efficientnet_b2": CNN,
        "aisfx_cnn9": "fastast.teachers.aisfx:AisfxTeacher",
    }
    | dict.fromkeys((*EMBEDDED, *ARCHITECTURES), "fastast.teachers.transformer:create_transformer"),
    group="fastast.teachers",
)
"""Builders of teachers by name, with those of other packages."""


def teacher_names() -> tuple[str, ...]:
    """Return the names that `create_teacher` itself defines; it also accepts those of timm's CNNs."""
    return TEACHERS.names()


def is_teacher_name(name: str) -> bool:
    """Return whether `create_teacher` accepts a name: one of its own, or one of timm's."""
    if name in TEACHERS.names():
        return True
    from fastast.teachers.cnn import is_timm_model

    return is_timm_model(name)


def smallest_size(name: str) -> int:
    """Return the least number of values in the state of a CNN from timm, allocating nothing; 0 for other teachers."""
    if name in TEACHERS.names() or not is_teacher_name(name):
        return 0
    from fastast.teachers.cnn import backbone_size

    return backbone_size(name)


def create_teacher(
    name: str, num_classes: int, *, normalisation: Normalisation | None = None, **options: Any
) -> Teacher:
    """Build a teacher by name, on the CPU and in training mode, which maps (b, f, m) to logits (b, c).

    Options of `efficientnet_b2`, `resnet18` and any CNN from timm: `pooling` (`mean` or `attention`), `num_heads`,
    `pretrained` (on ImageNet, downloaded), `drop_path_rate`, `average_frames` and `average_bins` (how many are averaged
    into one first). Options of `ast_tiny`, `ast_small`, `ast_base` and embedded models: `patchout_freq` and
    `patchout_time`, numbers of rows and columns to drop in training (PaSST: 4 and 40 for AudioSet); `checkpoint`;
    `new_head` if its classes are different; `drop_path_rate`; fields of `Geometry`. Options of `aisfx_cnn9`: `weights`,
    see `fastast.teachers.aisfx`; it needs `normalisation` to find the energies.

    `normalisation` is that of the teacher's future inputs; an AST with weights brings its own unless it is given.
    Raises ValueError for an unknown name or option, TeacherError if the number of classes is not the checkpoint's.
    """
    build = _builder(name)
    _check_options(name, build, options)
    teacher = build(name, num_classes=num_classes, normalisation=normalisation, **options)
    teacher.name = name
    return teacher


def rebuild_teacher(
    name: str, num_classes: int, options: Mapping[str, Any], normalisation: Normalisation | None
) -> Teacher:
    """Build the network of a saved teacher from its name and `options`, with random weights.

    Raises TeacherError or ValueError if there is no such network.
    """
    if name == ENSEMBLE:
        return _rebuild_ensemble(num_classes, **options)
    if _builder(name) is not create_transformer:
        return create_teacher(name, num_classes, normalisation=normalisation, **options)
    shape = {key: value for key, value in options.items() if not key.startswith("patchout_")}
    patchout = {key: value for key, value in options.items() if key.startswith("patchout_")}
    teacher = TransformerTeacher(PatchoutTransformer(Geometry(num_classes=num_classes, **shape), **patchout))
    teacher.name = name
    teacher.normalisation = normalisation
    return teacher


def _rebuild_ensemble(
    num_classes: int, *, members: Sequence[Mapping[str, Any]], columns: Sequence[Sequence[int]]
) -> EnsembleTeacher:
    if any(member["name"] == ENSEMBLE for member in members):
        raise TeacherError("ensemble: an ensemble among its members; such a file was not written by FastAST")
    built = [
        rebuild_teacher(member["name"], num_classes, member["options"], Normalisation(**member["normalisation"]))
        for member in members
    ]
    return EnsembleTeacher(built, columns)


def _builder(name: str) -> BuildTeacher:
    """Return the builder of a teacher. Raises TeacherError for a name that is neither FastAST's nor timm's."""
    if name in TEACHERS.names():
        return TEACHERS.get(name)
    if not is_teacher_name(name):
        raise TeacherError(f"{unknown_name('teacher', name, teacher_names())}; and every CNN of timm, such as resnet18")
    return TEACHERS.get("efficientnet_b2")  # all CNNs of timm are built alike


def _check_options(name: str, build: BuildTeacher, options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(build).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return  # it checks them itself
    allowed = [one.name for one in parameters if one.name not in ("name", "num_classes", "normalisation")]
    for option in options:
        if option not in allowed:
            raise TeacherError(f"{name}: {unknown_name('option', option, allowed)}")
