"""Audio file -> labels, with the model merged or not.

Shapes: `w` windows of one or several files, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fastast.checkpoints import load_model
from fastast.devices import find_device
from fastast.engine import compile
from fastast.engine.waveforms import input_samples
from fastast.exporting import ExportedModel, export_to_cache, is_exported, open_exported
from fastast.frontend import Frontend, Normalisation
from fastast.hosts import reduce
from fastast.reduction import MergeTrace, TokenReduction
from fastast.scores import Activation, activation_of, to_scores
from fastast.windows import Windows
from fastast.zoo import trained_path

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
    """A model ready to label files: on a GPU compiled (`fastast.compile`), on a CPU in PyTorch or another runtime."""

    def __init__(
        self,
        model: str,
        reduction: TokenReduction | None = None,
        *,
        activation: str = "",
        geometry: Mapping[str, object] | None = None,
        normalisation: Normalisation | None = None,
        device: str = "auto",
        batch_size: int = BATCH,
        runtime: str = "",
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Load `model` (a name of the zoo with weights, a checkpoint or an exported file) and reduce its tokens.

        `activation`: `sigmoid` or `softmax` where not what the model's loss says (`fastast.scores`). `geometry` and
        `normalisation`: what a checkpoint does not say, as for `fastast.load_model`. `device`: `cpu`,
        `cuda`, or `auto` for a GPU where there is one. `batch_size`: windows, of one file or several, that are scored
        at once; results do not depend on it but for rounding. `runtime`: `onnxruntime` or `openvino` in place of
        PyTorch, for which the model is exported once; an exported file has a runtime and its reduction anyhow. `say` is
        told what takes long.

        Raises ValueError for an unknown name, an impossible reduction, a device that is not there, or one that the
        runtime does not run on; CheckpointError or ExportError for a bad file.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        if (runtime or is_exported(model)) and device not in ("auto", "cpu"):
            raise ValueError(f"device is {device}, and {runtime or model} runs on the CPU; leave the device out")
        self.name, self.batch_size = model, batch_size
        self.device = find_device("cpu" if runtime or is_exported(model) else device)
        self.exported = _open(model, reduction, runtime) if is_exported(model) else None
        self.model = (
            self.exported or load_model(trained_path(model), geometry=geometry, normalisation=normalisation).eval()
        )
        if self.model.normalisation is None:
            raise ValueError(
                f"{model}: the checkpoint does not say how its filterbank was normalised; say it: --normalisation "
                "MEAN,STD, of the training set"
            )
        self.activation = activation_of(self.model.loss, activation)
        self.frontend = Frontend(self.model.geometry, self.model.normalisation)
        classes = self.model.geometry.num_classes
        self.labels = self.model.labels or tuple(f"class {i}" for i in range(classes))
        self.handle, self.engine = None, None
        if isinstance(self.model, ExportedModel):
            return
        if reduction is not None:
            self.handle = reduce(self.model, reduction)
        if runtime:
            self.exported = open_exported(export_to_cache(self.model, runtime=runtime, say=say), runtime=runtime)
        elif self.device.type == "cuda":
            self.engine = compile(self.model, batch_size=batch_size, device=self.device, frontend=self.frontend)

    def describe(self) -> str:
        """Return one line on the model, its tokens and what it runs on."""
        tokens, merged = self.model.geometry.num_tokens, "not merged"
        if self.handle is not None:
            merged = f"merged to {self.handle.tokens_per_block[-1]} by {self.handle.reduction}"
        elif self.exported is not None and self.exported.metadata.reduction is not None:
            metadata = self.exported.metadata
            merged = f"merged to {metadata.tokens_per_block[-1]} by {metadata.reduction_name}"
        where = "" if self.engine is None else f", on {self.device} ({self.engine.path} engine)"
        where += "" if self.exported is None else f", on {self.exported.runtime}"
        return f"{self.name}: {tokens} tokens{',' if merged == 'not merged' else ''} {merged}{where}"

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
        forward = self.exported or self.model
        logits = forward(self.frontend(clips)) if self.engine is None else self.engine(clips)  # (w, c)
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
        """Draw the tokens of the first window, as PyTorch merges them, into `folder` and return the picture's path.

        Raises ValueError for an exported file, which does not tell which tokens merged.
        """
        from fastast.viz import draw_merges

        if isinstance(self.model, ExportedModel):
            raise ValueError(f"{self.name}: an exported file does not tell which tokens merged; draw its checkpoint")

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


def _open(path: str, reduction: TokenReduction | None, runtime: str) -> ExportedModel:
    exported = open_exported(path, runtime=runtime or None)
    if reduction is not None:
        inside = exported.metadata.reduction_name
        raise ValueError(f"{path}: its schedule is in the file ({inside}); leave it out, or export the model again")
    return exported
