"""Models whose patches are further apart than those that their weights were trained on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from checkpoint_files import SMALL
from typer.testing import CliRunner

from fastast import create_model, load_model, save_checkpoint
from fastast.checkpoints import CheckpointError
from fastast.cli import app
from fastast.geometry import geometry, with_stride
from fastast.model import AudioSpectrogramTransformer

TEN = dataclasses.replace(SMALL, fstride=10, tstride=10)


def test_a_stride_is_that_of_both_axes() -> None:
    model = create_model("ast_tiny", stride=16, depth=1, num_frames=512)
    assert (model.geometry.fstride, model.geometry.tstride) == (16, 16)
    assert model.geometry.num_tokens == 8 * 32 + 2  # by hand: (128 - 16) / 16 + 1 rows, (512 - 16) / 16 + 1 columns
    assert with_stride(None, {"depth": 1}) == {"depth": 1}


@pytest.mark.parametrize("name", ["fstride", "tstride"])
def test_a_stride_said_twice_is_refused(name: str, tmp_path) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", AudioSpectrogramTransformer(TEN))
    for make in (lambda **given: create_model("ast_tiny", **given), lambda **given: load_model(path, **given)):
        with pytest.raises(ValueError, match=f"stride is 16 and {name} is 12; give one or the other"):
            make(stride=16, **{name: 12})


def test_a_stride_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="fstride is 0; it must be an integer of at least 1"):
        create_model("ast_tiny", stride=0)
    with pytest.raises(CheckpointError, match="fstride is 1.5"):
        create_model("ast_tiny_soundscapes", stride=1.5)  # type: ignore[arg-type]


def test_trained_weights_see_the_same_patches_with_the_positions_between(tmp_path) -> None:
    """At stride 20 every patch is one of those at stride 10, and so is its token, position included."""
    model = AudioSpectrogramTransformer(TEN).eval()
    path = save_checkpoint(tmp_path / "a.safetensors", model)
    strided = load_model(path, stride=20).eval()
    fbank = torch.randn(2, TEN.num_frames, TEN.num_mel_bins)
    with torch.no_grad():
        every = model.embed(fbank)
        tokens = strided.embed(fbank)
    patches = every[:, 2:].unflatten(1, TEN.grid)
    torch.testing.assert_close(tokens[:, 2:], patches[:, ::2, ::2].flatten(1, 2))
    torch.testing.assert_close(tokens[:, :2], every[:, :2])
    for name, value in model.state_dict().items():
        if name != "pos_embed":
            assert torch.equal(strided.state_dict()[name], value)


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float16, 11), (torch.bfloat16, 8)])
def test_positions_in_half_precision_are_those_between_rounded_once(dtype: torch.dtype, digits: int, tmp_path) -> None:
    torch.manual_seed(0)
    model = AudioSpectrogramTransformer(TEN)
    path = save_checkpoint(tmp_path / "a.safetensors", model)
    grid = model.pos_embed.detach().double()[0, 2:].unflatten(0, TEN.grid).numpy()  # (f', t', d)
    strided = load_model(path, stride=12, dtype=dtype)
    for axis, length in enumerate(strided.geometry.grid):
        places, old = np.minimum(np.arange(length) * 1.2, grid.shape[axis] - 1), np.arange(grid.shape[axis])
        grid = np.apply_along_axis(lambda values, at=places, of=old: np.interp(at, of, values), axis, grid)
    found = strided.pos_embed.detach().double()[0, 2:].numpy()
    expected = grid.reshape(found.shape)
    assert strided.pos_embed.dtype == dtype
    np.testing.assert_array_less(np.abs(found - expected), 2.0**-digits * np.abs(expected) * 1.001 + 2.0**-24)


def test_the_models_own_stride_changes_nothing() -> None:
    usual, same = create_model("ast_tiny_soundscapes"), create_model("ast_tiny_soundscapes", stride=10)
    assert same.geometry == usual.geometry
    assert torch.equal(same.pos_embed, usual.pos_embed)


def test_info_counts_the_tokens_and_what_they_save() -> None:
    shown = CliRunner().invoke(app, ["info", "ast_tiny_soundscapes", "--stride", "16"])
    assert shown.exit_code == 0, shown.output
    assert "at stride 16 x 16: 8 x 32 patches, 258 tokens" in shown.output
    assert "the model's own stride is 10 x 10: 602 tokens" in shown.output
    d, n, layers = 192, np.array([258, 602]), 12  # products of d x d: 4 of attention, 8 of the MLP
    macs = layers * (12 * n * d * d + 2 * n * n * d) + (n - 2) * 256 * d
    assert f"{macs[1] / macs[0]:.2f} times fewer, the most that fewer tokens can gain" in shown.output
    own = CliRunner().invoke(app, ["info", "ast_tiny_soundscapes", "--stride", "10"]).output
    assert own == CliRunner().invoke(app, ["info", "ast_tiny_soundscapes"]).output


def test_a_published_size_takes_a_stride_too() -> None:
    assert geometry("base", **with_stride(16, {})).num_tokens == 8 * 64 + 2
