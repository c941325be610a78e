"""What decides a teacher's answers besides the teacher itself: clips, batches and augmentation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from fastast.data.augment import Augmentation
from fastast.frontend import Frontend
from fastast.hashing import hash_plain


def targets_question(
    augmentation: Augmentation,
    frontend: Frontend,
    *,
    data: Any,
    batch_size: int,
    seed: int,
    generator: str = "cpu",
    precision: str = "float32",
    clips: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return everything except the teacher itself that decides its answers, as plain values.

    `data`: what determines the clips and their order, such as a recipe's data set with its options and sampler; any
    JSON. `batch_size`: number of clips that are mixed with each other. `generator`: type of the device whose generator
    draws the augmentation, as each type draws other numbers. `clips`: hashes of the clips' content
    (`fastast.data.same_clips.identify`).
    """
    return {
        "augmentation": dict(augmentation.question()),
        "num_frames": frontend.num_frames,
        "num_mel_bins": frontend.num_mel_bins,
        "normalisation": dataclasses.asdict(frontend.normalisation),
        "data": data,
        "batch_size": batch_size,
        "seed": seed,
        "generator": generator,
        "precision": precision,
        "clips": dict(clips or {}),
    }


def hash_before(question: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a question as files of version 1 have it, which leaves out precision and clips."""
    before = {key: question[key] for key in ("augmentation", "batch_size", "seed", "generator")}
    data = question["data"]
    before["data"] = data if isinstance(data, str) else json.dumps(data, sort_keys=True)
    before["frontend"] = [question[key] for key in ("num_frames", "num_mel_bins", "normalisation")]
    return hash_plain(before)
