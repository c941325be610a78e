"""Figures that others published for the data sets of the paper, shown next to a report's own numbers but apart."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from bench.report.tables.markdown import markdown_table

FILE = Path(__file__).parent / "published.toml"
TITLE = "Published elsewhere"
NOT_STATED = "not stated"
_NO_TABLES = (
    "The paper that introduced FastAST (arXiv 2406.07676) is not among them: its abstract, all that could be quoted, "
    "gives no number."
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published score, as its source states it. Raises ValueError for none or two scores, or without an address."""

    model: str
    """Name of the model."""
    note: str
    """How it was trained and tested, as far as the source says."""
    source: str
    """Address of the publication."""
    mAP: float | None = None  # noqa: N815
    """Macro mean average precision, between 0 and 1; None where accuracy is given."""
    accuracy: float | None = None
    """Top-1 accuracy, between 0 and 1; None where mAP is given."""
    parameters_m: float | None = None
    """Millions of parameters."""
    gmacs: float | None = None
    """Giga-multiply-accumulates per clip, as stated by the source."""
    stride: int | None = None
    """Stride of an AST, from which its arithmetic is computed."""
    family: str | None = None
    """Models that it is drawn with; without a family it appears in tables only."""

    @property
    def score(self) -> float:
        """mAP or accuracy, whichever is given."""
        return next(score for score in (self.mAP, self.accuracy) if score is not None)

    @property
    def score_name(self) -> str:
        """Name of that measure in reports."""
        return "accuracy" if self.mAP is None else "mAP"

    def __post_init__(self) -> None:
        scores = [score for score in (self.mAP, self.accuracy) if score is not None]
        if len(scores) != 1 or not 0 < scores[0] < 1:
            raise ValueError(f"{FILE.name}: {self.model}: give mAP or accuracy, a share between 0 and 1")
        if not self.source.startswith("https://"):
            raise ValueError(f"{FILE.name}: {self.model}: source is {self.source!r}; give an https:// address")


def published(sweep: str) -> tuple[Published, ...]:
    """Return the figures for a sweep's data set: for `paper_esc50`, say, or `paper_esc50-MODEL`; for others none."""
    return _all_published().get(sweep.partition("-")[0], ())


def published_frame() -> pd.DataFrame:
    """Return all published figures, a row per model: the fields of `Published`, and the `sweep` that shows it."""
    rows = [{"sweep": sweep} | asdict(figure) for sweep, figures in _all_published().items() for figure in figures]
    return pd.DataFrame(rows)


def _all_published() -> dict[str, tuple[Published, ...]]:
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {sweep: tuple(Published(**entry) for entry in entries) for sweep, entries in tables.items()}


def published_table(figures: tuple[Published, ...]) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of a table of published figures, as text."""
    score = "mAP" if figures[0].mAP is not None else "Accuracy"
    rows = [
        [
            figure.model,
            _text(figure.score),
            _text(figure.parameters_m),
            _text(figure.gmacs),
            figure.note,
            figure.source,
        ]
        for figure in figures
    ]
    return ["Model", score, "Parameters (M)", "MACs (G)", "Trained and tested", "Source"], rows


def about_published(joined: pd.DataFrame) -> str:
    """Return what a reader must know before comparing these figures with those of a report."""
    known = joined.dropna(subset=["ids_sha256"]).drop_duplicates("ids_sha256")
    here = "; ".join(f"{row.clips:,.0f} clips, ids {row.ids_sha256[:12]}" for row in known.itertuples())
    own = f"The numbers of this report are of {here}. " if here else ""
    return (
        "Not measured here: these are what the sources state, on clips whose ids we do not have. Of AudioSet, which "
        f"is fetched clip by clip, no two copies are alike. {own}Clips, training and machines may differ, so no "
        f"difference between the two is computed. {_NO_TABLES}"
    )


def published_markdown(figures: tuple[Published, ...], joined: pd.DataFrame) -> str:
    """Return the table as Markdown, with what a reader must know."""
    heads, rows = published_table(figures)
    table = markdown_table(heads, rows, words=(0, 4, 5))
    return "\n".join([f"# {TITLE}", "", about_published(joined), "", table]) + "\n"


def _text(value: float | None) -> str:
    return NOT_STATED if value is None else f"{value:g}"
