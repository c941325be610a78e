"""Schedules: the numbers of ToMe's own rule, and refusals that say what is allowed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from fastast.geometry import Geometry, geometry
from fastast.macs import model_macs
from fastast.reduction import TokenReduction
from fastast.schedule import (
    Constant,
    First,
    Half,
    KeepRatio,
    Linear,
    PerBlock,
    ScheduleError,
    TargetSpeedup,
    count_tokens,
    parse_schedule,
)

BASE, TINY = geometry("base"), geometry("tiny")


def test_decreasing_is_tomes_rule_and_rounding() -> None:
    # ToMe's published rule for (16, -1) on 12 blocks: 187 tokens, not 192, because it rounds towards zero.
    expected = (32, 29, 26, 23, 20, 17, 14, 11, 8, 5, 2, 0)
    assert Linear(16, -1).removals(BASE, 2) == expected
    assert Linear(16, 1).removals(BASE, 2) == expected[::-1]


@pytest.mark.parametrize(("r", "depth"), [(40, 12), (7, 12), (5, 3), (8, 1), (0, 12)])
def test_early_and_late_remove_as_many_as_constant_in_one_half(r: int, depth: int) -> None:
    shape = Geometry(embed_dim=8, depth=depth, num_heads=1, num_classes=1)
    early, late = Half(r, "early").removals(shape, 2), Half(r, "late").removals(shape, 2)
    assert sum(early) == sum(late) == r * depth
    assert not any(early[-(depth // 2) :] if depth > 1 else ())
    assert not any(late[: depth // 2])
    assert max(late) - min(late[depth // 2 :]) <= 1
    assert parse_schedule(f"early:{r}") == Half(r, "early")
    assert str(parse_schedule(f"late:{r}")) == f"late:{r}"


@pytest.mark.parametrize("depth", [1, 2, 12])
def test_first_removes_as_many_as_constant_in_the_first_block(depth: int) -> None:
    shape = geometry("tiny", depth=depth)
    assert First(7).removals(shape, 2) == (7 * depth, *[0] * (depth - 1))
    assert parse_schedule("first:7") == First(7)
    assert str(First(7)) == "first:7"
    with pytest.raises(ScheduleError, match="schedule first: r is -1"):
        First(-1)


@pytest.mark.parametrize("r", [0, 1, 7, 16, 40, 101])
def test_inflection_zero_is_constant(r: int) -> None:
    assert Linear(r, 0).removals(BASE, 2) == Constant(r).removals(BASE, 2) == (r,) * 12


def test_one_block_removes_r() -> None:
    one = Geometry(embed_dim=8, depth=1, num_heads=1, num_classes=1)
    assert Linear(8, -1).removals(one, 2) == (8,)


def test_keep_ratio_keeps_that_share_of_unprotected_tokens() -> None:
    counts = KeepRatio(0.7).removals(BASE, 2)
    left = 1212
    for count in counts:
        assert left - count == -(-left * 7 // 10)  # ceil in integers
        left -= count


def test_keep_ratio_is_exact_where_floating_point_is_not() -> None:
    # 25 * 0.56 is 14; as floating point it is a hair more, which would round up to 15.
    shape = Geometry(embed_dim=8, depth=1, num_heads=1, num_classes=1, num_mel_bins=16, num_frames=256)
    assert shape.num_tokens - 2 == 25
    assert KeepRatio(0.56).removals(shape, 2) == (11,)


def test_target_speedup_is_the_smallest_r_that_reaches_it() -> None:
    counts = TokenReduction(schedule=TargetSpeedup(1.5)).removals(BASE)
    r = counts[0]
    assert counts == (r,) * 12

    def speedup(r: int) -> float:
        return model_macs(BASE) / model_macs(BASE, TokenReduction(schedule=Constant(r)))

    assert speedup(r) >= 1.5 > speedup(r - 1)


def test_target_speedup_out_of_reach_names_the_most() -> None:
    with pytest.raises(ScheduleError, match=r"100 times fewer MACs cannot be reached.*the most is \d"):
        TokenReduction(schedule=TargetSpeedup(100)).removals(BASE)


def test_count_tokens_stops_at_half_of_the_unprotected() -> None:
    # 146 tokens (Speech Commands), r=16: by hand, 146 - 16 * 7 = 34, then (34 - 2) // 2 = 16 fits, 18 -> 8, ...
    def half(num_tokens: int, block: int) -> int:
        return (num_tokens - 2) // 2

    tokens, excess = count_tokens(146, (16,) * 12, half)
    assert tokens == (130, 114, 98, 82, 66, 50, 34, 18, 10, 6, 4, 3)
    assert excess == 8
    assert count_tokens(146, (8,) * 12, half) == (tuple(range(138, 49, -8)), None)


@pytest.mark.parametrize(
    "text", ["constant:40", "decreasing:40", "increasing:7", "linear:8:-0.5", "list:3,2,1", "keep:0.7", "speedup:1.5"]
)
def test_text_round_trip(text: str) -> None:
    assert str(parse_schedule(text)) == text
    assert parse_schedule(str(parse_schedule(text))) == parse_schedule(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("constant:-1", "whole number of at least 0"),
        ("constant:2.5", "constant:R"),
        ("constant:0.5", r"R must be a whole number, all other values numbers \(to keep half, keep:0\.5\); the forms"),
        ("constant", "constant:R"),
        ("decresing:4", "Did you mean 'decreasing'"),
        ("linear:4:2", "allowed is -1"),
        ("list:1,x", "list:R1,R2"),
        ("list:1,-2", "number 2 is -2"),
        ("keep:0", "above 0 .keep almost none., up to 1"),
        ("speedup:0.5", "at least 1"),
        ("speedup:nan", "at least 1"),
        ("", "the forms are"),
    ],
)
def test_bad_text_says_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        parse_schedule(text)


def test_list_of_another_length_is_refused() -> None:
    with pytest.raises(ScheduleError, match="2 numbers for a model of 12 blocks"):
        PerBlock((1, 2)).removals(BASE, 2)


def test_bool_is_not_a_count() -> None:
    with pytest.raises(ScheduleError, match="r is True"):
        Constant(True)


@pytest.mark.parametrize("schedule", [KeepRatio(2 / 3), Linear(30, 1 / 3), TargetSpeedup(10 / 7, 1 / 9)])
def test_no_digit_of_a_number_is_lost_in_the_text(schedule: KeepRatio | Linear | TargetSpeedup) -> None:
    assert parse_schedule(str(schedule)) == schedule


def test_a_speed_up_may_cap_what_late_blocks_have_not() -> None:
    with pytest.raises(ScheduleError, match="cannot be reached"):
        TokenReduction(schedule=TargetSpeedup(4)).removals(TINY)
    reduction = TokenReduction(schedule=TargetSpeedup(4), excess="cap")
    assert model_macs(TINY) / model_macs(TINY, reduction) >= 4


@pytest.mark.parametrize(
    ("text", "depth", "counts"),
    [
        ("linear:40:0.8", 3, (8, 40, 72)),
        ("linear:10:0.9", 4, (1, 7, 13, 19)),
        ("linear:10:-0.1", 3, (11, 10, 9)),
        ("linear:30:0.1", 3, (27, 30, 33)),
        ("linear:40:-0.5", 3, (60, 40, 20)),
    ],
)
def test_a_share_is_the_number_that_was_written(text: str, depth: int, counts: tuple[int, ...]) -> None:
    assert parse_schedule(text).removals(geometry("tiny", depth=depth), 2) == counts


def test_there_are_two_halves() -> None:
    with pytest.raises(ScheduleError, match="unknown half 'erly'. Did you mean 'early'. There are: early, late"):
        Half(4, "erly")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        (Constant, [np.int64(4)], "constant:4"),
        (Linear, [np.int32(8), np.float64(-0.5)], "linear:8:-0.5"),
        (Half, [np.int64(4), np.str_("early")], "early:4"),
        (First, [np.uint8(7)], "first:7"),
        (PerBlock, [np.array([3, 2, 1])], "list:3,2,1"),
        (KeepRatio, [np.float64(0.7)], "keep:0.7"),
        (TargetSpeedup, [np.float64(1.5), np.int64(0)], "speedup:1.5"),
    ],
)
def test_scalars_of_numpy_are_the_numbers_that_they_are(kind: Any, values: list[Any], text: str) -> None:
    schedule = kind(*values)
    assert str(schedule) == text
    assert "np." not in repr(schedule)
    assert schedule == parse_schedule(text)
    assert json.dumps(dataclasses.asdict(schedule))
