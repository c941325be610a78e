"""Checks, before anything runs, that the parts of a reduction fit each other and the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastast.reduction.options import ReductionError

if TYPE_CHECKING:
    from fastast.encoder import EncoderShape
    from fastast.reduction.registry import ReductionMethod


def check_threshold(value: object, method: ReductionMethod, options: Any, *, sizes_count: bool) -> None:
    """Raise ReductionError for a threshold that is not a cosine, or that the rest of its reduction cannot honour.

    `sizes_count`: whether attention and pooling weight tokens by their sizes.
    """
    where = f"reduction {method.name}: threshold is {value!r}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1 < value <= 1:
        raise ReductionError(
            f"{where}; give a cosine above -1 (at which all of the schedule's pairs merge: leave it out) and up to 1 "
            "(at which rounding decides which equal tokens do)"
        )
    if not method.takes_threshold(options):
        raise ReductionError(
            f"{where}, but the method does not merge by one, or not with these options; use tome (with "
            "distance='cosine' and partition='alternating'), dtem, local or algm"
        )
    if not sizes_count:
        raise ReductionError(
            f"{where}: clips with fewer tokens are padded with tokens of size 0, so sizes must count: leave "
            "proportional and weighted_pooling at True"
        )


def check_plain_pooling(encoder: EncoderShape, method: str) -> None:
    """Raise ReductionError where unweighted pooling is asked for but the head pools nothing."""
    if encoder.reads in ("prefix", "class"):
        read = "prefix tokens" if encoder.reads == "prefix" else "class token"
        raise ReductionError(
            f"reduction {method}: weighted_pooling is False, but the head reads the {read} and pools no other tokens; "
            "leave it out"
        )


def check_input(r: int, method: ReductionMethod, options: Any, schedule: object) -> None:
    """Raise ReductionError where `r` tokens are to go before the first attention, but the method needs attention."""
    if r and not method.chooses_at_input(options):
        raise ReductionError(
            f"reduction {method.name} {schedule}: block 1 removes {r} tokens before any attention, but the method "
            "needs what attention computes; give options that need only the tokens (metric='tokens'), a schedule that "
            "begins with 0 (list:0,...), or place='between'"
        )
