"""The classes of a model and those of data, matched by name before anything runs.

Shapes: `c` classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

AS_DATA = "data"
"""What says that a model without names has its outputs in the order of the data's classes."""


class ClassesError(ValueError):
    """A model whose classes are not the data's, or are not known; the message has the difference."""


def match_classes(
    model: str,
    names: Sequence[str] | None,
    count: int,
    classes: Sequence[str],
    *,
    stated: str = "",
    option: str = "--labels",
    advice: str = "",
) -> tuple[int, ...]:
    """Return which output of a model each class of the data is, (c,): 0, 1, 2, ... where the order is the same.

    model: what it is called in messages; names: of its outputs, None where its file has none; count: of its outputs;
    classes: of the data. stated: what a person says of the outputs by the option `option`: a file with a name per line,
    or `data` for a model without names whose order is the data's. advice: what else can be done where they differ.

    Raises ClassesError where the model has other classes (with the difference), none that are known and nothing is
    stated, or the same name twice.
    """
    also = f"; {advice}" if advice else ""
    if stated and stated != AS_DATA:
        names = read_names(Path(stated))
        if len(names) != count:
            raise ClassesError(f"{stated}: {len(names)} names for the {count} outputs of {model}; give one per output")
    elif stated and names is not None:
        raise ClassesError(
            f"{model}: it names its classes, so {option} {AS_DATA} would overrule it; leave that out, or give a file "
            "with other names"
        )
    if names is None:
        if count != len(classes):
            raise ClassesError(f"{model}: it has {count} unnamed outputs, and the data {len(classes)} classes{also}")
        if not stated:
            raise ClassesError(
                f"{model}: nothing says which classes its {count} outputs are; name them by {option} FILE (a name per "
                f"line, in the order of the outputs), or say {option} {AS_DATA} if it is that of the data's classes: "
                f"{', '.join(classes[:4])}, ...{also}"
            )
        return tuple(range(count))
    if tuple(names) == tuple(classes):
        return tuple(range(count))
    for what, found in (("the model", names), ("the data", classes)):
        if twice := [name for name, times in Counter(found).items() if times > 1]:
            raise ClassesError(f"{model}: nothing can be matched by name: {what} has {twice[0]!r} more than once{also}")
    if difference := describe_difference(classes, names, "the data", "the model"):
        raise ClassesError(f"{model}: its {count} classes are not the {len(classes)} of the data: {difference}{also}")
    place = {name: index for index, name in enumerate(names)}
    return tuple(place[name] for name in classes)


def is_same_order(columns: Sequence[int]) -> bool:
    """Return whether matched outputs are in the order of the data's classes already."""
    return tuple(columns) == tuple(range(len(columns)))


def read_names(path: Path) -> tuple[str, ...]:
    """Return the names of a text file, one per line. Raises ClassesError where there are none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ClassesError(f"{path}: not readable as UTF-8 text, a name per line: {error}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ClassesError(f"{path}: there is no name in it; give a name per line, in the order of the outputs")
    return names


def describe_difference(mine: Iterable[str], theirs: Iterable[str], here: str, there: str) -> str:
    """Say what only one of two lists has, with at most four names each; empty where both have the same."""
    sides = ((here, mine, set(theirs)), (there, theirs, set(mine)))
    told = []
    for what, names, others in sides:
        only = [name for name in names if name not in others]
        if only:
            more = f" and {len(only) - 4} more" if len(only) > 4 else ""
            told.append(f"only {what} has {', '.join(map(repr, only[:4]))}{more}")
    return "; ".join(told)
