"""The baselines that a reduction is compared with: real models with the same weights, timed in the same rounds.

`unmerged`: the candidate's engine without reduction. `slice`: that engine keeping only the first tokens of every block,
so that removing the same number of tokens is free: the upper bound for any method. `tome_plain`: ToMe's arithmetic in
plain PyTorch, with the attention matrix in memory. `timm`, `timm_compiled`: the unmerged model built of timm's blocks
with fused attention, eager and through `torch.compile`. `hf`: Hugging Face's AST on fused attention. `model_alone`: the
candidate fed with filterbanks where the others are fed with waveforms. `plain`: the unmerged model in plain PyTorch,
in float32 if the candidate is int8; it links engines to each other. `fa4`: the unmerged model on FlashAttention-4.
`fa4_bias`, `flex_bias`: the candidate's reduction in plain PyTorch, on FlashAttention-4 and on FlexAttention, with a
bias per key for the sizes. In a cell with a stride other than the model's own, `slice`, `tome_plain`, `model_alone`,
`fa4_bias` and `flex_bias` use that stride; the others are unmerged models at the model's own.
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
