"""Full scale: samples are in [-1, 1] everywhere, and integers that pass as floating point are found."""

from __future__ import annotations

MAX_PEAK = 8.0
"""Samples beyond are not in [-1, 1]: decoders and mixtures overshoot by little, int16 reaches 32,768.

A model that is fed with such samples answers with confidence: every log-mel value is 20.8 too high.
"""


def describe_peak(peak: float) -> str:
    """Return what is wrong with samples that reach `peak`, and what to do."""
    return (
        f"samples reach {peak:,.0f}, but full scale is 1: perhaps integers that were saved as floating point; divide "
        "them by 32768 (if they had 16 bits)"
    )
