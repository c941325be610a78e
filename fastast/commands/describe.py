"""The text that `fastast info` prints."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fastast.geometry import SIZES, Geometry, geometry, with_stride
from fastast.macs import block_macs, model_macs, seen_tokens
from fastast.names import hub_hint
from fastast.zoo import ARCHITECTURES, CNNS, EMBEDDED, TRAINED, model_names

if TYPE_CHECKING:
    from fastast.reduction import TokenReduction


def describe_all() -> str:
    """Return a list of all models and methods."""
    next_ = "Next: fastast info ast_tiny_soundscapes --schedule constant:40, or fastast info --method tome"
    return "\n\n".join([describe_zoo(), describe_methods(), next_])


def describe_methods() -> str:
    """Return a table of the reduction methods."""
    from fastast.reduction import get_method, method_names

    return "\n".join(["Methods (--method):", *(f"  {name:31s}{get_method(name).summary}" for name in method_names())])


def describe_method(name: str) -> str:
    """Return what a method does and all its options. Raises ValueError for an unknown name."""
    from fastast.reduction import TokenReduction, get_method
    from fastast.reduction.options import allowed_text, option_docs, option_types

    method = get_method(name)
    traits = [
        *(["the remaining tokens keep their order"] if method.keeps_order else []),
        *(["draws from a seed" + (", with some options" if callable(method.random) else "")] if method.random else []),
        *(["a bound to compare with"] if method.oracle else []),
        *(
            ["can choose at the input, with place=before" + (" and some options" if callable(method.at_input) else "")]
            if method.at_input
            else []
        ),
        *(
            ["can use a threshold" + (", with some options" if callable(method.thresholds) else "")]
            if method.thresholds
            else []
        ),
        *([f"fastast.compile cannot run it: {method.cannot}"] if method.cannot else []),
    ]
    lines = [f"{name}: {method.summary}", *(f"  ({trait})" for trait in traits)]
    for title, kind in ((f"Options of {name}:", method.options), ("Options of every method:", TokenReduction)):
        docs, types = option_docs(kind), option_types(kind)
        shown = [one for one in dataclasses.fields(kind) if one.name not in ("schedule", "method", "options")]
        lines += ["", title] if shown else []
        for one in shown:
            default = "" if one.default in (dataclasses.MISSING, None) else f" ({_plain(one.default)})"
            lines += [f"  --option {one.name}={_choices(allowed_text(types[one.name]))}{default}"]
            lines += textwrap.wrap(docs.get(one.name, ""), 92, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def describe_zoo() -> str:
    """Return a table of the models: those with weights, and the architectures."""
    from fastast.teachers.files import read_teacher_header

    lines = ["Trained models that come with FastAST:"]
    for name, path in EMBEDDED.items():
        shape = model_geometry(name)
        lines.append(
            f"  {name:31s}{shape.embed_dim} wide, {shape.num_heads} heads, {shape.depth} blocks, {shape.num_tokens} "
            f"tokens, {shape.num_classes} classes, {path.stat().st_size / 1e6:.1f} MB"
        )
    for name, path in CNNS.items():
        header = read_teacher_header(path)
        assert header is not None, "not a teacher's file"
        lines.append(
            f"  {name:31s}{header['name']}, a CNN teacher without tokens to merge, {header['num_classes']} classes, "
            f"{path.stat().st_size / 1e6:.1f} MB"
        )
    lines.append("Architectures (with random weights, or your own checkpoint):")
    for name, size in ARCHITECTURES.items():
        width, heads = SIZES[size]
        shape = geometry(size)
        lines.append(
            f"  {name:31s}{width} wide, {heads} heads, {shape.depth} blocks, {shape.num_tokens} tokens at 10 s, "
            f"{model_macs(shape) / 1e9:.1f} GMACs per clip"
        )
    return "\n".join(lines)


def describe_model(
    name: str,
    reduction: TokenReduction | None,
    frames: int | None = None,
    *,
    stride: int | None = None,
    said: Mapping[str, object] | None = None,
) -> str:
    """Return a table of the tokens and MACs of every block; `said` as for `model_geometry`.

    Raises ValueError for an unknown name, an impossible number of frames or stride, or an impossible reduction.
    """
    own = model_geometry(name, said)
    if frames is not None:
        own = dataclasses.replace(own, num_frames=frames)
    shape = dataclasses.replace(own, **with_stride(stride, {}))  # type: ignore[arg-type]
    tokens_out = reduction.tokens_per_block(shape) if reduction else (shape.num_tokens,) * shape.depth
    tokens_in = (shape.num_tokens, *tokens_out[:-1])
    rows, columns = shape.grid
    adaptive = reduction is not None and reduction.threshold is not None
    lines = [
        f"{name}: {shape.num_mel_bins} mel bins x {shape.num_frames} frames, patches of {shape.patch_size} at stride "
        f"{shape.fstride} x {shape.tstride}: {rows} x {columns} patches, {shape.num_tokens} tokens",
        str(reduction) if reduction else "no merging (give --schedule)",
        *(["at most this many are removed: how many pairs are similar enough depends on the clip"] if adaptive else []),
        *(
            []
            if shape == own
            else [f"the model's own stride is {own.fstride} x {own.tstride}: {own.num_tokens} tokens"]
        ),
        "",
        "block   tokens in   removed   tokens out      MMACs",
    ]
    for i, (before, after) in enumerate(zip(tokens_in, tokens_out, strict=True), 1):
        choosing = reduction.choosing_macs(shape, before, before - after, i - 1) if reduction else 0
        seen = seen_tokens(reduction.place if reduction else "between", before, after)
        macs = (block_macs(shape, *seen) + choosing) / 1e6
        lines.append(f"{i:5d}{before:12d}{before - after:10d}{after:13d}{macs:11.1f}")
    total, unmerged = model_macs(shape, reduction), model_macs(own)
    least, most = ("at least ", "at most ") if adaptive else ("", "")
    lines += [
        "",
        f"{least}{total / 1e9:.3f} GMACs per clip, {unmerged / 1e9:.3f} unmerged: {most}{unmerged / total:.2f} times "
        f"fewer, the most that {'merging' if shape == own else 'fewer tokens'} can gain",
    ]
    return "\n".join(lines)


def model_geometry(name: str, said: Mapping[str, object] | None = None) -> Geometry:
    """Return the geometry of a zoo model or a checkpoint file. Raises ValueError where `name` is neither.

    `said`: fields that the file does not state, as for `load_checkpoint`, or fields of an architecture to override.
    """
    if name in ARCHITECTURES:
        return geometry(ARCHITECTURES[name], **dict(said or {}))
    from fastast.checkpoints import load_checkpoint

    path = TRAINED.get(name, Path(name))
    if name not in TRAINED and not path.exists():
        known = ", ".join(model_names())
        raise ValueError(f"no model {name!r}: neither a file nor a model of the zoo ({known}){hub_hint(name)}")
    return load_checkpoint(path, geometry=said).geometry


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _choices(text: str) -> str:
    """Return the allowed values of an option as a placeholder: `keys|queries`, `NUMBER`."""
    kinds = {"a whole number": "WHOLE NUMBER", "a number": "NUMBER", "a text": "TEXT", "true or false": "true|false"}
    return kinds.get(text, text.replace(", ", "|"))
