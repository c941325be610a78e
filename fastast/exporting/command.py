"""Implementation of `fastast export`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fastast.checkpoints import load_model
from fastast.exporting.calibration import calibration_clips, spread_indices
from fastast.exporting.errors import ExportError
from fastast.exporting.exporter import export
from fastast.exporting.formats import FORMATS, find_format
from fastast.exporting.metadata import Number
from fastast.frontend import Frontend, Normalisation
from fastast.reduction import TokenReduction
from fastast.zoo import trained_path


def export_command(
    model: str,
    out: Path,
    reduction: TokenReduction | None,
    *,
    format: str,
    dtype: Number,
    recipe: str | None,
    clips: int,
    geometry: Mapping[str, object] | None = None,
    normalisation: Normalisation | None = None,
) -> str:
    """Export a model and return what to print; int8 is calibrated on `clips` training clips of `recipe`.

    `geometry` and `normalisation` are what a checkpoint does not say, as for `fastast.load_model`.
    Raises ValueError as `fastast.export` does, and for a recipe or data that cannot be read.
    """
    find_format(format, out).check_files(out, [trained_path(model)])
    calibration = None
    if recipe is not None:
        from fastast.training.recipe.file import load_recipe

        data = load_recipe(recipe, ()).data.options.split("train")
        network = load_model(trained_path(model), geometry=geometry, normalisation=normalisation)
        frontend = Frontend(network.geometry, network.normalisation)
        calibration = calibration_clips(data, frontend, spread_indices(len(data), clips))
    elif dtype == "int8":
        raise ExportError(
            "export: int8 is calibrated on training clips; name a recipe that has them, such as --calibrate "
            "soundscapes_tiny"
        )
    done = export(
        model,
        out,
        format=format,
        reduction=reduction,
        dtype=dtype,
        calibration=calibration,
        normalisation=normalisation,
        geometry=geometry,
    )
    files = " and ".join(str(path) for path in reversed(FORMATS[format].files(done.path)))
    size = sum(path.stat().st_size for path in FORMATS[format].files(done.path)) / 1e6
    tokens, left = done.metadata.geometry.num_tokens, done.metadata.tokens_per_block[-1]
    what = "not merged" if reduction is None else f"merged to {left} by {reduction}"
    return (
        f"{files}: {size:.1f} MB, {dtype}, {tokens} tokens {what}\n{done.agreement}\n"
        f"Next: fastast predict FILE... -m {done.path}"
    )
