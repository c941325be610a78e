"""Trained teachers on disk, and the identity of a teacher.

The files are safetensors with one header entry, `fastast_teacher`, which is JSON:
{"version": 1, "name": ..., "options": {...}, "num_classes": ..., "labels": [...] or null,
 "normalisation": {"mean": ..., "std": ...} or null, "training": {...} or null, "loss": "bce" or "ce"}

The last key is present if the loss is known; in older files without it, the training notes may state the loss.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from fastast.checkpoints.own import TEACHER
from fastast.frontend import Normalisation
from fastast.names import hub_hint
from fastast.scores import known_loss, loss_in_notes
from fastast.system.writing import write_whole
from fastast.teachers.create import rebuild_teacher, smallest_size
from fastast.teachers.protocol import Teacher, TeacherError, other_classes
from fastast.teachers.transformer import TransformerTeacher
from fastast.zoo import EMBEDDED, TRAINED

VERSION = 1
"""Version of the header entry's format."""
MOST_FRAMES = 100_000
"""Longest clip, in frames, that a file may say its network was trained on: about a quarter of an hour."""
_TRAINING_ONLY = ("patchout_freq", "patchout_time", "drop_path_rate")
_KEYS = ("version", "name", "options", "num_classes", "labels", "normalisation", "training")


def save_teacher(
    path: str | Path,
    teacher: Teacher,
    *,
    labels: Sequence[str] | None = None,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a teacher built by `create_teacher` to a file, whole or not at all, and return the path.

    `labels`: names of the classes; `training`: notes, any JSON object; `dtype`: type of the numbers in the file, such
    as `torch.float16` for half the size, which is read back as float32.
    Raises TeacherError for a teacher without a name, a wrong number of labels, or weights that are not finite.
    """
    path = Path(path)
    if not teacher.name:
        raise TeacherError(f"{path}: this teacher has no name; build it with create_teacher")
    labels = teacher.labels if labels is None else tuple(labels)
    if labels is not None and len(labels) != teacher.num_classes:
        raise TeacherError(f"{path}: {len(labels)} labels for a teacher of {teacher.num_classes} classes")
    state = {key: value.detach().cpu().contiguous().clone() for key, value in teacher.state_dict().items()}
    for key, value in state.items():
        if dtype is not None and value.is_floating_point():
            state[key] = value = value.to(dtype)
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise TeacherError(f"{path}: weight {key!r} is not finite; nothing was written")
    header = {
        "version": VERSION,
        "name": teacher.name,
        "options": teacher.options,
        "num_classes": teacher.num_classes,
        "labels": None if labels is None else list(labels),
        "normalisation": None if teacher.normalisation is None else dataclasses.asdict(teacher.normalisation),
        "training": None if training is None else dict(training),
    }
    if teacher.loss is not None:
        header["loss"] = teacher.loss
    content = save(state, {TEACHER: json.dumps(header, allow_nan=False)})
    write_whole(path, content)
    return path


def load_teacher(source: str | Path, *, num_classes: int | None = None) -> Teacher:
    """Load a trained teacher in evaluation mode: by an embedded model's name, from a teacher's file or AST checkpoint.

    Its outputs are in its own order: `fastast.classes.match_classes` finds those of given classes.
    Raises TeacherError if it does not have `num_classes` classes, naming both numbers, or a teacher's file is damaged;
    CheckpointError if the file is neither a teacher's nor an AST checkpoint; FileNotFoundError if it does not exist.
    """
    path = TRAINED.get(str(source), Path(source))
    if not path.exists():
        raise FileNotFoundError(
            f"{source}: there is no such teacher; give the path of a trained teacher, or one of {', '.join(TRAINED)}"
            f"{hub_hint(source)}"
        )
    header = None if path.is_dir() else read_teacher_header(path)
    teacher = _load_ast(source, path, num_classes) if header is None else _load_own(path, header, num_classes)
    return teacher.eval()


def is_teacher(path: Path) -> bool:
    """Return whether a file is a teacher's, even if its contents are wrong: that is for its reader to report."""
    try:
        with safe_open(path, framework="pt") as file:
            return TEACHER in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def teacher_identity(teacher: nn.Module) -> str:
    """Return the SHA-256 of everything that determines a teacher's answers: kind, shape, normalisation and state.

    It covers neither the name of its file nor what matters only in training, nor the names of an ensemble's members.
    """
    digest = hashlib.sha256()
    options = _deciding(getattr(teacher, "options", {}))
    notes = [type(teacher).__name__, options, repr(getattr(teacher, "normalisation", None))]
    digest.update(json.dumps(notes, sort_keys=True).encode())
    for key, value in sorted(teacher.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _deciding(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that determine a teacher's answers; for an ensemble, those of its members."""
    kept = {key: value for key, value in options.items() if key not in _TRAINING_ONLY}
    if "members" in kept:
        kept["members"] = [
            {"options": _deciding(member["options"]), "normalisation": member["normalisation"]}
            for member in kept["members"]
        ]
    return kept


def read_teacher_header(path: Path) -> dict[str, Any] | None:
    """Return the header of a teacher's file; None for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            entry = (file.metadata() or {}).get(TEACHER)
    except SafetensorError:
        return None  # perhaps another format; the checkpoint reader will tell
    if entry is None:
        return None
    try:
        header = json.loads(entry)
    except ValueError as error:
        raise TeacherError(f"{path}: header {TEACHER!r} is not JSON ({error}); the file is damaged") from error
    if not isinstance(header, dict) or {*header, "loss"} != {*_KEYS, "loss"} or header["version"] != VERSION:
        raise TeacherError(
            f"{path}: header {TEACHER!r} must have version {VERSION} and the keys {', '.join(_KEYS)}; update FastAST, "
            "or write the file again with save_teacher"
        )
    return header


def _load_own(path: Path, header: dict[str, Any], num_classes: int | None) -> Teacher:
    has = header["num_classes"]
    if num_classes is not None and has != num_classes:
        raise TeacherError(other_classes(str(path), has, num_classes))
    with safe_open(path, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    try:
        normalisation = None if header["normalisation"] is None else Normalisation(**header["normalisation"])
        _check_claims(path, header, state)
        teacher = rebuild_teacher(header["name"], has, header["options"], normalisation)
        teacher.load_state_dict(state, strict=True)
        teacher.labels = None if header["labels"] is None else tuple(header["labels"])
    except TeacherError:
        raise
    except (RuntimeError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise TeacherError(f"{path}: the weights are not those of {header['name']!r}: {error}") from error
    try:
        teacher.loss = known_loss(header.get("loss", loss_in_notes(header["training"])))
    except ValueError as error:
        raise TeacherError(f"{path}: header {TEACHER!r}: {error}") from error
    if teacher.num_frames is None:
        teacher.num_frames = _trained_frames(header["training"])
    return teacher


def _trained_frames(notes: Any) -> int | None:
    """Return the number of frames in the recipe that the training notes contain; None if there is none."""
    for key in ("recipe", "model", "options", "num_frames"):
        notes = notes.get(key) if isinstance(notes, dict) else None
    return notes if isinstance(notes, int) and not isinstance(notes, bool) and 0 < notes <= MOST_FRAMES else None


def _check_claims(path: Path, header: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> None:
    """Raise TeacherError, before it is built, if a header claims a network that the file's weights cannot be."""
    elements = sum(tensor.numel() for tensor in state.values())
    parts = header["options"].get("members") or [header] if isinstance(header["options"], dict) else []
    for part in parts:
        if (least := smallest_size(part["name"])) > elements:
            raise TeacherError(
                f"{path}: its header says {part['name']}, which has {least:,} numbers, but the file holds {elements:,}"
            )
    for name, value in {**header["options"], "num_classes": header["num_classes"]}.items():
        most = len(state) if name == "depth" else elements
        if isinstance(value, int) and value > most:
            what = f"{len(state)} tensors" if name == "depth" else f"{elements:,} numbers"
            raise TeacherError(f"{path}: its header says {name} = {value:,}, but the file holds only {what}")


def _load_ast(source: str | Path, path: Path, num_classes: int | None) -> Teacher:
    from fastast.checkpoints import load_model

    model = load_model(path)
    if num_classes is not None and model.geometry.num_classes != num_classes:
        raise TeacherError(other_classes(str(source), model.geometry.num_classes, num_classes))
    teacher = TransformerTeacher(model)
    teacher.name = str(source) if str(source) in EMBEDDED else "ast_base"  # for any shape, which its options give
    return teacher
