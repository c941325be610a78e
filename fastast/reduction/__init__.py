"""Token reduction: methods, plans, and attaching them to a model."""

from fastast.reduction.attach import AttachedReduction, Handle, reduce, restore
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
from fastast.reduction.trace import MergeTrace, source_sizes, unmerge

__all__ = [
    "AttachedReduction",
    "BlockShape",
    "BlockTokens",
    "Handle",
    "MergePlan",
    "MergeTrace",
    "NoOptions",
    "ReductionError",
    "ReductionMethod",
    "TokenReduction",
    "get_method",
    "method_names",
    "reduce",
    "reduction_method",
    "register_method",
    "restore",
    "source_sizes",
    "unmerge",
]
