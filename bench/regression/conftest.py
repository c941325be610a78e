"""How pytest-benchmark is used here: never in parallel, never against another machine, never silently."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.utils import parse_compare_fail

from bench.machine import resolve_device
from bench.regression import baseline
from bench.regression.gates import Gates, Verdict, load_gates

NOTES = pytest.StashKey[list[str]]()
"""What is told at the end."""
MACHINE = pytest.StashKey[dict[str, Any]]()
"""What identifies this machine."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("regression")
    group.addoption("--regression-device", default="cpu", help="Where ratios and times are measured: cpu, cuda, auto.")
    group.addoption(
        "--regression-threads",
        type=int,
        default=1,
        help="Threads of PyTorch. One by default: more of them wait for each other on a machine that others use.",
    )
    group.addoption("--regression-rounds", type=int, help="Interleaved rounds of every case. Fewer are less sure.")
    group.addoption(
        "--regression-save", action="store_true", help="Keep this run as the machine's new baseline, if it passes."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the machine's baseline; runs before pytest-benchmark reads its options."""
    _refuse_parallel(config)
    option = config.option
    try:
        device = resolve_device(option.regression_device)
    except ValueError as error:
        raise pytest.UsageError(f"--regression-device: {error}") from None
    torch.set_num_threads(option.regression_threads)
    machine = baseline.describe(device)
    config.stash[MACHINE] = machine
    config.stash[NOTES] = []
    option.benchmark_enable = True  # the project's tests disable benchmarks, which would leave nothing to gate
    root = option.benchmark_storage.removeprefix("file://")
    if root == "./.benchmarks":  # pytest-benchmark's default
        root = str(baseline.STORAGE)
    where = baseline.folder(Path(root), machine)
    option.benchmark_storage = f"file://{where}"
    found = baseline.newest(where)
    save = option.regression_save or (found is None and not option.benchmark_compare)
    if save:
        option.benchmark_save = option.benchmark_save or "baseline"
    if found is not None and not option.benchmark_compare:
        option.benchmark_compare = str(found)
    if option.benchmark_compare and not option.benchmark_compare_fail and not option.regression_save:
        option.benchmark_compare_fail = [parse_compare_fail(baseline.SLOWER)]
    if found is None and save:
        config.stash[NOTES].append(
            f"no baseline of {machine['key']} with PyTorch {machine['torch']}: absolute times are not judged; if this "
            f"run passes, it is saved as the first one in {where}"
        )


def _refuse_parallel(config: pytest.Config) -> None:
    options = config.option
    if (
        getattr(options, "numprocesses", None)
        or getattr(options, "dist", "no") != "no"
        or hasattr(config, "workerinput")
    ):
        raise pytest.UsageError("bench/regression: times measured in parallel mean nothing; leave out -n and --dist")


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Replace what changes from hour to hour (the clock) or names the owner (the host) by the machine's identity."""
    machine = config.stash[MACHINE]
    machine_info.clear()
    machine_info.update(machine)


def pytest_benchmark_compare_machine_info(machine_info: dict[str, Any], compared_benchmark: dict[str, Any]) -> None:
    """Refuse a baseline of another machine, where pytest-benchmark only warns."""
    found = baseline.differences(machine_info, compared_benchmark["machine_info"])
    if found:
        raise pytest.UsageError(
            f"the baseline is of another machine: {'; '.join(found)}. Absolute times cannot be compared. Leave out "
            "--benchmark-compare to use this machine's own baseline"
        )


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None]:
    """Keep a run that failed from becoming a baseline."""
    benchmarks = getattr(session.config, "_benchmarksession", None)
    if exitstatus != 0 and benchmarks is not None and benchmarks.save == "baseline":
        benchmarks.save = None
        session.config.stash[NOTES].append("this run did not pass, so it is not saved as a baseline")
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    notes = config.stash[NOTES]
    if notes:
        terminalreporter.section("regression gate")
        for note in notes:
            terminalreporter.write_line(note)


@pytest.fixture(scope="session")
def gates() -> Gates:
    """Return the committed gate values."""
    return load_gates()


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Return the device that is measured."""
    return str(request.config.stash[MACHINE]["device"])


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int | None:
    """Return how many rounds are asked for, None for the case's own number."""
    asked: int | None = request.config.option.regression_rounds
    return asked


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Callable[[list[Verdict]], None]:
    """Return a function that fails the test for what is worse and tells what is better."""

    def check(verdicts: list[Verdict]) -> None:
        case = request.node.name.partition("[")[2].rstrip("]")
        notes = request.config.stash[NOTES]
        notes += [f"{case} {verdict.text}" for verdict in verdicts if verdict.state == "better"]
        worse = [verdict.text for verdict in verdicts if verdict.state == "worse"]
        if worse:
            pytest.fail("\n".join([f"{case} is worse than its gate:", *worse]), pytrace=False)

    return check
