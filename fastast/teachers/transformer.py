"""AST as a teacher: unmerged, and optionally trained with structured patchout as in PaSST.

Shapes: `b` batch, `f` frames, `m` mel bins, `f'` and `t'` patches along frequency and time, `n` tokens, `d` width,
`c` classes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastast.frontend import Normalisation
from fastast.geometry import Geometry, geometry
from fastast.model import AudioSpectrogramTransformer
from fastast.teachers.protocol import Teacher, TeacherError, other_classes
from fastast.zoo import ARCHITECTURES, EMBEDDED


class PatchoutTransformer(AudioSpectrogramTransformer):
    """An AST that drops whole rows and columns of its patches in training (Koutini et al. 2022, arXiv 2110.05069).

    The rows (frequency bands) and columns (time steps) to drop are drawn for every batch, the same for all of its
    clips, from torch's global generator; the patches that stay keep their position embeddings. Nothing is dropped in
    evaluation.
    """

    def __init__(
        self, geometry: Geometry, *, drop_path_rate: float = 0.0, patchout_freq: int = 0, patchout_time: int = 0
    ) -> None:
        """`patchout_freq`, `patchout_time`: number of rows and columns to drop.

        Raises TeacherError unless they are whole numbers that leave at least one row and one column.
        """
        super().__init__(geometry, drop_path_rate=drop_path_rate)
        for name, dropped, size in zip(
            ("patchout_freq", "patchout_time"), (patchout_freq, patchout_time), geometry.grid, strict=True
        ):
            if isinstance(dropped, bool) or not isinstance(dropped, int) or not 0 <= dropped < size:
                raise TeacherError(
                    f"patchout: {name} is {dropped!r}; the grid has {size} such lines, so it must be 0 to {size - 1}"
                )
        self.patchout = (patchout_freq, patchout_time)

    def embed(self, fbank: Tensor) -> Tensor:
        """Map a normalised filterbank (b, f, m) to tokens with positions (b, n', d); n' = n except in training."""
        x = super().embed(fbank)  # (b, n, d)
        if not self.training or self.patchout == (0, 0):
            return x
        if self.attached is not None:
            raise TeacherError(
                "patchout: the model is also reduced, and its schedule expects all tokens. Train it with patchout or "
                "with merging, not with both"
            )
        return x[:, kept_tokens(self.geometry, self.patchout).to(x.device)]  # (b, n', d)


def kept_tokens(geometry: Geometry, patchout: tuple[int, int]) -> Tensor:
    """Draw which tokens stay, and return their indices in order: prefix, then patches in a kept row and kept column."""
    rows, columns = (
        torch.randperm(size)[: size - dropped].sort().values
        for size, dropped in zip(geometry.grid, patchout, strict=True)
    )
    patches = rows[:, None] * geometry.grid[1] + columns  # (f' - dropped, t' - dropped)
    prefix = torch.arange(geometry.num_prefix_tokens)
    return torch.cat([prefix, geometry.num_prefix_tokens + patches.flatten()])


class TransformerTeacher(Teacher):
    """An AST with the interface of a teacher."""

    def __init__(self, model: AudioSpectrogramTransformer) -> None:
        super().__init__(num_classes=model.geometry.num_classes)
        self.model = model
        self.options = {key: value for key, value in asdict(model.geometry).items() if key != "num_classes"}
        if isinstance(model, PatchoutTransformer):
            self.options |= {"patchout_freq": model.patchout[0], "patchout_time": model.patchout[1]}
        self.labels = model.labels
        self.normalisation = model.normalisation
        self.loss = model.loss
        self.num_frames, self.num_mel_bins = model.geometry.num_frames, model.geometry.num_mel_bins

    def forward(self, fbank: Tensor) -> Tensor:
        """Map a normalised filterbank (b, f, m) to logits (b, c)."""
        return self.model(fbank)


def create_transformer(
    name: str,
    *,
    num_classes: int,
    normalisation: Normalisation | None = None,
    checkpoint: str | Path | None = None,
    new_head: bool = False,
    patchout_freq: int = 0,
    patchout_time: int = 0,
    drop_path_rate: float = 0.0,
    **overrides: Any,
) -> TransformerTeacher:
    """Build an AST by the name of an architecture or embedded model; see `create_teacher` for the options.

    An AST with weights brings its own normalisation, which a given one replaces. Raises TeacherError if the number of
    classes is not the checkpoint's, unless `new_head`.
    """
    from fastast.checkpoints import load_model

    source = EMBEDDED.get(name) if checkpoint is None else checkpoint
    loaded = None if source is None else load_model(source, **overrides)
    if loaded is None:
        shape = geometry(ARCHITECTURES[name], **(overrides | {"num_classes": num_classes}))
    else:
        shape = dataclasses.replace(loaded.geometry, num_classes=num_classes)
        if loaded.geometry.num_classes != num_classes and not new_head:
            raise TeacherError(other_classes(str(source), loaded.geometry.num_classes, num_classes))
    model = PatchoutTransformer(
        shape, drop_path_rate=drop_path_rate, patchout_freq=patchout_freq, patchout_time=patchout_time
    )
    if loaded is not None:
        state = loaded.state_dict()
        if new_head:  # the head's norm fits any classes; its linear layer starts at random
            state |= {key: value for key, value in model.state_dict().items() if key.startswith("head.linear.")}
        model.load_state_dict(state)
        model.labels = None if new_head else loaded.labels
        model.normalisation = loaded.normalisation
        model.loss = None if new_head else loaded.loss
    teacher = TransformerTeacher(model)
    teacher.normalisation = normalisation or teacher.normalisation
    return teacher
