"""Cells on the nodes of a Ray cluster, by GPU type.

The driver picks the node of every cell and Ray runs it there: a timing cell takes the whole of the node's own resource
`node:ADDRESS`, so that no two share a node, not even those of two drivers. What is lost with a worker or a node is
measured again, on whatever node is there then.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.cells import Cell
from bench.devices import resolve_among
from bench.isolation import scrub
from bench.launchers import RUNNERS, CellKey, Ended, Job, RunError, Runners, node, remote
from bench.launchers.node import Facts
from bench.machine import Machine, Software
from bench.progress import Progress

_TYPE = "accelerator_type:"
"""How Ray names the resource of a GPU type."""
_GRACE_S = 60.0
"""How long busy nodes are waited for once every device has a node that answered."""


@dataclass
class _Node:
    """A node that is alive."""

    id: str
    address: str
    resources: dict[str, float]
    taken: float = 0.0
    """Share of it that this driver's cells have; 1 is all."""
    facts: dict[str, Facts | None] = field(default_factory=dict)
    """By device, of what was asked; None where it is not to be used."""

    @property
    def types(self) -> list[str]:
        """Types of its GPUs, one at most in practice."""
        return [name.removeprefix(_TYPE) for name in self.resources if name.startswith(_TYPE)]

    def has(self, device: str, resource: str | None) -> bool:
        """Return whether cells of a device could run here."""
        if resource is not None and resource not in self.resources:
            return False
        return self.resources.get("CPU", 0) > 0 if device == "cpu" else device in self.types


class RayLauncher:
    """Runs cells on a Ray cluster, or on a Ray that it starts on this machine."""

    def __init__(
        self,
        *,
        address: str | None = None,
        resources: Mapping[str, str] | None = None,
        cache: Path | None = None,
        wait_s: float = 600.0,
        runners: Runners = RUNNERS,
    ) -> None:
        """`address` as `ray.init` takes it; not given: RAY_ADDRESS, or a Ray of this machine's own.

        `resources` names for a device a resource that its nodes must have, `cache` the nodes' folder for clips and
        features, `wait_s` how long a device may be without a node, seconds.
        """
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._resources = dict(resources or {})
        self._cache, self._wait_s, self._runners = cache, wait_s, runners
        self._nodes: dict[str, _Node] = {}
        self._asked: dict[Any, tuple[_Node, str]] = {}
        self._questions: dict[str, node.Question] = {}
        self._chosen: dict[str, Facts] = {}
        self._missed: set[str] = set()
        self._started = False

    def __enter__(self) -> RayLauncher:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise RunError(f"no Ray cluster at '{self._address}': {scrub(str(error))}") from None
            self._started = True
        self._ray = ray
        self._look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            self._ray.shutdown()

    def resolve(self, device: str) -> str:
        """Return `cpu` or a GPU type that the cluster has."""
        types = [name.removeprefix(_TYPE) for name in self._ray.cluster_resources() if name.startswith(_TYPE)]
        return resolve_among(device, types, cpu=True, where="this Ray cluster")

    def survey(self, cells: Sequence[Cell], progress: Progress) -> Mapping[str, tuple[Machine, Software]]:
        """Ask all nodes what they are. Raises RunError where the nodes of one device are of several kinds."""
        devices = list(dict.fromkeys(cell.device for cell in cells))
        self._questions = {device: remote.question(cells, device, self._runners) for device in devices}
        progress.say(f"Asking {len(self._nodes)} nodes what they are ...")
        begun = time.monotonic()
        while True:
            self._look()
            self._ask()
            answered = {device for one in self._nodes.values() for device in one.facts}
            waited = time.monotonic() - begun
            if answered == set(devices) and (not self._asked or waited > _GRACE_S):
                break
            if waited > self._wait_s:
                busy = ", ".join(f"{one.address} ({device})" for one, device in self._asked.values())
                missing = ", ".join(sorted(set(devices) - answered))
                raise RunError(
                    f"no node for {missing} answered within {self._wait_s:g} s; "
                    + (f"still waiting for {busy}, which others may be using" if busy else self._nobody(missing))
                )
            for reference in self._wait(list(self._asked)):
                asked, device = self._asked.pop(reference)
                asked.facts[device] = self._facts(reference, asked)
        self._chosen = {device: self._choose(device) for device in devices}
        return {device: (facts.machine, facts.software) for device, facts in self._chosen.items()}

    def prepare(self, cells: Sequence[Cell], cache: Path, progress: Progress) -> None:
        """Do nothing: features are made on the nodes."""

    def run(self, jobs: Sequence[Job], progress: Progress) -> Generator[Ended]:
        """Run the jobs on all nodes at once and yield each when it ends."""
        waiting = list(jobs)
        unfinished = {job.key for job in jobs}
        running: dict[Any, tuple[Job, _Node, float]] = {}
        lost: Counter[CellKey] = Counter()
        seen = dict.fromkeys(self._questions, time.monotonic())
        try:
            while unfinished:
                self._look()
                self._ask()
                for job in [job for job in waiting if job.after not in unfinished]:
                    share, place = self._place(job.cell)
                    if place is not None:
                        waiting.remove(job)
                        running[self._submit(job, place, share)] = (job, place, share)
                        place.taken += share
                        progress.begin(job.cell)
                self._check_stranded(waiting, seen, progress)
                for reference in self._wait([*running, *self._asked]):
                    if reference in self._asked:
                        self._welcome(reference, progress)
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
                for reference in [*running, *self._asked]:
                    self._ray.cancel(reference, force=True)

    def _look(self) -> None:
        """Note which nodes are there now."""
        alive = {entry["NodeID"]: entry for entry in self._ray.nodes() if entry["Alive"] and entry["Resources"]}
        self._nodes = {key: one for key, one in self._nodes.items() if key in alive}
        for key, entry in alive.items():
            if key not in self._nodes:
                self._nodes[key] = _Node(
                    id=key, address=entry["NodeManagerAddress"], resources=dict(entry["Resources"])
                )

    def _ask(self) -> None:
        """Ask every node that was not asked yet what it is with each device."""
        pending = {(one.id, device) for one, device in self._asked.values()}
        for one in self._nodes.values():
            for device, question in self._questions.items():
                known = device in one.facts or (one.id, device) in pending
                if not known and one.has(device, self._resources.get(device)):
                    self._asked[self._remote(node.inspect, device, one, 0.0).remote(question)] = (one, device)

    def _facts(self, reference: Any, asked: _Node) -> Facts | None:
        """Return a node's answer; None where the node is gone. Raises RunError where it cannot measure."""
        try:
            facts: Facts = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise RunError(f"node {asked.address}: {_cause(error)}") from None
        except self._ray.exceptions.RayError:
            return None
        return facts

    def _choose(self, device: str) -> Facts:
        """Return the one kind of machine that a device stands for."""
        nodes = [one for one in self._nodes.values() if one.facts.get(device) is not None]
        kinds: dict[str, list[_Node]] = {}
        for one in nodes:
            kinds.setdefault(_kind(one, device), []).append(one)
        if len(kinds) > 1:
            listed = "; ".join(f"{key}: {', '.join(f'node:{one.address}' for one in of)}" for key, of in kinds.items())
            raise RunError(
                f"cells of '{device}' could run on {len(kinds)} kinds of machines, whose times must not be mixed: "
                f"{listed}. Name a resource that only one kind has, such as --ray-resource {device}=node:ADDRESS"
            )
        if not nodes:
            raise RunError(self._nobody(device))
        facts = nodes[0].facts[device]
        assert facts is not None
        return facts

    def _welcome(self, reference: Any, progress: Progress) -> None:
        """Take a node that joined, unless it is of another kind than those before it."""
        one, device = self._asked.pop(reference)
        try:
            one.facts[device] = self._facts(reference, one)
        except RunError as error:
            one.facts[device] = None
            progress.say(f"{error}; it gets no cells")
            return
        if one.facts[device] is not None and _kind(one, device) != self._chosen[device].machine.key:
            progress.say(
                f"node {one.address} is a {_kind(one, device)}, unlike the others of {device}; it gets no cells"
            )
            one.facts[device] = None

    def _place(self, cell: Cell) -> tuple[float, _Node | None]:
        """Return which share of a node a cell takes and a node that has it."""
        for one in self._nodes.values():
            if one.facts.get(cell.device) is None:
                continue
            # Speed needs a quiet node; of quality, as many cells as there are GPUs do not harm each other.
            gpus = int(one.resources.get("GPU", 1)) if cell.device != "cpu" and cell.kind == "quality" else 1
            share = int(1e4 / max(gpus, 1)) / 1e4
            if one.taken + share <= 1 + 1e-9:
                return share, one
        return 1.0, None

    def _submit(self, job: Job, place: _Node, share: float) -> Any:
        order = remote.order(job, self._cache, self._runners)
        return self._remote(node.work, job.cell.device, place, share, job.cell.measure.threads).remote(order)

    def _remote(self, function: Any, device: str, place: _Node, share: float, threads: int | None = 1) -> Any:
        """Return a function of Ray that runs on a node and takes a share of it."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cpus = place.resources.get("CPU", 0.0)
        demand: dict[str, Any] = {"num_cpus": min(cpus, threads or cpus)}
        if device != "cpu":
            demand = {"num_cpus": min(cpus, 1), "num_gpus": 1, "accelerator_type": device}
        if share:
            demand["resources"] = {f"node:{place.address}": share}
        # Ray would try again on the node that is gone: the driver does it, on one that is there.
        return self._ray.remote(function).options(
            max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(place.id, soft=False), **demand
        )

    def _collect(
        self, reference: Any, job: Job, place: _Node, lost: Counter[CellKey], progress: Progress
    ) -> Ended | None:
        """Return how a job ended; None where it is to be run again, because what ran it is gone."""
        errors = self._ray.exceptions
        facts = place.facts[job.cell.device]
        assert facts is not None
        try:
            return remote.ended(job, self._ray.get(reference), facts)
        except errors.RayTaskError as error:
            return remote.failed(job, _cause(error), facts)
        except errors.TaskUnschedulableError:  # the node went before the cell began
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
        there = {device for one in self._nodes.values() for device, facts in one.facts.items() if facts is not None}
        there |= {device for _, device in self._asked.values()}
        for device in {job.cell.device for job in waiting} - there:
            if now - seen[device] > self._wait_s:
                left = sum(job.cell.device == device for job in waiting)
                raise RunError(f"{self._nobody(device)}, for {self._wait_s:g} s; {left} cells are left")
            if device not in self._missed:
                progress.say(f"{self._nobody(device)} any more; waiting up to {self._wait_s:g} s for one")
                self._missed.add(device)
        self._missed -= there
        seen.update(dict.fromkeys(there, now))

    def _nobody(self, device: str) -> str:
        resource = self._resources.get(device)
        return f"no node of the cluster has {device}" + (f" and the resource {resource}" if resource else "")

    def _wait(self, references: list[Any]) -> list[Any]:
        """Return those tasks that are done, after a second at most."""
        if not references:
            time.sleep(0.5)
            return []
        done, _ = self._ray.wait(references, num_returns=1, timeout=1.0)
        return list(done)


def _kind(one: _Node, device: str) -> str:
    facts = one.facts[device]
    assert facts is not None
    return facts.machine.key


def _cause(error: Any) -> str:
    """Return what was raised on the node, without Ray's copy of its traceback."""
    cause = getattr(error, "cause", None) or error
    return scrub(f"{type(cause).__name__}: {cause}")
