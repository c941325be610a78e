"""Translate a model to an ONNX graph that takes any batch size.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from fastast.exporting.errors import ExportError, require

if TYPE_CHECKING:
    from onnx import ModelProto

    from fastast.model import AudioSpectrogramTransformer

INPUT, OUTPUT, BATCH = "fbank", "logits", "batch"
"""Names in every file of its input (b, f, m), its output (b, c) and the axis `b`."""


def onnx_graph(model: AudioSpectrogramTransformer) -> ModelProto:
    """Return a model with its attached reduction as an ONNX graph from `fbank` (b, f, m) to `logits` (b, c).

    `b` is free. The exporter's notes, which contain local paths, are removed. Raises ExportError for a model or method
    of reduction that ONNX has no operators for.
    """
    require("onnx", "onnxscript", extra="onnxruntime", purpose="exporting")
    # 2 clips: from 1, the exporter would conclude that the batch size is always 1.
    example = torch.zeros(2, model.geometry.num_frames, model.geometry.num_mel_bins)
    batch = torch.export.Dim(BATCH, min=1)
    with _silence(), torch.inference_mode(False), torch.no_grad():
        try:
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: batch},),
                verbose=False,
            )
        except Exception as error:  # the exporter lets any exception escape
            what = str(model.attached.reduction) if model.attached else "the unmerged model"
            reason = str(error.__cause__ or error).strip().splitlines()
            raise ExportError(
                f"export: PyTorch cannot translate {what} to ONNX: {reason[0] if reason else error!r}"
            ) from error
    assert program is not None
    graph = program.model_proto
    _forget_notes(graph)
    return graph


def block_outputs(graph: ModelProto) -> list[str]:
    """Return the name of the output (b, n, hidden) of each block's MLP activation, in the order of the blocks."""
    return [node.output[0] for node in graph.graph.node if node.op_type == "Gelu"]


def _forget_notes(graph: ModelProto) -> None:
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.input, *graph.graph.output):
        part.ClearField("metadata_props")
    for value in (*graph.graph.value_info, *graph.graph.initializer):
        value.ClearField("metadata_props")
    for part in (graph, graph.graph, *graph.graph.node):
        part.ClearField("doc_string")


@contextmanager
def _silence() -> Iterator[None]:
    """Silence the exporter's warnings, which concern only its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
