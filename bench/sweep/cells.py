"""Cells: the questions that a sweep asks, each with an identity that does not depend on the machine.

A cell's `question` is everything its answer depends on, in canonical form; its `id` is the start of that
question's SHA-256. An axis that is added later stays out of the question at its default, so that the ids
of older records stay.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.sweep.config import MeasureConfig
from bench.sweep.data import MIXED, DataRef
from fastast.data.identity import hash_ids

if TYPE_CHECKING:
    from fastast.frontend import Normalisation
    from fastast.reduction import TokenReduction


_LATER = (
    *("min_samples", "flush_caches", "energy_seconds", "best_batch_limit", "bound_tolerance", "scope", "allocator"),
    *("hop_seconds", "where_installed"),
)
"""Keys of `measure` that came after the first records; at their defaults they stay out of the question."""


STATED = ("labels_sha256", "activation", "normalisation")
"""Keys of what a sweep states about its model (`ModelRef.stated`): quality depends on them, speed does not."""


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A model as a cell names it."""

    name: str
    """Name of the zoo, or file name of a checkpoint."""
    path: Path | None
    """The checkpoint; None for a name of the zoo."""
    sha256: str | None
    """SHA-256 of the weights; None where they are random."""
    frames: int | None
    """Input length; None for the model's own."""
    engine: str = "plain"
    """What runs it, one of `bench.sweep.engines.ENGINES`."""
    labels: tuple[str, ...] | None = None
    """Names of its classes where the sweep gives them; None for those in its file."""
    activation: str = ""
    """What turns its logits into scores where the sweep says so; empty for what its file implies."""
    normalisation: Normalisation | None = None
    """Normalisation of its filterbank where the sweep gives it; None for that in its file."""
    geometry: tuple[tuple[str, int], ...] = ()
    """What the sweep says about the model's shape: fields and values."""
    stride: int | None = None
    """Step between its patches along both axes; None for the model's own."""
    own_length: bool = False
    """Whether clips shorter than its input run at their own length in place of padding."""
    columns: tuple[int, ...] | None = None
    """Index of its output for each class of the data; None where the order is the same, or no quality is asked for. It
    follows from model and data."""

    def question(self, seed: int) -> dict[str, Any]:
        """Return the model's part of the question: weights count, their name does not."""
        weights = {"sha256": self.sha256} if self.sha256 else {"name": self.name, "seed": seed}
        engine = {} if self.engine == "plain" else {"engine": self.engine}  # came after the first records
        said = {"geometry": dict(self.geometry)} if self.geometry else {}  # came later too
        step = {} if self.stride is None else {"stride": self.stride}
        length = {"length": "own"} if self.own_length else {}
        return weights | ({"frames": self.frames} if self.frames else {}) | engine | said | step | length

    def as_trained(self) -> ModelRef:
        """Return the model that speed-ups and differences in quality refer to: at its own stride, with clips padded."""
        return replace(self, stride=None, own_length=False)

    def stated(self) -> dict[str, Any]:
        """Return what the sweep states about the model that quality depends on."""
        labels = {} if self.labels is None else {"labels_sha256": hash_ids(self.labels)}
        scale = {} if self.normalisation is None else {"normalisation": asdict(self.normalisation)}
        return labels | ({"activation": self.activation} if self.activation else {}) | scale


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One question of a sweep."""

    kind: Literal["performance", "quality"]
    model: ModelRef
    reduction: TokenReduction | None
    """None for the unmerged model."""
    attention: str
    dtype: str
    device: str
    """Where it runs: `cpu`, `cuda` or, on a cluster, a GPU type. Not part of the question."""
    seed: int
    measure: MeasureConfig
    batch_size: int | Literal["best"] | None = None
    """Clips per batch, or the best for each arm; None for a quality cell."""
    data: DataRef | None = None
    """The clips to score; None for a performance cell."""
    calibration: DataRef | None = None
    """Training clips that int8 is calibrated on; None for another dtype."""

    @property
    def is_unmerged(self) -> bool:
        """Whether others are compared with it: all tokens of the model's own input, and no reduction."""
        return self.reduction is None and self.model == self.model.as_trained()

    @property
    def question(self) -> dict[str, Any]:
        """Everything that the answer depends on, except the machine."""
        return {name: json.loads(text) for name, text in self._parts().items()}

    @cached_property
    def id(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical question."""
        parts = self._parts()
        text = ",".join(f'"{name}":{parts[name]}' for name in sorted(parts))  # as `canonical` would write them together
        return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()[:12]

    def _parts(self) -> dict[str, str]:
        """Return the canonical text of every part of the question; cells of a grid share most parts."""
        parts = {
            "kind": _text(self.kind),
            "model": _model_text(self.model, self.seed, quality=self.data is not None),
            "reduction": "null" if self.reduction is None else _reduction_text(self.reduction),
            "attention": _text(self.attention),
            "dtype": _text(self.dtype),
        }
        if self.calibration is not None:
            parts["calibration"] = canonical(self.calibration.question())
        if self.data is not None:
            return parts | {"workload": canonical(self.data.question())}
        same = {"slice", "fa4_bias", "flex_bias"} if self.reduction is None else set()
        same |= {"plain"} if self.model.engine == "plain" else set()  # then `unmerged` is the same
        workload = _workload_text(self.batch_size, self.seed)
        return parts | {"workload": workload, "measure": _measure_text(self.measure, frozenset(same))}

    def compared_with(self) -> Cell | None:
        """Return the unmerged model's cell that a quality cell is compared with; None for other cells."""
        if self.kind != "quality" or self.is_unmerged:
            return None
        attention = "math" if self.attention == "math" else "auto"
        return replace(self, model=self.model.as_trained(), reduction=None, attention=attention)

    @cached_property
    def against(self) -> str | None:
        """Id of the cell that this one is compared with."""
        unmerged = self.compared_with()
        return None if unmerged is None else unmerged.id

    @property
    def title(self) -> str:
        """The cell in one short line."""
        stride = "" if self.model.stride is None else f"stride {self.model.stride}"
        reduction = "" if self.reduction is None else _reduction_words(self.reduction)
        length = "own length" if self.model.own_length else ""
        what = " ".join(filter(None, (stride, length, reduction))) or "unmerged"
        where = f"batch {self.batch_size}"
        if self.data is not None:
            name = "" if self.data.dataset == MIXED else f"{self.data.dataset} "
            where = f"{self.data.clips} clips of {name}{self.data.split}"
        kernel = "" if self.attention == "auto" else f" {self.attention}"
        engine = "" if self.model.engine == "plain" else f" {self.model.engine}"
        memory = "" if self.measure.allocator == "kept" or self.data is not None else " allocator=system"
        scope = "" if self.data is not None or self.measure.scope == "forward" else f" {self.measure.scope}"
        return f"{self.kind}{scope} {what} {where} {self.dtype}{kernel}{engine}{memory} {self.device}"


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical(question: object) -> str:
    """Return the one JSON text of a question: sorted keys, no spaces, ASCII."""
    return _ENCODER.encode(question)


@lru_cache
def _text(value: str) -> str:
    return canonical(value)


@lru_cache(maxsize=1 << 14)
def _workload_text(batch_size: int | str | None, seed: int) -> str:
    return canonical({"input": "normal", "batch_size": batch_size, "seed": seed})


@lru_cache
def _model_text(model: ModelRef, seed: int, *, quality: bool) -> str:
    return canonical(model.question(seed) | (model.stated() if quality else {}))


@lru_cache(maxsize=1 << 14)
def _reduction_text(reduction: TokenReduction) -> str:
    return canonical(reduction.to_dict())


@lru_cache(maxsize=1 << 14)
def _reduction_words(reduction: TokenReduction) -> str:
    return str(reduction)


@lru_cache
def _measure_text(measure: MeasureConfig, same: frozenset[str]) -> str:
    """Return the canonical text of how a cell is measured, without the baselines in `same`, which repeat other arms."""
    measured = measure.model_dump(mode="json", exclude={"threads", "noise_repeats", "time_limit_s"})
    for key in _LATER:
        if getattr(measure, key) == MeasureConfig.model_fields[key].default:
            del measured[key]
    for key in ("baselines", "where_installed"):
        if key in measured:
            measured[key] = [name for name in measured[key] if name not in same]
    return canonical(measured)
