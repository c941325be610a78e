"""Plotly's JavaScript, as the page carries it.

It comes from the package `plotly` of PyPI, with its licence on its first lines: 4.5 MB, of which gzip leaves a third.
Every browser since 2023 unpacks that by itself (`DecompressionStream`).
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
