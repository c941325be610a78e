"""The unmerged model built of timm's own blocks with fused attention: the fastest option readily available to readers.

Shapes: `b` batch, `f` frames, `m` mel bins, `n` tokens, `d` width, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from bench.cell.baselines.native import unmerged
from fastast.model import AudioSpectrogramTransformer

if TYPE_CHECKING:
    from bench.cell.arm_setting import Arm, ArmSetting


class TimmAST(nn.Module):
    """The embedding and head of `model`, with timm's blocks between them, which have its weights."""

    def __init__(self, model: AudioSpectrogramTransformer) -> None:
        """Copy the weights of the blocks. Raises RuntimeError if timm would not use fused attention."""
        super().__init__()
        geometry, weight = model.geometry, model.cls_token
        self.model = unmerged(model)
        self.blocks = nn.Sequential(
            *(
                Block(
                    geometry.embed_dim,
                    geometry.num_heads,
                    mlp_ratio=geometry.mlp_ratio,
                    qkv_bias=geometry.qkv_bias,
                    norm_layer=partial(nn.LayerNorm, eps=geometry.norm_eps),
                )
                for _ in range(geometry.depth)
            )
        )
        self.blocks.load_state_dict(model.blocks.state_dict())
        self.blocks.to(weight.device, weight.dtype).eval().requires_grad_(False)
        if not all(module.fused_attn for module in self.blocks.modules() if hasattr(module, "fused_attn")):
            raise RuntimeError("baseline timm: fused attention is switched off; unset TIMM_FUSED_ATTN to measure it")

    def forward(self, fbank: Tensor) -> Tensor:
        """(b, f, m) -> logits (b, c)."""
        x = self.model.norm(self.blocks(self.model.embed(fbank)))  # (b, n, d)
        return self.model.head((x[:, 0] + x[:, 1]) / 2)


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return `model` through `torch.compile` for static shapes; the first call with a shape can take minutes.

    With `fullgraph`, graph breaks and too many shapes raise errors instead of silently running eagerly.
    """
    return cast(Callable[[Tensor], Tensor], torch.compile(model, fullgraph=True, dynamic=False))


def timm_arm(at: ArmSetting) -> Arm:
    """Build the arm `timm`."""
    return at.training(TimmAST(at.own)) if at.trains else at.plain(TimmAST(at.own))


def timm_compiled_arm(at: ArmSetting) -> Arm:
    """Build the arm `timm_compiled`."""
    return at.plain(compiled(TimmAST(at.own)))
