"""Hugging Face's AST on PyTorch's fused attention, with the weights of a FastAST model.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from fastast.checkpoints.layouts import recognise
from fastast.model import AudioSpectrogramTransformer

if TYPE_CHECKING:
    from bench.cell.arm_setting import Arm, ArmSetting


class MissingTransformersError(ModuleNotFoundError):
    """The baseline `hf` needs a package that is not installed."""


def hugging_face_ast(model: AudioSpectrogramTransformer) -> Callable[[Tensor], Tensor]:
    """Return `ASTForAudioClassification` with the weights of `model`, (b, f, m) -> logits (b, c).

    Raises MissingTransformersError if transformers is not installed, and RuntimeError if its model has other weights or
    would not use fused attention.
    """
    if find_spec("transformers") is None:
        raise MissingTransformersError(
            "baseline hf: transformers is not installed; pip install 'fastast[hf]', or take 'hf' out of "
            "measure.baselines"
        )
    from transformers import ASTConfig, ASTForAudioClassification

    geometry, weight = model.geometry, model.cls_token
    values: dict[str, Any] = dict(
        hidden_size=geometry.embed_dim,
        num_hidden_layers=geometry.depth,
        num_attention_heads=geometry.num_heads,
        intermediate_size=geometry.mlp_dim,
        layer_norm_eps=geometry.norm_eps,
        patch_size=geometry.patch_size,
        qkv_bias=geometry.qkv_bias,
        frequency_stride=geometry.fstride,
        time_stride=geometry.tstride,
        max_length=geometry.num_frames,
        num_mel_bins=geometry.num_mel_bins,
        num_labels=geometry.num_classes,
    )
    config = ASTConfig(**values)
    config._attn_implementation = "sdpa"
    theirs: Any = ASTForAudioClassification(config)
    if theirs.config._attn_implementation != "sdpa":
        raise RuntimeError(f"baseline hf: attention is {theirs.config._attn_implementation!r}, 'sdpa' was asked for")
    theirs.load_state_dict(_their_names(model.state_dict(), theirs.state_dict()))
    theirs.classifier.layernorm.eps = geometry.head_norm_eps  # their config has one epsilon for all
    theirs.to(weight.device, weight.dtype).eval().requires_grad_(False)
    return cast(Callable[[Tensor], Tensor], _Logits(theirs))


def hugging_face_arm(at: ArmSetting) -> Arm:
    """Build the arm `hf`."""
    return at.plain(hugging_face_ast(at.own))


class _Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, fbank: Tensor) -> Tensor:
        return self.model(input_values=fbank).logits


def _their_names(state: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return FastAST's weights under the names that this version of transformers uses in memory."""
    layout = recognise(Path("transformers"), theirs)
    named: dict[str, Tensor] = {}
    for native, tensor in state.items():
        keys = layout.keys(native)
        named |= dict(zip(keys, torch.chunk(tensor, len(keys)), strict=True))
    return named
