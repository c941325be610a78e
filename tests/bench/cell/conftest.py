"""Cells of these tests measure a model of few blocks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shallow_model import use_shallow_models


@pytest.fixture(autouse=True, scope="module")
def _shallow_models() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_shallow_models(patch)
        yield
