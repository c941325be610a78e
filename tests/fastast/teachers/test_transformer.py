"""AST with structured patchout."""

from __future__ import annotations

import pytest
import scipy.stats
import torch

import fastast
from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer
from fastast.teachers import TeacherError
from fastast.teachers.transformer import PatchoutTransformer, kept_tokens

GEOMETRY = Geometry(embed_dim=32, depth=2, num_heads=2, num_classes=5, num_mel_bins=48, num_frames=96)


def patchout_model(freq: int, time: int) -> tuple[PatchoutTransformer, AudioSpectrogramTransformer]:
    """A model with patchout, and the same weights in one without."""
    torch.manual_seed(0)
    model = PatchoutTransformer(GEOMETRY, patchout_freq=freq, patchout_time=time)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    plain = AudioSpectrogramTransformer(GEOMETRY)
    plain.load_state_dict(model.state_dict())
    return model, plain


def test_whole_rows_and_columns_go_in_training() -> None:
    rows, columns = GEOMETRY.grid
    torch.manual_seed(1)
    counts = torch.zeros(rows, columns)
    for _ in range(300):
        kept = kept_tokens(GEOMETRY, (1, 3))
        assert kept[:2].tolist() == [0, 1]
        assert (kept.diff() > 0).all()
        grid = torch.zeros(rows * columns, dtype=torch.bool)
        grid[kept[2:] - 2] = True
        grid = grid.view(rows, columns)
        rows_kept, columns_kept = grid.any(1), grid.any(0)
        assert torch.equal(grid, rows_kept[:, None] & columns_kept[None, :])
        assert int(rows_kept.sum()) == rows - 1
        assert int(columns_kept.sum()) == columns - 3
        counts += grid
    share = (rows - 1) / rows * (columns - 3) / columns  # every patch is as likely as any other to stay
    assert scipy.stats.chisquare(counts.flatten().numpy()).pvalue > 0.001
    assert float(counts.mean()) / 300 == pytest.approx(share)


def test_evaluation_is_the_plain_ast() -> None:
    model, plain = patchout_model(1, 3)
    fbank = torch.randn(2, 96, 48)
    assert torch.equal(model.eval()(fbank), plain.eval()(fbank))


def test_training_sees_the_kept_tokens_with_their_own_positions() -> None:
    model, plain = patchout_model(1, 3)
    fbank = torch.randn(2, 96, 48)
    torch.manual_seed(5)
    kept = kept_tokens(GEOMETRY, (1, 3))
    x = plain.eval().embed(fbank)[:, kept]
    for block in plain.blocks:
        x = x + block.attention(x, None, "math")[0]
        x = x + block.mlp_branch(x)
    x = plain.norm(x)
    expected = plain.head((x[:, 0] + x[:, 1]) / 2)
    torch.manual_seed(5)
    torch.testing.assert_close(model.train()(fbank), expected)
    assert not torch.allclose(model(fbank), expected)  # the next batch loses others


def test_no_patchout_is_the_plain_ast_in_training_too() -> None:
    model, plain = patchout_model(0, 0)
    fbank = torch.randn(2, 96, 48)
    assert torch.equal(model.train()(fbank), plain.train()(fbank))


def test_gradients_reach_every_weight_in_training() -> None:
    model, _ = patchout_model(2, 4)
    model.train()(torch.randn(2, 96, 48)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.pos_embed.grad is not None
    untouched = (model.pos_embed.grad[0] == 0).all(1)
    rows, columns = GEOMETRY.grid
    assert int(untouched.sum()) == rows * columns - (rows - 2) * (columns - 4)


def test_patchout_and_merging_exclude_each_other_in_training() -> None:
    model, _ = patchout_model(1, 3)
    with fastast.reduce(model, fastast.TokenReduction(schedule=fastast.Constant(4))):
        with pytest.raises(TeacherError, match="not with both"):
            model.train()(torch.randn(2, 96, 48))
        assert model.eval()(torch.randn(2, 96, 48)).shape == (2, 5)


@pytest.mark.parametrize(("freq", "time"), [(4, 0), (0, 9), (-1, 0), (0, 1.5)])
def test_a_grid_without_patches_is_refused(freq: int, time: int) -> None:
    with pytest.raises(TeacherError, match="patchout: patchout_(freq|time)"):
        PatchoutTransformer(GEOMETRY, patchout_freq=freq, patchout_time=time)
