"""The soak uses the stand-ins of the bench's tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "bench"))


def pytest_addoption(parser) -> None:
    parser.addoption("--update", action="store_true", help="write what the soak found into docs/interruptions.md")
