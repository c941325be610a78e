"""Token reduction: methods, plans, and attaching them to a model."""

from fastast.reduction import tome as _tome  # registers the method
from fastast.reduction.attach import Handle, reduce, restore
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import get_method, method_names, register_method
from fastast.reduction.spec import ReductionError, TokenReduction
from fastast.reduction.trace import MergeTrace, source_sizes, unmerge

__all__ = [
    "Handle",
    "MergePlan",
    "MergeTrace",
    "ReductionError",
    "TokenReduction",
    "get_method",
    "method_names",
    "reduce",
    "register_method",
    "restore",
    "source_sizes",
    "unmerge",
]
del _tome
