"""Every method through a model: plain, in the engine's forward, counted by torch, exported, and clip by clip."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fastast.engine.forward import PackedForward
from fastast.engine.kernel_table import reference_kernels
from fastast.engine.weights import pack
from fastast.hosts import reduce
from fastast.macs import model_macs
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import (
    AttachedReduction,
    BlockTokens,
    MergePlan,
    MergeTrace,
    ReductionError,
    TokenReduction,
    method_names,
)
from fastast.schedule import PerBlock
from tests.fastast.merge_weights import needed

VARIANTS = {
    **{name: {"method": name} for name in method_names()},
    "pool_frequency": {"method": "pool", "axis": "frequency"},
    "pool_both": {"method": "pool", "axis": "both"},
    "patchout_frequency": {"method": "patchout", "axis": "frequency"},
    "patchout_both": {"method": "patchout", "axis": "both"},
    "local_time": {"method": "local", "window": "time", "time": 1},
    "local_frequency": {"method": "local", "window": "frequency", "frequency": 0},
    "pitome_concat": {"method": "pitome", "metric": "values", "heads": "concat"},
    "tofu_size": {"method": "tofu", "combine": "size"},
    **{f"tome_{way}": {"method": "tome", "partition": way} for way in ("sequential", "random", "time", "frequency")},
}
SCHEDULE = "list:7,11,5"


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def reduction(request: pytest.FixtureRequest, small_geometry) -> TokenReduction:
    options = needed(request.param["method"], small_geometry.encoder)
    return TokenReduction.from_dict({"schedule": SCHEDULE, **request.param, **options})


def test_the_engine_gives_the_plain_logits(small_model, small_fbank, reduction) -> None:
    model, fbank = small_model.double(), small_fbank.double()
    with reduce(model, reduction, attention="math"), torch.no_grad():
        plain = model(fbank)
    attached = AttachedReduction.of(reduction, model.encoder)
    weights = pack(model, dtype=torch.float64, device=torch.device("cpu"))
    trace = MergeTrace()
    with torch.no_grad():
        engine = PackedForward(weights, attached, reference_kernels())(fbank, trace)
    torch.testing.assert_close(engine, plain, rtol=1e-10, atol=1e-10)
    assert trace.tokens_per_block == [63, 52]  # of the last block, the head's tokens alone


def test_clips_do_not_see_each_other(small_model, small_fbank, reduction) -> None:
    model, fbank = small_model.double(), small_fbank.double()
    with reduce(model, reduction, attention="math"), torch.no_grad():
        together, turned = model(fbank), model(fbank.flip(0)).flip(0)
        alone = torch.cat([model(fbank[:1]), model(fbank[1:])])
    torch.testing.assert_close(alone, together, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(turned, together, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("combine", [None, "size", "mean", "norm", "keep"])
def test_gradients_are_those_of_small_steps(small_model, small_fbank, reduction, combine, monkeypatch) -> None:
    """Against central differences along a direction of all weights and of the sound, with the choices of the start."""
    if combine is not None:
        try:
            reduction = dataclasses.replace(reduction, combine=combine)
        except ReductionError:
            pytest.skip(f"{reduction.method} takes no combine={combine}")
    model = small_model.double()
    given = [*model.parameters(), small_fbank.double().requires_grad_()]
    steps = [torch.randn_like(one) for one in given]

    def moved(by: float) -> torch.Tensor:
        with torch.no_grad():
            for one, step in zip(given, steps, strict=True):
                one.add_(step, alpha=by)
        return model(given[-1]).sin().sum()

    made: dict[int, MergePlan] = {}
    choose = AttachedReduction.choose

    def chosen_once(self: AttachedReduction, tokens: BlockTokens, r: int) -> MergePlan:
        if tokens.block not in made:
            made[tokens.block] = choose(self, tokens, r)
        return made[tokens.block]

    monkeypatch.setattr(AttachedReduction, "choose", chosen_once)
    with reduce(model, reduction, attention="mask"):
        gradients = torch.autograd.grad(moved(0.0), given)
        with torch.no_grad():
            slope = (moved(1e-6) - moved(-2e-6)) / 2e-6
    found = sum((gradient * step).sum() for gradient, step in zip(gradients, steps, strict=True))
    torch.testing.assert_close(found, slope, rtol=1e-5, atol=1e-6)


def test_choosing_costs_what_torch_counts(small_geometry, reduction) -> None:
    with torch.device("meta"):
        model = AudioSpectrogramTransformer(small_geometry).eval()
        fbank = torch.empty(1, small_geometry.num_frames, small_geometry.num_mel_bins)
    with reduce(model, reduction, attention="math"), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(fbank)
    assert counter.get_total_flops() == 2 * model_macs(small_geometry, reduction)


def test_a_reduction_travels_as_plain_values(reduction) -> None:
    assert TokenReduction.from_dict(reduction.to_dict()) == reduction


@pytest.mark.slow
@pytest.mark.parametrize("method", method_names())
def test_shapes_and_choices_survive_export(small_model, small_fbank, method) -> None:
    options = needed(method, small_model.encoder)
    reduction = TokenReduction(schedule=PerBlock((7, 11, 5)), method=method, options=options)
    small_model.requires_grad_(False)
    with reduce(small_model, reduction, attention="math"):
        program = torch.export.export(small_model, (small_fbank,), strict=False)
        other = torch.randn(small_fbank.shape, generator=torch.Generator().manual_seed(7))
        torch.testing.assert_close(program.module()(other), small_model(other), rtol=1e-4, atol=1e-5)
