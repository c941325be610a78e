"""Trained weights to start from, and their last layer: reordered to the data's classes, or new."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from fastast.classes import is_same_order, match_classes
from fastast.model import AudioSpectrogramTransformer
from fastast.teachers import Teacher, load_teacher
from fastast.teachers.clip_models import class_count
from fastast.teachers.cnn import CnnTeacher
from fastast.teachers.pooling import reorder_outputs
from fastast.teachers.transformer import TransformerTeacher
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.parts.model import ModelPart
from fastast.zoo import CNNS


def trained_cnn(part: ModelPart, num_classes: int, options: Mapping[str, Any]) -> CnnTeacher:
    """Return a trained CNN, embedded or from a file that FastAST wrote; its file determines how it is built.

    Raises RecipeError if the file is missing or another network's, or if options contradict it; TeacherError or
    CheckpointError for a file that is damaged or of another kind.
    """
    source = part.checkpoint or part.name
    try:
        teacher = load_teacher(source)
    except FileNotFoundError as error:
        raise RecipeError(f"model.checkpoint: {error}") from error
    if not isinstance(teacher, CnnTeacher) and teacher.name == part.name:
        raise RecipeError(
            f"model.name: {teacher.name} can only teach, not be trained further; start from a CNN of timm"
        )
    if not isinstance(teacher, CnnTeacher) or (part.name not in CNNS and teacher.name != part.name):
        raise RecipeError(
            f"model.checkpoint: {source} is {teacher.name}, and model.name says {part.name}; a CNN starts from weights "
            "of its own kind"
        )
    for option, value in options.items():
        if teacher.options.get(option, _DEFAULTS.get(option)) != value:
            raise RecipeError(
                f"model.options.{option} is {value!r}, and {source} was trained otherwise; take it out: the weights "
                "determine how the network is built"
            )
    if part.new_head:
        teacher.pooling = teacher.pooling.again(num_classes)
        teacher.num_classes = num_classes
    return teacher


_DEFAULTS = {"average_frames": 1, "average_bins": 1}
"""Defaults of options that a teacher's file states only if they differ."""


def with_new_head(
    model: AudioSpectrogramTransformer, part: ModelPart, classes: tuple[str, ...]
) -> AudioSpectrogramTransformer:
    """Return a model with the same weights, except for its last layer, which is random."""
    geometry = dataclasses.replace(model.geometry, num_classes=len(classes))
    fitted = AudioSpectrogramTransformer(geometry, drop_path_rate=part.drop_path_rate)
    state = model.state_dict() | {k: v for k, v in fitted.state_dict().items() if k.startswith("head.linear.")}
    fitted.load_state_dict(state)
    return fitted


def match_head(
    model: AudioSpectrogramTransformer | Teacher,
    part: ModelPart,
    classes: tuple[str, ...],
    say: Callable[[str], None] | None,
) -> None:
    """Bring the outputs of trained weights into the order of the data's classes; `say` gets a message if any moved.

    Raises ClassesError for weights whose classes are different or unknown.
    """
    core = model.model if isinstance(model, TransformerTeacher) else model
    source = part.checkpoint or part.name
    columns = match_classes(
        source,
        model.labels,
        class_count(model),
        classes,
        stated=part.labels,
        option="model.labels",
        advice="or set model.new_head = true to start with a new last layer",
    )
    if is_same_order(columns):
        return
    if isinstance(core, CnnTeacher):
        core.pooling.reorder(columns)
    else:
        assert isinstance(core, AudioSpectrogramTransformer)
        linear = core.head.linear
        assert isinstance(linear, nn.Linear)
        reorder_outputs(linear, columns)
    if say is not None:
        say(f"{source}: its classes are the data's in another order; the outputs were matched by name")
