"""The file of `--slurm-config`: what partition and resources each device's jobs ask Slurm for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.sweep.complaints import ConfigError, problem_words
from bench.sweep.file import read_toml


class Place(BaseModel):
    """What a device's jobs ask Slurm for."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    partition: str | None = None
    gres: str | None = None
    constraint: str | None = None
    account: str | None = None
    qos: str | None = None
    nodelist: str | None = None
    exclusive: bool | None = None
    """Whether to take whole nodes, so that nothing else disturbs a measurement; only `false` shares them."""
    cpus_per_task: int | None = Field(default=None, ge=1)
    mem_gb: int | None = Field(default=None, ge=1)
    setup: list[str] | None = None
    """Shell lines to run before the job, such as `module load cuda`."""


class SlurmConfig(BaseModel):
    """The file of `--slurm-config`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    folder: str = "build/slurm"
    """Folder that nodes and driver share, for jobs and their reports."""
    cells_per_job: int = Field(default=1, ge=1)
    cluster: Literal["slurm", "local", "debug"] = "slurm"
    """`local` runs the jobs as processes of this machine, `debug` in this process."""
    devices: dict[str, Place] = Field(min_length=1)
    """What to ask Slurm for, by GPU type or `cpu`."""


def load_slurm_config(path: Path) -> SlurmConfig:
    """Read a file of `--slurm-config`. Raises ConfigError with file, key and what is wrong."""
    try:
        return SlurmConfig.model_validate(read_toml(path))
    except ValidationError as error:
        raise ConfigError(problem_words(path, error, SlurmConfig)) from None
