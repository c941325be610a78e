"""`[measure]` of a sweep file: how time is measured."""

from __future__ import annotations

from typing import get_args

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bench.sweep.baselines import BASELINES, HOP_SECONDS, SCOPES
from bench.sweep.complaints import as_toml, at_path, one_of
from bench.sweep.config.part import ConfigPart, as_tuple
from fastast.system.allocator import MemoryPolicy


class MeasureConfig(ConfigPart):
    """How time is measured."""

    scope: str = "forward"
    """`forward`: filterbanks to logits. `waveform`: the front end too. `training_step`: forward, loss, backward and
    optimiser. `stream`: blocks of sound as they come, to the labels of the last window."""
    hop_seconds: float = Field(default=HOP_SECONDS, gt=0)
    """With the scope `stream`, seconds of sound between one window and the next."""
    baselines: tuple[str, ...] = ("unmerged", "slice")
    """Arms that are timed in the same rounds as the candidate; a cell fails where one of them cannot run."""
    where_installed: tuple[str, ...] = ()
    """Arms that are also timed where what they need is installed and can run; elsewhere the record names them with the
    reason, and the cell does not fail."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of PyTorch. Not given: all physical cores that affinity and quota allow."""
    rounds: int = Field(default=10, ge=3)
    """Least number of rounds, unless `max_seconds` ends them; five are always made."""
    min_seconds: float = Field(default=2.0, ge=0)
    """Rounds go on until they have taken this many seconds."""
    max_seconds: float = Field(default=20.0, gt=0)
    """No round starts after this many seconds, once five are made."""
    warmup_window: int = Field(default=3, ge=1)
    """Warm-up compares the median of this many iterations with that of the same number before them."""
    warmup_tolerance: float = Field(default=0.05, gt=0)
    """Largest relative difference of the two medians that counts as stable."""
    warmup_iterations: int = Field(default=50, ge=1)
    """Number of iterations after which the warm-up of an arm ends even if it is not stable."""
    warmup_seconds: float = Field(default=5.0, ge=0)
    """Seconds after which it ends even if it is not stable, once the windows were compared five times."""
    noise_limit: float = Field(default=0.1, gt=0)
    """Largest inter-quartile range of the per-round ratio, relative to its median, that does not count as noisy."""
    noise_repeats: int = Field(default=2, ge=0)
    """How many times a measurement that is too noisy is repeated."""
    time_limit_s: float = Field(default=600.0, gt=0)
    """Seconds after which a cell is ended and recorded as `timeout`."""
    min_samples: int = Field(default=1, ge=1)
    """Rounds go on until every arm has this many samples, or `max_seconds` ends them; a 99th percentile needs 100."""
    flush_caches: bool = False
    """Overwrite the caches before every sample, so that no sample finds the model in them."""
    energy_seconds: float = Field(default=1.0, ge=0)
    """Seconds that every arm runs to measure its energy, where that can be read; 0 for no measurement."""
    best_batch_limit: int = Field(default=256, ge=1)
    """Largest batch that `batch_size = ["best"]` tries."""
    allocator: MemoryPolicy = "kept"
    """`kept`: freed memory stays with the process. `system`: the allocator gives it back as it sees fit."""
    bound_tolerance: float = Field(default=0.25, ge=0)
    """A speed-up whose whole interval exceeds its bound by more than this share makes a record implausible."""

    @field_validator("scope")
    @classmethod
    def _known_scope(cls, value: str) -> str:
        return one_of("scope", value, tuple(SCOPES))

    @field_validator("allocator")
    @classmethod
    def _known_allocator(cls, value: str) -> str:
        return one_of("allocator", value, get_args(MemoryPolicy))

    _lists = field_validator("baselines", "where_installed", mode="before")(as_tuple)

    @field_validator("baselines")
    @classmethod
    def _known_baselines(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for i, value in enumerate(values):
            one_of("baseline", value, BASELINES.names(), i)
        if "unmerged" not in values:
            raise PydanticCustomError("denominator", "lacks 'unmerged'; a speed-up needs it as its denominator")
        return tuple(name for name in BASELINES if name in values)

    @field_validator("where_installed")
    @classmethod
    def _known_arms(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for i, value in enumerate(values):
            one_of("baseline", value, BASELINES.names(), i)
        return tuple(name for name in BASELINES if name in values)

    @model_validator(mode="after")
    def _baselines_fit(self) -> MeasureConfig:
        allowed = SCOPES[self.scope]
        for key in ("baselines", "where_installed"):
            for name in getattr(self, key):
                if name not in allowed:
                    alone = name == "model_alone"
                    why = "shows what the front end adds to 'waveform'" if alone else "is a baseline of inference"
                    text = f"{as_toml(name)} {why}; allowed with scope {as_toml(self.scope)}: {', '.join(allowed)}"
                    raise at_path(key, text)
        for name in self.where_installed:
            if name in self.baselines:
                raise at_path("where_installed", f"{as_toml(name)} is in 'baselines' too; write it in one of the two")
        return self

    @model_validator(mode="after")
    def _hop_is_a_streams(self) -> MeasureConfig:
        if self.hop_seconds != HOP_SECONDS and self.scope != "stream":
            raise at_path("hop_seconds", "is only for streams; leave it out, or write scope = 'stream'")
        return self

    @model_validator(mode="after")
    def _order_of_limits(self) -> MeasureConfig:
        if self.min_seconds > self.max_seconds:
            raise PydanticCustomError(
                "limits",
                "min_seconds {low} is more than max_seconds {high}",
                {"low": self.min_seconds, "high": self.max_seconds},
            )
        return self
