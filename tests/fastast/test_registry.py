"""Names are listed without importing, found lazily, and explained where there are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastast.registry import Registry


def package(folder: Path, name: str, *entries: str) -> None:
    """Write what pip leaves of an installed package with entry points of the group `toys`."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[toys]\n" + "\n".join(entries) + "\n")


def test_listing_imports_nothing_and_getting_imports_the_value() -> None:
    code = (
        "import sys\n"
        "from fastast.registry import Registry\n"
        "toys = Registry('toy', {'queue': 'queue:Queue', 'wave': 'wave:open'})\n"
        "assert toys.names() == ('queue', 'wave') and 'wave' in toys and len(toys) == 2\n"
        "assert 'wave' not in sys.modules\n"
        "value = toys.get('wave')\n"
        "import wave\n"
        "assert value is wave.open and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    class ToyError(ValueError): ...

    toys = Registry[object]("toy", {"queue": "queue:Queue", "wave": "wave:open"}, error=ToyError)
    with pytest.raises(ToyError, match=r"unknown toy 'quene'\. Did you mean 'queue'\? There are: queue, wave"):
        toys.get("quene")


def test_a_taken_name_is_refused_but_the_same_definition_may_run_again() -> None:
    toys = Registry[object]("toy")

    def define(answer: int) -> None:
        @toys.register("one")
        def one() -> int:
            return answer

    define(1)
    define(2)  # a notebook's cell, edited and run again
    assert toys.get("one")() == 2  # type: ignore[operator]
    with pytest.raises(ValueError, match="the toy 'one' is already registered"):
        toys.register("one")(lambda: 3)
    with pytest.raises(ValueError, match="already registered"):
        toys.add("one", 3)
    toys.add("one", 3, replace=True)
    assert toys.get("one") == 3
    toys.add_lazily("two", "queue:Queue")
    assert toys.names() == ("one", "two")


def test_installed_packages_add_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "toybox", "bear = queue:Queue", "broken = queue:Bear", "queue = wave:open")
    monkeypatch.syspath_prepend(str(tmp_path))
    toys = Registry[object]("toy", {"queue": "queue:Queue"}, group="toys")
    import queue

    assert toys.names() == ("queue", "bear", "broken")
    assert toys.get("bear") is queue.Queue
    with pytest.raises(ImportError, match=r"the toy 'broken' of the package 'toybox' \(queue:Bear\)"):
        toys.get("broken")
    with pytest.raises(ValueError, match="the toy 'queue' is offered by FastAST and by the package 'toybox'"):
        toys.get("queue")
    assert Registry[object]("toy").names() == ()
