"""The model that cells measure in tests: `ast_tiny` with three blocks and eight classes.

Every fact of a record follows from it as from twelve blocks and 527 classes, in a tenth of the time.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.cell import worker
from fastast import create_model
from fastast.model import AudioSpectrogramTransformer

DEPTH = 3
CLASSES = 8
FRAMES = 96
TOKENS = 12 * 9 + 2
"""By hand: (128 - 16) // 10 + 1 = 12 rows, (96 - 16) // 10 + 1 = 9 columns, two prefix tokens."""


def create_shallow(name: str = "ast_tiny", **shape: Any) -> AudioSpectrogramTransformer:
    """Build a model by name, `ast_tiny` with few blocks and classes."""
    few = {"depth": DEPTH, "num_classes": CLASSES} if name == "ast_tiny" else {}
    return create_model(name, **few | shape)


def use_shallow_models(patch: pytest.MonkeyPatch) -> None:
    """Let the cells of this process measure it."""
    patch.setattr(worker, "create_model", create_shallow)
