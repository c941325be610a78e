"""The doors through which files of other people come in: whole examples, how each is opened, and how it may refuse.

Shapes: `s` samples.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1] / "fastast" / "checkpoints"))

import data_doors
from checkpoint_files import LABELS, huggingface_folder, original_names, small_model
from data_doors import wave
from sound_files import encode

import fastast
from bench.claims.claim import ClaimError, read_claims
from bench.records.predictions import Predictions, PredictionsError, encode_predictions
from bench.records.replicates import ScoreReplicates, encode_replicates, read_kept
from bench.records.store import RecordError, read_head, read_record
from bench.run.launchers.slurm_config import load_slurm_config
from bench.sweep.complaints import ConfigError
from bench.sweep.expansion import expand
from bench.sweep.file import load_sweep
from fastast.checkpoints import CheckpointError, load_checkpoint
from fastast.data.caching.files import CacheDescription, ShardIndex
from fastast.data.decoding import AudioError
from fastast.data.layouts.ast_lists import read_list
from fastast.data.layouts.hdf5 import HDF5
from fastast.data.layouts.ontology import LABELS as CLASSES
from fastast.data.layouts.ontology import read_ontology
from fastast.data.layouts.parquet import Parquet
from fastast.data.soundscapes.cache import BlockStore, record_type
from fastast.data.tables import read_table
from fastast.data.training_set import DataError
from fastast.reduction import ReductionError
from fastast.reduction.embedding import MergeEmbedding, identified, merge_embedding
from fastast.schedule.file import ScheduleFileError, read_schedule_file
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.file import load_recipe, recipe_path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Door:
    """One kind of file."""

    name: str
    file: str
    """What it is called where it is opened."""
    examples: Callable[[], list[bytes]]
    """Whole ones, which are opened without an error."""
    open: Callable[[Path], object]
    refusals: tuple[type[Exception], ...]
    """What may be raised; anything else is a fault."""


def sounds(kind: str, *subtypes: str) -> list[bytes]:
    return [encode(wave(channels), 16_000, kind, subtype) for subtype in subtypes for channels in (1, 2)]


def hear(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fastast.load_audio(path)


def checkpoints() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = fastast.save_checkpoint(Path(folder) / "own.safetensors", small_model(), labels=LABELS)
        return [path.read_bytes()]


def original() -> list[bytes]:
    target = io.BytesIO()
    torch.save(original_names(small_model().state_dict()), target)
    return [target.getvalue()]


def configurations() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return [(huggingface_folder(Path(folder)) / "config.json").read_bytes()]


def open_folder(path: Path) -> None:
    """Open a Hugging Face folder whose description is the file, beside weights that are whole."""
    weights = path.parent / "model.safetensors"
    weights.write_bytes(_weights())
    try:
        load_checkpoint(path.parent)
    finally:
        weights.unlink()


_kept: list[bytes] = []


def _weights() -> bytes:
    if not _kept:
        with tempfile.TemporaryDirectory() as folder:
            _kept.append((huggingface_folder(Path(folder)) / "model.safetensors").read_bytes())
    return _kept[0]


def records() -> list[bytes]:
    found = sorted((ROOT / "results").glob("*/default/*.json"), key=lambda path: path.stat().st_size)
    return [found[0].read_bytes(), found[-1].read_bytes()]


def open_record(path: Path) -> None:
    read_head(path)
    read_record(path)


def predictions() -> list[bytes]:
    hashes = {"ids_sha256": "0" * 64}
    left = ScoreReplicates(shape=(3, 4), metric="mAP", seed=0, value=0.5, values=np.full(5, 0.5))
    whole = Predictions(np.zeros((3, 4), np.float32), "sigmoid")
    return [encode_predictions(whole, hashes), encode_replicates(left, hashes)]


def sweeps() -> list[bytes]:
    return [(ROOT / f"bench/sweeps/{name}.toml").read_bytes() for name in ("smoke", "ablation_heads", "engine_gpu")]


def open_sweep(path: Path) -> None:
    config = load_sweep(path)
    grid = config.grid.model_dump()
    if np.prod([float(len(axis)) for axis in grid.values() if isinstance(axis, list | tuple)]) < 2000:
        expand(config, str(path), resolve=lambda device: device)


def recipes() -> list[bytes]:
    return [recipe_path(name).read_bytes() for name in ("soundscapes_tiny",)]


def claims() -> list[bytes]:
    return [(ROOT / "reports/claims.toml").read_bytes()[:6000].rpartition(b"\n\n")[0] + b"\n"]


def tables() -> list[bytes]:
    return [b"file,label\na.wav,dog\nb.wav,cat\n", b'\xef\xbb\xbffile,label\r\n"a, b.wav",dog\r\n']


def schedule_files() -> list[bytes]:
    text = '[reduction]\nschedule = "list:300,0,0"\nmethod = "tome"\n'
    return [text.encode()]


def merge_embeddings() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        MergeEmbedding(weight=torch.ones(2, 3, 4), bias=torch.ones(2, 3), model="small", rows=5).save(path)
        return [path.read_bytes()]


def indices() -> list[bytes]:
    clip = {"id": "a", "columns": [0], "size": 4, "crc": 7}
    return [json.dumps({"source": "0" * 8, "sha256": "1" * 8, "clips": [clip, {**clip, "at": 4}]}).encode()]


def descriptions() -> list[bytes]:
    known = {
        "kind": "flac",
        "data_set": "audio_folder",
        "options": {},
        "classes": ["cat", "dog"],
        "task": "single_label",
    }
    known |= {"reading": {}, "shard_clips": 2, "splits": {"train": {"clips": 3, "ids_sha256": "0", "missing": []}}}
    return [json.dumps({"format": 1, **known}).encode()]


def blocks() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        store = BlockStore(folder=Path(folder), record=record_type(16, 3))
        store.write(0, np.ones(4, record_type(16, 3)))
        return [store.path(0).read_bytes()]


def open_block(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged block is told, and counts as none
        BlockStore(folder=path.parent, record=record_type(16, 3)).read(0)


def slurm() -> list[bytes]:
    return [b'folder = "jobs"\ncells_per_job = 2\n[devices.H100]\npartition = "gpu"\nmem_gb = 64\nsetup = ["echo"]\n']


AUDIO = partial(Door, open=hear, refusals=(AudioError,))
DOORS = (
    AUDIO(name="wav", file="a.wav", examples=partial(sounds, "WAV", "PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM")),
    AUDIO(name="flac", file="a.flac", examples=partial(sounds, "FLAC", "PCM_16")),
    AUDIO(name="ogg", file="a.ogg", examples=partial(sounds, "OGG", "VORBIS", "OPUS")),
    AUDIO(name="mp3", file="a.mp3", examples=partial(sounds, "MP3", "MPEG_LAYER_III")),
    AUDIO(name="MPEG-4, WebM and Matroska", file="a.m4a", examples=data_doors.media),
    Door(
        name="Parquet",
        file="train.parquet",
        examples=data_doors.parquet,
        open=partial(data_doors.open_shard, Parquet),
        refusals=(DataError, AudioError),
    ),
    Door(
        name="HDF5",
        file="train.h5",
        examples=data_doors.hdf5,
        open=partial(data_doors.open_shard, HDF5),
        refusals=(DataError, AudioError),
    ),
    Door(name="classes", file=CLASSES, examples=data_doors.ontologies, open=read_ontology, refusals=(DataError,)),
    Door(
        name="AudioSet's segments",
        file="balanced_train_segments.csv",
        examples=data_doors.segments,
        open=data_doors.open_segments,
        refusals=(DataError,),
    ),
    Door(name="AST's list", file="a.json", examples=data_doors.lists, open=read_list, refusals=(DataError,)),
    Door(
        name="safetensors",
        file="a.safetensors",
        examples=checkpoints,
        open=load_checkpoint,
        refusals=(CheckpointError,),
    ),
    Door(name="pth", file="a.pth", examples=original, open=load_checkpoint, refusals=(CheckpointError,)),
    Door(
        name="Hugging Face folder",
        file="config.json",
        examples=configurations,
        open=open_folder,
        refusals=(CheckpointError,),
    ),
    Door(name="record", file="0123456789ab.json", examples=records, open=open_record, refusals=(RecordError,)),
    Door(
        name="predictions",
        file="a.npz",
        examples=predictions,
        open=read_kept,
        refusals=(PredictionsError,),
    ),
    Door(name="sweep", file="a.toml", examples=sweeps, open=open_sweep, refusals=(ConfigError,)),
    Door(
        name="recipe",
        file="a.toml",
        examples=recipes,
        open=lambda path: load_recipe(str(path)),
        refusals=(RecipeError, DataError),
    ),
    Door(name="claims", file="a.toml", examples=claims, open=read_claims, refusals=(ClaimError,)),
    Door(
        name="table",
        file="a.csv",
        examples=tables,
        open=lambda path: read_table(path, ("file", "label")),
        refusals=(DataError,),
    ),
    Door(
        name="schedule file",
        file="a.toml",
        examples=schedule_files,
        open=lambda path: read_schedule_file(str(path)),
        refusals=(ScheduleFileError,),
    ),
    Door(
        name="merge embedding",
        file="a.safetensors",
        examples=merge_embeddings,
        open=lambda path: merge_embedding(identified(str(path))),
        refusals=(ReductionError,),
    ),
    Door(name="index of a cache", file="a.json", examples=indices, open=ShardIndex.read, refusals=(DataError,)),
    Door(
        name="description of a cache",
        file="cache.json",
        examples=descriptions,
        open=lambda path: CacheDescription.read(path.parent),
        refusals=(DataError,),
    ),
    Door(name="mixed clips", file="00000.clips", examples=blocks, open=open_block, refusals=()),
    Door(name="Slurm's settings", file="a.toml", examples=slurm, open=load_slurm_config, refusals=(ConfigError,)),
)
