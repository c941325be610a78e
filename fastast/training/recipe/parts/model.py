"""The model of a recipe, and the weights that it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastast.training.recipe.checks import (
    RecipeError,
    check_choice,
    check_flag,
    check_number,
    check_options,
    check_text,
    check_whole,
)
from fastast.zoo import TRAINED as WITH_WEIGHTS

TRAINED = ("all", "head")


@dataclass(frozen=True, kw_only=True)
class ModelPart:
    """The model to train, and the weights it starts from."""

    name: str = "ast_tiny"
    """Name of an AST (`fastast info` lists them), of any CNN of timm (`efficientnet_b2`), or of another teacher
    (`cnn_small_soundscapes`)."""
    checkpoint: str = ""
    """Weights to start from: any checkpoint that `fastast.load_model` reads; for a CNN, a file that FastAST trained.
    Empty: the weights that come with the model, or random ones."""
    labels: str = ""
    """Names of the checkpoint's classes if its file has none or other names: a file with one name per line, in the
    order of the outputs, or `data` if the outputs are unnamed and in the order of the data's classes."""
    new_head: bool = False
    """Start with a new, random last layer, for a checkpoint with other classes."""
    imagenet: str = ""
    """Start, as AST does, from a vision transformer trained on ImageNet: `download` fetches timm's distilled DeiT of
    the model's size, and a path names its weights on disk."""
    trained: str = "all"
    """Which weights are trained: `all`, or only those of the `head`, on frozen features."""
    drop_path_rate: float = 0.0
    """Stochastic depth: drop rate of the last block of a transformer; rates rise linearly from 0 at the first."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Geometry`, such as `num_frames`; for a teacher or CNN, its options in `create_teacher`."""

    def __post_init__(self) -> None:
        for name in ("name", "checkpoint", "labels", "imagenet"):
            check_text(f"model.{name}", getattr(self, name))
        check_flag("model.new_head", self.new_head)
        check_choice("model.trained", self.trained, TRAINED)
        check_number("model.drop_path_rate", self.drop_path_rate, low=0, high=0.99)
        check_options("model.options", self.options, "{ num_frames = 512 }")
        if "num_frames" in self.options:  # a CNN has no geometry to check it
            check_whole("model.options.num_frames", self.options["num_frames"], low=1)
        for option, said in _SAID_ELSEWHERE.items():
            if option in self.options:
                raise RecipeError(f"model.options.{option}: {said}; take it out")
        if self.trained == "head" and self.drop_path_rate:
            raise RecipeError(
                f"model.drop_path_rate is {self.drop_path_rate:g}, and model.trained is 'head': frozen blocks drop "
                "nothing; take one of the two out"
            )
        if self.checkpoint and self.imagenet:
            raise RecipeError(
                "model: checkpoint and imagenet are both given; a model starts from one of the two: take the other out"
            )
        if self.imagenet and self.name in WITH_WEIGHTS:
            raise RecipeError(
                f"model.imagenet: {self.name} has weights of its own; name an architecture, or take model.imagenet out"
            )
        if self.labels and not self.begins_trained:
            raise RecipeError(
                "model.labels names outputs of trained weights, but this model's last layer is new; take it out"
            )

    @property
    def begins_trained(self) -> bool:
        """Whether all weights that it starts with, including the last layer's, are trained ones."""
        return bool(self.checkpoint or self.name in WITH_WEIGHTS) and not self.new_head


_SAID_ELSEWHERE = {
    "num_classes": "the classes are those of the data",
    "normalisation": "the part [normalisation] sets it",
} | {key: f"model.{key} sets it" for key in ("name", "checkpoint", "labels", "new_head", "imagenet", "trained")}
"""Options that model builders take but other keys set; as options, they would bypass matching classes by name."""
