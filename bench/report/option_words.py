"""Readable names of a reduction's options, for legends, tables and captions."""

from __future__ import annotations

import shlex

from fastast.names import counted

_WORDS: dict[str, dict[str, str]] = {
    "metric": {
        "tokens": "by tokens after attention",
        "before": "by tokens before attention",
        "branch": "by the output of attention",
    },
    "order": {"tome": "ToMe's order", "position": "tokens in order of position"},
    "excess": {"cap": "capped"},
    "place": {
        "before": "placed before attention",
        "between": "placed between attention and MLP",
        "after": "placed after the MLP",
    },
    "heads": {"mean": "heads averaged", "concat": "heads concatenated"},
    "distance": {"cosine": "cosine similarity", "dot": "dot product", "euclidean": "Euclidean distance"},
    "partition": {
        "alternating": "sets alternate",
        "sequential": "sets are halves",
        "random": "random sets",
        "time": "sets alternate in time",
        "frequency": "sets alternate in frequency",
    },
    "axis": {"time": "over time", "frequency": "over frequency", "both": "over time and frequency"},
    "window": {"time": "window in time", "frequency": "window in frequency", "both": "window in time and frequency"},
    "combine": {
        "size": "size-weighted mean",
        "mean": "unweighted mean",
        "norm": "norm-preserving mean",
        "keep": "one token kept as it is",
    },
    "weighted_pooling": {"True": "pooling weighted by size", "False": "unweighted pooling"},
    "length": {"own": "own length"},
}
"""Words for values of options that name and value alone would not explain."""


def options_of(text: str) -> dict[str, str]:
    """Return the options in the `options` column of a record's flat row, each with its value."""
    return dict(one.partition("=")[::2] for one in shlex.split(text or ""))


def option_words(name: str, value: str) -> str:
    """Return an option and its value in words, unknown ones as they are written."""
    if name in _WORDS and value in _WORDS[name]:
        return _WORDS[name][value]
    if name == "metric":
        return f"by {value}"
    if name == "num_protected" and value.isdigit():
        return counted(int(value), "protected token").replace("0 ", "no ", 1)
    if name in ("time", "frequency") and value.isdigit():  # the reach of a window
        return f"within {value} patch{'es' * (value != '1')} in {name}"
    return f"{name.replace('_', ' ')} {value}"
