"""Full scale: samples are in [-1, 1] everywhere, and integers disguised as floating point are detected."""

from __future__ import annotations

MAX_PEAK = 8.0
"""Largest peak that still counts as full scale: decoders and mixtures overshoot slightly, int16 reaches 32,768.

A model answers with confidence even on int16 samples, although every log-mel value is 20.8 too high.
"""


def describe_peak(peak: float) -> str:
    """Return what is wrong with samples that reach `peak`, and what to do about it."""
    return (
        f"samples reach {peak:,.0f}, but full scale is 1: perhaps integers that were saved as floating point; divide "
        "them by 32768 (if they had 16 bits)"
    )
