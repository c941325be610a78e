"""The patch embedding in Triton against patches cut out one by one, in NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastast.geometry import Geometry
from fastast.kernels.patch_tokens import patch_tiling, patch_tokens, patch_tokens_reference
from fastast.model import AudioSpectrogramTransformer

TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def definition(
    fbank: Tensor, weight: Tensor, bias: Tensor, prefix: Tensor, positions: Tensor, stride: tuple[int, int]
) -> Tensor:
    """Patches from low to high frequency, each row of them in time, behind the prefix."""
    x, w, shift, first, at = (t.detach().cpu().double().numpy() for t in (fbank, weight, bias, prefix, positions))
    p = w.shape[-1]
    tokens = []
    for clip in x:
        rows = list(first)
        for low in range(0, clip.shape[1] - p + 1, stride[0]):
            for start in range(0, clip.shape[0] - p + 1, stride[1]):
                patch = clip[start : start + p, low : low + p]  # (time, frequency)
                rows.append(np.einsum("dft,tf->d", w[:, 0], patch) + shift)
        tokens.append(np.stack(rows) + at[0])
    return torch.from_numpy(np.stack(tokens))


def inputs(
    device: torch.device,
    *,
    b: int = 2,
    frames: int = 60,
    mel_bins: int = 40,
    d: int = 32,
    p: int = 16,
    k: int = 2,
    stride: tuple[int, int] = (10, 10),
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, tuple[int, int]]:
    g = torch.Generator().manual_seed(frames)
    n = k + ((mel_bins - p) // stride[0] + 1) * ((frames - p) // stride[1] + 1)
    shapes = ((b, frames, mel_bins), (d, 1, p, p), (d,), (k, d), (1, n, d))
    fbank, weight, bias, prefix, positions = (torch.randn(*s, generator=g) for s in shapes)
    tensors = (fbank, weight / p, bias, prefix, positions)
    return *(t.to(device, dtype) for t in tensors), stride  # type: ignore[return-value]


def assert_embeds(*arguments: object) -> None:
    tokens = patch_tokens(*arguments)  # type: ignore[arg-type]
    want = definition(*arguments)  # type: ignore[arg-type]
    tolerance = TOLERANCE[tokens.dtype]
    assert tokens.shape == want.shape
    torch.testing.assert_close(tokens.cpu().double(), want, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("frames", [16, 26, 75, 200])
def test_any_number_of_frames(device: torch.device, frames: int) -> None:
    assert_embeds(*inputs(device, frames=frames))


@pytest.mark.parametrize("k", [0, 1, 2, 5])
def test_any_number_of_prefix_tokens(device: torch.device, k: int) -> None:
    assert_embeds(*inputs(device, k=k))


@pytest.mark.parametrize("d", [16, 48, 192, 300])
def test_any_width(device: torch.device, d: int) -> None:
    assert_embeds(*inputs(device, d=d, b=1))


@pytest.mark.parametrize(("p", "stride"), [(16, (16, 16)), (16, (6, 13)), (8, (3, 5)), (5, (2, 2))])
def test_any_patch_and_stride(device: torch.device, p: int, stride: tuple[int, int]) -> None:
    assert_embeds(*inputs(device, p=p, stride=stride, b=1, frames=33, mel_bins=29))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_any_type(device: torch.device, dtype: torch.dtype) -> None:
    assert_embeds(*inputs(device, dtype=dtype))


def test_a_float32_filterbank_beside_half_precision_weights(device: torch.device) -> None:
    fbank, *weights, stride = inputs(device, dtype=torch.float16)
    tokens = patch_tokens(fbank.float(), *weights, stride)
    assert tokens.dtype == torch.float16
    assert torch.equal(tokens, patch_tokens(fbank, *weights, stride))


def test_views_are_read_as_what_they_show(device: torch.device) -> None:
    fbank, *rest = inputs(device)
    assert_embeds(fbank.transpose(1, 2).contiguous().transpose(1, 2), *rest)


def test_tokens_are_those_of_the_model(
    device: torch.device,
    small_model: AudioSpectrogramTransformer,
    small_fbank: Tensor,
    small_geometry: Geometry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # in which a GPU's convolution would be
    model, fbank = small_model.to(device), small_fbank.to(device)
    seen: list[Tensor] = []
    hook = model.blocks[0].norm1.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(fbank)
        hook.remove()
        prefix = torch.cat([model.cls_token, model.dist_token], 1)[0]
        projection = model.patch_embed.proj
        stride = (small_geometry.fstride, small_geometry.tstride)
        tokens = patch_tokens(fbank, projection.weight, projection.bias, prefix, model.pos_embed, stride)
    torch.testing.assert_close(tokens, seen[0], atol=1e-5, rtol=1e-5)


def test_the_reference_is_the_definition_too() -> None:
    arguments = inputs(torch.device("cpu"), dtype=torch.float64)
    torch.testing.assert_close(patch_tokens_reference(*arguments), definition(*arguments))


def test_no_clips_give_no_tokens(device: torch.device) -> None:
    fbank, *rest = inputs(device)
    assert patch_tokens(fbank[:0], *rest).shape == (0, rest[3].shape[1], 32)


def test_gradients_are_refused_and_not_dropped_in_silence(device: torch.device) -> None:
    fbank, weight, *rest = inputs(device)
    with pytest.raises(ValueError, match="no backward pass.*patch_tokens_reference"):
        patch_tokens(fbank, weight.requires_grad_(), *rest)


@pytest.mark.parametrize("function", [patch_tokens, patch_tokens_reference])
def test_shapes_that_do_not_fit_are_named(function: object) -> None:
    fbank, weight, bias, prefix, positions, stride = inputs(torch.device("cpu"))
    good = {"fbank": fbank, "weight": weight, "bias": bias, "prefix": prefix, "pos_embed": positions, "stride": stride}
    for change, message in (
        ({"fbank": fbank[0]}, r"fbank has shape \(60, 40\)"),
        ({"weight": weight[..., :8]}, r"weight has shape \(32, 1, 16, 8\)"),
        ({"fbank": fbank[:, :9]}, "9 frames x 40 mel bins are too few for a patch of 16 x 16"),
        ({"stride": (0, 10)}, r"stride = \(0, 10\)"),
        ({"bias": bias[:5]}, r"bias has shape \(5,\)"),
        ({"pos_embed": positions[:, 1:]}, r"pos_embed has shape \(1, 16, 32\); it must be \(1, 17, 32\)"),
    ):
        with pytest.raises(ValueError, match=message):
            function(**(good | change))  # type: ignore[operator]


def test_tiles_are_as_wide_as_the_model_up_to_256() -> None:
    assert [patch_tiling(d, torch.bfloat16).block_n for d in (16, 192, 768)] == [16, 256, 256]
