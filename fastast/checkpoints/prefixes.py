"""Remove what wrappers put before the keys of a state dict: torch.compile, DistributedDataParallel, Lightning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fastast.checkpoints.checkpoint import CheckpointError, CheckpointWarning

WRAPPERS = {"_orig_mod.": "torch.compile", "module.": "DataParallel or DDP", "model.": "Lightning"}
"""Wrapper that each prefix comes from; prefixes nest in any order."""
NESTED = "state_dict"
"""Key of a Lightning checkpoint under which the weights are, next to the state of the training."""
_ENDS = ("v.cls_token", "audio_spectrogram_transformer.embeddings.cls_token", "cls_token")
"""A key that every AST has, as named in each layout."""
_PUBLISHED = "module."
"""Prefix in the original AST's own files, which were saved from DataParallel."""


def unnest(path: Path, loaded: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the weights inside a Lightning checkpoint; return anything else unchanged."""
    inner = loaded.get(NESTED)
    if not isinstance(inner, Mapping) or not any(isinstance(value, Tensor) for value in inner.values()):
        return loaded
    warnings.warn(f"{path}: a training checkpoint; only its key {NESTED!r} is read", CheckpointWarning, stacklevel=2)
    return inner


def without_wrappers(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the model's own keys, without wrappers' prefixes; keys without the prefix stay as is.

    The `module.` of the original AST's files is left to their layout. Warns of a prefix that is removed. Raises
    CheckpointError if several prefixes each have a whole model, such as a student and its teacher.
    """
    found = ((end, _before(tensors, end)) for end in _ENDS)
    end, prefixes = next(((end, before) for end, before in found if before), ("", []))
    if len(prefixes) > 1:
        raise CheckpointError(
            f"{path}: contains {len(prefixes)} models, whose keys begin with {', '.join(map(repr, prefixes))}; save "
            "the state dict of one of them"
        )
    if prefixes in ([], [""]) or (prefixes == [_PUBLISHED] and end == _ENDS[0]):
        return dict(tensors)
    prefix = prefixes[0]
    parts = [f"{part}." for part in prefix.split(".")[:-1]]
    by = " and ".join(dict.fromkeys(WRAPPERS.get(part, f"the attribute {part[:-1]!r}") for part in parts))
    warnings.warn(f"{path}: its keys begin with {prefix!r}, from {by}; it is left out", CheckpointWarning, stacklevel=2)
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}


def _before(tensors: Mapping[str, Tensor], end: str) -> list[str]:
    """Return the prefixes of the keys that end in `end`.

    `cls_token` alone, which other models have, too, counts only where there is a `dist_token` with the same prefix.
    """
    found = [key.removesuffix(end) for key in tensors if key == end or key.endswith(f".{end}")]
    return found if end != "cls_token" else [prefix for prefix in found if f"{prefix}dist_token" in tensors]
