"""Mix the clips that are not cached yet, on several threads, block by block.

Shapes: `c` clips, `w` samples of a clip, `k` classes.
"""

from __future__ import annotations

import hashlib
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fastast.data.soundscapes.cache import BLOCK_CLIPS, BlockStore, default_folder, record_type
from fastast.data.soundscapes.classes import CLASSES
from fastast.data.soundscapes.mixing import clip_samples, mix_clip
from fastast.data.soundscapes.pool import FIRST_SEED, Pool, SoundscapesError, catalogue, committed, pool_path
from fastast.data.soundscapes.reference import recipe_hashes
from fastast.system.progress import progress_bar

VERSION = 1
"""Version of the mixer, to be raised when samples change although pool and recipes do not."""


def mixer_hash(split: str, seconds: float) -> str:
    """Return the SHA-256 of everything that could change a sample: the pool, the recipes, the mixer and the decoder."""
    import soundfile

    pool = cast(dict[str, str], committed()["pool"])["sha256"]
    decoder = f"{soundfile.__libsndfile_version__} {platform.machine()}"
    probe = recipe_hashes(split, seconds, 10)[10]
    return hashlib.sha256(f"{VERSION} {pool} {probe} {decoder}".encode()).hexdigest()


def open_store(split: str, seconds: float, cache_dir: Path | None) -> BlockStore:
    """Return the store for these clips: a separate folder for everything that could change a sample."""
    key = mixer_hash(split, seconds)[:12]
    folder = Path(cache_dir) if cache_dir is not None else default_folder()
    if folder.exists() and not folder.is_dir():
        raise SoundscapesError(f"{folder}: a file, but mixed clips are cached in a folder; give another path")
    return BlockStore(
        folder=folder / "soundscapes" / f"{split}-{round(seconds * 1000)}ms-{key}",
        record=record_type(clip_samples(seconds), len(CLASSES)),
    )


def read_cached(store: BlockStore, waveforms: NDArray[np.int16], labels: NDArray[np.uint8]) -> list[range]:
    """Fill in the clips that are cached; return the others as one range per block."""
    missing = []
    for start in range(0, len(labels), BLOCK_CLIPS):
        stop = min(start + BLOCK_CLIPS, len(labels))
        records = store.read(start // BLOCK_CLIPS)[: stop - start]
        kept = start + len(records)
        waveforms[start:kept], labels[start:kept] = records["waveform"], records["labels"]
        if kept < stop:
            missing.append(range(kept, stop))
    return missing


def mix_missing(
    store: BlockStore,
    missing: list[range],
    split: str,
    seconds: float,
    waveforms: NDArray[np.int16],
    labels: NDArray[np.uint8],
    *,
    progress: bool,
    workers: int,
) -> None:
    """Mix the missing clips and store each block as soon as it is complete."""
    pool, sources = Pool(split, pool_path()), catalogue(split)
    columns = {name: column for column, name in enumerate(CLASSES)}

    def mix_one(index: int) -> None:
        waveforms[index], recipe = mix_clip(FIRST_SEED[split] + index, sources, seconds, pool)
        labels[index] = 0
        labels[index, [columns[name] for name in recipe.labels]] = 1

    total = sum(len(clips) for clips in missing)
    kept = True
    executor = ThreadPoolExecutor(workers)
    try:
        what = f"soundscapes: mixing {total:,} {split} clips ({seconds:g} s)"
        with progress_bar(what, total, shown=progress) as advance:
            for clips in missing:
                for _ in executor.map(mix_one, clips):
                    advance()
                if not kept:
                    continue
                block = clips.start // BLOCK_CLIPS
                records = np.empty(clips.stop - block * BLOCK_CLIPS, store.record)
                records["waveform"] = waveforms[block * BLOCK_CLIPS : clips.stop]
                records["labels"] = labels[block * BLOCK_CLIPS : clips.stop]
                kept = store.write(block, records)
    finally:
        executor.shutdown(cancel_futures=True)
