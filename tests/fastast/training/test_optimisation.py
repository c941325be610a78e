"""Learning rates against tables made by hand and PyTorch, averages of weights against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fastast.training.optimisation import build_optimiser, parameter_groups, rate_factor
from fastast.training.recipe.parts.optimiser import OptimiserPart
from fastast.training.recipe.parts.schedule import SchedulePart
from fastast.training.weights.averaging import EpochMean, MovingAverage


def factors(part: SchedulePart, steps: list[int], *, per_epoch: int = 10, total: int = 100) -> list[float]:
    return [rate_factor(part, step, steps_per_epoch=per_epoch, total_steps=total) for step in steps]


def test_multistep_is_asts_table() -> None:
    full = SchedulePart(name="multistep", start=2, every=1, factor=0.5)  # AudioSet full: epochs 1 and 2 at lr
    assert factors(full, [0, 9, 10, 19, 20, 29, 30, 40]) == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.125]
    balanced = SchedulePart(name="multistep", start=10, every=5, factor=0.5)
    assert factors(balanced, [99, 100, 149, 150, 199, 200]) == [1, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_multistep_is_that_of_torch() -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(range(5, 1000, 3)), 0.85)
    part = SchedulePart(name="multistep", start=5, every=3, factor=0.85)
    for epoch in range(20):
        assert rate_factor(part, epoch * 7, steps_per_epoch=7, total_steps=200) == pytest.approx(
            optimiser.param_groups[0]["lr"]
        )
        optimiser.step()
        reference.step()


def test_warm_up_rises_in_asts_stairs() -> None:
    part = SchedulePart(warmup_steps=1000, warmup_stair=50)
    assert factors(part, [0, 49, 50, 99, 100, 500, 999, 1000, 5000]) == [0, 0, 0.05, 0.05, 0.1, 0.5, 0.95, 1, 1]
    assert factors(SchedulePart(warmup_steps=4), [0, 1, 2, 3, 4]) == [0, 0.25, 0.5, 0.75, 1]


def test_cosine_falls_to_its_floor() -> None:
    assert factors(SchedulePart(name="cosine"), [0, 50, 100]) == pytest.approx([1, 0.5, 0])
    assert factors(SchedulePart(name="cosine", floor=0.2), [0, 50, 100]) == pytest.approx([1, 0.6, 0.2])
    third = factors(SchedulePart(name="cosine", warmup_steps=50), [25])[0]
    assert third == pytest.approx(0.5 * 0.853553, rel=1e-5)


def test_norms_biases_tokens_and_positions_are_not_decayed(small_model: nn.Module) -> None:
    part = OptimiserPart(lr=1.0, weight_decay=0.1, decay_all=False)
    decayed, spared = parameter_groups(small_model, part)
    names = {id(parameter): name for name, parameter in small_model.named_parameters()}
    spared_names = {names[id(parameter)] for parameter in spared["params"]}  # type: ignore[attr-defined]
    assert {"cls_token", "dist_token", "pos_embed", "norm.weight", "blocks.0.attn.qkv.bias"} <= spared_names
    assert "blocks.0.attn.qkv.weight" not in spared_names
    assert len(decayed["params"]) + len(spared["params"]) == len(names)  # type: ignore[arg-type]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_adams_decay_is_in_the_gradient_and_adamws_is_not() -> None:
    found = {}
    for name in ("adam", "adamw"):
        layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(layer.weight, 2.0)
        optimiser = build_optimiser(layer, OptimiserPart(lr=0.1, name=name, weight_decay=0.5, betas=(0.95, 0.999)))
        layer.weight.grad = torch.zeros_like(layer.weight)
        optimiser.step()
        found[name] = layer.weight.item()
    assert found["adam"] == pytest.approx(2.0 - 0.1)  # the decay is the whole gradient, which Adam normalises to 1
    assert found["adamw"] == pytest.approx(2.0 * (1 - 0.1 * 0.5))


def test_the_moving_average_is_the_recursion() -> None:
    layer = nn.Linear(2, 2)
    average = MovingAverage(layer, 0.9)
    expected = layer.weight.detach().numpy().astype(np.float64)
    random = np.random.default_rng(0)
    for update in range(1, 40):
        new = random.standard_normal((2, 2)).astype(np.float32)
        layer.weight.data = torch.from_numpy(new)
        average.update(layer)
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * new
    np.testing.assert_allclose(average.state["weight"], expected, rtol=1e-5, atol=1e-6)


def test_the_epoch_mean_is_the_mean_and_counters_are_the_last() -> None:
    norm = nn.BatchNorm1d(3)
    mean = EpochMean()
    values = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    for row in values:
        norm.weight.data = torch.from_numpy(row)
        norm.num_batches_tracked += 7
        mean.add(norm)
    found = mean.mean(norm.state_dict())
    np.testing.assert_allclose(found["weight"], values.mean(0), rtol=1e-6)
    assert found["num_batches_tracked"] == 35
    assert found["weight"].dtype == torch.float32
