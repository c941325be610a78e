"""The four data sets of the paper: how a model is tested on each, and where its owners publish data and weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastast.classes import AS_DATA
from fastast.frontend import AUDIOSET, ESC50, SPEECH_COMMANDS, Normalisation
from fastast.scores import Loss

_AST = "https://github.com/YuanGongND/ast"
_TRAIN = "train one: fastast train {} --set data.root=DIR"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A data set of the paper."""

    data_set: str
    """Its name in recipes and sweeps."""
    sweep: str
    """The sweep of `bench/sweeps` that measures on it."""
    title: str
    """Its usual name."""
    num_classes: int
    """Number of its classes as published."""
    data_from: str
    """Where its owners publish the clips."""
    weights_from: str
    """Where weights for it are published by their owners, or how to get some."""
    normalisation: Normalisation
    """Normalisation of AST's recipe for it, for files that do not say theirs."""
    loss: Loss
    """Loss of AST's recipe for it, for files that do not say theirs."""
    output_order: str
    """Order of the outputs of AST's own files, which do not name their classes: that of the data (`data`), a file of
    names, or empty where nothing is published."""


PROTOCOLS = (
    Protocol(
        data_set="audioset",
        sweep="paper_audioset",
        title="AudioSet",
        num_classes=527,
        data_from="tables of segments and ontology by the owners of AudioSet; of the clips, which are parts of videos, "
        "only the ids",
        weights_from=f"{_AST}, 'Pretrained Models', such as audioset_10_10_0.4593.pth",
        normalisation=AUDIOSET,
        loss="bce",
        output_order=AS_DATA,  # class_labels_indices.csv, which the clips' labels are read by too
    ),
    Protocol(
        data_set="esc50",
        sweep="paper_esc50",
        title="ESC-50",
        num_classes=50,
        data_from="https://github.com/karolpiczak/ESC-50",
        weights_from=f"none are published: by the recipe of {_AST}, or {_TRAIN.format('esc50')}, once per fold",
        normalisation=ESC50,
        loss="ce",
        output_order=AS_DATA,  # egs/esc50/data/esc_class_labels_indices.csv is in the order of the column target
    ),
    Protocol(
        data_set="speech_commands",
        sweep="paper_speechcommands",
        title="Speech Commands v0.02",
        num_classes=35,
        data_from="the archive speech_commands_v0.02 of its owners",
        weights_from=f"{_AST}, 'Pretrained Models', speechcommands_10_10_0.9812.pth",
        normalisation=SPEECH_COMMANDS,
        loss="bce",
        # egs/speechcommands/data/speechcommands_class_labels_indices.csv of AST, an order of its own
        output_order=str(Path(__file__).parent / "ast_speech_commands.txt"),
    ),
    Protocol(
        data_set="fsd50k",
        sweep="paper_fsd50k",
        title="FSD50K",
        num_classes=200,
        data_from="https://zenodo.org/records/4060432",
        weights_from=f"none of an AST are published: {_TRAIN.format('fsd50k')}",
        normalisation=AUDIOSET,
        loss="bce",
        output_order="",
    ),
)
