"""Audio file -> labels, with the model merged or not.

Shapes: `w` windows of a file, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fastast.checkpoints import load_model
from fastast.data.audio import load_audio
from fastast.frontend import Frontend
from fastast.model import AudioSpectrogramTransformer
from fastast.names import unknown_name
from fastast.reduction import MergeTrace, TokenReduction, reduce
from fastast.reduction.spec import Excess
from fastast.schedule import parse_schedule
from fastast.scores import Activation, activation_of, to_scores
from fastast.zoo import ARCHITECTURES, EMBEDDED, model_names

SAMPLE_RATE = 16_000


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The scores of one file."""

    path: Path
    """The file."""
    seconds: float
    """Its length."""
    num_windows: int
    """Windows of the model's input length that were scored; the scores are their mean."""
    labels: tuple[str, ...]
    """Names of the classes."""
    scores: NDArray[np.float32]
    """(c,) in [0, 1], the mean over windows."""
    activation: Activation
    """What made them of logits: `sigmoid` (of each class, whether it is there) or `softmax` (which class it is)."""

    def top(self, count: int) -> list[tuple[str, float]]:
        """Return the `count` best labels with their scores, best first."""
        order = np.argsort(-self.scores, kind="stable")[:count]
        return [(self.labels[i], float(self.scores[i])) for i in order]

    def as_dict(self, count: int) -> dict[str, object]:
        """Return what `fastast predict --json` prints."""
        labels = [{"label": label, "score": round(score, 6)} for label, score in self.top(count)]
        return {
            "file": str(self.path),
            "seconds": round(self.seconds, 3),
            "windows": self.num_windows,
            "activation": self.activation,
            "labels": labels,
        }


class Predictor:
    """A model ready to label files."""

    def __init__(
        self, model: str, schedule: str | None = None, *, excess: Excess = "refuse", activation: str = ""
    ) -> None:
        """Load `model` (a name of the zoo with weights, or a checkpoint) and merge it by `schedule`.

        `excess`: what to do where a block has too few tokens for the schedule, as in `TokenReduction`. `activation`:
        `sigmoid` or `softmax` where not what the model's loss says (`fastast.scores`).

        Raises ValueError for an unknown name or an impossible schedule, CheckpointError for a bad file.
        """
        self.name = model
        self.model = _load_trained(model)
        if self.model.normalisation is None:
            raise ValueError(
                f"{model}: the checkpoint does not say how its filterbank was normalised (mean and deviation); save it "
                "with fastast.save_checkpoint(..., normalisation=...)"
            )
        self.activation = activation_of(self.model.loss, activation)
        self.frontend = Frontend(self.model.geometry, self.model.normalisation)
        classes = self.model.geometry.num_classes
        self.labels = self.model.labels or tuple(f"class {i}" for i in range(classes))
        self.handle = None
        if schedule:
            self.handle = reduce(self.model, TokenReduction(schedule=parse_schedule(schedule), excess=excess))

    def describe(self) -> str:
        """Return one line on the model and its tokens."""
        tokens = self.model.geometry.num_tokens
        if self.handle is None:
            return f"{self.name}: {tokens} tokens, not merged"
        return f"{self.name}: {tokens} tokens merged to {self.handle.tokens_per_block[-1]} by {self.handle.reduction}"

    def windows(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        """Cut a waveform into windows of the model's length, evenly spread so that none is padded.

        Returns features (w, f, m); a file shorter than a window is one, padded.
        """
        length = (self.model.geometry.num_frames - 1) * 160 + 400  # samples
        if len(waveform) <= length:
            return self.frontend(torch.from_numpy(waveform)[None])
        count = -(-len(waveform) // length)
        starts = np.linspace(0, len(waveform) - length, count).round().astype(int)
        return self.frontend(torch.from_numpy(np.stack([waveform[s : s + length] for s in starts])))

    @torch.inference_mode()
    def __call__(self, path: Path) -> Prediction:
        """Score one file. Raises AudioError where it cannot be read."""
        waveform = load_audio(path, sample_rate=SAMPLE_RATE)
        features = self.windows(waveform)  # (w, f, m)
        logits = torch.cat([self.model(batch) for batch in features.split(8)])  # (w, c)
        scores = to_scores(logits.numpy(), self.activation)
        return Prediction(
            path=path,
            seconds=len(waveform) / SAMPLE_RATE,
            num_windows=len(features),
            labels=self.labels,
            scores=np.asarray(scores.mean(0), dtype=np.float32),
            activation=self.activation,
        )

    @torch.inference_mode()
    def draw(self, prediction: Prediction, folder: Path) -> Path:
        """Draw the merged tokens of the first window into `folder` and return the picture's path."""
        from fastast.viz import draw_merges

        features = self.windows(load_audio(prediction.path, sample_rate=SAMPLE_RATE))[:1]
        trace = MergeTrace()
        self.model.forward_features(features, trace)
        reduction = self.handle.reduction if self.handle else "not merged"
        title = f"{prediction.path.name}, {reduction}"
        figure = draw_merges(features[0].numpy(), trace.source[-1][0].numpy(), self.model.geometry, title=title)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{prediction.path.stem}.png"
        temporary = target.with_suffix(".png.tmp")
        figure.savefig(temporary, dpi=200, format="png")
        os.replace(temporary, target)
        return target


def _load_trained(name: str) -> AudioSpectrogramTransformer:
    return load_model(trained_path(name)).eval()


def trained_path(name: str) -> Path:
    """Return the file or folder of a trained model. Raises ValueError where a name has no weights, or is none."""
    if name in ARCHITECTURES:
        raise ValueError(
            f"{name} has no trained weights: give a checkpoint, or one of the trained models ({', '.join(EMBEDDED)})"
        )
    if name not in EMBEDDED and not Path(name).exists():
        raise ValueError(f"no such file, and {unknown_name('model', name, model_names())}")
    return EMBEDDED.get(name, Path(name))
