"""Token reduction: methods, their plans, and the forward pass that runs them; `fastast.hosts` attaches it to models."""

from fastast.reduction.forward.attach import AttachedReduction
from fastast.reduction.forward.trace import MergeTrace, source_sizes, unmerge
from fastast.reduction.options import NoOptions, ReductionError
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import (
    BlockShape,
    ReductionMethod,
    get_method,
    method_names,
    reduction_method,
    register_method,
)
from fastast.reduction.spec import TokenReduction
from fastast.reduction.tokens import BlockTokens

__all__ = [
    "AttachedReduction",
    "BlockShape",
    "BlockTokens",
    "MergePlan",
    "MergeTrace",
    "NoOptions",
    "ReductionError",
    "ReductionMethod",
    "TokenReduction",
    "get_method",
    "method_names",
    "reduction_method",
    "register_method",
    "source_sizes",
    "unmerge",
]
