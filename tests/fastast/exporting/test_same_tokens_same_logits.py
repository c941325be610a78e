"""OpenVINO's logits differ from PyTorch's where it merged other tokens, and nowhere else.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes, `n` original tokens, `k` clips, `l` blocks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fastast
from fastast.exporting.agreement import EXAMPLE, TOLERANCE
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction.forward.trace import MergeTrace

pytestmark = pytest.mark.slow
CLIPS, BATCH = 64, 8


class WithMerges(nn.Module):
    """A model that also tells where every original token is after each block."""

    def __init__(self, model: AudioSpectrogramTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, fbank: Tensor) -> tuple[Tensor, ...]:
        """fbank (b, f, m) -> logits (b, c), and of each block (b, n)."""
        trace = MergeTrace()
        x = self.model.forward_features(fbank, trace)  # (b, n', d)
        return self.model.head((x[:, 0] + x[:, 1]) / 2), *trace.source


def compile_with_openvino(model: nn.Module, example: Tensor, path: Path):
    from fastast.exporting.openvino_session import core, read_graph

    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.onnx.export(model, (example,), dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    program.save(str(path))
    return core().compile_model(read_graph(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def test_the_same_tokens_give_the_same_logits(tmp_path):
    for package in ("onnx", "onnxscript", "openvino"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    model = fastast.create_model("ast_tiny_soundscapes").eval()
    scene = fastast.load_audio(EXAMPLE)
    samples = (model.geometry.num_frames - 1) * 160 + 400
    cuts = [np.resize(np.roll(scene, -i * len(scene) // CLIPS), samples) for i in range(CLIPS)]
    clips = fastast.Frontend(model.geometry, model.normalisation)(torch.from_numpy(np.stack(cuts)))  # (k, f, m)
    fastast.reduce(model, fastast.TokenReduction(schedule=fastast.Constant(40)))
    told = WithMerges(model)
    compiled = compile_with_openvino(told, clips[:2], tmp_path / "told.onnx")
    expected, found = [], []
    with torch.no_grad():
        for batch in clips.split(BATCH):
            expected.append([value.numpy() for value in told(batch)])
            answer = compiled(batch.numpy())
            found.append([answer[i] for i in range(len(expected[0]))])
    logits, *merges = (np.concatenate(part) for part in zip(*expected, strict=True))
    other_logits, *other_merges = (np.concatenate(part) for part in zip(*found, strict=True))
    assert len(merges) == model.geometry.depth
    difference = np.abs(other_logits - logits).max(1) / np.abs(logits).max()  # (k,)
    same = np.all([(a == b).all(1) for a, b in zip(merges, other_merges, strict=True)], axis=0)  # (k,)
    assert difference[same].max() < TOLERANCE["float32"], "the same merges, and other logits"
    assert same.mean() > 0.9, f"{(~same).sum()} of {CLIPS} clips merged other tokens: more than near-ties explain"
