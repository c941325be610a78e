"""What wrappers put before the keys of a state dict: torch.compile, DistributedDataParallel, Lightning."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fastast.checkpoints.checkpoint import CheckpointWarning

WRAPPERS = {"_orig_mod.": "torch.compile", "module.": "DataParallel or DDP", "model.": "Lightning"}
"""Prefix -> what puts it there; they nest in any order."""
NESTED = "state_dict"
"""The key of a Lightning checkpoint that holds the weights, beside the state of its training."""
_WRAPPED = re.compile(rf"((?:{'|'.join(map(re.escape, WRAPPERS))})+)(?:v\.|audio_spectrogram_transformer\.|cls_token$)")
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

    The one prefix that the original AST's files have is left to their layout. Says what is read without.
    """
    match = next((match for key in tensors if (match := _WRAPPED.match(key))), None)
    if match is None or (match[1] == _PUBLISHED and match[0].endswith("v.")):
        return dict(tensors)
    prefix = match[1]
    parts = re.findall("|".join(map(re.escape, WRAPPERS)), prefix)
    by = " and ".join(dict.fromkeys(WRAPPERS[part] for part in parts))
    warnings.warn(
        f"{path}: its keys begin with {prefix!r}, of {by}; they are read without it", CheckpointWarning, stacklevel=2
    )
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
