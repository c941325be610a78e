"""Load and save weights: original AST, Hugging Face AST of transformers 4 and 5, and FastAST's own files.

Loading is strict and safe: either every key of a checkpoint fits, or an error names the file, the key and what to do;
nothing in a file is ever run.
"""

from __future__ import annotations

from fastast.checkpoints.average import average_checkpoints
from fastast.checkpoints.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointWarning,
)
from fastast.checkpoints.load import load_checkpoint, load_model
from fastast.checkpoints.own import save_checkpoint

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointNotFoundError",
    "CheckpointWarning",
    "average_checkpoints",
    "load_checkpoint",
    "load_model",
    "save_checkpoint",
]
