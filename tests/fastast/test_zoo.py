"""Names of models, given where they are of no use."""

from __future__ import annotations

from pathlib import Path

import pytest

import fastast


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ast_base", r"no such file or folder; .* name of a model, give it to fastast\.create_model$"),
        ("ast_tiny_soundscapes", r"give it to fastast\.create_model$"),
        ("cnn_small_soundscapes", r"give it to fastast\.create_model$"),
        ("ast_base.pth", r"\(config\.json next to model\.safetensors\)$"),
    ],
)
def test_a_name_in_the_place_of_a_path_says_where_it_belongs(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fastast.CheckpointError, match=message):
        fastast.load_model(name)


def test_a_cnn_is_no_transformer_misspelt() -> None:
    with pytest.raises(ValueError, match=r"^cnn_small_soundscapes is a CNN, .*; give its name to fastast predict"):
        fastast.create_model("cnn_small_soundscapes")
    with pytest.raises(ValueError, match=r"unknown model 'ast_bse'\. Did you mean 'ast_base'"):
        fastast.create_model("ast_bse")
