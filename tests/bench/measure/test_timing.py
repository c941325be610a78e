"""Timing with a clock that is set by the arms themselves, so that the right answer is known."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bench.measure.disturbance import Judge
from bench.measure.load import Load
from bench.measure.timing import MIN_ROUNDS, TimingRule, measure
from fastast.statistics import ratio_of_medians
from fastast.system.clocks import WallClock


class World:
    """Time that only passes when an arm takes some."""

    def __init__(self) -> None:
        self.time = 0.0
        self.calls: list[str] = []

    def clock(self) -> WallClock:
        return WallClock(now=lambda: self.time)

    def arm(self, name: str, seconds: Callable[[], float]) -> Callable[[], None]:
        def call() -> None:
            self.calls.append(name)
            self.time += seconds()

        return call


def rule(**values: object) -> TimingRule:
    usual = {
        "rounds": 10,
        "min_seconds": 0.0,
        "max_seconds": 1e9,
        "round_seconds": 0.0,
        "warmup_window": 2,
        "warmup_seconds": 1e9,
        "warmup_iterations": 30,
    }
    return TimingRule(**(usual | values))


def from_list(values: Iterator[float]) -> Callable[[], float]:
    return lambda: next(values)


def test_interleaving_finds_the_ratio_under_a_drift_that_misleads_one_after_the_other():
    world = World()

    def slowing(factor: float) -> Callable[[], float]:
        return lambda: factor * (1 + world.time / 20)  # the machine becomes slower and slower

    arms = {"candidate": world.arm("candidate", slowing(0.1)), "unmerged": world.arm("unmerged", slowing(0.2))}
    timing = measure(arms, rule(rounds=31, warmup_tolerance=0.5), world.clock())
    ratio = ratio_of_medians(timing.arms["unmerged"].rounds(), timing.arms["candidate"].rounds())
    assert ratio.value == pytest.approx(2.0, rel=0.03)
    samples = timing.arms["candidate"].seconds
    assert samples[-1] > 1.3 * samples[0], "the drift was not there"


def test_a_round_times_every_arm_once_and_rotates_their_order():
    world = World()
    arms = {name: world.arm(name, lambda: 1.0) for name in "abc"}
    timing = measure(arms, rule(rounds=5), world.clock())
    assert timing.rounds == 5
    assert "".join(world.calls[-15:]) == "abcbcacababcbca"
    assert [len(arm.seconds) for arm in timing.arms.values()] == [5, 5, 5]


def test_a_short_arm_is_repeated_within_a_round():
    world = World()
    arms = {"candidate": world.arm("a", lambda: 0.01), "unmerged": world.arm("b", lambda: 0.1)}
    timing = measure(arms, rule(rounds=5, round_seconds=0.095), world.clock())
    assert timing.arms["candidate"].iterations_per_round == 10
    assert timing.arms["unmerged"].iterations_per_round == 1
    assert len(timing.arms["candidate"].seconds) == 50
    assert timing.arms["candidate"].rounds().shape == (5,)


def test_warm_up_ends_when_two_medians_agree_and_is_not_among_the_samples():
    world = World()
    cold = itertools.chain([10.0, 8.0, 6.0, 4.0, 2.0, 1.0, 1.0, 1.0, 1.0], itertools.repeat(1.0))
    timing = measure({"candidate": world.arm("a", from_list(cold))}, rule(), world.clock())
    arm = timing.arms["candidate"]
    assert arm.warmup_stable
    assert arm.warmup_seconds == pytest.approx([10, 8, 6, 4, 2, 1, 1, 1, 1])
    assert set(np.round(arm.seconds, 9)) == {1.0}


def test_warm_up_that_never_settles_ends_at_its_limit_and_says_so():
    world = World()
    growing = (2.0**i for i in itertools.count())
    timing = measure({"candidate": world.arm("a", from_list(growing))}, rule(warmup_iterations=9), world.clock())
    assert not timing.arms["candidate"].warmup_stable
    assert len(timing.arms["candidate"].warmup_seconds) == 9
    world = World()
    slow = measure({"candidate": world.arm("a", lambda: 7.0)}, rule(warmup_seconds=20.0), world.clock())
    assert len(slow.arms["candidate"].warmup_seconds) == 4  # what its rule needs, though the time was over after 3
    assert slow.arms["candidate"].warmup_stable


def test_a_slow_arm_may_settle_after_the_time_of_warm_up_is_over():
    world = World()
    one_hiccup = itertools.chain([7.0, 7.0, 9.0, 9.0], itertools.repeat(7.0))
    timing = measure({"candidate": world.arm("a", from_list(one_hiccup))}, rule(warmup_seconds=20.0), world.clock())
    arm = timing.arms["candidate"]
    assert (arm.warmup_stable, arm.warmup_seconds) == (True, pytest.approx([7, 7, 9, 9, 7]))
    world = World()
    growing = (7 * 2.0**i for i in itertools.count())
    timing = measure({"candidate": world.arm("a", from_list(growing))}, rule(warmup_seconds=20.0), world.clock())
    arm = timing.arms["candidate"]
    assert (arm.warmup_stable, len(arm.warmup_seconds)) == (False, 8)  # five comparisons, and no more


@pytest.mark.parametrize(
    ("limits", "rounds"),
    [
        ({"rounds": 6}, 6),
        ({"rounds": 6, "min_seconds": 25.0}, 13),  # a round takes 2 s
        ({"rounds": 100, "max_seconds": 12.0}, 6),
        ({"rounds": 100, "max_seconds": 0.5}, MIN_ROUNDS),
    ],
)
def test_rounds_go_on_until_the_written_limits(limits, rounds):
    world = World()
    arms = {name: world.arm(name, lambda: 1.0) for name in "ab"}
    assert measure(arms, rule(**limits), world.clock()).rounds == rounds


def test_a_noisy_run_is_repeated_and_the_quiet_one_kept():
    world = World()
    # Warm-up takes 4, the first attempt 10 of them.
    times = itertools.chain([1.0] * 4, [1.0, 3.0] * 5, itertools.repeat(1.0))
    arms = {"candidate": world.arm("a", from_list(times)), "unmerged": world.arm("b", lambda: 2.0)}
    timing = measure(arms, rule(), world.clock())
    assert not timing.noisy
    assert len(timing.noise_attempts) == 2
    assert timing.noise_attempts[0] > 0.5
    assert timing.noise == pytest.approx(0)
    assert set(timing.arms["candidate"].seconds) == {1.0}


def test_a_run_that_stays_noisy_is_marked():
    world = World()
    times = itertools.chain([1.0] * 4, itertools.cycle([1.0, 3.0]))
    arms = {"candidate": world.arm("a", from_list(times)), "unmerged": world.arm("b", lambda: 2.0)}
    timing = measure(arms, rule(noise_repeats=3), world.clock())
    assert timing.noisy
    assert len(timing.noise_attempts) == 4


def test_the_garbage_collector_rests_while_timing_and_works_again_afterwards():
    world, seen = World(), []
    measure({"candidate": world.arm("a", lambda: seen.append(gc.isenabled()) or 1.0)}, rule(), world.clock())
    assert set(seen) == {False}
    assert gc.isenabled()


def test_no_arms_are_refused():
    with pytest.raises(ValueError, match="no arms"):
        measure({}, rule(), World().clock())


def test_the_wall_clock_measures_real_time():
    import time

    (seconds,) = WallClock().measure(lambda: time.sleep(0.02), 1)
    assert 0.02 <= seconds < 1


def test_every_sample_follows_a_flush_that_is_not_timed():
    world = World()

    def flush() -> None:
        world.calls.append("flush")
        world.time += 100.0

    clock = WallClock(now=lambda: world.time, flush=flush)
    arms = {"candidate": world.arm("candidate", lambda: 1.0), "unmerged": world.arm("unmerged", lambda: 2.0)}
    timing = measure(arms, rule(rounds=4), clock)
    assert set(timing.arms["candidate"].seconds) == {1.0}
    assert set(timing.arms["unmerged"].seconds) == {2.0}
    assert world.calls[::2] == ["flush"] * (len(world.calls) // 2)


def test_rounds_go_on_until_every_arm_has_enough_samples_or_time_is_over():
    world = World()
    arms = {"candidate": world.arm("candidate", lambda: 1.0), "unmerged": world.arm("unmerged", lambda: 1.0)}
    assert measure(arms, rule(rounds=3, min_samples=25), world.clock()).rounds == 25
    assert measure(arms, rule(rounds=3, min_samples=25, max_seconds=9.0), world.clock()).rounds == 5


def load(**values: object) -> Load:
    """What a quiet machine shows of an arm on two threads."""
    quiet = dict.fromkeys(("active", "gpu_clock_mhz", "gpu_reasons", "gpu_others"))
    quiet |= {
        "seconds": 1.0,
        "iterations": 1,
        "threads": 2,
        "own": 2.0,
        "idle": 0.0,
        "waited": 0.0,
        "others": 0.0,
    }
    quiet |= {"stolen": 0.0, "throttled": None, "pressure": (0.0, 0.0, 0.0), "switches": 30.0, "faults": 0.0}
    return Load(**(quiet | {"major_faults": 0, "system": 0.0} | values))


class Script:
    """An observer that saw what is written, round by round, and then a quiet machine; the same of every arm."""

    def __init__(self, arms: int, *loads: Load) -> None:
        self.loads = iter([one for one in loads for _ in range(arms)])
        self.started = 0

    def start(self) -> None:
        self.started += 1

    def stop(self, iterations: int) -> Load:
        self.started -= 1
        assert self.started == 0, "every round of every arm is watched by itself"
        return next(self.loads, load())


JUDGE = Judge(cores=2)
HOG = load(waited=0.7, own=1.3, others=0.7)


def two_arms(world: World) -> dict[str, Callable[[], None]]:
    slowing = itertools.count(1)  # so that every round has samples of its own
    return {"candidate": world.arm("a", lambda: 1 + next(slowing) / 1e6), "unmerged": world.arm("b", lambda: 2.0)}


def test_a_disturbed_round_is_repeated_and_kept_apart():
    world, script = World(), Script(2, load(), HOG, load(), HOG)
    timing = measure(two_arms(world), rule(rounds=6), world.clock(), observer=script, judge=JUDGE)
    assert timing.rounds == 6
    assert [one.reasons for one in timing.repeated] == [("waited", "crowded")] * 2
    assert [set(one.seconds) for one in timing.repeated] == [{"candidate", "unmerged"}] * 2
    kept = timing.arms["candidate"].seconds
    assert {one.seconds["candidate"] for one in timing.repeated}.isdisjoint(kept)
    assert len(kept) == len(timing.arms["candidate"].loads) == 6
    assert timing.disturbed == ""


def test_rounds_that_stay_disturbed_are_kept_told_and_not_repeated_for_ever():
    world, script = World(), Script(2, *[HOG] * 99)
    timing = measure(two_arms(world), rule(rounds=7, noise_repeats=3), world.clock(), observer=script, judge=JUDGE)
    assert timing.rounds == 7  # as many as were asked for, of the first attempt: later is better than now
    assert timing.repeated == []
    assert timing.disturbed.startswith("7 of 7 rounds were disturbed: threads waited for a processor, other processes")


def test_enough_good_rounds_among_many_bad_ones_will_do():
    world, script = World(), Script(2, *[HOG, load()] * 99)
    timing = measure(two_arms(world), rule(rounds=8), world.clock(), observer=script, judge=JUDGE)
    assert (timing.rounds, len(timing.repeated), timing.disturbed) == (7, 8, "")


def test_little_in_every_round_adds_up():
    world, script = World(), Script(2, *[load(waited=0.051, others=0.051)] * 99)
    timing = measure(two_arms(world), rule(), world.clock(), observer=script, judge=JUDGE)
    assert timing.repeated == []  # of each round, within the grace for one time slice
    assert timing.disturbed == "all rounds together were disturbed: threads waited for a processor"


def test_a_round_is_never_left_out_for_being_slow():
    world = World()
    times = itertools.chain([1.0] * 4, itertools.cycle([1.0, 30.0]))
    arms = {"candidate": world.arm("a", from_list(times)), "unmerged": world.arm("b", lambda: 2.0)}
    timing = measure(arms, rule(noise_repeats=0), world.clock(), observer=Script(2), judge=JUDGE)
    assert timing.repeated == []
    assert 30.0 in timing.arms["candidate"].seconds
    assert timing.noisy


def test_the_least_disturbed_attempt_is_kept():
    world = World()
    times = itertools.chain([1.0] * 4, itertools.cycle([1.0, 3.0]))
    arms = {"candidate": world.arm("a", from_list(times)), "unmerged": world.arm("b", lambda: 2.0)}
    script = Script(2, *[load()] * 10, *[HOG] * 99)  # the second attempt is disturbed
    timing = measure(arms, rule(rounds=10), world.clock(), observer=script, judge=JUDGE)
    assert (timing.disturbed, timing.noisy, len(timing.noise_attempts)) == ("", True, 2)
