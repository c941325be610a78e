"""MACs by formula, against torch's own counter on the meta device."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fastast.geometry import Geometry, geometry
from fastast.hosts import reduce
from fastast.macs import model_macs
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import Constant, Linear, Schedule


@pytest.mark.parametrize("schedule", [Constant(0), Constant(20), Linear(20, -1)])
@pytest.mark.parametrize("size", ["tiny", "base"])
def test_formula_equals_the_counter(size: str, schedule: Schedule) -> None:
    shape = geometry(size, num_frames=512)
    with torch.device("meta"):  # on a CPU the counter misses fused attention
        model = AudioSpectrogramTransformer(shape).eval()
        fbank = torch.empty(1, shape.num_frames, shape.num_mel_bins)
    reduction = TokenReduction(schedule=schedule)
    with reduce(model, reduction, attention="math"), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(fbank)
    assert counter.get_total_flops() == 2 * model_macs(shape, reduction)


def test_published_size_of_ast_base() -> None:
    # 130.3 GMACs for the blocks of AST-base at 10 s, derived in the literature notes; patches and head add 0.24.
    shape = geometry("base")
    blocks = model_macs(shape) - shape.num_patches * 256 * 768 - 768 * 527
    assert blocks / 1e9 == pytest.approx(130.3, abs=0.05)


def test_another_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="2 token counts for 12 blocks"):
        model_macs(geometry("tiny"), (5, 4))
    with pytest.raises(ValueError, match="0 token counts for 12 blocks"):
        model_macs(geometry("tiny"), ())


@pytest.mark.parametrize(
    ("frames", "stride", "tokens"), [(1024, 10, 1214), (1024, 16, 514), (512, 10, 602), (128, 10, 146)]
)
def test_token_counts_of_the_published_inputs(frames: int, stride: int, tokens: int) -> None:
    assert geometry("base", num_frames=frames, fstride=stride, tstride=stride).num_tokens == tokens


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embed_dim": 10, "num_heads": 3}, "not a multiple of num_heads"),
        ({"num_frames": 8}, "less than one patch"),
        ({"fstride": 0}, "fstride is 0"),
        ({"num_classes": 2.5}, "num_classes is 2.5"),
        ({"num_frame": 8}, "unknown field 'num_frame'"),
    ],
)
def test_bad_geometry_names_the_field(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        geometry("tiny", **fields)


def test_geometry_is_a_value() -> None:
    assert geometry("tiny") == Geometry(embed_dim=192, num_heads=3, num_classes=527)
    assert hash(geometry("tiny")) == hash(geometry("tiny"))
