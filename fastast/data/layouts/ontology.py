"""AudioSet's table of classes, `class_labels_indices.csv`, as AST, PANNs and related code read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastast.data.tables import read_table, read_whole
from fastast.data.training_set import DataError

LABELS = "class_labels_indices.csv"


@dataclass(frozen=True, kw_only=True)
class Ontology:
    """Classes in the order of a model's outputs."""

    path: Path
    """File of the table."""
    classes: tuple[str, ...]
    """Names of the classes."""
    columns: dict[str, int]
    """Machine id of a class, such as /m/09x0r -> its column."""

    def find(self, where: str, labels: tuple[str, ...]) -> tuple[int, ...]:
        """Return the columns of a clip's labels. Raises DataError, naming `where`, for a label that is not a class."""
        for label in labels:
            if label not in self.columns:
                raise DataError(
                    f"{where}: label {label!r} is not in the ontology ({self.path}); use the tables of one release"
                )
        return tuple(self.columns[label] for label in labels)


def read_ontology(table: Path) -> Ontology:
    """Read the classes. Raises DataError, naming the line, for a gap in the indices and for a repeated index or mid."""
    mids: dict[str, int] = {}
    names: dict[int, str] = {}
    rows = read_table(table, ("index", "mid", "display_name"))
    for line, row in rows:
        index = read_whole(f"{table}, line {line}", "index", row["index"])
        if index in names or row["mid"] in mids or index >= len(rows):
            raise DataError(
                f"{table}, line {line}: index is {index}, mid is {row['mid']!r}; indices must be 0 to "
                f"{len(rows) - 1}, each once, and no mid may appear twice"
            )
        mids[row["mid"]], names[index] = index, row["display_name"]
    return Ontology(path=table, classes=tuple(names[index] for index in range(len(rows))), columns=mids)
