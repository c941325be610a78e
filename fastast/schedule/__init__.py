"""Schedules: how many tokens each block removes.

A schedule states what is wanted; `fastast.reduction.TokenReduction.tokens_per_block` resolves it for a model and
refuses what its method cannot do.
"""

from fastast.schedule.counts import Constant, First, Half, Linear, PerBlock
from fastast.schedule.goals import KeepRatio, TargetSpeedup
from fastast.schedule.text import Schedule, parse_schedule
from fastast.schedule.tokens import count_tokens
from fastast.schedule.values import ScheduleError

__all__ = [
    "Constant",
    "First",
    "Half",
    "KeepRatio",
    "Linear",
    "PerBlock",
    "Schedule",
    "ScheduleError",
    "TargetSpeedup",
    "count_tokens",
    "parse_schedule",
]
