"""What wrappers put before the keys of a state dict: torch.compile, DistributedDataParallel, Lightning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fastast.checkpoints.checkpoint import CheckpointError, CheckpointWarning

WRAPPERS = {"_orig_mod.": "torch.compile", "module.": "DataParallel or DDP", "model.": "Lightning"}
"""Prefix -> what puts it there; they nest in any order."""
NESTED = "state_dict"
"""The key of a Lightning checkpoint that holds the weights, beside the state of its training."""
_ENDS = ("v.cls_token", "audio_spectrogram_transformer.embeddings.cls_token", "cls_token")
"""Key that every AST has, in each layout."""
_PUBLISHED = "module."
"""Of the original AST's own files, which are DataParallel's."""


def unnest(path: Path, loaded: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the weights in a Lightning checkpoint, and anything else as it is."""
    inner = loaded.get(NESTED)
    if not isinstance(inner, Mapping) or not any(isinstance(value, Tensor) for value in inner.values()):
        return loaded
    warnings.warn(f"{path}: a checkpoint of a training; its key {NESTED!r} is read", CheckpointWarning, stacklevel=2)
    return inner


def without_wrappers(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the keys that the model itself has; keys without the prefix of the others stay.

    The one prefix that the original AST's files have is left to their layout. Says what is read without. Raises
    CheckpointError where several prefixes stand before a whole model, such as a student and its teacher.
    """
    found = ((end, _before(tensors, end)) for end in _ENDS)
    end, prefixes = next(((end, before) for end, before in found if before), ("", []))
    if len(prefixes) > 1:
        raise CheckpointError(
            f"{path}: holds {len(prefixes)} models, whose keys begin with {', '.join(map(repr, prefixes))}; save the "
            "state dict of one"
        )
    if prefixes in ([], [""]) or (prefixes == [_PUBLISHED] and end == _ENDS[0]):
        return dict(tensors)
    prefix = prefixes[0]
    parts = [f"{part}." for part in prefix.split(".")[:-1]]
    by = " and ".join(dict.fromkeys(WRAPPERS.get(part, f"the attribute {part[:-1]!r}") for part in parts))
    warnings.warn(
        f"{path}: its keys begin with {prefix!r}, of {by}; they are read without it", CheckpointWarning, stacklevel=2
    )
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}


def _before(tensors: Mapping[str, Tensor], end: str) -> list[str]:
    """Return what stands before a key of an AST; of FastAST's own, which others have too, where both tokens are."""
    found = [key.removesuffix(end) for key in tensors if key == end or key.endswith(f".{end}")]
    return found if end != "cls_token" else [prefix for prefix in found if f"{prefix}dist_token" in tensors]
