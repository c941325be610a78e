"""The code in docs/distillation.md runs, and the page documents every key and teacher."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from fastast.data.augment import Augmentation
from fastast.distill import Distillation
from fastast.teachers import teacher_names

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/distillation.md").read_text(encoding="utf-8")


def test_its_python_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/distillation.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "'teacher_loss'" in printed
    assert "off by more than 0." in printed
    assert (tmp_path / "build/targets.safetensors").is_file()


@pytest.mark.parametrize("kind", [Distillation, Augmentation])
def test_every_key_is_documented(kind: type) -> None:
    assert [f.name for f in dataclasses.fields(kind) if f"`{f.name}`" not in PAGE] == []


def test_every_teacher_is_documented() -> None:
    assert [name for name in teacher_names() if f"`{name}`" not in PAGE] == []
