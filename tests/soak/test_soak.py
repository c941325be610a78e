"""Hundreds of cells and dozens of ended drivers: `nox -s soak`. The short versions are in `tests/bench`."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter

import pandas as pd
import pytest
from soak_runners import Sweep, assert_nobody_is_left, torment

from bench.records.store import read_records

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**6))
"""Of cells and kills; printed, so that a run can be repeated."""


def test_500_cells_and_24_kills_end_with_500_records(tmp_path, capsys):
    sweep = Sweep(folder=tmp_path, cells=500, seed=SEED)
    account = torment(sweep, kills=24)
    with capsys.disabled():
        print(f"\nsoak: SOAK_SEED={SEED}: {account}")
    assert sum(account.kills.values()) == 24
    records = read_records(sweep.results)
    assert len(records) == len({record.cell.id for record in records}) == 500
    assert account.exit_code == 1  # some cells are made to fail, which is a record too
    assert {record.status for record in records} == {"ok", "error", "noisy"}
    executed = Counter(sweep.executed())
    assert executed == Counter(record.cell.id for record in records) + account.lost
    assert sweep.hidden() == []
    frame = pd.read_csv(next(sweep.results.rglob("cells.csv")))
    assert sorted(frame.cell.astype(str)) == sorted(record.cell.id for record in records)
    quality = {record.cell.id for record in records if record.cell.kind == "quality"}
    assert {path.stem for path in sweep.results.rglob("predictions/*.npz")} == quality


def test_two_drivers_that_are_killed_in_turn_lose_and_double_nothing(tmp_path, capsys):
    """Each of two places starts a driver again and again until the sweep is done; whoever works may be killed."""
    sweep, chance = Sweep(folder=tmp_path, cells=120, seed=SEED), random.Random(SEED)
    drivers, codes, refused, kills = [sweep.start(), sweep.start()], Counter(), 0, 0
    deadline = time.monotonic() + 600
    while len(sweep.recorded()) < sweep.cells and time.monotonic() < deadline:
        time.sleep(chance.uniform(0.2, 1.0))
        if chance.random() < 0.25 and kills < 12:
            victim = chance.choice(drivers)
            if victim.poll() is None:
                os.kill(victim.pid, signal.SIGKILL)
                victim.wait()
                kills += 1
        for place, driver in enumerate(drivers):
            if driver.poll() is not None:
                errors = driver.communicate()[1]
                codes[driver.returncode] += 1
                refused += "another run writes here" in errors
                assert not errors or len(errors.strip().splitlines()) == 1, errors
                drivers[place] = sweep.start()
    for driver in drivers:
        driver.communicate(timeout=120)
        assert_nobody_is_left(driver.pid)
    last = sweep.start()
    last.communicate(timeout=120)
    executed = Counter(sweep.executed())
    with capsys.disabled():
        print(f"\nsoak: two drivers, SOAK_SEED={SEED}: {kills} kills, {refused} refused, exit codes {dict(codes)}")
    assert refused > 0
    assert set(codes) <= {-9, 1}
    assert len(read_records(sweep.results)) == len(executed) == sweep.cells
    assert executed.total() - sweep.cells <= kills
    assert sweep.hidden() == []
