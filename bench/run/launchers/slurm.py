"""Run cells in Slurm jobs, submitted through submitit; a small file says what partition and resources a device needs.

A job measures one cell or several, one after the other, and leaves a report of each in a folder that nodes and driver
share. The driver collects the reports; it must stay alive until the last one, and cancels its jobs when it ends.
"""

from __future__ import annotations

import os
import pickle
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bench.measure.devices import resolve_among
from bench.measure.machine import Machine, Software
from bench.run.isolation import scrub
from bench.run.launchers import RUNNERS, CellKey, Ended, Job, RunError, Runners, node, remote
from bench.run.launchers.node import CellOrder, NodeFacts, Report
from bench.run.launchers.slurm_config import SlurmConfig, load_slurm_config
from bench.run.progress import Progress
from bench.sweep.cells import Cell
from bench.sweep.complaints import ConfigError
from fastast.system.writing import write_whole

if TYPE_CHECKING:
    from bench.run.launchers.choose import LauncherOptions

_OVERHEAD_MIN = 10
"""Minutes that a job gets beyond the time limits of its cells: start, imports, clips and features."""

_BEGUN = "begun"
"""File that a job writes before its first cell."""


@dataclass
class _Batch:
    """A Slurm job with its cells."""

    job: Any
    folder: Path
    waiting: dict[int, Job] = field(default_factory=dict)
    """Cells without a report, by number; once the job has ended, the first was running and the others had not begun."""


class SlurmLauncher:
    """Runs cells in Slurm jobs."""

    def __init__(
        self,
        config: SlurmConfig,
        *,
        cache: Path | None = None,
        poll_s: float = 2.0,
        runners: Runners = RUNNERS,
    ) -> None:
        """`cache` is the nodes' folder for clips and features, `poll_s` the seconds between two looks at the jobs."""
        self._config, self._cache, self._poll_s, self._runners = config, cache, poll_s, runners
        self._folder = Path(config.folder).resolve() / f"run-{uuid.uuid4().hex[:8]}"
        self._jobs: list[Any] = []
        self._known: dict[str, NodeFacts] = {}

    def __enter__(self) -> SlurmLauncher:
        try:
            import submitit
        except ModuleNotFoundError:
            raise RunError("submitit is not installed; install it with: pip install 'fastast[slurm]'") from None
        if self._config.cluster == "slurm" and shutil.which("sbatch") is None:
            raise RunError("there is no sbatch here; start the driver on a machine that can submit jobs")
        self._submitit = submitit
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for job in self._jobs:
            if not job.done():
                job.cancel(check=False)
        if kind is None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def resolve(self, device: str) -> str:
        """Return `cpu` or a GPU type that the file has a table for."""
        devices = self._config.devices
        types = [name for name in devices if name != "cpu"]
        return resolve_among(device, types, cpu="cpu" in devices, where="the file of --slurm-config")

    def survey(self, cells: Sequence[Cell], progress: Progress) -> Mapping[str, tuple[Machine, Software]]:
        """Ask a node of every device to describe itself, each in a job."""
        devices = list(dict.fromkeys(cell.device for cell in cells))
        progress.say(f"Asking a node of {', '.join(devices)} what it is; this waits in Slurm's queue ...")
        asked = {}
        for device in devices:
            executor = self._executor(device, f"ask-{device}", _OVERHEAD_MIN)
            asked[device] = executor.submit(node.inspect, remote.question(cells, device, self._runners))
            self._jobs.append(asked[device])
        for device, job in asked.items():
            try:
                self._known[device] = job.result()
            except Exception as error:  # submitit's own, or the node's as text
                raise RunError(f"a node of {device}: {_last_line(error)}; logs: {job.paths.folder}") from None
        return {device: (facts.machine, facts.software) for device, facts in self._known.items()}

    def prepare(self, cells: Sequence[Cell], cache: Path, progress: Progress) -> None:
        """Do nothing: features are made on the nodes."""

    def run(self, jobs: Sequence[Job], progress: Progress) -> Generator[Ended]:
        """Submit every job once its reference is there, and yield each cell once its report is."""
        waiting, unfinished = list(jobs), {job.key for job in jobs}
        batches: list[_Batch] = []
        lost, stillborn = Counter[CellKey](), Counter[CellKey]()
        while unfinished:
            ready = [job for job in waiting if job.after not in unfinished]
            waiting = [job for job in waiting if job.after in unfinished]
            batches += self._submit(ready, lost, progress)
            time.sleep(self._poll_s)
            for batch in list(batches):
                over = batch.job.done()  # asked first: what a job wrote before its end is there afterwards
                for end in _collect(batch, self._known):
                    unfinished.discard((end.cell.id, end.cell.device))
                    yield end
                if not over:
                    continue
                batches.remove(batch)
                if not batch.waiting:
                    continue
                left = list(batch.waiting.values())
                # A job that began no cell is no evidence against its first one: a partition can be down.
                began = (batch.folder / _BEGUN).exists()
                blamed, ends = (left[:1], lost) if began else (left, stillborn)
                waiting += left[len(blamed) :]
                for job in blamed:
                    ends[job.key] += 1
                    if ends[job.key] >= remote.ATTEMPTS:
                        unfinished.discard(job.key)
                        message = f"its job ended without a report, {remote.ATTEMPTS} times: {_why(batch.job)}"
                        yield remote.failed(job, message, self._known[job.cell.device])
                    else:
                        progress.say(f"{job.cell.title}: its job ended without a report; submitted again")
                        waiting.append(job)

    def _submit(self, ready: Sequence[Job], lost: Counter[CellKey], progress: Progress) -> list[_Batch]:
        """Submit jobs in batches of one device; a cell that a job died in goes alone, so that it cannot harm others."""
        batches = []
        for device in dict.fromkeys(job.cell.device for job in ready):
            of_device = [job for job in ready if job.cell.device == device]
            calm = [job for job in of_device if not lost[job.key]]
            size = self._config.cells_per_job
            parts = [calm[start : start + size] for start in range(0, len(calm), size)]
            for part in [*parts, *([job] for job in of_device if lost[job.key])]:
                minutes = _OVERHEAD_MIN + sum(job.cell.measure.time_limit_s for job in part) / 60
                name = f"{device}-{part[0].cell.id}-{uuid.uuid4().hex[:6]}"
                executor = self._executor(device, name, minutes)
                folder = self._folder / name / "reports"
                orders = [remote.order(job, self._cache, self._runners) for job in part]
                batch = _Batch(job=executor.submit(work_all, orders, folder), folder=folder)
                batch.waiting = dict(enumerate(part))
                self._jobs.append(batch.job)
                batches.append(batch)
                progress.begin(part[0].cell)
        return batches

    def _executor(self, device: str, name: str, minutes: float) -> Any:
        """Return submitit's executor with the device's parameters, for cells and for asking a node what it is."""
        place = self._config.devices[device]
        executor = self._submitit.AutoExecutor(folder=self._folder / name, cluster=self._config.cluster)
        shared: dict[str, Any] = {"timeout_min": int(minutes) + 1, "name": f"fastast-{name}", "nodes": 1}
        shared |= {key: getattr(place, key) for key in ("cpus_per_task", "mem_gb") if getattr(place, key) is not None}
        own = ("partition", "gres", "constraint", "account", "qos", "nodelist", "setup")
        slurm = {f"slurm_{key}": getattr(place, key) for key in own if getattr(place, key) is not None}
        if place.exclusive is not False:
            slurm["slurm_exclusive"] = True
        if self._config.cluster == "local" and "gpu" in (place.gres or ""):
            shared["gpus_per_node"] = 1
        executor.update_parameters(**shared, **slurm)
        return executor


def slurm_launcher(options: LauncherOptions) -> SlurmLauncher:
    """Return the launcher of Slurm. Raises ConfigError where the file of its devices is missing or wrong."""
    if options.slurm_config is None:
        raise ConfigError(["--launcher slurm needs --slurm-config FILE, see docs/scale_out.md"])
    return SlurmLauncher(load_slurm_config(options.slurm_config), cache=options.cache)


def work_all(orders: Sequence[CellOrder], folder: Path) -> None:
    """Run cells one after the other in a job and leave a report of each, whole or not at all."""
    write_whole(folder / _BEGUN, b"")
    for number, order in enumerate(orders):
        write_whole(folder / f"{number}.report", pickle.dumps(node.work(order)))


def _collect(batch: _Batch, known: Mapping[str, NodeFacts]) -> Iterator[Ended]:
    """Yield the cells of a batch that have a new report."""
    if not batch.folder.exists():
        return
    os.listdir(batch.folder)  # makes NFS look again
    for number, job in list(batch.waiting.items()):
        path = batch.folder / f"{number}.report"
        if path.exists():
            report: Report = pickle.loads(path.read_bytes())
            del batch.waiting[number]
            yield remote.ended(job, report, known[job.cell.device])


def _why(job: Any) -> str:
    try:
        error = job.exception()
    except Exception as problem:  # submitit could not read the job's result
        error = problem
    return _last_line(error) if error is not None else f"state {job.state}"


def _last_line(error: BaseException) -> str:
    """Return the last line that says something: submitit's errors hold whole logs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -=")]
    return scrub(lines[-1]) if lines else type(error).__name__
