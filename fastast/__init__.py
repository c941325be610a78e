"""FastAST: faster Audio Spectrogram Transformers by token merging.

Names are imported on first use, so that `import fastast` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "AudioSpectrogramTransformer": "fastast.model",
    "Checkpoint": "fastast.checkpoints",
    "CheckpointError": "fastast.checkpoints",
    "Constant": "fastast.schedule",
    "Engine": "fastast.engine",
    "ExportError": "fastast.exporting",
    "ExportedModel": "fastast.exporting",
    "First": "fastast.schedule",
    "Frontend": "fastast.frontend",
    "Geometry": "fastast.geometry",
    "Half": "fastast.schedule",
    "KeepRatio": "fastast.schedule",
    "Linear": "fastast.schedule",
    "MergePlan": "fastast.reduction",
    "MergeTrace": "fastast.reduction",
    "Normalisation": "fastast.frontend",
    "PerBlock": "fastast.schedule",
    "ReductionError": "fastast.reduction",
    "TargetSpeedup": "fastast.schedule",
    "TokenReduction": "fastast.reduction",
    "average_checkpoints": "fastast.checkpoints",
    "compile": "fastast.engine",
    "create_model": "fastast.zoo",
    "export": "fastast.exporting",
    "fbank": "fastast.frontend.filterbank",
    "load_audio": "fastast.data.audio",
    "load_checkpoint": "fastast.checkpoints",
    "load_model": "fastast.checkpoints",
    "model_macs": "fastast.macs",
    "open_exported": "fastast.exporting",
    "parse_schedule": "fastast.schedule",
    "proportional_attention": "fastast.attention",
    "reduce": "fastast.hosts",
    "restore": "fastast.hosts",
    "save_checkpoint": "fastast.checkpoints",
    "unmerge": "fastast.reduction",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fastast' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from fastast.attention import proportional_attention as proportional_attention
    from fastast.checkpoints import Checkpoint as Checkpoint
    from fastast.checkpoints import CheckpointError as CheckpointError
    from fastast.checkpoints import average_checkpoints as average_checkpoints
    from fastast.checkpoints import load_checkpoint as load_checkpoint
    from fastast.checkpoints import load_model as load_model
    from fastast.checkpoints import save_checkpoint as save_checkpoint
    from fastast.data.audio import load_audio as load_audio
    from fastast.engine import Engine as Engine
    from fastast.engine import compile as compile
    from fastast.exporting import ExportedModel as ExportedModel
    from fastast.exporting import ExportError as ExportError
    from fastast.exporting import export as export
    from fastast.exporting import open_exported as open_exported
    from fastast.frontend import Frontend as Frontend
    from fastast.frontend import Normalisation as Normalisation
    from fastast.frontend.filterbank import fbank as fbank
    from fastast.geometry import Geometry as Geometry
    from fastast.hosts import reduce as reduce
    from fastast.hosts import restore as restore
    from fastast.macs import model_macs as model_macs
    from fastast.model import AudioSpectrogramTransformer as AudioSpectrogramTransformer
    from fastast.reduction import MergePlan as MergePlan
    from fastast.reduction import MergeTrace as MergeTrace
    from fastast.reduction import ReductionError as ReductionError
    from fastast.reduction import TokenReduction as TokenReduction
    from fastast.reduction import unmerge as unmerge
    from fastast.schedule import Constant as Constant
    from fastast.schedule import First as First
    from fastast.schedule import Half as Half
    from fastast.schedule import KeepRatio as KeepRatio
    from fastast.schedule import Linear as Linear
    from fastast.schedule import PerBlock as PerBlock
    from fastast.schedule import TargetSpeedup as TargetSpeedup
    from fastast.schedule import parse_schedule as parse_schedule
    from fastast.zoo import create_model as create_model
