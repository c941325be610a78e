"""Audio file -> labels, with the model merged or not.

Shapes: `w` windows of one or several files, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fastast.checkpoints import load_model
from fastast.devices import find_device
from fastast.engine import Engine, compile
from fastast.engine.waveforms import input_samples
from fastast.frontend import Frontend
from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.names import unknown_name
from fastast.reduction import MergeTrace, TokenReduction
from fastast.scores import Activation, activation_of, to_scores
from fastast.windows import Windows
from fastast.zoo import ARCHITECTURES, EMBEDDED, model_names

BATCH = 8
"""Windows that are scored at once, where not asked for otherwise."""


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


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A file that could not be read, with the reason."""

    path: Path
    error: Exception


@dataclass(kw_only=True, eq=False)
class _Heard:
    """A file whose windows are being scored."""

    path: Path
    seconds: float = 0.0
    left: int = 0
    """Windows that are not scored yet."""
    scores: list[NDArray[np.floating]] = field(default_factory=list)
    """(c,) of every window."""
    error: Exception | None = None


class Predictor:
    """A model ready to label files: on a GPU compiled (`fastast.compile`), on a CPU in plain PyTorch."""

    def __init__(
        self,
        model: str,
        reduction: TokenReduction | None = None,
        *,
        activation: str = "",
        device: str = "auto",
        batch_size: int = BATCH,
    ) -> None:
        """Load `model` (a name of the zoo with weights, or a checkpoint) and reduce its tokens.

        `activation`: `sigmoid` or `softmax` where not what the model's loss says (`fastast.scores`). `device`: `cpu`,
        `cuda`, or `auto` for a GPU where there is one. `batch_size`: windows, of one file or several, that are scored
        at once; results do not depend on it but for rounding.

        Raises ValueError for an unknown name, an impossible reduction or a device that is not there, CheckpointError
        for a bad file.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        self.name, self.batch_size, self.device = model, batch_size, find_device(device)
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
        self.handle = None if reduction is None else reduce(self.model, reduction)
        self.engine: Engine | None = None
        if self.device.type == "cuda":
            self.engine = compile(self.model, batch_size=batch_size, device=self.device, frontend=self.frontend)

    def describe(self) -> str:
        """Return one line on the model, its tokens and what it runs on."""
        tokens = self.model.geometry.num_tokens
        merged = (
            "not merged"
            if self.handle is None
            else f"merged to {self.handle.tokens_per_block[-1]} by {self.handle.reduction}"
        )
        where = "" if self.engine is None else f", on {self.device} ({self.engine.path} engine)"
        return f"{self.name}: {tokens} tokens{'' if self.handle else ','} {merged}{where}"

    def __call__(self, path: Path) -> Prediction:
        """Score one file. Raises AudioError where it cannot be read."""
        (found,) = self.predict([path])
        if isinstance(found, Unread):
            raise found.error
        return found

    def predict(self, paths: Iterable[Path]) -> Iterator[Prediction | Unread]:
        """Yield what is heard in every file, in their order, or why one could not be read.

        Batches are filled with the windows of one file after another; memory does not grow with the length of a file.
        """
        waiting: deque[_Heard] = deque()
        batch: list[tuple[_Heard, NDArray[np.float32]]] = []
        for path in paths:
            file = _Heard(path=path)
            waiting.append(file)
            for window in self._windows(file):
                batch.append((file, window))
                if len(batch) == self.batch_size:
                    self._score(batch)
                    batch = []
                    yield from self._ended(waiting)
            yield from self._ended(waiting)
        if batch:
            self._score(batch)
        yield from self._ended(waiting)

    def _windows(self, file: _Heard) -> Iterator[NDArray[np.float32]]:
        """Yield the windows of a file; where it cannot be read, note why and end."""
        try:
            windows = Windows(file.path, self._samples)
            file.seconds, file.left = windows.seconds, len(windows)
            yield from windows
        except (ValueError, OSError) as error:
            file.error = error

    @torch.inference_mode()
    def _score(self, batch: Sequence[tuple[_Heard, NDArray[np.float32]]]) -> None:
        """Give every file of a batch the scores of its windows."""
        clips = [torch.from_numpy(window) for _, window in batch]
        logits = self.model(self.frontend(clips)) if self.engine is None else self.engine(clips)  # (w, c)
        scores = to_scores(logits.float().cpu().numpy(), self.activation)
        for (file, _), row in zip(batch, scores, strict=True):
            file.scores.append(row)
            file.left -= 1

    def _ended(self, waiting: deque[_Heard]) -> Iterator[Prediction | Unread]:
        """Take the files off the front that are done, in their order."""
        while waiting and (waiting[0].error is not None or not waiting[0].left):
            file = waiting.popleft()
            if file.error is not None:
                yield Unread(path=file.path, error=file.error)
                continue
            yield Prediction(
                path=file.path,
                seconds=file.seconds,
                num_windows=len(file.scores),
                labels=self.labels,
                scores=np.mean(file.scores, axis=0, dtype=np.float32),
                activation=self.activation,
            )

    @property
    def _samples(self) -> int:
        """Samples of the model's input."""
        return input_samples(self.model.geometry.num_frames)

    @torch.inference_mode()
    def draw(self, prediction: Prediction, folder: Path) -> Path:
        """Draw the merged tokens of the first window into `folder` and return the picture's path."""
        from fastast.viz import draw_merges

        window = next(iter(Windows(prediction.path, self._samples)))
        features = self.frontend([torch.from_numpy(window)])  # (1, f, m)
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
