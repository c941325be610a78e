"""Input and output of a cell's process, light enough to be imported on both sides.

Shapes: `n` clips, `c` classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.cell.feature_set import FeatureSet
from bench.measure.conditions import Conditions
from bench.measure.gates import Gate
from bench.measure.machine import Machine, Software, Surroundings
from bench.records.predictions import Predictions
from bench.records.schema import AttentionFacts, EngineFacts, ModelFacts, Performance, Quality


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a cell's process receives in addition to its cell."""

    features: FeatureSet | None = None
    """Features of the clips; quality cells only."""
    reference: tuple[str, Path] | None = None
    """Id of the unmerged model's cell, and the file of its predictions."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result that a cell's process sends back."""

    machine: Machine
    software: Software
    surroundings: Surroundings | None = None
    conditions: Conditions | None = None
    gates: tuple[Gate, ...] = ()
    model: ModelFacts | None = None
    attention: AttentionFacts | None = None
    engine: EngineFacts | None = None
    performance: Performance | None = None
    quality: Quality | None = None
    noisy: bool = False
    """Whether every attempt at timing was too noisy."""
    predictions: Predictions | None = None
    """Predictions (n, c); quality cells only."""
    hashes: dict[str, str] = field(default_factory=dict)
    """Hashes of labels and ids, stored with the predictions."""
