"""The page's example, as a reader would run it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import fastast
from fastast import Constant, TokenReduction
from fastast.hosts import HOSTS, adapter_of
from fastast.reduction import MergeTrace

PAGE = Path(__file__).parents[3] / "docs" / "add_a_host.md"


def test_the_example_takes_a_reduction(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(example.splitlines()) < 40
    names: dict[str, Any] = {"__name__": "readers_module"}
    try:
        exec(compile(example, str(PAGE), "exec"), names)
        model, patches = names["model"], torch.randn(2, 48, 16)
        own = model(patches)
        with fastast.reduce(model, TokenReduction(schedule=Constant(0))):
            torch.testing.assert_close(model(patches), own, atol=1e-6, rtol=1e-6)
        trace = MergeTrace()
        with fastast.reduce(model, TokenReduction(schedule=Constant(8))):
            assert not torch.allclose(model(patches), own, atol=1e-4)
            adapter_of(model).encode(model.embed(patches), trace=trace)
        assert trace.tokens_per_block == [40, 32]
        assert torch.equal(model(patches), own)
    finally:
        HOSTS._entries.pop("readers_module.Tagger", None)
    assert capsys.readouterr().out == "(40, 32) torch.Size([2, 5])\n"
