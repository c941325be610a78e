"""What `fastast.compile` promises: the model's logits on kernels, in plain torch where they cannot run, and said so."""

from __future__ import annotations

import copy
import dataclasses
import warnings

import pytest
import torch
import torch.nn.functional as F

import fastast
from fastast.engine import Engine, EngineFallbackWarning
from fastast.engine.kernel_table import reference_kernels
from fastast.hosts import reduce
from fastast.kernels import available
from fastast.reduction import ReductionError, TokenReduction, get_method, method_names
from fastast.reduction.registry import METHODS
from fastast.schedule import Constant, PerBlock
from tests.fastast.merge_weights import needed

CPU = torch.device("cpu")
REDUCTIONS = {
    "unmerged": None,
    "tome": TokenReduction(schedule=PerBlock((4, 3, 2))),
    "unweighted": TokenReduction(schedule=PerBlock((4, 3, 2)), proportional=False),
    "slice": TokenReduction(schedule=PerBlock((4, 3, 2)), method="slice", proportional=False),
}


def expected(model, fbank, reduction):
    twin = copy.deepcopy(model).double()
    with torch.no_grad():
        if reduction is None:
            return twin(fbank.double())
        with reduce(twin, reduction, attention="math"):
            return twin(fbank.double())


@pytest.mark.parametrize("reduction", REDUCTIONS.values(), ids=REDUCTIONS)
def test_kernels_give_the_models_logits(tiny_model, tiny_fbank, reduction, device) -> None:
    engine = fastast.compile(tiny_model, reduction, device=device)
    assert engine.path == "triton"
    assert engine.why_plain == ""
    assert engine.kernels["weighted_attention"] == engine.kernels["merge_norm"] == "triton"
    logits = engine(tiny_fbank)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(
        logits.double().cpu(), expected(tiny_model, tiny_fbank, reduction), rtol=2e-5, atol=2e-5
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kernels_in_half_precision(tiny_model, tiny_fbank, dtype, device) -> None:
    engine = fastast.compile(tiny_model, device=device, dtype=dtype)
    assert engine.path == "triton"
    assert set(engine.kernels.values()) == {"triton"}
    logits = engine(tiny_fbank)
    assert logits.dtype == dtype
    similar = F.cosine_similarity(logits.double().cpu(), expected(tiny_model, tiny_fbank, None), dim=-1)
    assert similar.min() > 0.999


@pytest.mark.slow
def test_the_last_block_reads_all_keys_after_merging_under_kernels(tiny_model, tiny_fbank, device) -> None:
    reduction = TokenReduction(schedule=PerBlock((4, 3, 2)), num_protected=1)
    logits = fastast.compile(tiny_model, reduction, device=device)(tiny_fbank)
    torch.testing.assert_close(
        logits.double().cpu(), expected(tiny_model, tiny_fbank, reduction), rtol=2e-5, atol=2e-5
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_callers_autocast_changes_nothing(tiny_model, tiny_fbank, dtype) -> None:
    engine = Engine(
        tiny_model,
        REDUCTIONS["tome"],
        dtype=dtype,
        device=CPU,
        batch_sizes=(),
        kernels=reference_kernels(),
        why_plain="",
    )
    expected, tokens = engine(tiny_fbank), engine.measure_tokens(tiny_fbank)
    with torch.autocast("cpu", torch.bfloat16):
        logits = engine(tiny_fbank)
        assert engine.measure_tokens(tiny_fbank) == tokens
    assert logits.dtype == dtype
    assert torch.equal(logits, expected)


@pytest.mark.skipif(available(CPU), reason="TRITON_INTERPRET=1 is set: nothing falls back")
class TestFallback:
    @pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")
    @pytest.mark.parametrize("method", method_names())
    def test_every_method_gives_the_models_own_logits(self, tiny_model, tiny_fbank, method) -> None:
        reduction = TokenReduction(schedule=Constant(3), method=method, options=needed(method, tiny_model.encoder))
        engine = fastast.compile(tiny_model, reduction)
        assert engine.path == "plain"
        assert engine.kernels == {"attention": "mask"}
        with reduce(tiny_model, reduction), torch.no_grad():
            assert torch.equal(engine(tiny_fbank), tiny_model(tiny_fbank))

    def test_it_says_so_once_and_why(self, tiny_model, monkeypatch) -> None:
        with pytest.warns(EngineFallbackWarning, match="no code for a cpu device.*plain torch"):
            engine = fastast.compile(tiny_model)
        assert "cpu" in engine.why_plain
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert fastast.compile(tiny_model).path == "plain"
        monkeypatch.setitem(
            METHODS._entries, "host", dataclasses.replace(get_method("tome"), name="host", cannot="it asks the host")
        )
        with pytest.warns(EngineFallbackWarning, match="cannot reduce by 'host': it asks the host"):
            fastast.compile(tiny_model, TokenReduction(schedule=Constant(3), method="host"))

    @pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")
    def test_it_works_inside_and_outside_of_inference_mode(self, tiny_model, tiny_fbank) -> None:
        with torch.inference_mode():
            engine = fastast.compile(tiny_model)
            inside = engine(tiny_fbank)
        assert torch.equal(engine(tiny_fbank), inside)

    @pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")
    def test_the_model_stays_as_it_is_and_the_engine_too(self, tiny_model, tiny_fbank) -> None:
        engine = fastast.compile(tiny_model, TokenReduction(schedule=Constant(3)), dtype=torch.float64)
        before = engine(tiny_fbank)
        assert tiny_model.attached is None
        assert next(tiny_model.parameters()).dtype == torch.float32
        assert next(tiny_model.parameters()).requires_grad
        with torch.no_grad():
            tiny_model.head.linear.bias.add_(1.0)
        assert torch.equal(engine(tiny_fbank), before)

    @pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")
    def test_the_attached_reduction_is_compiled_in(self, tiny_model, tiny_fbank) -> None:
        reduction = TokenReduction(schedule=Constant(3))
        with reduce(tiny_model, reduction, attention="value_fold"):
            engine = fastast.compile(tiny_model, batch_size=(2, 4))
            with torch.no_grad():
                merged = tiny_model(tiny_fbank)
        assert engine.reduction == reduction
        assert engine.tokens_per_block == (17, 14, 11)
        assert engine.kernels == {"attention": "value_fold"}
        assert engine.batch_sizes == ()  # no graphs on a CPU
        assert repr(engine) == "Engine(tome constant:3, plain, float32 on cpu)"
        assert torch.equal(engine(tiny_fbank), merged)

    @pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")
    @pytest.mark.parametrize("shape", [(96, 32), (1, 95, 32), (0, 96, 32), (1, 32, 96)])
    def test_another_shape_is_refused(self, tiny_model, shape) -> None:
        with pytest.raises(ValueError, match=r"takes \(batch, 96 frames, 32 mel bins\)"):
            fastast.compile(tiny_model)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": (1, 2.0)}, "batch_size is"),
        ({"dtype": torch.int8}, "dtype is torch.int8"),
        ({"reduction": TokenReduction(schedule=Constant(9))}, "block 2 of 3"),
    ],
)
def test_what_is_impossible_is_refused(tiny_model, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        fastast.compile(tiny_model, **options)


def test_a_model_in_training_is_refused(tiny_model) -> None:
    tiny_model.blocks[1].train()
    with pytest.raises(ValueError, match=r"model.eval\(\)"):
        fastast.compile(tiny_model)


def test_two_reductions_are_refused(tiny_model) -> None:
    reduction = TokenReduction(schedule=Constant(3))
    with reduce(tiny_model, reduction), pytest.raises(ReductionError, match="reduced already"):
        fastast.compile(tiny_model, reduction)


def test_references_are_told_from_kernels() -> None:
    assert set(reference_kernels().names.values()) == {"torch"}
