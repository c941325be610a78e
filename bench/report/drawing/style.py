"""Style of figures: sizes for a two-column paper, fonts that embed, and colours that everybody can distinguish."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SINGLE, DOUBLE = 3.25, 6.75
"""Widths of one and of two columns, inches."""
WIDTHS = {"single": SINGLE, "double": DOUBLE}
"""These widths, by the names that commands accept."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of series, from Okabe and Ito's palette."""
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#666666"
SPLIT = "split the sweep"
"""Advice for a figure with more series than colours, where no other figure has a panel for each."""
GUIDE = 0.8
"""Z-order of reference lines: above the grid (0.5), below everything that was measured (1 and above)."""

RC: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "lines.linewidth": 1.0,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "fastast",
    "savefig.dpi": 250,
    "figure.constrained_layout.use": True,
}

METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None},
    "svg": {"Date": None},
    "png": {"Software": None},
}
"""Metadata of files, without dates: the same records make the same bytes."""


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw in the style of a paper, based on seaborn's `ticks`, within the context."""
    import matplotlib as mpl
    import seaborn as sns

    with mpl.rc_context():
        sns.set_theme(context="paper", style="ticks")
        mpl.rcParams.update(RC)
        yield


def colour_of(names: list[str]) -> dict[str, tuple[str, str]]:
    """Return a colour and a marker for every name. Raises ValueError for more names than colours."""
    if len(names) > len(COLOURS):
        raise ValueError(
            f"{len(names)} schedules in one figure ({', '.join(names)}), at most {len(COLOURS)} can be told "
            f"apart; {SPLIT}"
        )
    return {name: (COLOURS[i], MARKERS[i]) for i, name in enumerate(names)}


def faded(colour: str, share: float = 0.65) -> tuple[float, float, float]:
    """Return a colour mixed with white; being opaque, it lets nothing behind it shine through."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1 - share * (1 - part) for part in to_rgb(colour))
    return red, green, blue
