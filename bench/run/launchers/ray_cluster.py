"""Run cells on the nodes of a Ray cluster, by GPU type.

The driver picks the node of every cell and Ray runs it there. A timing cell takes all of the node's own resource
`node:ADDRESS`, so that no two of them share a node, not even those of two drivers. A cell that is lost with its worker
or node is measured again, on whatever node is available then.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bench.measure.devices import resolve_among
from bench.measure.machine import Machine, Software
from bench.run.isolation import scrub
from bench.run.launchers import RUNNERS, CellKey, Ended, Job, RunError, Runners, node, remote
from bench.run.launchers.ray_nodes import Node, Nodes, cause_of
from bench.run.progress import Progress
from bench.sweep.cells import Cell
from bench.sweep.complaints import ConfigError
from fastast.names import counted

if TYPE_CHECKING:
    from bench.run.launchers.choose import LauncherOptions

_ALONE = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
"""Makes Ray address this machine by its loopback address and listen only there, as it does by default on Windows and
macOS; read when Ray is imported."""
_WAIT_S = 600.0
"""How long a device may be without a node by default, seconds."""
_GRACE_S = 60.0
"""How long to wait for busy nodes once every device has a node that answered, seconds."""


class RayLauncher:
    """Runs cells on a Ray cluster, or on a Ray that it starts on this machine."""

    def __init__(
        self,
        *,
        address: str | None = None,
        resources: Mapping[str, str] | None = None,
        cache: Path | None = None,
        wait_s: float = _WAIT_S,
        runners: Runners = RUNNERS,
    ) -> None:
        """`address` is as for `ray.init`; by default RAY_ADDRESS, or a Ray that is started on this machine.

        `resources` maps a device to a resource that its nodes must have; `cache` is the nodes' folder for clips and
        features; `wait_s` is how long a device may be without a node, seconds.
        """
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._resources = dict(resources or {})
        self._cache, self._wait_s, self._runners = cache, wait_s, runners
        self._missed: set[str] = set()
        self._started = False

    def __enter__(self) -> RayLauncher:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if self._address == "local":
            os.environ.setdefault(*_ALONE)
        try:
            import ray
        except ModuleNotFoundError:
            raise RunError("Ray is not installed; install it with: pip install 'fastast[ray]'") from None
        if not ray.is_initialized():
            options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
            if self._address == "local":
                options["include_dashboard"] = False
            try:
                ray.init(address=self._address, **options)
            except Exception as error:  # Ray has no exception class of its own for a failed start
                what = "no Ray on this machine" if self._address == "local" else f"no Ray cluster at '{self._address}'"
                raise RunError(f"{what}: {scrub(str(error))}") from None
            self._started = True
        self._ray = ray
        self._nodes = Nodes(ray, self._resources)
        self._nodes.look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            self._ray.shutdown()

    def resolve(self, device: str) -> str:
        """Return `cpu` or a GPU type that the cluster has."""
        return resolve_among(device, self._nodes.types, cpu=True, where="this Ray cluster")

    def survey(self, cells: Sequence[Cell], progress: Progress) -> Mapping[str, tuple[Machine, Software]]:
        """Ask all nodes to describe themselves.

        Raises RunError where a device has no node in time, or nodes of several kinds, ConfigError for a resource of a
        device that no cell runs on.
        """
        devices = list(dict.fromkeys(cell.device for cell in cells))
        if unasked := [device for device in self._resources if device not in devices]:
            raise ConfigError(
                [f"--ray-resource {unasked[0]}=...: no cell runs on {unasked[0]}; the sweep has {', '.join(devices)}"]
            )
        nodes = self._nodes
        nodes.questions = {device: remote.question(cells, device, self._runners) for device in devices}
        progress.say(f"Asking {counted(len(nodes), 'node')} what they are ...")
        begun = time.monotonic()
        while True:
            nodes.look()
            nodes.ask()
            answered = nodes.answered()
            waited = time.monotonic() - begun
            if answered == set(devices) and (not nodes.asked or waited > _GRACE_S):
                break
            if waited > self._wait_s:
                busy = ", ".join(f"{one.address} ({device})" for one, device in nodes.asked.values())
                missing = ", ".join(sorted(set(devices) - answered))
                raise RunError(
                    f"no node for {missing} answered within {self._wait_s:g} s; "
                    + (f"still waiting for {busy}, which others may be using" if busy else nodes.nobody(missing))
                )
            for reference in self._wait(list(nodes.asked)):
                nodes.answer(reference)
        return {device: (facts.machine, facts.software) for device, facts in nodes.choose().items()}

    def prepare(self, cells: Sequence[Cell], cache: Path, progress: Progress) -> None:
        """Do nothing: features are made on the nodes."""

    def run(self, jobs: Sequence[Job], progress: Progress) -> Generator[Ended]:
        """Run the jobs on all nodes at once and yield each when it ends."""
        nodes = self._nodes
        waiting = list(jobs)
        unfinished = {job.key for job in jobs}
        running: dict[Any, tuple[Job, Node, float]] = {}
        lost: Counter[CellKey] = Counter()
        seen = dict.fromkeys(nodes.questions, time.monotonic())
        try:
            while unfinished:
                nodes.look()
                nodes.ask()
                for job in [job for job in waiting if job.after not in unfinished]:
                    share, place = nodes.place(job.cell)
                    if place is not None:
                        waiting.remove(job)
                        running[self._submit(job, place, share)] = (job, place, share)
                        place.taken += share
                        progress.begin(job.cell)
                self._check_stranded(waiting, seen, progress)
                for reference in self._wait([*running, *nodes.asked]):
                    if reference in nodes.asked:
                        nodes.welcome(reference, progress)
                        continue
                    job, place, share = running.pop(reference)
                    place.taken -= share
                    end = self._collect(reference, job, place, lost, progress)
                    if end is None:
                        waiting.insert(0, job)
                    else:
                        unfinished.discard(job.key)
                        yield end
        finally:
            with suppress(self._ray.exceptions.RayError, RuntimeError, ValueError):  # Ray itself may be gone
                for reference in [*running, *nodes.asked]:
                    self._ray.cancel(reference, force=True)

    def _submit(self, job: Job, place: Node, share: float) -> Any:
        order = remote.order(job, self._cache, self._runners)
        return self._nodes.remote(node.work, job.cell.device, place, share, job.cell.measure.threads).remote(order)

    def _collect(
        self, reference: Any, job: Job, place: Node, lost: Counter[CellKey], progress: Progress
    ) -> Ended | None:
        """Return how a job ended; None where it is to be run again because its worker or node is gone."""
        errors = self._ray.exceptions
        facts = place.facts[job.cell.device]
        assert facts is not None
        try:
            return remote.ended(job, self._ray.get(reference), facts)
        except errors.RayTaskError as error:
            return remote.failed(job, cause_of(error), facts)
        except errors.TaskUnschedulableError:  # the node was gone before the cell began
            return None
        except errors.RayError as error:
            lost[job.key] += 1
            what = f"its worker or node was lost ({type(error).__name__})"
            if lost[job.key] >= remote.ATTEMPTS:
                status = "oom" if isinstance(error, errors.OutOfMemoryError) else "error"
                return remote.failed(job, f"{what}, {remote.ATTEMPTS} times", facts, status=status)
        progress.say(f"{job.cell.title}: {what}; attempt {lost[job.key] + 1} of {remote.ATTEMPTS} follows")
        return None

    def _check_stranded(self, waiting: Sequence[Job], seen: dict[str, float], progress: Progress) -> None:
        """Raise RunError where a device that cells wait for has had no node for too long."""
        now = time.monotonic()
        there = self._nodes.usable()
        for device in {job.cell.device for job in waiting} - there:
            if now - seen[device] > self._wait_s:
                left = sum(job.cell.device == device for job in waiting)
                raise RunError(f"{self._nodes.nobody(device)}, for {self._wait_s:g} s; cells left: {left}")
            if device not in self._missed:
                progress.say(f"{self._nodes.nobody(device)} any more; waiting up to {self._wait_s:g} s for one")
                self._missed.add(device)
        self._missed -= there
        seen.update(dict.fromkeys(there, now))

    def _wait(self, references: list[Any]) -> list[Any]:
        """Return the tasks that are done, after a second at most."""
        if not references:
            time.sleep(0.5)
            return []
        done, _ = self._ray.wait(references, num_returns=1, timeout=1.0)
        return list(done)


def ray_launcher(options: LauncherOptions) -> RayLauncher:
    """Return the Ray launcher. Raises ConfigError for a resource without a device, or two for the same device."""
    pairs = [_device_and_resource(text) for text in options.ray_resources]
    twice = [device for device, count in Counter(device for device, _ in pairs).items() if count > 1]
    if twice:
        raise ConfigError([f"--ray-resource names two resources for {twice[0]}; give one per device"])
    wait_s = _WAIT_S if options.ray_wait_s is None else options.ray_wait_s
    return RayLauncher(address=options.ray_address, resources=dict(pairs), cache=options.cache, wait_s=wait_s)


def _device_and_resource(text: str) -> tuple[str, str]:
    device, equals, resource = text.partition("=")
    if not (device and equals and resource):
        raise ConfigError([f"--ray-resource {text}: write DEVICE=NAME, such as cpu=node:10.0.0.3"])
    return device, resource
