"""Infer the geometry of weights that come without one from the shapes of their tensors."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Mapping
from itertools import product
from pathlib import Path

from torch import Tensor

from fastast.checkpoints.checkpoint import CheckpointError, CheckpointWarning
from fastast.checkpoints.layouts import Layout
from fastast.geometry import Geometry

STRIDES = (10, 12, 14, 16)
"""Strides of the published ASTs, the same along frequency and time."""
FRAMES = (1024, 512, 128)
"""Frames of the published recipes: AudioSet, ESC-50 and Speech Commands."""
HEAD_DIM = 64
"""Width of an attention head in every published AST; the shapes do not show the number of heads."""
_NUM_PREFIX = 2
_FIELDS = {field.name for field in dataclasses.fields(Geometry)}
_PASS = (
    "say what you know: --geometry num_frames=N (a command without it takes what `fastast convert` makes of the file "
    "with it), model.geometry in a sweep, or load_model(path, geometry={'num_frames': N})"
)


def infer_geometry(
    path: Path, tensors: Mapping[str, Tensor], layout: Layout, given: Mapping[str, object] | None = None
) -> Geometry:
    """Infer the geometry from the tensors; fields in `given` are taken as they are.

    Strides and frames are found by the number of position embeddings: equal strides of 10, 12, 14 or 16, and 128 mel
    bins by 1024, 512 or 128 frames, unless given. Raises CheckpointError, naming the candidates, if no geometry or more
    than one fits. Warns (CheckpointWarning) if other strides would fit as well.
    """
    known = check_fields(path, given)
    width = _shape(path, tensors, layout, "cls_token", 3)[2]
    if "num_heads" not in known and width % HEAD_DIM:
        raise CheckpointError(
            f"{path}: the number of heads cannot be inferred from a width of {width}, which is not a multiple of "
            f"{HEAD_DIM}; {_PASS}, here 'num_heads'"
        )
    epsilon = {"norm_eps": 1e-12, "head_norm_eps": 1e-12} if layout.format == "huggingface" else {}
    values: dict[str, object] = {
        "embed_dim": width,
        "depth": _depth(tensors, layout),
        "num_heads": width // HEAD_DIM,
        "num_classes": _shape(path, tensors, layout, "head.linear.weight", 2)[0],
        "patch_size": _shape(path, tensors, layout, "patch_embed.proj.weight", 4)[-1],
        "mlp_ratio": _shape(path, tensors, layout, "blocks.0.mlp.fc1.weight", 2)[0] / width,
        "qkv_bias": any(key in tensors for key in layout.keys("blocks.0.attn.qkv.bias")),
        **epsilon,
        **known,
    }
    tokens = _shape(path, tensors, layout, "pos_embed", 3)[1]
    candidates = _candidates(path, values, known, tokens)
    if len(candidates) == 1:
        if not {"fstride", "tstride", "num_frames"} & set(known):
            _say_others(path, candidates[0], _lengths(values, tokens))
        return candidates[0]
    found = "; ".join(_say(c) for c in candidates) or "none"
    fitting = "; ".join(_lengths(values, tokens).values()) or f"none at {values.get('num_mel_bins', 128)} mel bins"
    hint = "" if candidates else f" of the published ones. What would fit: {fitting}"
    raise CheckpointError(
        f"{path}: key {layout.keys('pos_embed')[0]!r} has {tokens} position embeddings, but the file does not contain "
        f"the strides and frames. Candidates: {found}{hint}. {_PASS}: 'fstride', 'tstride', 'num_frames', "
        "'num_mel_bins'"
    )


def check_fields(path: Path, given: Mapping[str, object] | None) -> dict[str, object]:
    """Return `given` as a dict. Raises CheckpointError for a field that Geometry does not have."""
    unknown = sorted(set(given or {}) - _FIELDS)
    if unknown:
        raise CheckpointError(f"{path}: geometry has no field {unknown[0]!r}; there are: {', '.join(sorted(_FIELDS))}")
    return dict(given or {})


def build_geometry(path: Path, values: Mapping[str, object]) -> Geometry:
    """Build a Geometry. Raises CheckpointError, naming the file, if the values are not a valid one."""
    try:
        return Geometry(**values)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _candidates(path: Path, values: Mapping[str, object], known: Mapping[str, object], tokens: int) -> list[Geometry]:
    """Return the geometries with the right number of tokens among the published strides and frames, or those given.

    Raises CheckpointError if none is valid whatever its tokens: then neither a stride nor a length is what is wrong.
    """
    strides = [known[name] for name in ("fstride", "tstride") if name in known]
    if len(strides) == 2:
        pairs = [(strides[0], strides[1])]
    elif "fstride" in known:
        pairs = [(strides[0], stride) for stride in STRIDES]
    elif "tstride" in known:
        pairs = [(stride, strides[0]) for stride in STRIDES]
    else:
        pairs = [(stride, stride) for stride in STRIDES]
    frames = [known["num_frames"]] if "num_frames" in known else list(FRAMES)
    built: list[Geometry] = []
    refused: CheckpointError | None = None
    for (fstride, tstride), length in product(pairs, frames):
        try:
            built.append(build_geometry(path, {**values, "fstride": fstride, "tstride": tstride, "num_frames": length}))
        except CheckpointError as error:
            refused = error
    if refused is not None and not built:
        raise refused
    return [geometry for geometry in built if geometry.num_tokens == tokens]


def _lengths(values: Mapping[str, object], tokens: int) -> dict[tuple[int, int], str]:
    """Return, by strides, every input length that gives this number of tokens; equal strides come first."""
    patch, bins = int(str(values["patch_size"])), int(str(values.get("num_mel_bins", 128)))
    found = {}
    for fstride, tstride in sorted(product(STRIDES, STRIDES), key=lambda pair: pair[0] != pair[1]):
        rows = (bins - patch) // fstride + 1
        if rows < 1 or (tokens - _NUM_PREFIX) % rows or tokens <= _NUM_PREFIX:
            continue
        first = ((tokens - _NUM_PREFIX) // rows - 1) * tstride + patch
        found[fstride, tstride] = f"fstride {fstride}, tstride {tstride}, {first} to {first + tstride - 1} frames"
    return found


def _say_others(path: Path, taken: Geometry, lengths: Mapping[tuple[int, int], str]) -> None:
    """Warn if other equal strides give the same number of tokens as the published geometry that is taken."""
    others = [text for (f, t), text in lengths.items() if f == t != taken.tstride]
    if others:
        text = f"{path}: {taken.num_tokens} position embeddings; assuming {_say(taken)}, as published"
        also = f"the same number also fits: {'; '.join(others)}. If that is right, {_PASS}"
        warnings.warn(f"{text}; {also}", CheckpointWarning, stacklevel=2)


def _say(geometry: Geometry) -> str:
    return f"fstride {geometry.fstride}, tstride {geometry.tstride}, {geometry.num_frames} frames"


def _shape(path: Path, tensors: Mapping[str, Tensor], layout: Layout, native: str, axes: int) -> tuple[int, ...]:
    """Return the shape of the tensor that FastAST calls `native`, or of its first part if it is stored in parts."""
    key = layout.keys(native)[0]
    if key not in tensors:
        raise CheckpointError(f"{path}: key {key!r} is missing; without it the model's geometry is unknown")
    shape = tuple(tensors[key].shape)
    if len(shape) != axes or 0 in shape:
        raise CheckpointError(f"{path}: key {key!r} has shape {shape}; {axes} axes, none of them empty, were expected")
    return shape


def _depth(tensors: Mapping[str, Tensor], layout: Layout) -> int:
    before, after = (layout.prefix + layout.block).split("{}")
    pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    return max((int(match[1]) + 1 for key in tensors if (match := pattern.match(key))), default=0)
