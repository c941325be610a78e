"""Configure pytest-benchmark: never in parallel, never against another machine, never silently."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pluggy
import pytest
import torch

from bench.measure.machine import resolve_device
from bench.regression import baseline
from bench.regression.gates import PATH, GateError, Gates, load_gates
from bench.regression.verdicts import Verdict

NOTES = pytest.StashKey[list[str]]()
"""Lines that are reported at the end."""
MACHINE = pytest.StashKey[dict[str, Any]]()
"""Facts that identify this machine."""
BASELINES = pytest.StashKey[tuple[baseline.Baseline, ...]]()
"""Earlier runs of this machine with which times are compared, newest first."""
FIRST = pytest.StashKey[list[str]]()
"""Tests that have no baseline yet."""
UNJUDGED = pytest.StashKey[set[str]]()
"""Tests that cannot be judged, as they have no gate."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("regression")
    group.addoption("--regression-device", default="cpu", help="Where ratios and times are measured: cpu, cuda, auto.")
    group.addoption(
        "--regression-threads",
        type=int,
        default=1,
        help="Threads of PyTorch. One by default, as several wait for each other on a machine that others use.",
    )
    group.addoption("--regression-rounds", type=int, help="Interleaved rounds of every case. Fewer are less certain.")
    group.addoption("--regression-gates", type=Path, default=PATH, help="The file of gate values.")
    group.addoption(
        "--regression-save", action="store_true", help="Keep this run as the machine's new baseline, if it passes."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the machine's baseline before pytest-benchmark reads its options."""
    _refuse_parallel(config)
    option = config.option
    try:
        device = resolve_device(option.regression_device)
    except ValueError as error:
        raise pytest.UsageError(f"--regression-device: {error}") from None
    torch.set_num_threads(option.regression_threads)
    machine = baseline.this_machine(device)
    config.stash[MACHINE], config.stash[NOTES], config.stash[FIRST], config.stash[UNJUDGED] = machine, [], [], set()
    option.benchmark_enable = True  # the project's tests disable benchmarks, which would leave nothing to gate
    root = option.benchmark_storage.removeprefix("file://")
    if root == "./.benchmarks":  # pytest-benchmark's default
        root = str(baseline.STORAGE)
    where = baseline.folder(Path(root), machine)
    option.benchmark_storage = f"file://{where}"
    asked = option.benchmark_compare if isinstance(option.benchmark_compare, str) else None
    try:
        found = baseline.choose(where, machine, asked)
    except ValueError as error:
        raise pytest.UsageError(f"bench/regression: {error}") from None
    config.stash[BASELINES] = () if option.regression_save else found
    if found and option.benchmark_compare:  # pytest-benchmark shows it with this run
        option.benchmark_compare = str(found[0].path)


def _refuse_parallel(config: pytest.Config) -> None:
    options = config.option
    if (
        getattr(options, "numprocesses", None)
        or getattr(options, "dist", "no") != "no"
        or hasattr(config, "workerinput")
    ):
        raise pytest.UsageError("bench/regression: times measured in parallel mean nothing; omit -n and --dist")


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Replace facts that change from hour to hour (the clock) or name the owner (the host) by this machine's facts."""
    machine = config.stash[MACHINE]
    machine_info.clear()
    machine_info.update(machine)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pluggy.Result[pytest.TestReport]]:
    """Report for a test without a gate only what it lacks, without a traceback."""
    result = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, GateError):
        result.get_result().longrepr = str(call.excinfo.value)
        item.config.stash[UNJUDGED].add(item.nodeid)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None]:
    """Save a run that passed if it is the first for any test, and prevent one that failed from becoming a baseline.

    The exit code means "worse" only if something was judged to be worse.
    """
    config = session.config
    if exitstatus == pytest.ExitCode.TESTS_FAILED and session.testsfailed == len(config.stash[UNJUDGED]):
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
    benchmarks, first, notes = getattr(config, "_benchmarksession", None), config.stash[FIRST], config.stash[NOTES]
    if benchmarks is not None and exitstatus != 0:
        if first or benchmarks.save or benchmarks.autosave:
            notes.append("this run did not pass, so it is not saved as a baseline")
        benchmarks.save = benchmarks.autosave = None
    elif benchmarks is not None and first and (config.option.regression_save or not config.option.benchmark_compare):
        benchmarks.save = benchmarks.save or "baseline"
        machine, where = config.stash[MACHINE], config.option.benchmark_storage.removeprefix("file://")
        notes.append(
            f"absolute times of {', '.join(first)} are not judged: they are saved as the "
            f"{'new' if config.option.regression_save else 'first'} baseline of {machine['key']} with PyTorch "
            f"{machine['torch']} in {where}"
        )
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    notes = config.stash[NOTES]
    if notes:
        terminalreporter.section("regression gate")
        for note in notes:
            terminalreporter.write_line(note)


@pytest.fixture(scope="session")
def gates(request: pytest.FixtureRequest) -> Gates:
    """Return the committed gate values."""
    return load_gates(request.config.option.regression_gates)


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the facts that identify this machine."""
    return request.config.stash[MACHINE]


@pytest.fixture
def then(request: pytest.FixtureRequest) -> dict[str, list[float]] | None:
    """Return the seconds of every round in this test's baseline by arm, None if it has no baseline."""
    config = request.config
    found = baseline.find_rounds(config.stash[BASELINES], request.node.nodeid)
    if found is None:
        config.stash[FIRST].append(_case(request))
    return found


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that adds a line to the report at the end, only once."""
    notes = request.config.stash[NOTES]

    def add(text: str) -> None:
        if text and text not in notes:
            notes.append(text)

    return add


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int | None:
    """Return the requested number of rounds, None for the case's own number."""
    asked: int | None = request.config.option.regression_rounds
    return asked


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Callable[[list[Verdict]], None]:
    """Return a function that fails the test if anything is worse, and reports what is better or could not be judged."""

    def check(verdicts: list[Verdict]) -> None:
        case, notes = _case(request), request.config.stash[NOTES]
        notes += [f"{case} {said.text}" for said in verdicts if said.state not in ("ok", "worse")]
        worse = [said.text for said in verdicts if said.state == "worse"]
        if worse:
            pytest.fail("\n".join([f"{case} is worse than its gate:", *worse]), pytrace=False)

    return check


def _case(request: pytest.FixtureRequest) -> str:
    return str(request.node.name).partition("[")[2].rstrip("]")
