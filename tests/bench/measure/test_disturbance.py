"""What is called disturbed: the signals of a quiet machine are not, those of each kind of disturbance are."""

from __future__ import annotations

import numpy as np
import pytest
from test_timing import load

from bench.measure.disturbance import MAJOR_FAULTS, WORDS, Judge, in_words


def reasons(judge: Judge = Judge(cores=2), **values: object) -> tuple[str, ...]:  # noqa: B008  frozen
    """The verdict of one round among quiet ones."""
    quiet = {"candidate": load(), "unmerged": load()}
    rounds = [quiet, quiet, quiet | {"candidate": load(**values)}, quiet]
    found = judge.each(rounds)
    assert found[:2] + found[3:] == [(), (), ()]
    return found[2]


# Seen on two cores, by threads and hogs: waiting (from the processor time that threads lacked), own, others, switches.
def test_one_or_two_hogs_on_as_many_cores_as_threads_disturb():
    assert reasons(own=2.0, switches=30.0) == ()
    assert reasons(waited=0.72, own=1.28, others=0.72, switches=190.0) == ("waited", "crowded")
    assert reasons(waited=1.0, own=1.0, others=1.0, switches=255.0) == ("waited", "crowded")


def test_a_hog_on_a_core_that_is_not_needed_does_not():
    assert reasons(own=1.0, threads=1, others=1.0, switches=7.0, pressure=(0.01, 0.0, 0.0)) == ()


def test_a_hog_on_the_other_half_of_a_core_does():
    # Two cores of two threads each: nobody waits, and yet our threads have half a core each.
    assert reasons(own=2.0, others=1.0) == ("crowded",)
    assert reasons(Judge(cores=4), own=2.0, others=1.0) == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"stolen": 0.5}, "stolen"),
        ({"throttled": 0.2}, "throttled"),
        ({"major_faults": MAJOR_FAULTS}, "paged"),
        ({"own": 0.5, "idle": 0.75}, "asleep"),  # stopped for three quarters
        ({"own": 1.7, "idle": 0.15}, "asleep"),  # one of two threads always ran, but the caller's slept as never else
        ({"waited": None, "idle": None, "pressure": (0.5, 0.0, 0.0)}, "waited"),  # a kernel that tells no better
        ({"gpu_reasons": 0x20}, "gpu_slowed"),
        ({"gpu_others": 0.3}, "gpu_shared"),
    ],
)
def test_each_kind_is_told_by_its_name(values, expected):
    assert reasons(**values) == (expected,)
    assert in_words([expected]) == WORDS[expected]


@pytest.mark.parametrize(
    "values",
    [
        {"waited": 0.02},
        {"seconds": 0.02, "waited": 0.1},  # 2 ms of 20: one time slice
        {"others": 0.2},
        {"major_faults": 1},
        {"faults": 60_000.0, "system": 0.2},  # an allocator that gives back: slow, but its own doing
        {"gpu_reasons": 0x4},  # a power cap: large products reach it
        {"gpu_others": 0.0},
        dict.fromkeys(("waited", "idle", "others", "stolen", "throttled", "pressure")),
    ],
)
def test_what_every_machine_shows_now_and_then_is_no_disturbance(values):
    assert reasons(**values) == ()


def test_what_the_caller_sleeps_as_a_rule_is_usual():
    # One of two threads gets less to do: the other waits for it in every round.
    rounds = [{"candidate": load(own=1.6, idle=0.4)} for _ in range(5)]
    assert Judge(cores=2).each(rounds) == [()] * 5
    assert Judge(cores=2).each([{"candidate": load(own=0.4, idle=0.6)} for _ in range(5)]) == [("asleep",)] * 5


def test_threads_of_one_process_that_wait_for_one_another_are_no_disturbance():
    # A runtime's threads beside PyTorch's, as many again: seen in every round, with nobody else there.
    crowd = [{"candidate": load(waited=waited, own=1.8, others=0.02)} for waited in (0.31, 0.29, 0.32, 0.3, 0.3)]
    assert Judge(cores=2).each(crowd) == [()] * 5
    assert Judge(cores=2).together(crowd) == ()
    # Of what they wait only so much is their own: a round with a hog is told from the rest, ...
    burst = [*crowd, {"candidate": load(waited=0.9, own=1.3, others=0.6)}]
    assert Judge(cores=2).each(burst)[:5] == [()] * 5
    assert "waited" in Judge(cores=2).each(burst)[5]
    # ... and so are rounds that a hog shares without end.
    shared = [{"candidate": load(waited=0.5, own=1.6, others=0.2)} for _ in range(5)]
    assert all("waited" in found for found in Judge(cores=2).each(shared))
    assert "waited" in Judge(cores=2).together(shared)
    # Two rounds do not tell what is usual.
    assert all("waited" in found for found in Judge(cores=2).each(crowd[:2]))


def test_threads_that_left_nothing_of_the_processors_waited_for_one_another_only():
    # OpenVINO's threads beside PyTorch's, two and two on two cores, as a quiet machine showed them.
    shares = ((0.111, 1.967), (0.149, 1.968), (0.195, 1.958), (0.166, 1.962), (0.189, 1.947))
    alone = [{"slice": load(seconds=0.4, waited=waited, own=own, others=0.05)} for waited, own in shares]
    judge = Judge(cores=2, processors=2)
    assert judge.each(alone) == [()] * 5
    assert judge.together(alone) == ()
    beside = [{"slice": load(seconds=0.4, waited=waited + 0.3, own=own - 0.3, others=0.3)} for waited, own in shares]
    assert all("waited" in found for found in judge.each(beside))
    assert "waited" in judge.together(beside)


def test_as_many_threads_as_processors_do_not_wait_for_one_another():
    # A neighbour that takes 0.8 processors without end, in a container whose /proc/stat shows this process alone.
    judge = Judge(cores=2, processors=2)
    hidden = [{"candidate": load(waited=0.8, own=1.2, others=0.0, active=2)} for _ in range(10)]
    assert judge.each(hidden) == [("waited",)] * 10
    assert judge.together(hidden) == ("waited",)
    crowd = [{"candidate": load(waited=0.8, own=1.2, others=0.0, active=4)} for _ in range(10)]
    assert judge.each(crowd) == [()] * 10


def test_a_gpu_may_be_waited_for_asleep():
    assert reasons(Judge(cores=2, device="cuda"), own=0.3, idle=0.7) == ()
    assert reasons(Judge(cores=2, device="cuda"), own=1.0, others=5.0, threads=2) == ()
    assert reasons(Judge(cores=2, device="cuda"), waited=0.4) == ("waited",)


def test_short_rounds_are_judged_by_slow_counters_only_together():
    # Rounds of 40 ms, of which a hundredth of a second more or less is a quarter.
    flicker = [{"candidate": load(seconds=0.04, others=0.5 * (i % 5 == 0))} for i in range(10)]
    assert Judge(cores=2).each(flicker) == [()] * 10
    busy = [{"candidate": load(seconds=0.04, others=0.5)} for _ in range(10)]
    assert Judge(cores=2).each(busy) == [("crowded",)] * 10
    assert Judge(cores=2).each(busy[:4]) == [()] * 4  # too short to tell yet
    assert Judge(cores=2).together(busy[:4]) == ("crowded",)


def test_what_cannot_be_read_is_named():
    blind = load(waited=None, others=None)
    assert Judge(cores=2).unread([blind, blind]) == ("waited", "others", "throttled")
    assert Judge(cores=2).unread([blind, load()]) == ("throttled",)
    assert "gpu_reasons" in Judge(cores=2, device="cuda").unread([load()])


def test_a_quiet_machine_is_accused_in_fewer_than_two_of_a_hundred_rounds():
    """Signals scatter as on a quiet machine: short tasks of the system, ticks, threads that wait for each other."""
    random = np.random.default_rng(0)

    def quiet(seconds: float):
        task = random.exponential(0.0003) if random.random() < 2 * seconds else 0.0  # two a second, of 0.3 ms
        ticks = random.binomial(2, 0.3) * 0.01 / seconds * (random.random() < seconds)
        own = 2 - abs(random.normal(0, 0.02))
        idle = max(0.0, random.normal(0.02, 0.01))
        return load(seconds=seconds, waited=task / seconds, own=own, idle=idle, others=ticks)

    for seconds in (0.02, 0.1, 0.5):
        rounds = [{name: quiet(seconds) for name in ("candidate", "unmerged", "slice")} for _ in range(500)]
        accused = sum(bool(found) for found in Judge(cores=2).each(rounds))
        assert accused < 0.02 * len(rounds), seconds
        assert Judge(cores=2).together(rounds) == ()
