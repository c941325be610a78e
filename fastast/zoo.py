"""The available models, by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastast.geometry import SIZES, geometry, with_stride
from fastast.names import hub_hint, unknown_name

if TYPE_CHECKING:
    from fastast.model import AudioSpectrogramTransformer

ASSETS = Path(__file__).parent / "assets"

EMBEDDED: dict[str, Path] = {
    name: ASSETS / f"{name}.safetensors"
    for name in ("ast_tiny_soundscapes", "ast_tiny_soundscapes_merged", "ast_tiny_soundscapes_taught")
}
"""Trained models that come with the package. The second continued the training of the first with strong merging and is
meant for r of 100 and more; the third continued it merged and taught by the CNN, gains most where much is merged, and
is the default of commands."""

CNNS: dict[str, Path] = {"cnn_small_soundscapes": ASSETS / "cnn_small_soundscapes.safetensors"}
"""CNNs trained on the same sounds: teachers, which have no tokens to merge."""

TRAINED = EMBEDDED | CNNS
"""All models that come with weights."""

ARCHITECTURES: dict[str, str] = {f"ast_{size}": size for size in SIZES}
"""Architectures without weights, by name, and their sizes: weights are random or from a checkpoint of your own."""


def model_names() -> tuple[str, ...]:
    """Return all names that `create_model` accepts."""
    return (*EMBEDDED, *ARCHITECTURES)


def trained_path(name: str) -> Path:
    """Return the file or folder of a trained model. Raises ValueError where a name is unknown or has no weights."""
    if name in ARCHITECTURES:
        raise ValueError(
            f"{name} has no trained weights: give a checkpoint, or one of the trained models ({', '.join(TRAINED)})"
        )
    if name not in TRAINED and not Path(name).exists():
        raise ValueError(f"no such file, and {unknown_name('model', name, (*model_names(), *CNNS))}{hub_hint(name)}")
    return TRAINED.get(name, Path(name))


def create_model(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    drop_path_rate: float = 0.0,
    stride: int | None = None,
    **overrides: object,
) -> AudioSpectrogramTransformer:
    """Build a model by name.

    `ast_tiny`, `ast_small`, `ast_base`: random weights, or those of `checkpoint` (any format that
    `fastast.load_model` reads). Names in `EMBEDDED`: trained weights. `overrides` are fields of `Geometry`, and
    `stride` sets its `fstride` and `tstride`; with given weights, only `num_frames`, `num_mel_bins` and the strides can
    differ, and the position embeddings are adapted. Raises ValueError for an unknown name or field, CheckpointError for
    a bad file.
    """
    from fastast.model import AudioSpectrogramTransformer

    if name in EMBEDDED:
        checkpoint = EMBEDDED[name] if checkpoint is None else checkpoint
    elif name not in ARCHITECTURES:
        if name in CNNS:
            raise ValueError(
                f"{name} is a CNN, and create_model builds transformers only; give its name to fastast predict, listen "
                "or evaluate, or to a recipe as its teacher"
            )
        raise ValueError(unknown_name("model", name, model_names()))
    overrides = with_stride(stride, overrides)
    if checkpoint is None:
        return AudioSpectrogramTransformer(geometry(ARCHITECTURES[name], **overrides), drop_path_rate=drop_path_rate)
    from fastast.checkpoints import load_model

    return load_model(checkpoint, drop_path_rate=drop_path_rate, **overrides)  # type: ignore[arg-type]
