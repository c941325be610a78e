"""A teacher by name: untrained, or with a new head on trained weights."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastast.frontend import Normalisation
from fastast.geometry import Geometry, geometry
from fastast.names import unknown_name
from fastast.teachers.aisfx import AisfxTeacher
from fastast.teachers.efficientnet import EfficientNetTeacher
from fastast.teachers.protocol import Teacher, TeacherError
from fastast.teachers.transformer import PatchoutTransformer, TransformerTeacher
from fastast.zoo import ARCHITECTURES, EMBEDDED

EFFICIENTNETS = ("efficientnet_b0", "efficientnet_b2")
AISFX = "aisfx_cnn9"


def teacher_names() -> tuple[str, ...]:
    """Return all names that `create_teacher` knows."""
    return (*EFFICIENTNETS, AISFX, *EMBEDDED, *ARCHITECTURES)


def create_teacher(
    name: str, num_classes: int, *, normalisation: Normalisation | None = None, **options: Any
) -> Teacher:
    """Build a teacher by name, on the CPU and in training mode; it takes (b, f, m) and returns logits (b, c).

    `efficientnet_b2` (and `_b0`): `pooling` (`mean` or `attention`), `num_heads`, `pretrained` (ImageNet, downloaded),
    `drop_path_rate`.
    `ast_tiny`, `ast_small`, `ast_base`, an embedded model: `patchout_freq` and `patchout_time`, rows and columns
    dropped in training (PaSST: 4 and 40 for AudioSet); `checkpoint`; `new_head` where its classes are others;
    `drop_path_rate`; fields of `Geometry`.
    `aisfx_cnn9`: `weights`, see `fastast.teachers.aisfx`; it needs `normalisation` to know the energies.

    `normalisation` is the one of the filterbanks to come; an AST with weights brings its own.
    Raises ValueError for an unknown name or option, TeacherError for classes that are not the checkpoint's.
    """
    if name not in teacher_names():
        raise ValueError(unknown_name("teacher", name, teacher_names()))
    teacher: Teacher
    if name in EFFICIENTNETS:
        _check_options(name, EfficientNetTeacher, options)
        teacher = EfficientNetTeacher(name, num_classes=num_classes, **options)
    elif name == AISFX:
        _check_options(name, AisfxTeacher, options)
        teacher = AisfxTeacher(num_classes=num_classes, normalisation=normalisation, **options)
    else:
        teacher = _transformer(name, num_classes=num_classes, **options)
    teacher.name = name
    teacher.normalisation = normalisation or teacher.normalisation
    return teacher


def rebuild_teacher(
    name: str, num_classes: int, options: Mapping[str, Any], normalisation: Normalisation | None
) -> Teacher:
    """Build the network of a saved teacher from its name and `options`, with random weights."""
    if name in EFFICIENTNETS or name == AISFX:
        return create_teacher(name, num_classes, normalisation=normalisation, **options)
    shape = {key: value for key, value in options.items() if not key.startswith("patchout_")}
    patchout = {key: value for key, value in options.items() if key.startswith("patchout_")}
    teacher = TransformerTeacher(PatchoutTransformer(Geometry(num_classes=num_classes, **shape), **patchout))
    teacher.name = name
    teacher.normalisation = normalisation
    return teacher


def other_classes(source: str, has: int, wanted: int) -> str:
    """Return the message for a teacher whose classes are not the student's."""
    return (
        f"{source}: this teacher has {has} classes, the student {wanted}; a teacher must know the student's classes. "
        f"Train one on them: create_teacher(name, {wanted}, checkpoint=..., new_head=True) keeps all weights but the "
        "last layer's"
    )


def _check_options(name: str, kind: type[Teacher], options: Mapping[str, Any]) -> None:
    taken = ("architecture", "num_classes", "normalisation")
    allowed = [option for option in inspect.signature(kind).parameters if option not in taken]
    for option in options:
        if option not in allowed:
            raise TeacherError(f"{name}: {unknown_name('option', option, allowed)}")


def _transformer(
    name: str,
    *,
    num_classes: int,
    checkpoint: str | Path | None = None,
    new_head: bool = False,
    patchout_freq: int = 0,
    patchout_time: int = 0,
    drop_path_rate: float = 0.0,
    **overrides: Any,
) -> TransformerTeacher:
    from fastast.checkpoints import load_model

    source = EMBEDDED.get(name) if checkpoint is None else checkpoint
    loaded = None if source is None else load_model(source, **overrides)
    if loaded is None:
        shape = geometry(ARCHITECTURES[name], **(overrides | {"num_classes": num_classes}))
    else:
        shape = dataclasses.replace(loaded.geometry, num_classes=num_classes)
        if loaded.geometry.num_classes != num_classes and not new_head:
            raise TeacherError(other_classes(str(source), loaded.geometry.num_classes, num_classes))
    model = PatchoutTransformer(
        shape, drop_path_rate=drop_path_rate, patchout_freq=patchout_freq, patchout_time=patchout_time
    )
    if loaded is not None:
        state = loaded.state_dict()
        if new_head:  # the head's norm fits any classes; its linear layer starts anew
            state |= {key: value for key, value in model.state_dict().items() if key.startswith("head.linear.")}
        model.load_state_dict(state)
        model.labels = None if new_head else loaded.labels
        model.normalisation = loaded.normalisation
        model.loss = None if new_head else loaded.loss
    return TransformerTeacher(model)
