"""The texts of `fastast info`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from fastast.geometry import SIZES, Geometry, geometry
from fastast.macs import block_macs, model_macs
from fastast.schedule import Constant, parse_schedule
from fastast.zoo import ARCHITECTURES, EMBEDDED, model_names

if TYPE_CHECKING:
    from fastast.reduction.spec import Excess


def describe_zoo() -> str:
    """Return a table of the models there are."""
    lines = ["Trained models that come with FastAST:"]
    for name, path in EMBEDDED.items():
        shape = model_geometry(name)
        lines.append(
            f"  {name:31s}{shape.embed_dim} wide, {shape.num_heads} heads, {shape.depth} blocks, {shape.num_tokens} "
            f"tokens, {shape.num_classes} classes, {path.stat().st_size / 1e6:.1f} MB"
        )
    lines.append("Architectures (random weights, or a checkpoint of yours):")
    for name, size in ARCHITECTURES.items():
        width, heads = SIZES[size]
        shape = geometry(size)
        lines.append(
            f"  {name:31s}{width} wide, {heads} heads, {shape.depth} blocks, {shape.num_tokens} tokens at 10 s, "
            f"{model_macs(shape) / 1e9:.1f} GMACs a clip"
        )
    lines.append("Next: fastast info ast_tiny_soundscapes --schedule constant:40")
    return "\n".join(lines)


def describe_model(name: str, schedule: str | None, frames: int | None = None, *, excess: Excess = "refuse") -> str:
    """Return the tokens and MACs of every block. Raises ValueError for a bad name, schedule or number of frames."""
    from fastast.reduction import TokenReduction

    shape = model_geometry(name)
    if frames is not None:
        shape = dataclasses.replace(shape, num_frames=frames)
    reduction = TokenReduction(schedule=parse_schedule(schedule) if schedule else Constant(0), excess=excess)
    tokens_out = reduction.tokens_per_block(shape)
    tokens_in = (shape.num_tokens, *tokens_out[:-1])
    rows, columns = shape.grid
    lines = [
        f"{name}: {shape.num_mel_bins} mel bins x {shape.num_frames} frames, patches of {shape.patch_size} at stride "
        f"{shape.fstride} x {shape.tstride}: {rows} x {columns} patches, {shape.num_tokens} tokens",
        str(reduction) if schedule else "no merging (give --schedule)",
        "",
        "block   tokens in   removed   tokens out      MMACs",
    ]
    for i, (before, after) in enumerate(zip(tokens_in, tokens_out, strict=True), 1):
        macs = (block_macs(shape, before, after) + reduction.choosing_macs(shape, before, before - after, i - 1)) / 1e6
        lines.append(f"{i:5d}{before:12d}{before - after:10d}{after:13d}{macs:11.1f}")
    total, unmerged = model_macs(shape, reduction), model_macs(shape)
    lines += [
        "",
        f"{total / 1e9:.3f} GMACs a clip, {unmerged / 1e9:.3f} unmerged: {unmerged / total:.2f} times fewer, "
        "the most that merging can gain",
    ]
    return "\n".join(lines)


def model_geometry(name: str) -> Geometry:
    """Return the geometry of a name of the zoo or of a checkpoint file. Raises ValueError for neither."""
    if name in ARCHITECTURES:
        return geometry(ARCHITECTURES[name])
    from fastast.checkpoints import load_checkpoint

    path = EMBEDDED.get(name, Path(name))
    if name not in EMBEDDED and not path.exists():
        raise ValueError(f"no model {name!r}: neither a file nor a name of the zoo ({', '.join(model_names())})")
    return load_checkpoint(path).geometry
