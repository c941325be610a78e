"""State in one line whether loading kept up with a report's models, and which of the two is the bottleneck."""

from __future__ import annotations

from collections.abc import Sequence

from bench.measure.loading import Loading, SlowerSide
from bench.records.schema import Record
from bench.report.words import listed
from fastast.names import counted

_BUSY = 1.5
"""Load average per processor above which other processes must be at work."""
_SOURCES = {
    "files": "from audio files, decoded and resampled",
    "cache": "from a cache of `fastast data cache`",
    "mixed": "mixed from recordings",
}


def loading_text(records: Sequence[Record]) -> str:
    """Return the line for every device that scored clips; empty if no record says how loading went."""
    by_device: dict[str, list[Record]] = {}
    for record in records:
        if record.quality is not None and record.quality.loading is not None and record.status == "ok":
            by_device.setdefault(record.machine.device_name, []).append(record)
    said = {
        device: _said([one.quality.loading for one in found if one.quality and one.quality.loading])
        + _about_load(found)
        for device, found in by_device.items()
    }
    if len(said) < 2:
        return "".join(said.values())
    return " ".join(f"{device}: {text}" for device, text in said.items())


def _said(found: list[Loading]) -> str:
    cached = f"{_span([one.cached_rate for one in found])} from the run's cache"
    against = f"against {_span([one.model_rate for one in found])} by the model"
    preparations = list(
        {one.preparation.model_dump_json(): one.preparation for one in found if one.preparation}.values()
    )
    if not preparations:
        return f"Loading, clips/s: {cached}, {against}; {_verdict([one.limits for one in found])}."
    sources = dict.fromkeys(_SOURCES[one.source] for one in preparations)
    readers = [one.readers for one in preparations]
    made = (
        f"{_span([one.rate_per_core for one in preparations])} per core {listed(list(sources))}, filterbank included "
        f"({_span([one.rate for one in preparations])} with {_span(readers)} reader{'s' * (max(readers) > 1)}"
        f"{_when(found)})"
    )
    without = _verdict([side for one in found if (side := one.limits_from_source) is not None])
    within = _verdict([one.limits for one in found])
    verdict = within if within == without else f"without the cache {without}, with it {within}"
    return f"Loading, clips/s: {made}; {cached}; {against}. {verdict[0].upper()}{verdict[1:]}."


def _about_load(records: Sequence[Record]) -> str:
    """Return a warning if other processes were at work: rates need a quiet machine, though quality does not."""
    loads = [record.conditions.load[0] or 0.0 for record in records]
    cores = records[0].machine.cpu.logical_cores or 1
    if max(loads) <= _BUSY * cores:
        return ""
    return f" Other processes were at work: a load average of up to {max(loads):.0f} on {counted(cores, 'processor')}."


def _when(found: list[Loading]) -> str:
    """Return which of these cells reused features of an earlier run; empty if none did."""
    reused = sum(one.reused for one in found)
    if not reused:
        return ""
    return ", in an earlier run" if reused == len(found) else f", of {reused} of {len(found)} cells in an earlier run"


def _verdict(sides: list[SlowerSide]) -> str:
    """Return which side limits: for all cells, or for how many of them."""
    slow = sides.count("loading")
    if slow in (0, len(sides)):
        return f"{sides[0]} limits" if slow else "the model limits"
    return f"loading limits {slow} of {len(sides)} cells, the model the others"


def _span(values: Sequence[float]) -> str:
    """Return the least and the greatest of some numbers, or one number if both print the same."""
    ends = [
        f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
        for value in (min(values), max(values))
    ]
    return " to ".join(dict.fromkeys(ends))
