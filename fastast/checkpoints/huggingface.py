"""Read folders in Hugging Face's layout: config.json, weights in one file or in shards, preprocessor_config.json.

The weights are read from the files, never through transformers: versions 4 and 5 name them differently in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from fastast.checkpoints.checkpoint import CheckpointError, CheckpointNotFoundError
from fastast.checkpoints.files import read_json, read_tensors
from fastast.checkpoints.infer import build_geometry
from fastast.frontend import Normalisation
from fastast.frontend.filterbank import SAMPLE_RATE
from fastast.geometry import Geometry
from fastast.scores import Loss

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names of the file with the weights, or of the index of their shards; the first that exists is read."""
BESIDE = ("config.json", "preprocessor_config.json")
"""Files that are read in addition to the weights."""
_INTEGERS = {
    "embed_dim": ("hidden_size", 768),
    "depth": ("num_hidden_layers", 12),
    "num_heads": ("num_attention_heads", 12),
    "num_mel_bins": ("num_mel_bins", 128),
    "num_frames": ("max_length", 1024),
    "patch_size": ("patch_size", 16),
    "fstride": ("frequency_stride", 10),
    "tstride": ("time_stride", 10),
}
"""For each field of Geometry, the key in config.json and transformers' default where the key is missing."""
_LOSSES: dict[str, Loss] = {"single_label_classification": "ce", "multi_label_classification": "bce"}
_EPSILON = 1e-12
_HIDDEN = 3072


def find_weights(folder: Path) -> list[Path]:
    """Return the files with a folder's weights, in the order of their names.

    Raises CheckpointError, naming the contents, for a folder that is not a checkpoint.
    """
    _require_config(folder)
    for name in WEIGHTS:
        if (folder / name).exists():
            return _shards(folder / name) if name.endswith(".json") else [folder / name]
    there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8])
    raise CheckpointError(f"{folder}: no weights next to config.json; looked for {', '.join(WEIGHTS)}, found {there}")


def _require_config(folder: Path) -> None:
    if (folder / "config.json").is_file():
        return
    there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
    raise CheckpointError(
        f"{folder}: a folder without config.json (it has: {there}); give a folder in Hugging Face's layout, or the "
        "weights file itself"
    )


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: key 'weight_map' is missing; it must name the shard of every tensor")
    for key, name in weight_map.items():
        # A name with a folder in it could lead anywhere on the machine.
        if not isinstance(name, str) or name != Path(name).name or name in ("", ".", ".."):
            raise CheckpointError(f"{index}: weight_map puts key {key!r} into {name!r}; it must be a file next to it")
    return weight_map


def _shards(index: Path) -> list[Path]:
    shards = [index.parent / name for name in sorted(set(_weight_map(index).values()))]
    for shard in shards:
        if not shard.is_file():
            raise CheckpointNotFoundError(f"{shard}: this shard is missing; {index.name} names it. Fetch it too")
    return shards


def named_shards(folder: Path) -> list[Path]:
    """Return the shards named by the indices in a folder, existing or not, ignoring an index that cannot be read."""
    found = []
    for index in (folder / name for name in WEIGHTS if name.endswith(".json")):
        with suppress(CheckpointError):
            found += [folder / name for name in sorted(set(_weight_map(index).values()))]
    return found


def read_weights(folder: Path, files: list[Path]) -> dict[str, Tensor]:
    """Read the files that `find_weights` found. Raises CheckpointError if a shard and its index disagree."""
    if len(files) == 1 and files[0].name in WEIGHTS:
        return read_tensors(files[0])[0]
    index = next(folder / name for name in WEIGHTS if name.endswith(".json") and (folder / name).exists())
    weight_map, tensors = _weight_map(index), {}
    for file in files:
        for key, tensor in read_tensors(file)[0].items():
            if weight_map.get(key) != file.name:
                raise CheckpointError(f"{file}: key {key!r} is here, but {index.name} says {weight_map.get(key)!r}")
            tensors[key] = tensor
    lost = [key for key in weight_map if key not in tensors]
    if lost:
        raise CheckpointError(f"{index}: key {lost[0]!r} should be in {weight_map[lost[0]]}, but is missing there")
    return tensors


def read_config(path: Path, num_classes: int) -> tuple[Geometry, tuple[str, ...] | None]:
    """Return the geometry and labels in a config.json; without labels, `num_classes` is the number of classes."""
    config = read_json(path)
    kind = config.get("model_type", "audio-spectrogram-transformer")
    if kind != "audio-spectrogram-transformer":
        raise CheckpointError(f"{path}: model_type is {kind!r}; FastAST reads 'audio-spectrogram-transformer'")
    activation = config.get("hidden_act", "gelu")
    if activation != "gelu":
        raise CheckpointError(f"{path}: hidden_act is {activation!r}; AST has 'gelu', and FastAST supports no other")
    values: dict[str, object] = {name: _number(path, config, *key, int) for name, key in _INTEGERS.items()}
    epsilon = _number(path, config, "layer_norm_eps", _EPSILON, float)
    hidden = _number(path, config, "intermediate_size", _HIDDEN, int)
    labels = _labels(path, config.get("id2label"))
    count = len(config.get("id2label") or {}) or num_classes
    values |= {
        "num_classes": count,
        "mlp_ratio": hidden / max(1, int(str(values["embed_dim"]))),
        "qkv_bias": _flag(path, config, "qkv_bias", default=True),
        "norm_eps": epsilon,
        "head_norm_eps": epsilon,
    }
    return build_geometry(path, values), labels


def read_loss(path: Path) -> Loss | None:
    """Return the loss that a config.json's `problem_type` stands for; None if it has no such key."""
    kind = read_json(path).get("problem_type")
    if kind is None or (isinstance(kind, str) and kind in _LOSSES):
        return None if kind is None else _LOSSES[kind]
    raise CheckpointError(
        f"{path}: problem_type is {kind!r}; FastAST supports only classification: {', '.join(_LOSSES)}, or null"
    )


def read_preprocessor(path: Path, geometry: Geometry) -> Normalisation | None:
    """Return the normalisation in a preprocessor_config.json; None if the file does not exist.

    Raises CheckpointError if it makes an input that the model does not take.
    """
    if not path.exists():
        return None
    config = read_json(path)
    wanted = {
        "sampling_rate": SAMPLE_RATE,
        "num_mel_bins": geometry.num_mel_bins,
        "max_length": geometry.num_frames,
    }
    for key, value in wanted.items():
        if config.get(key, value) != value:
            raise CheckpointError(f"{path}: {key} is {config[key]!r}, but the model next to it takes {value}")
    if not _flag(path, config, "do_normalize", default=True):
        return Normalisation(mean=0.0, std=0.5)  # (x - 0) / (2 * 0.5): unchanged
    try:
        return Normalisation(mean=config["mean"], std=config["std"])
    except KeyError as error:
        raise CheckpointError(f"{path}: key {error} is missing; it must be a number") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _number(path: Path, config: Mapping[str, Any], key: str, default: float, kind: type) -> Any:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
        raise CheckpointError(f"{path}: key {key!r} is {value!r}; it must be a number, for example {default}")
    return value


def _flag(path: Path, config: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise CheckpointError(f"{path}: key {key!r} is {value!r}; it must be true or false")
    return value


def _gap(id2label: object) -> str:
    if not isinstance(id2label, dict):
        return ""
    lacking = next(str(i) for i in range(len(id2label) + 1) if str(i) not in id2label)
    return f"; it has {len(id2label)} names and lacks {lacking!r}"


def _labels(path: Path, id2label: object) -> tuple[str, ...] | None:
    if id2label is None:
        return None
    if not isinstance(id2label, dict) or set(id2label) != {str(i) for i in range(len(id2label))}:
        raise CheckpointError(
            f"{path}: key 'id2label' must map '0', '1', … without a gap to names of classes{_gap(id2label)}"
        )
    names = tuple(id2label[str(i)] for i in range(len(id2label)))
    # transformers fills in these names if none were given.
    return None if names == tuple(f"LABEL_{i}" for i in range(len(names))) else names
