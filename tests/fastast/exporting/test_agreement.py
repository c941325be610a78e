"""When an export agrees with PyTorch: differences by decisions on the last digit are told from errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastast.exporting.agreement import check_agreement, real_clips
from fastast.exporting.errors import ExportError
from fastast.frontend import AUDIOSET
from fastast.geometry import Geometry

CLIPS = torch.randn(8, 4, 4, generator=torch.Generator().manual_seed(0))
BORDER = float(CLIPS[3].sum())


def decides(fbank: Tensor) -> Tensor:
    """Logits that jump where a clip's sum passes that of clip 3."""
    total = fbank.sum(dim=(1, 2))
    return torch.stack([total, (total > BORDER).float()], dim=1)


def other_way(fbank: Tensor) -> Tensor:
    """The same, but equal to the border decides the other way: right to within rounding."""
    total = fbank.sum(dim=(1, 2))
    return torch.stack([total, (total >= BORDER).float()], dim=1)


def test_a_clip_on_which_pytorch_is_undecided_is_left_aside_and_counted() -> None:
    assert not torch.equal(decides(CLIPS), other_way(CLIPS))
    found = check_agreement(decides, other_way, CLIPS, dtype="float32")
    assert (found.clips, found.undecided) == (8, 1)
    assert found.difference < 1e-6
    assert "7 clips" in str(found)
    assert "1 more" in str(found)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda fbank: decides(fbank) * 1.001,
        lambda fbank: decides(fbank) + 0.01 * (fbank[:, :1, 0] > 0),  # some clips only
        lambda fbank: decides(fbank) * torch.nan,
        lambda fbank: decides(fbank) + 0.1 * (len(fbank) == 1),  # a batch that was made static
    ],
)
def test_an_error_is_no_indecision(wrong) -> None:
    with pytest.raises(ExportError, match="nothing was written"):
        check_agreement(decides, wrong, CLIPS, dtype="float32")


def test_logits_that_are_all_0_are_compared_as_they_are() -> None:
    def nothing(fbank: Tensor) -> Tensor:
        return torch.zeros(len(fbank), 3)

    assert check_agreement(nothing, nothing, CLIPS, dtype="float32").difference == 0
    assert check_agreement(nothing, lambda fbank: nothing(fbank) + 1e-6, CLIPS, dtype="float32").difference < 2e-6
    with pytest.raises(ExportError, match=r"by at most 0\.01 of"):
        check_agreement(nothing, lambda fbank: nothing(fbank) + 0.01, CLIPS, dtype="float32")


def test_nothing_is_compared_where_pytorch_is_undecided_on_most_clips() -> None:
    borders = CLIPS.sum(dim=(1, 2))

    def above(fbank: Tensor) -> Tensor:
        return (fbank.sum(dim=(1, 2))[:, None] > borders).float()

    def at_least(fbank: Tensor) -> Tensor:
        return (fbank.sum(dim=(1, 2))[:, None] >= borders).float()

    with pytest.raises(ExportError, match="depend on the last digit"):
        check_agreement(above, at_least, CLIPS, dtype="float32")


def test_clips_are_sound_and_fill_any_input() -> None:
    for frames in (64, 1024):
        clips = real_clips(Geometry(embed_dim=32, num_heads=2, num_classes=2, num_frames=frames), AUDIOSET)
        assert clips.shape == (8, frames, 128)
        assert clips[:, -1].std(dim=-1).min() > 0.05  # no padding, which would be constant
        assert (clips[0] - clips[1]).abs().max() > 0.1
