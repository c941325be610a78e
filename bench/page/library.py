"""Plotly's JavaScript, in the form that the page contains.

It comes from the PyPI package `plotly`, with its licence in the first lines: 4.5 MB, of which gzip leaves a third.
Every browser since 2023 can unpack that itself (`DecompressionStream`).
"""

from __future__ import annotations

import base64
import gzip


def packed_plotly() -> str:
    """Return `plotly.min.js`, gzip in base64; the same bytes from the same version."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)).decode()


def plotly_version() -> str:
    """Return the version of the Python package."""
    from importlib.metadata import version

    return version("plotly")
