"""What stands between two marks of a page, and pages that do not have them."""

from __future__ import annotations

import pytest

from bench.marks import around_marks


def test_a_page_is_parted_at_its_marks() -> None:
    assert around_marks("above <a>old</a> below", "<a>", "</a>") == ("above <a>", "</a> below")


@pytest.mark.parametrize(
    "page", ["no marks", "<a>not closed", "closed</a> before <a>", "<a>one</a><a>two</a>", "<a>one</a> and <a>"]
)
def test_a_page_without_each_mark_once_is_not(page: str) -> None:
    assert around_marks(page, "<a>", "</a>") is None
