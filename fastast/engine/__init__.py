"""The engine: a model's forward over the fused kernels, behind captured CUDA graphs where shapes are known.

`compile` packs the weights of a model once and returns an `Engine`, a callable from filterbanks to logits. Where the
kernels cannot run, it falls back to the model's own plain-torch forward and warns once. `differentiable_forward` is for
training: it runs kernels that have a backward pass on the model's own parameters.
"""

from fastast.engine.compilation import EngineFallbackWarning, compile
from fastast.engine.differentiable import differentiable_forward, why_not_differentiable
from fastast.engine.engine import Engine

__all__ = ["Engine", "EngineFallbackWarning", "compile", "differentiable_forward", "why_not_differentiable"]
