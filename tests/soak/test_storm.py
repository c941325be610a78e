"""A thousand cells and fifty kills, on three kinds of launchers, while clock and disk misbehave: `nox -s soak`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pandas as pd
import psutil
import pytest
from page_parts import write_part
from soak_runners import ROOT, SIGNALS, TESTS, plan
from storm import Storm, Weather

from bench.records.store import read_records

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(sys.platform != "linux", reason="the weather is made with Linux's LD_PRELOAD"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to make the weather with"),
]

SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**6))
"""Of cells and kills; printed, so that a run can be repeated."""
CELLS, LOCAL, RAY = 1000, 700, 850
"""Of all cells, those up to the second number run here, those up to the third on Ray, the others as jobs."""
PAGE = ROOT / "docs" / "interruptions.md"


def test_1000_cells_and_50_kills_in_bad_weather_end_with_1000_records(tmp_path, capsys, request):
    storm = Storm(folder=tmp_path, cells=CELLS, seed=SEED, weather=None)
    storm.results.mkdir()
    storm.weather = Weather(tmp_path, storm.results)
    chance, began = random.Random(SEED), time.monotonic()
    with capsys.disabled():
        print(f"\nsoak: SOAK_SEED={SEED}")
    kill_here(storm, chance)
    kill_on_ray(storm, chance)
    kill_jobs(storm, chance)
    storm.weather.set()
    last = storm.start(0, CELLS)
    _, errors = last.communicate(timeout=900)
    assert not errors, errors
    assert last.returncode == 1  # some cells are made to fail, which is a record too
    storm.settle(last)

    asked = [cell.id for cell in plan(CELLS, SEED, 0.0, storm.log)]
    records = read_records(storm.results)
    assert sorted(record.cell.id for record in records) == sorted(asked)
    assert len(set(asked)) == len(records) == CELLS
    assert {record.status for record in records} == {"ok", "error", "noisy"}
    executed = Counter(cell for cell, _ in storm.executed())
    here = set(asked[:LOCAL])
    twice = Counter({cell: count - 1 for cell, count in executed.items() if cell in here and count > 1})
    assert twice == Counter({cell: count for cell, count in storm.lost.items() if cell in here})
    assert set(executed) == set(asked)
    assert storm.hidden() == []
    frame = pd.read_csv(next(storm.results.rglob("cells.csv")))
    assert sorted(frame.cell.astype(str)) == sorted(asked)
    quality = {record.cell.id for record in records if record.cell.kind == "quality" and record.status == "ok"}
    assert {path.stem for path in storm.results.rglob("predictions/*.npz")} >= quality
    assert storm.kills.total() == 50
    assert storm.refused >= 3
    assert storm.read_only >= 4
    killed = ", ".join(f"{count} of a {what}" for what, count in sorted(storm.kills.items()))
    text = (
        f"Last run: {CELLS:,} cells in {(time.monotonic() - began) / 60:.0f} minutes, {storm.kills.total()} kills "
        f"({killed}), {storm.jumps} jumps of the clock, {storm.read_only} drivers that met a read-only folder, "
        f"{storm.refused} second drivers, all refused. {len(records):,} valid records; "
        f"{executed.total() - CELLS} cells were run again as a kill had cost their answer.\n"
    )
    with capsys.disabled():
        print(text)
    if request.config.getoption("--update", default=False):
        write_part(PAGE, "soak", text)


def kill_here(storm: Storm, chance: random.Random) -> None:
    """Run the first cells on this machine: 20 drivers, 8 cells and 8 servers are killed."""
    events = ["driver"] * 20 + ["worker"] * 8 + ["server"] * 8
    chance.shuffle(events)
    dark = set(chance.sample([i for i, event in enumerate(events) if event == "driver"], 3))
    second = set(chance.sample([i for i, event in enumerate(events) if event == "driver" and i not in dark], 4))
    driver = None
    for number, event in enumerate(events):
        driver = driver or storm.start(0, LOCAL)
        storm.jump(chance)
        early = event == "driver" and number not in dark | second and chance.random() < 0.2
        if early:
            time.sleep(chance.uniform(0.05, 1.5))  # anywhere in its start
        else:
            left = LOCAL - sum(count > 0 for count in Counter(cell for cell, _ in storm.executed()).values())
            step = chance.randint(1, max(1, 2 * left // (len(events) - number + 2)))
            alive = storm.wait_for(len(storm.executed()) + step, driver)
            assert alive, f"seed {storm.seed}: a driver ended by itself: {driver.communicate()[1]}"
            time.sleep(chance.uniform(0.0, 0.06))  # anywhere in a cell, or in writing its record
        if number in dark:
            meet_a_read_only_folder(storm, driver)
            driver = storm.start(0, LOCAL)
            storm.wait_for(len(storm.executed()) + 1, driver)
        if number in second:
            be_refused(storm, "local")
        if event == "worker":
            kill_a_cell(storm)
        elif event == "server":
            assert storm.kill_server(driver), f"seed {storm.seed}: there was no server to kill"
        else:
            storm.kill_driver(driver, chance.choices(list(SIGNALS), list(SIGNALS.values()))[0])
            driver = None
    if driver is not None:
        driver.terminate()
        driver.communicate(timeout=600)
        storm.note_lost(driver)


def kill_a_cell(storm: Storm) -> None:
    """Kill the process of a cell that runs."""
    deadline = time.monotonic() + 300
    while not storm.kill_worker():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def meet_a_read_only_folder(storm: Storm, driver) -> None:
    """Let the folder go read-only: the driver ends, the next one does not begin; then it comes back."""
    assert storm.weather is not None
    storm.weather.set(read_only=True)
    _, errors = driver.communicate(timeout=600)
    storm.note_lost(driver)
    before = len(storm.executed())
    for code, said in ((driver.returncode, errors), refused_by_the_folder(storm)):
        assert code == 1
        assert "Read-only file system" in said, said
        assert len(said.strip().splitlines()) == 1, said
        storm.read_only += 1
    assert len(storm.executed()) == before, "nothing is measured for a folder that cannot be written"
    storm.weather.set()


def refused_by_the_folder(storm: Storm) -> tuple[int, str]:
    other = storm.start(0, LOCAL)
    errors = other.communicate(timeout=600)[1]
    return other.returncode, errors


def be_refused(storm: Storm, place: str) -> None:
    """Start a second driver where one works."""
    other = storm.start(0, CELLS, place)
    errors = other.communicate(timeout=600)[1]
    assert other.returncode == 1, errors
    assert "another run writes here" in errors
    assert len(errors.strip().splitlines()) == 1, errors
    storm.refused += 1


def kill_on_ray(storm: Storm, chance: random.Random) -> None:
    """Run the next cells on a cluster of Ray: 3 drivers, 2 of its workers and 2 of its nodes are killed."""
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'fastast[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    caretaker = ThreadPoolExecutor(1)  # Linux ends a node with the thread that started it
    pulse = {"health_check_period_ms": 500, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 4}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": pulse}
    cluster = Cluster(initialize_head=True, head_node_args=head)

    def add():
        with mock.patch("ray._private.utils.set_sigterm_handler"):
            return cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS / 'bench'}"})

    try:
        nodes = [caretaker.submit(add).result() for _ in range(2)]
        events = ["driver"] * 3 + ["worker"] * 2 + ["node"] * 2
        chance.shuffle(events)
        driver = None
        for event in events:
            driver = driver or storm.start(LOCAL, RAY, f"ray:{cluster.address}")
            assert storm.wait_for(len(storm.executed()) + chance.randint(3, 12), driver), driver.communicate()[1]
            if event == "driver":
                storm.kill_driver(driver, chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
                driver = None
            elif event == "worker":
                kill_above(storm, lambda one: one.name().startswith("ray::"), "worker")
            else:
                cluster.remove_node(nodes.pop(0), allow_graceful=False)
                storm.kills["node"] += 1
                nodes.append(caretaker.submit(add).result())
        driver = driver or storm.start(LOCAL, RAY, f"ray:{cluster.address}")
        _, errors = driver.communicate(timeout=600)
        assert not errors, errors
        storm.note_lost(driver)
    finally:
        cluster.shutdown()


def kill_jobs(storm: Storm, chance: random.Random) -> None:
    """Run the last cells as jobs: 4 drivers and 3 jobs are killed."""
    pytest.importorskip("submitit", reason="submitit is an extra: pip install 'fastast[slurm]'")
    folder = storm.folder / "jobs"
    events = ["driver"] * 4 + ["job"] * 3
    chance.shuffle(events)
    driver = None
    for event in events:
        driver = driver or storm.start(RAY, CELLS, f"slurm:{folder}")
        before = storm.executed()
        alive = storm.wait_for(len(before) + chance.randint(3, 12), driver)
        assert alive, driver.communicate()[1]
        if event == "job":
            kill_above(storm, lambda one: "submitit" in " ".join(one.cmdline()), "job")
        else:
            storm.kill_driver(driver, chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
            end_jobs_in(folder)  # those of a driver that was killed go on, for nobody
            driver = None
    driver = driver or storm.start(RAY, CELLS, f"slurm:{folder}")
    _, errors = driver.communicate(timeout=600)
    assert not errors, errors
    storm.note_lost(driver)


def kill_above(storm: Storm, is_it, what: str) -> None:
    """Kill the process of a kind that the cell which started last has above it."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            family = psutil.Process(storm.executed()[-1][1]).parents()
            found = next((one for one in family if is_it(one)), None)
        except psutil.Error:
            found = None  # it has ended
        if found is not None:
            found.kill()
            storm.kills[what] += 1
            return
        time.sleep(0.005)
    raise AssertionError(f"seed {storm.seed}: no {what} to kill")


def end_jobs_in(folder: Path) -> None:
    """End the jobs of a folder."""
    for one in psutil.process_iter():
        try:
            if str(folder) in " ".join(one.cmdline()):
                one.kill()
        except psutil.Error:
            continue
