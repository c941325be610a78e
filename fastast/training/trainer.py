"""A training in memory: model, optimiser, averages and teacher, and what a step does to them.

Shapes: `b` clips of a part of a step, `s` samples, `f` frames, `m` mel bins, `c` classes.

The seed of everything that a step draws is derived from the recipe's seed and the numbers of step, part and process, so
that a step does the same whether the steps before it ran in this process or in one that was killed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastast.data.augment import Augmentation, step_seed
from fastast.data.sampling import Sampler, draw_seed
from fastast.data.training_set import Batch
from fastast.distill import Distiller, create_distiller
from fastast.frontend import Normalisation
from fastast.reduction import TokenReduction
from fastast.training.distributed import World
from fastast.training.evaluation.evaluate import merged
from fastast.training.not_finite import FiniteCheck
from fastast.training.optimisation import build_optimiser, rate_factor, set_rate
from fastast.training.precision import autocast
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.recipe import Recipe
from fastast.training.recipe.reductions import check_evaluation, reducible, training_reductions
from fastast.training.recording import recipe_question
from fastast.training.run_folder.checkpoint import State, load_optimiser, optimiser_tensors
from fastast.training.weights.averaging import EpochMean, MovingAverage, interpolated
from fastast.training.weights.build import build_recipe_model, recipe_frontend


class Trainer:
    """A recipe's training between two steps."""

    def __init__(
        self,
        recipe: Recipe,
        classes: tuple[str, ...],
        sampler: Sampler,
        world: World,
        *,
        clips: Mapping[str, str] | None = None,
    ) -> None:
        """Build everything on the world's device. Raises ValueError if parts of the recipe do not fit together.

        `clips`: hashes that identify the training set (`fastast.data.same_clips.identify`), for stored answers.
        """
        self.recipe = recipe
        self.world = world
        self.steps_per_epoch = sampler.steps_per_epoch
        self.total_steps = recipe.steps or recipe.epochs * sampler.steps_per_epoch
        self.part_size = recipe.batch_size // (world.size * recipe.accumulation)
        if self.part_size * world.size * recipe.accumulation != recipe.batch_size:
            raise RecipeError(
                f"batch_size {recipe.batch_size} cannot be shared by {world.size} processes in {recipe.accumulation} "
                "parts; it must be a multiple of their product"
            )
        normalisation = recipe.normalisation.applied
        torch.manual_seed(draw_seed(recipe.seed, "weights"))
        self.notices: list[str] = []
        keeps = recipe.loss if recipe.start_share else None
        model = build_recipe_model(recipe.model, classes, normalisation, say=self.notices.append, kept_by=keeps)
        self.model = model.to(world.device, torch.float64 if recipe.precision == "float64" else torch.float32)
        self.reducible = reducible(self.model)
        self.reductions = training_reductions(recipe, self.model)
        check_evaluation(recipe, self.model)
        self.frontend = recipe_frontend(self.model, recipe.model, normalisation)
        self.augmentation = recipe.augmentation or Augmentation()
        self.optimiser = build_optimiser(self.model, recipe.optimiser)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=recipe.precision == "float16")
        self.ema = MovingAverage(self.model, recipe.ema_decay) if recipe.ema_decay else None
        self.mean = EpochMean() if recipe.average_epochs else None
        self.start = {k: v.clone() for k, v in self.model.state_dict().items()} if recipe.start_share else None
        self.distiller = self._distiller(classes, normalisation, clips or {})
        self._generator = torch.Generator(world.device)
        self.finite = FiniteCheck(self.model, self.scaler, world, lr=recipe.optimiser.lr)
        self.wrapped = world.wrap(self._stepped())

    def _stepped(self) -> nn.Module:
        """Return the module that steps call: the model, or a module that runs its parameters on the kernels.

        It must be a module, not just a function, as several processes average the gradients of the module they call.
        """
        if self.recipe.engine == "plain":
            return self.model
        from fastast.engine import differentiable_forward, why_not_differentiable

        for reduction in self.reductions or (None,):
            if reason := why_not_differentiable(self.reducible, reduction):
                raise RecipeError(f"engine is 'triton', but {reason}; set engine = \"plain\" to train in plain PyTorch")
        return differentiable_forward(self.reducible)

    def _distiller(
        self, classes: tuple[str, ...], normalisation: Normalisation, clips: Mapping[str, str]
    ) -> Distiller | None:
        if self.recipe.distillation is None:
            return None
        question = recipe_question(
            self.recipe, self.frontend, processes=self.world.size, device=self.world.device, clips=clips
        )
        distiller = create_distiller(
            self.recipe.distillation,
            num_classes=len(classes),
            normalisation=normalisation,
            shape=(self.frontend.num_frames, self.frontend.num_mel_bins),
            labels=classes,
            device=self.world.device,
            question=question,
        )
        if distiller.targets is not None:
            parts = range(self.recipe.accumulation)
            seeds = (self.augmentation_seed(step, part) for step in range(self.total_steps) for part in parts)
            distiller.targets.check_covers(seeds)
            self.notices += [distiller.targets.notice] * bool(distiller.targets.notice)
        return distiller

    def reduction_of(self, step: int) -> TokenReduction | None:
        """Return the reduction of a step, the same in every process; None without merging."""
        if not self.reductions:
            return None
        return self.reductions[draw_seed(self.recipe.seed, "reduction", step) % len(self.reductions)]

    def augmentation_seed(self, step: int, part: int) -> int:
        """Return the augmentation seed of one part of a step in this process."""
        return step_seed(self.recipe.seed, step * self.recipe.accumulation + part, self.world.rank)

    def step(self, step: int, parts: Sequence[Batch]) -> dict[str, Tensor]:
        """Train on the parts of one step, and return their mean losses in this process, detached."""
        factor = rate_factor(
            self.recipe.schedule, step, steps_per_epoch=self.steps_per_epoch, total_steps=self.total_steps
        )
        set_rate(self.optimiser, self.recipe.optimiser.lr * factor)
        losses: dict[str, Tensor] = {}
        with merged(self.reducible, self.reduction_of(step)):
            for number, batch in enumerate(parts):
                last = number + 1 == len(parts)
                with contextlib.nullcontext() if last or self.world.size == 1 else self.wrapped.no_sync():  # type: ignore[operator]
                    found = self._learn(batch.to(self.world.device), step, number)
                for name, value in found.items():
                    losses[name] = losses.get(name, 0) + value.detach() / len(parts)
        if self.world.device.type != "cuda":
            self.finite.check_loss()  # on a GPU, where checking makes the host wait, the loop does so now and then
        self.scaler.unscale_(self.optimiser)
        if self.recipe.optimiser.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optimiser.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.model)
        return losses

    def _learn(self, batch: Batch, step: int, part: int) -> dict[str, Tensor]:
        """Run one part's forward and backward pass: waveforms (b, s), filterbank (b, f, m), logits (b, c), losses."""
        seed = self.augmentation_seed(step, part)
        self._generator.manual_seed(seed)
        torch.manual_seed(draw_seed(seed, "model"))  # stochastic depth, dropout and patchout use the global generator
        fbank, labels = self.augmentation.apply(batch, self._generator, self.frontend)
        if self.recipe.precision == "float64":
            fbank, labels = fbank.double(), labels.double()
        with autocast(self.world.device, self.recipe.precision):
            logits = self.wrapped(fbank)  # (b, c)
            base = label_loss(logits, labels, self.recipe.loss)
            losses = {"loss": base}
            if self.distiller is not None:
                plain = Augmentation.plain(batch, self.frontend) if self.distiller.needs_plain_fbank else None
                losses = self.distiller.loss(
                    logits, labels, fbank=fbank, indices=batch.indices, base_loss=base, plain_fbank=plain, seed=seed
                )
        self.finite.note_loss(step, losses["loss"])
        self.scaler.scale(losses["loss"] / self.recipe.accumulation).backward()
        return losses

    def best_weights(self) -> dict[str, Tensor]:
        """Return the weights to evaluate and save: averages, if any, with `start_share` of the initial weights."""
        weights = dict(self.model.state_dict())
        if self.mean is not None and self.mean.count:
            weights = self.mean.mean(weights)
        elif self.ema is not None:
            weights = dict(self.ema.state)
        return weights if self.start is None else interpolated(weights, self.start, self.recipe.start_share)

    @contextlib.contextmanager
    def with_weights(self, weights: dict[str, Tensor]) -> Iterator[nn.Module]:
        """Put other weights into the model for the duration of the block."""
        own = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.model.load_state_dict(weights)
        try:
            yield self.model
        finally:
            self.model.load_state_dict(own)

    def state(self, step: int, notes: Mapping[str, object]) -> State:
        """Return the complete state of the training after `step` steps."""
        tensors = {"model": self.model.state_dict(), "optimiser": optimiser_tensors(self.optimiser)}
        notes = {**notes, "scaler": self.scaler.state_dict()}
        if self.ema is not None:
            tensors["ema"] = self.ema.state
            notes["ema_updates"] = self.ema.updates
        if self.mean is not None and self.mean.count:
            tensors["mean"] = self.mean.sum
            notes["mean_count"] = self.mean.count
        return State(step=step, notes=notes, tensors=tensors)

    def load(self, state: State) -> None:
        """Restore the training from a state."""
        self.model.load_state_dict(dict(state.tensors["model"]))
        load_optimiser(self.optimiser, state.tensors["optimiser"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state.notes["scaler"])
        if self.ema is not None:
            self.ema.load(state.tensors["ema"], state.notes["ema_updates"])
        if self.mean is not None and "mean" in state.tensors:
            on_device = {key: value.to(self.world.device) for key, value in state.tensors["mean"].items()}
            self.mean.load(on_device, state.notes["mean_count"])


def label_loss(logits: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Return the loss, `bce` or `ce`, of logits (b, c) against labels (b, c) in [0, 1], as probabilities for `ce`."""
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits if logits.dtype == torch.float64 else logits.float()
        labels = labels.to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, labels) if kind == "bce" else F.cross_entropy(logits, labels)
