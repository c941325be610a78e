"""The launcher that a command line asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bench.run.budget import Budget
from bench.run.launchers import Launcher
from bench.sweep.complaints import ConfigError


def choose_launcher(
    name: Literal["local", "ray", "slurm"],
    *,
    cache: Path | None = None,
    ray_address: str | None = None,
    ray_resources: Sequence[str] = (),
    ray_wait_s: float = 600.0,
    slurm_config: Path | None = None,
    minutes: float | None = None,
) -> Launcher:
    """Return a launcher, which is not started yet. Raises ConfigError for options that do not fit it."""
    if name != "ray" and (ray_address or ray_resources):
        raise ConfigError([f"--ray-address and --ray-resource do nothing with --launcher {name}; say --launcher ray"])
    if name != "slurm" and slurm_config:
        raise ConfigError([f"--slurm-config does nothing with --launcher {name}; say --launcher slurm"])
    if name != "local" and minutes is not None:
        raise ConfigError([f"--minutes does nothing with --launcher {name}; limit the time of its jobs"])
    if name == "ray":
        from bench.run.launchers.ray_cluster import RayLauncher

        resources = dict(map(_device_and_resource, ray_resources))
        return RayLauncher(address=ray_address, resources=resources, cache=cache, wait_s=ray_wait_s)
    if name == "slurm":
        from bench.run.launchers.slurm import SlurmLauncher, load_slurm_config

        if slurm_config is None:
            raise ConfigError(["--launcher slurm needs --slurm-config FILE, see docs/scale_out.md"])
        return SlurmLauncher(load_slurm_config(slurm_config), cache=cache)
    from bench.run.launchers.local import LocalLauncher

    return LocalLauncher(budget=None if minutes is None else Budget(minutes))


def _device_and_resource(text: str) -> tuple[str, str]:
    device, equals, resource = text.partition("=")
    if not (device and equals and resource):
        raise ConfigError([f"--ray-resource {text}: write DEVICE=NAME, such as cpu=node:10.0.0.3"])
    return device, resource
