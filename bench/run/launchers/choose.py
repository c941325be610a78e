"""Choose the launcher that a command line names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.run.launchers import Launcher
from bench.sweep.complaints import ConfigError
from fastast.names import unknown_name
from fastast.registry import Registry


@dataclass(frozen=True, kw_only=True)
class LauncherOptions:
    """The options of a command line for launchers; each launcher reads its own."""

    cache: Path | None = None
    """The nodes' folder for clips and features."""
    ray_address: str | None = None
    """Address of a Ray cluster, or `auto`."""
    ray_resources: tuple[str, ...] = ()
    """`DEVICE=NAME`: the resource that a device's nodes must have."""
    ray_wait_s: float | None = None
    """How long a device may be without a node, seconds; None for the default of Ray's launcher."""
    slurm_config: Path | None = None
    """File with partition and resources of each device."""
    minutes: float | None = None
    """Time limit of the whole run on this machine."""


LAUNCHERS: Registry[Callable[[LauncherOptions], Launcher]] = Registry(
    "launcher",
    {
        "local": "bench.run.launchers.local:local_launcher",
        "ray": "bench.run.launchers.ray_cluster:ray_launcher",
        "slurm": "bench.run.launchers.slurm:slurm_launcher",
    },
)
"""Functions that make each launcher from the options."""


def choose_launcher(name: str, **options: Any) -> Launcher:
    """Return a launcher, which is not started yet; `options` are those of `LauncherOptions`.

    Raises ConfigError for an unknown name, and for options that do nothing with this launcher.
    """
    given = LauncherOptions(**options)
    if name not in LAUNCHERS:
        raise ConfigError([f"--launcher {name}: {unknown_name('launcher', name, LAUNCHERS)}"])
    if name != "ray" and (given.ray_address or given.ray_resources or given.ray_wait_s is not None):
        said = "--ray-address, --ray-resource and --ray-wait do nothing"
        raise ConfigError([f"{said} with --launcher {name}; say --launcher ray"])
    if name != "slurm" and given.slurm_config:
        raise ConfigError([f"--slurm-config does nothing with --launcher {name}; say --launcher slurm"])
    if name != "local" and given.minutes is not None:
        raise ConfigError([f"--minutes does nothing with --launcher {name}; limit the time of its jobs"])
    return LAUNCHERS.get(name)(given)
