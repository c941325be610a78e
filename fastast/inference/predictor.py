"""Label audio files, with a merged or unmerged model.

Shapes: `s` samples of a window, `w` windows of one or several files, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastast.data.audio import AudioReader
from fastast.engine import compile
from fastast.engine.waveforms import input_samples
from fastast.exporting import ExportedModel, export_to_cache, is_exported, open_exported
from fastast.frontend import Frontend, Normalisation
from fastast.hosts import reduce
from fastast.inference.events import EventRule
from fastast.inference.hearing import SoundSource, Unread, hear
from fastast.inference.prediction import Prediction, ScoreCollector
from fastast.inference.windows import hop_samples
from fastast.model import AudioSpectrogramTransformer
from fastast.own_length import OwnLengths
from fastast.reduction import TokenReduction
from fastast.scores import activation_of, to_scores
from fastast.system.devices import find_device
from fastast.teachers import Teacher
from fastast.teachers.clip_models import class_count, clip_shape, open_network

BATCH = 8
"""Default number of windows to score at once."""


class Predictor:
    """A model ready to label files: compiled on a GPU (`fastast.compile`), in PyTorch or another runtime on a CPU."""

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
        own_length: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Load `model` (the name of a zoo model with weights, a checkpoint, a CNN or an exported file) and reduce it.

        `activation`: `sigmoid` or `softmax`, if not the one of the model's loss (`fastast.scores`). `geometry` and
        `normalisation`: what a checkpoint does not say, as for `fastast.load_model`. `device`: `cpu`, `cuda`, or `auto`
        for a GPU if there is one. `batch_size`: number of windows, from one file or several, to score at once; apart
        from rounding, results do not depend on it. `runtime`: `onnxruntime` or `openvino` instead of PyTorch, for which
        the model is exported once; an exported file needs none, and brings its own reduction. `own_length`: run clips
        shorter than the model's input at their own length, with fewer tokens (`fastast.own_length`), instead of padding
        them. `say`: called with a message before anything that takes long.

        Raises ValueError for an unknown name, an impossible reduction, a device that is missing or that the runtime
        does not run on, and for `own_length` with a runtime; CheckpointError or ExportError for a bad file.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        if (runtime or is_exported(model)) and device not in ("auto", "cpu"):
            raise ValueError(f"device is {device}, but {runtime or model} runs on the CPU; leave the device out")
        if is_exported(model) and (geometry or normalisation):
            raise ValueError(f"{model}: its geometry and normalisation are in the file; leave them out")
        self.name, self.batch_size = model, batch_size
        self.device = find_device("cpu" if runtime or is_exported(model) else device)
        self.exported = _open(model, reduction, runtime) if is_exported(model) else None
        self.model: AudioSpectrogramTransformer | ExportedModel | Teacher
        if self.exported is not None:
            self.model = self.exported
        else:
            asked = {"reduction": reduction, "runtime": runtime, "own length": own_length}
            self.model = open_network(model, asked, geometry=geometry, normalisation=normalisation)
        if self.model.normalisation is None:
            raise ValueError(
                f"{model}: the checkpoint does not say how its filterbank was normalised; give --normalisation "
                "MEAN,STD of the training set"
            )
        self.activation = activation_of(self.model.loss, activation)
        self.shape = clip_shape(model, self.model, geometry or {})
        self.frontend = Frontend(self.shape, self.model.normalisation)
        self.labels = self.model.labels or tuple(f"class {i}" for i in range(class_count(self.model)))
        self.handle, self.engine = None, None
        self._lengths: OwnLengths | None = None
        self._at: dict[int, Callable[[Sequence[Tensor]], Tensor]] = {}
        if own_length and (runtime or is_exported(model)):
            raise ValueError(f"own length: {runtime or model} has a fixed length; leave it out, or run in PyTorch")
        if isinstance(self.model, Teacher):
            self.model = self.model.to(self.device)
        if not isinstance(self.model, AudioSpectrogramTransformer):
            return
        if own_length:
            self._lengths = OwnLengths(self.model)
        if reduction is not None:
            self.handle = reduce(self.model, reduction)
        if runtime:
            self.exported = open_exported(export_to_cache(self.model, runtime=runtime, say=say), runtime=runtime)
        elif self.device.type == "cuda":
            self.engine = compile(self.model, batch_size=batch_size, device=self.device, frontend=self.frontend)

    def describe(self) -> str:
        """Return one line about the model, its tokens and what it runs on."""
        if isinstance(self.model, Teacher):
            where = "" if self.device.type == "cpu" else f", on {self.device}"
            return f"{self.name}: {self.model.name}, no tokens to merge{where}"
        tokens, merged = self.model.geometry.num_tokens, "not merged"
        if self.handle is not None:
            least = "" if self.handle.reduction.threshold is None else "at least "
            merged = f"merged to {least}{self.handle.tokens_per_block[-1]} by {self.handle.reduction}"
        elif self.exported is not None and self.exported.metadata.reduction is not None:
            metadata = self.exported.metadata
            merged = f"merged to {metadata.tokens_per_block[-1]} by {metadata.reduction_name}"
        where = "" if self.engine is None else f", on {self.device} ({self.engine.path} engine)"
        where += "" if self.exported is None else f", on {self.exported.runtime}"
        return f"{self.name}: {tokens} tokens{',' if merged == 'not merged' else ''} {merged}{where}"

    def __call__(self, path: str | Path) -> Prediction:
        """Score one file. Raises AudioError if it cannot be read."""
        (found,) = self.predict([path])
        if isinstance(found, Unread):
            raise found.error
        return found

    def predict(
        self,
        sources: Iterable[str | SoundSource],
        *,
        events: EventRule | None = None,
        hop: float | None = None,
        channels: str = "average",
    ) -> Iterator[Prediction | Unread]:
        """Yield what is heard in each file or pipe, in order, or the reason why it could not be read.

        `events`: also note what was heard from when to when. `hop`: seconds from the start of one window to the start
        of the next; by default half a window for events, and otherwise the fewest windows that cover a file are spread
        evenly over it. `channels`: how several channels become one, `average` or `first`. Batches are filled with the
        windows of one file after another; memory does not grow with the length of a file. Raises ValueError for a hop
        that is longer than a window, and TypeError for a single file.
        """
        if isinstance(sources, str | Path | AudioReader):
            raise TypeError(
                f"predict takes several files, such as [{str(sources)!r}]; for one, call the predictor itself"
            )
        step = None if hop is None else hop_samples(hop, self.window_samples)
        if step is None and events is not None:
            step = self.window_samples // 2
        return hear(
            (Path(source) if isinstance(source, str) else source for source in sources),
            lambda path: ScoreCollector(path, self.labels, self.activation, events),
            lambda windows, frames: to_scores(self.logits(windows, frames), self.activation),
            samples=self.window_samples,
            batch_size=self.batch_size,
            hop=step,
            kind=self.frames,
            channels=channels,
        )

    def frames(self, samples: int) -> int:
        """Return the number of input frames for a window of this many samples."""
        return self.shape.num_frames if self._lengths is None else self._lengths.frames(samples)

    def logits(self, windows: Sequence[NDArray[np.float32]], frames: int) -> NDArray[np.float32]:
        """Run windows (s,) with an input of this many frames and return their logits (w, c).

        Raises ReductionError if so short an input has too few tokens for the reduction.
        """
        if frames not in self._at:
            self._at[frames] = self._forward(frames)
        with torch.inference_mode():
            logits = self._at[frames]([torch.from_numpy(window) for window in windows])  # (w, c)
        return logits.float().cpu().numpy()

    def warm_up(self) -> None:
        """Run one window of silence, to get over what is slow only once, such as loading libraries."""
        self.logits([np.zeros(self.window_samples, np.float32)], self.shape.num_frames)

    def at_length(self, frames: int) -> tuple[AudioSpectrogramTransformer, Frontend]:
        """Return the model in PyTorch, with its reduction, and the front end for an input of this many frames.

        Raises ValueError for an exported file and for a network without tokens, and ReductionError as `logits` does.
        """
        if isinstance(self.model, ExportedModel):
            raise ValueError(f"{self.name}: an exported file gives logits only; give its checkpoint")
        if isinstance(self.model, Teacher):
            raise ValueError(f"{self.name}: {self.model.name} gives logits only; give a transformer")
        if self._lengths is None or frames == self.shape.num_frames:
            return self.model, self.frontend
        model = self._lengths.model(frames)
        if self.handle is not None and model.attached is None:
            reduce(model, self.handle.reduction)
        return model, Frontend(model.geometry, self.frontend.normalisation)

    def _forward(self, frames: int) -> Callable[[Sequence[Tensor]], Tensor]:
        """Return a function from a list of windows to their logits (w, c)."""
        if self.engine is not None and frames == self.shape.num_frames:
            return self.engine
        if isinstance(self.model, Teacher):
            teacher, own = self.model, self.frontend
            return lambda clips: teacher(own(clips).to(self.device))
        if self.exported is not None:
            exported, own = self.exported, self.frontend
            return lambda clips: exported(own(clips))
        model, frontend = self.at_length(frames)
        if self.engine is not None:
            return compile(model, batch_size=self.batch_size, device=self.device, frontend=frontend)
        return lambda clips: model(frontend(clips))

    @property
    def window_samples(self) -> int:
        """Number of samples in the model's input."""
        return input_samples(self.shape.num_frames)


def _open(path: str, reduction: TokenReduction | None, runtime: str) -> ExportedModel:
    exported = open_exported(path, runtime=runtime or None)
    if reduction is not None:
        inside = exported.metadata.reduction_name
        raise ValueError(
            f"{path}: its schedule is built into the file ({inside}); leave it out, or export the model again"
        )
    return exported
