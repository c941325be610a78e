"""Notice a training that is no longer finite, in every process and before its weights are kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastast.training.distributed import World

_LEAST_SCALE = 2.0**-10
"""Scale of a float16 loss below which the gradients are taken to overflow at any scale: it begins at 65,536, each
overflow halves it, and trainings that work settle far above 1."""


class NotFiniteError(ValueError):
    """A loss, weight or gradient that is NaN or infinite: training stops, and the last checkpoint is kept."""


class FiniteCheck:
    """Checks of a training's losses, weights and gradients; all processes raise what one of them finds."""

    def __init__(self, model: nn.Module, scaler: torch.amp.GradScaler, world: World, *, lr: float) -> None:
        self.model, self.scaler, self.world, self.lr = model, scaler, world, lr
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=world.device)

    def note_loss(self, step: int, loss: Tensor) -> None:
        """Remember the first step whose loss was not finite, without making the host wait for a GPU."""
        bad = ~loss.detach().isfinite() & (self._bad_step < 0)
        self._bad_step = torch.where(bad, step, self._bad_step)

    def check_loss(self) -> None:
        """Raise NotFiniteError in every process if the loss was not finite in any of them."""
        step = int(self.world.largest(self._bad_step.clone()))
        if step >= 0:
            raise self._not_finite(step, "the loss is")

    def check_weights(self, done: int) -> None:
        """Raise NotFiniteError in every process where a loss or the weights after `done` steps are not finite.

        It is also raised where gradients overflow float16 at every scale. A finite loss can have a gradient that is not
        finite, which only the next loss would show: too late for a checkpoint.
        """
        self.check_loss()
        finite = torch.stack([value.isfinite().all() for value in self.model.state_dict().values()])
        if int(self.world.largest((~finite).any().long())):
            raise self._not_finite(done - 1, "the weights after it are")
        if self.scaler.is_enabled() and self.scaler.get_scale() < _LEAST_SCALE:
            raise NotFiniteError(
                f"step {done - 1}: the gradients overflow float16 at every scale of the loss, so that no step changes "
                'the weights; use precision = "bfloat16" or "float32", and start anew with another --out'
            )

    def _not_finite(self, step: int, what: str) -> NotFiniteError:
        return NotFiniteError(
            f"step {step}: {what} NaN or infinite; training stopped, and the checkpoint before it is kept. "
            f"Lower optimiser.lr ({self.lr:g}), set optimiser.clip_norm, warm up longer, or use "
            'precision = "float32", and start anew with another --out: resuming would repeat the same steps'
        )
