"""Match the classes of a model to those of the data by name, before anything runs.

Shapes: `c` classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

AS_DATA = "data"
"""Given in place of a file of names: a model's unnamed outputs are in the order of the data's classes."""


class ClassesError(ValueError):
    """A model whose classes are unknown or differ from the data's; the message says how they differ."""


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
    """Return the index of the model's output for each class of the data, (c,): 0, 1, 2, ... where the order agrees.

    model: its name in messages. names: those of its outputs, None where its file has none. count: number of its
    outputs. classes: names of the data's classes. stated: value of the option `option`, a file with one name per line
    or `data` for a model without names whose outputs are in the data's order. advice: what else to do where classes
    differ.

    Raises ClassesError where the model has other classes (with the difference), where its classes are unknown and
    nothing is stated, where `stated` contradicts the model, or where a name occurs twice.
    """
    also = f"; {advice}" if advice else ""
    if stated and stated != AS_DATA:
        names = read_names(Path(stated))
        if len(names) != count:
            raise ClassesError(f"{stated}: {len(names)} names for the {count} outputs of {model}; give one per output")
    elif stated and names is not None:
        raise ClassesError(
            f"{model}: it names its own classes, which {option} {AS_DATA} would overrule; leave that out, or give a "
            "file with other names"
        )
    if names is None:
        if count != len(classes):
            raise ClassesError(
                f"{model}: it has {count} unnamed outputs, but the data has {len(classes)} classes{also}"
            )
        if not stated:
            raise ClassesError(
                f"{model}: nothing says which classes its {count} outputs are; name them with {option} FILE (one name "
                f"per line, in the order of the outputs), or give {option} {AS_DATA} if that is the order of the "
                f"data's classes: {', '.join(classes[:4])}, ...{also}"
            )
        return tuple(range(count))
    if tuple(names) == tuple(classes):
        return tuple(range(count))
    for what, found in (("the model", names), ("the data", classes)):
        if twice := [name for name, times in Counter(found).items() if times > 1]:
            raise ClassesError(f"{model}: cannot match classes by name: {what} has {twice[0]!r} more than once{also}")
    if difference := describe_difference(classes, names, "the data", "the model"):
        raise ClassesError(f"{model}: its {count} classes are not the {len(classes)} of the data: {difference}{also}")
    place = {name: index for index, name in enumerate(names)}
    return tuple(place[name] for name in classes)


def is_same_order(columns: Sequence[int]) -> bool:
    """Return whether matched outputs are already in the order of the data's classes."""
    return tuple(columns) == tuple(range(len(columns)))


def read_names(path: Path) -> tuple[str, ...]:
    """Return the names in a text file, one per line. Raises ClassesError where it is unreadable or holds none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ClassesError(f"{path}: not readable as UTF-8 text with one name per line: {error}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ClassesError(f"{path}: it holds no names; give one per line, in the order of the outputs")
    return names


def describe_difference(mine: Iterable[str], theirs: Iterable[str], here: str, there: str) -> str:
    """Return which names only one of two lists has, at most four of each, as text; empty where both have the same."""
    sides = ((here, mine, set(theirs)), (there, theirs, set(mine)))
    told = []
    for what, names, others in sides:
        only = [name for name in names if name not in others]
        if only:
            more = f" and {len(only) - 4} more" if len(only) > 4 else ""
            told.append(f"only {what} has {', '.join(map(repr, only[:4]))}{more}")
    return "; ".join(told)
