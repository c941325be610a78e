"""Classes of models and data: matched by name, or refused with the difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastast.classes import ClassesError, describe_difference, is_same_order, match_classes

DATA = ("dog", "rain", "clock", "siren")


def test_the_same_names_in_another_order_are_found_by_name() -> None:
    names = ("siren", "dog", "clock", "rain")
    columns = match_classes("m", names, 4, DATA)
    assert [names[column] for column in columns] == list(DATA)
    assert not is_same_order(columns)
    assert is_same_order(match_classes("m", DATA, 4, DATA))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("dog", "rain", "wind", "siren"),
            r"m: its 4 classes are not the 4 of the data: only the data has 'clock'; only the model has 'wind'$",
        ),
        ((*DATA, "wind"), r"m: its 5 classes are not the 4 of the data: only the model has 'wind'$"),
        (DATA[:3], r"m: its 3 classes are not the 4 of the data: only the data has 'siren'$"),
        (
            tuple("abcdef"),
            r"only the data has 'dog', 'rain', 'clock', 'siren'; only the model has 'a', 'b', 'c', 'd' and 2 more$",
        ),
        (("dog", "dog", "rain", "siren"), r"m: cannot match classes by name: the model has 'dog' more than once$"),
    ],
)
def test_other_classes_are_refused_with_the_difference(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ClassesError, match=message):
        match_classes("m", names, len(names), DATA)


def test_a_model_without_names_is_refused_unless_the_order_is_stated(tmp_path: Path) -> None:
    with pytest.raises(ClassesError, match=r"m: nothing says which classes its 4 outputs are; name them with --labels"):
        match_classes("m", None, 4, DATA)
    with pytest.raises(ClassesError, match=r"or give model.labels data .*: dog, rain, clock, siren, ...; or x$"):
        match_classes("m", None, 4, DATA, option="model.labels", advice="or x")
    assert match_classes("m", None, 4, DATA, stated="data") == (0, 1, 2, 3)
    file = tmp_path / "names.txt"
    file.write_text("﻿rain\r\ndog\r\n\r\nclock\r\nsiren", encoding="utf-8")
    assert match_classes("m", None, 4, DATA, stated=str(file)) == (1, 0, 2, 3)
    assert match_classes("m", tuple("abcd"), 4, DATA, stated=str(file)) == (
        1,
        0,
        2,
        3,
    )  # other names


def test_what_is_stated_wrongly_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClassesError, match=r"m: it has 5 unnamed outputs, but the data has 4 classes"):
        match_classes("m", None, 5, DATA, stated="data")
    with pytest.raises(ClassesError, match=r"m: it names its own classes, which --labels data would overrule"):
        match_classes("m", ("siren", "dog", "clock", "rain"), 4, DATA, stated="data")
    file = tmp_path / "names.txt"
    with pytest.raises(
        ClassesError, match=r"names.txt: not readable as UTF-8 text with one name per line: .*No such file"
    ):
        match_classes("m", None, 4, DATA, stated=str(file))
    file.write_text("dog\nrain\n")
    with pytest.raises(ClassesError, match=r"names.txt: 2 names for the 4 outputs of m; give one per output"):
        match_classes("m", None, 4, DATA, stated=str(file))
    file.write_text(" \n")
    with pytest.raises(ClassesError, match=r"names.txt: it holds no names"):
        match_classes("m", None, 4, DATA, stated=str(file))


def test_lists_of_the_same_names_do_not_differ() -> None:
    assert describe_difference("ab", "ba", "here", "there") == ""
    assert describe_difference("abc", "b", "here", "there") == "only here has 'a', 'c'"
