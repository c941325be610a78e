"""Read tensors from files, whatever their keys are called. Nothing in a file is run."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fastast.checkpoints.checkpoint import CheckpointError, CheckpointNotFoundError
from fastast.checkpoints.prefixes import unnest
from fastast.names import hub_hint, name_hint

READABLE = (
    "FastAST reads .safetensors files, PyTorch state dicts (.pth, .pt, .bin) and folders in Hugging Face's layout "
    "(config.json next to model.safetensors)"
)
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MAGIC = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with: git lfs pull"),
    (b"\x89PNG", "a PNG picture"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"RIFF", "a RIFF file (audio?)"),
    (b"<", "HTML or XML text, perhaps a web page that was saved in its place"),
)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors on the CPU, and the metadata in its header (safetensors only).

    The kind of file is recognised by its content, not its name. Raises CheckpointError for anything but tensors.
    """
    if not path.exists():
        hint = name_hint(path) or hub_hint(path)
        raise CheckpointNotFoundError(f"{path}: there is no such file or folder; {READABLE}{hint}")
    if not path.is_file():
        raise CheckpointError(f"{path}: not a file; {READABLE}")
    with path.open("rb") as file:
        head = file.read(64)
    size = path.stat().st_size
    if not head:
        raise CheckpointError(f"{path}: the file is empty (0 bytes), perhaps an interrupted download; get it again")
    if len(head) > 8 and head[8:9] == b"{":
        return _read_safetensors(path, header_size=struct.unpack("<Q", head[:8])[0], size=size)
    if head[:2] == b"PK" or head[:1] == b"\x80":  # a zip, as torch.save writes it, or an old bare pickle
        return _read_torch(path), {}
    raise CheckpointError(f"{path}: not a checkpoint but {_describe(head)}; {READABLE}")


def _describe(head: bytes) -> str:
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    printable = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    return f"text that begins with {head[:24]!r}" if printable else f"a file that begins with the bytes {head[:8]!r}"


def _read_safetensors(path: Path, *, header_size: int, size: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    if 8 + header_size > size:
        raise CheckpointError(
            f"{path}: the file is cut off: its header alone takes {8 + header_size:,} bytes, the file has {size:,}; "
            "fetch it again"
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: a safetensors file that is cut off or damaged ({size:,} bytes; {error}); fetch it again"
        ) from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        # weights_only: only tensors and plain containers; a pickle that names anything else is refused before it runs.
        with path.open("rb") as file:  # given a path, torch.load would go by the name's ending
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(f"{path}: {_why_unread(str(error))}") from None
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path}: holds a {type(loaded).__name__}, not a state dict; save model.state_dict()")
    loaded = unnest(path, loaded)
    for key, value in loaded.items():
        if isinstance(value, Mapping) and any(isinstance(inner, Tensor) for inner in value.values()):
            raise CheckpointError(
                f"{path}: the state dict is inside the key {key!r}; save that part alone: "
                f"torch.save(torch.load(path, weights_only=True)[{key!r}], new_path)"
            )
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: key {key!r} holds a {type(value).__name__}, not a tensor; save model.state_dict() alone"
            )
    return dict(loaded)


def _why_unread(said: str) -> str:
    """Say why PyTorch did not load a file, without its own message, which advises running what is in the file."""
    names = re.search(r"unsupported (?:global: )?global (\S+)", said, re.IGNORECASE)
    if names:
        return (
            f"not only tensors: the file contains {names[1]}, which was not run. FastAST never loads "
            "pickled objects; save model.state_dict() where the file comes from"
        )
    return (
        "not a PyTorch file with only tensors, or cut off or damaged; nothing in it was run. Fetch it again, or save "
        "model.state_dict() where it comes from"
    )


def check_values(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError, naming the key, for a tensor that is not floating point or not finite."""
    for key, tensor in tensors.items():
        if tensor.dtype not in FLOATING:
            names = ", ".join(str(dtype).removeprefix("torch.") for dtype in FLOATING)
            raise CheckpointError(f"{path}: key {key!r} is {tensor.dtype}; weights must be one of {names}")
        # One bad value spoils the sum: only then is it worth checking every value.
        if not bool(tensor.sum(dtype=torch.float64).isfinite()) and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{path}: key {key!r} holds NaN or infinite values; the weights are unusable")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that contains one object. Raises CheckpointError for any other."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}; it must be a JSON object")
    return content


def sha256_of(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of the concatenated bytes of the files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
