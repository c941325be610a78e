"""Build the model of a recipe, and write it to a file.

Shapes: `d` width, `f'` and `t'` patches along frequency and time, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastast.checkpoints import load_model, save_checkpoint
from fastast.frontend import Frontend, Normalisation
from fastast.geometry import SIZES
from fastast.model import AudioSpectrogramTransformer
from fastast.names import unknown_name
from fastast.positions import adapt_position_embedding
from fastast.scores import Loss
from fastast.teachers import Teacher, create_teacher, save_teacher, teacher_names
from fastast.teachers.clip_models import ClipShape
from fastast.teachers.create import is_teacher_name
from fastast.teachers.transformer import TransformerTeacher
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.parts.model import ModelPart
from fastast.training.weights.freezing import freeze_all_but_head
from fastast.training.weights.heads import match_head, trained_cnn, with_new_head
from fastast.zoo import ARCHITECTURES, CNNS, EMBEDDED, TRAINED, create_model, model_names

DEIT = {
    "tiny": "deit_tiny_distilled_patch16_224",
    "small": "deit_small_distilled_patch16_224",
    "base": "deit_base_distilled_patch16_384",
}
"""Weights that AST starts from, by size (Gong et al. 2021, section 2.2), as timm names them."""
_ONLY_TEACHERS = ("patchout_freq", "patchout_time")
CNN_FRAMES = 1024


def build_recipe_model(
    part: ModelPart,
    classes: tuple[str, ...],
    normalisation: Normalisation,
    *,
    say: Callable[[str], None] | None = None,
    kept_by: Loss | None = None,
) -> nn.Module:
    """Build the model that a recipe trains, for the given classes, with its initial weights.

    Outputs of trained weights are brought into the order of the classes, by name; `say` gets a message if any of them
    moved. `kept_by`: the loss of a training that keeps a share of these weights, None if it keeps none.
    Raises RecipeError for an unknown name, keys that contradict the weights, or weights with another loss of which a
    share would be kept; CheckpointError or TeacherError for weights that do not fit; ClassesError for weights whose
    classes are different or unknown.
    """
    model = _build(part, classes, normalisation)
    if part.begins_trained:
        match_head(model, part, classes, say)
    if None not in (kept_by, model.loss) and model.loss != kept_by:
        raise RecipeError(
            f"start_share keeps a share of {part.checkpoint or part.name}, which was trained with loss {model.loss!r}; "
            f"loss is {kept_by!r}, and their logits have no mean: take start_share out, or train with the same loss"
        )
    model.labels, model.normalisation = classes, normalisation
    model.loss = None  # the result's loss is the recipe's
    return freeze_all_but_head(model.train()) if part.trained == "head" else model.train()


def _build(
    part: ModelPart, classes: tuple[str, ...], normalisation: Normalisation
) -> AudioSpectrogramTransformer | Teacher:
    if part.name not in (*model_names(), *CNNS) and not is_teacher_name(part.name):
        known = sorted({*model_names(), *CNNS, *teacher_names()})
        raise RecipeError(f"model.name: {unknown_name('model', part.name, known)}; and every CNN of timm")
    if part.new_head and not part.checkpoint and part.name not in TRAINED:
        raise RecipeError(
            f"model.new_head is true, and {part.name} begins without weights, so that all of it is new; name weights "
            "(-s model.checkpoint=FILE), or take it out: -s model.new_head="
        )
    options = dict(part.options)
    transformer = part.name in (*ARCHITECTURES, *EMBEDDED)
    if transformer and "drop_path_rate" in options:
        raise RecipeError("model.options.drop_path_rate: for a transformer, model.drop_path_rate sets it; take it out")
    if not transformer or any(option in options for option in _ONLY_TEACHERS):
        return _teacher(part, classes, normalisation, options, transformer)
    if part.checkpoint or part.name in EMBEDDED:
        model = load_model(part.checkpoint or EMBEDDED[part.name], drop_path_rate=part.drop_path_rate, **options)
        _check_size(part, model)
        return with_new_head(model, part, classes) if part.new_head else model
    options["num_classes"] = len(classes)
    model = create_model(part.name, drop_path_rate=part.drop_path_rate, **options)
    if part.imagenet:
        start_from_imagenet(model, _imagenet_weights(part))
    return model


def _teacher(
    part: ModelPart, classes: tuple[str, ...], normalisation: Normalisation, options: dict[str, Any], transformer: bool
) -> Teacher:
    if not transformer:
        options.pop("num_frames", None)
        if part.drop_path_rate:
            raise RecipeError(
                f"model.drop_path_rate is {part.drop_path_rate:g}, which is for transformers; a CNN of timm that has "
                "it takes model.options.drop_path_rate"
            )
    if not transformer and (part.checkpoint or part.name in CNNS):
        return trained_cnn(part, len(classes), options)
    if transformer:
        options |= {"new_head": part.new_head, "drop_path_rate": part.drop_path_rate}
        if part.checkpoint:
            options["checkpoint"] = part.checkpoint
    elif part.imagenet:
        raise RecipeError(f"model.imagenet: {part.name} does not take it; set model.options.pretrained = true instead")
    teacher = create_teacher(part.name, len(classes), normalisation=normalisation, **options)
    if isinstance(teacher, TransformerTeacher):
        _check_size(part, teacher.model)
    if isinstance(teacher, TransformerTeacher) and part.imagenet:
        start_from_imagenet(teacher.model, _imagenet_weights(part))
    return teacher


def _check_size(part: ModelPart, model: AudioSpectrogramTransformer) -> None:
    """Raise RecipeError if weights have another size than the recipe names; `ast_tiny`, the default, is not checked."""
    if not part.checkpoint or part.name not in ARCHITECTURES or part.name == ModelPart.name:
        return
    if model.geometry.embed_dim != (width := SIZES[ARCHITECTURES[part.name]][0]):
        raise RecipeError(
            f"model.name is {part.name}, which is {width} wide, and {part.checkpoint} is {model.geometry.embed_dim}: "
            "the weights determine how the model is built; name their architecture, or other weights"
        )


def _imagenet_weights(part: ModelPart) -> Mapping[str, Tensor]:
    import timm

    size = ARCHITECTURES[part.name]
    if part.imagenet != "download":
        from fastast.checkpoints.files import read_tensors

        return read_tensors(Path(part.imagenet))[0]
    try:
        return timm.create_model(DEIT[size], pretrained=True).state_dict()
    except Exception as error:  # whatever the hub's client raises
        raise RecipeError(
            f"model.imagenet: {DEIT[size]} could not be fetched ({error}); fetch its weights elsewhere and name the "
            "file: -s model.imagenet=FILE, or start from random weights: -s model.imagenet="
        ) from error


def start_from_imagenet(model: AudioSpectrogramTransformer, weights: Mapping[str, Tensor]) -> None:
    """Give a model the weights of a distilled vision transformer (timm's keys), as AST does (section 2.2).

    The patch embedding is summed over the three colours; position embeddings are cut or interpolated to the patch
    grid; the head stays as it is. Raises RecipeError if a weight is missing or has another shape.
    """
    state = model.state_dict()
    fitted: dict[str, Tensor] = {}
    for key, own in state.items():
        if key.startswith("head."):
            fitted[key] = own
            continue
        if key not in weights:
            raise RecipeError(f"model.imagenet: weight {key!r} is missing; give a distilled DeiT of timm")
        value = weights[key].to(own.dtype)
        if key == "patch_embed.proj.weight":
            value = value.sum(1, keepdim=True)  # (d, 1, p, p)
        elif key == "pos_embed":
            side = round((value.shape[1] - 2) ** 0.5)
            value = adapt_position_embedding(value, (side, side), model.geometry.grid)
        if value.shape != own.shape:
            raise RecipeError(
                f"model.imagenet: weight {key!r} has shape {tuple(value.shape)}, the model's is {tuple(own.shape)}"
            )
        fitted[key] = value
    model.load_state_dict(fitted)


def recipe_frontend(model: nn.Module, part: ModelPart, normalisation: Normalisation) -> Frontend:
    """Return the front end that makes the model's input; it does not check lengths, which reading the clips does."""
    inner = getattr(model, "model", model)
    geometry = getattr(inner, "geometry", None)
    if geometry is None:  # a CNN takes any length: the recipe's, or else the one it was trained on
        frames = int(part.options.get("num_frames") or getattr(inner, "num_frames", None) or CNN_FRAMES)
        bins = getattr(inner, "num_mel_bins", None) or ClipShape.num_mel_bins
        geometry = ClipShape(num_frames=frames, num_mel_bins=bins)
    return Frontend(geometry, normalisation, check=False)


def save_model(
    path: Path,
    model: nn.Module,
    state: Mapping[str, Tensor],
    classes: tuple[str, ...],
    notes: Mapping[str, Any],
    *,
    loss: Loss | None = None,
) -> Path:
    """Write weights of a model trained with `loss`, whole or not at all, in the format of its kind; return the path."""
    if isinstance(model, Teacher):
        model.loss = loss
        current = {key: value.clone() for key, value in model.state_dict().items()}
        model.load_state_dict(state)
        try:
            return save_teacher(path, model, labels=classes, training=notes)
        finally:
            model.load_state_dict(current)
    assert isinstance(model, AudioSpectrogramTransformer)
    single = {key: value.to(torch.float32) for key, value in state.items()}
    return save_checkpoint(
        path,
        single,
        geometry=model.geometry,
        labels=classes,
        normalisation=model.normalisation,
        loss=loss,
        training=notes,
    )
