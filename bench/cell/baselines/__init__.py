"""What a reduction is compared with, each a real model over the same weights, timed in the same rounds.

`unmerged`: the candidate's own engine without reduction. `slice`: that engine, keeping the first tokens of every block,
so that the same number of tokens goes for free: the limit of any method. `tome_plain`: ToMe's arithmetic in plain
PyTorch, with the attention matrix in memory. `timm`, `timm_compiled`: the unmerged model of timm's blocks on fused
attention, eager and through `torch.compile`. `hf`: Hugging Face's AST on fused attention. `model_alone`: the candidate
without the front end that the others have, where waveforms are what is fed. `plain`: the unmerged model in plain
PyTorch, in float32 where the candidate is int8; engines are compared through it. `fa4`: the unmerged model on
FlashAttention-4. `fa4_bias`, `flex_bias`: the candidate's reduction in plain PyTorch, on FlashAttention-4 and on
FlexAttention with a bias per key for the sizes. Of a cell with another stride than the model's own, `slice`,
`tome_plain`, `model_alone`, `fa4_bias` and `flex_bias` have it too; the others are unmerged models at the model's own.
"""

from __future__ import annotations

from bench.cell.baselines.engine import EngineArm
from bench.cell.baselines.hugging_face import MissingTransformersError, hugging_face_ast
from bench.cell.baselines.native import sliced, slicing, unmerged
from bench.cell.baselines.timm_blocks import TimmAST, compiled
from bench.cell.baselines.tome_plain import PlainToMe

__all__ = [
    "EngineArm",
    "MissingTransformersError",
    "PlainToMe",
    "TimmAST",
    "compiled",
    "hugging_face_ast",
    "sliced",
    "slicing",
    "unmerged",
]
