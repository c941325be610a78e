"""Hugging Face's AST: its own logits at r = 0, FastAST's at r > 0, in place and in a pipeline."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_hosts import GEOMETRY, logits
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import fastast
from fastast import Constant, PerBlock, ReductionError, TokenReduction
from fastast.checkpoints.layouts import recognise
from fastast.hosts import adapter_of
from fastast.reduction import MergeTrace, method_names
from tests.fastast.merge_weights import needed

pytest.importorskip("transformers")
pytestmark = pytest.mark.oracle

NOTHING = TokenReduction(schedule=Constant(0))
MERGE = TokenReduction(schedule=PerBlock((9, 7, 5)))


def with_weights_of(native: Any, theirs: Any) -> Any:
    """Load FastAST's weights under the names that this version of transformers has in memory."""
    layout = recognise(Path("transformers"), theirs.state_dict())
    state: dict[str, Tensor] = {}
    for name, tensor in native.state_dict().items():
        keys = layout.keys(name)
        state |= dict(zip(keys, torch.chunk(tensor, len(keys)), strict=True))
    theirs.load_state_dict(state, strict=True)
    return theirs


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("settings", [{}, {"qkv_bias": False}, {"hidden_act": "relu"}, {"layer_norm_eps": 1e-3}])
def test_at_r_zero_every_output_is_theirs(hugging_face, fbank, attention, settings) -> None:
    model = hugging_face(**settings)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        own = model(fbank, output_hidden_states=True)
        tokens = model.audio_spectrogram_transformer(fbank)
        with fastast.reduce(model, NOTHING):
            out = model(fbank, output_hidden_states=True)
            for expected, got in zip((own.logits, *own.hidden_states), (out.logits, *out.hidden_states), strict=True):
                torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
            inside = model.audio_spectrogram_transformer(fbank)
            assert type(inside) is type(tokens)
            for name in ("last_hidden_state", "pooler_output"):
                torch.testing.assert_close(inside[name], tokens[name], atol=1e-5, rtol=1e-5)
        assert torch.equal(model(fbank).logits, own.logits)


REDUCTIONS = {name: {"method": name, "options": needed(name, GEOMETRY.encoder)} for name in method_names()} | {
    "unweighted": {"proportional": False},
    "norm-preserving": {"combine": "norm"},
    "nothing protected": {"num_protected": 0},
}


@pytest.mark.parametrize("settings", REDUCTIONS.values(), ids=REDUCTIONS)
def test_merged_logits_are_fastasts_own(native, hugging_face, fbank, settings) -> None:
    model = with_weights_of(native, hugging_face())
    reduction = TokenReduction(**({"schedule": PerBlock((9, 7, 5))} | settings))
    with torch.no_grad():
        torch.testing.assert_close(model(fbank).logits, native(fbank), atol=1e-5, rtol=1e-5)
        with fastast.reduce(native, reduction), fastast.reduce(model, reduction) as handle:
            assert handle.tokens_per_block == (41, 34, 29)
            torch.testing.assert_close(model(fbank).logits, native(fbank), atol=1e-5, rtol=1e-5)
        with fastast.reduce(native, reduction):
            assert (model(fbank).logits - native(fbank)).abs().max() > 1e-4


def test_the_plain_model_takes_a_reduction_too(hugging_face, fbank) -> None:
    model = hugging_face("ASTModel")
    with torch.no_grad(), fastast.reduce(model, MERGE):
        out = model(fbank)
        assert out.last_hidden_state.shape == (2, 29, 32)
        torch.testing.assert_close(out.pooler_output, out.last_hidden_state[:, :2].mean(1))
        assert [tuple(t.shape) for t in model(fbank, return_dict=False)] == [(2, 29, 32), (2, 32)]
        assert model(input_values=fbank).last_hidden_state.shape == (2, 29, 32)
    assert model(fbank).last_hidden_state.shape == (2, 50, 32)


def test_hidden_states_shrink_with_the_tokens(hugging_face, fbank) -> None:
    model = hugging_face()
    with torch.no_grad(), fastast.reduce(model, MERGE):
        states = model(fbank, output_hidden_states=True).hidden_states
        assert [state.shape[1] for state in states] == [50, 41, 34, 29]
        model.config.output_hidden_states = True
        assert len(model(fbank).hidden_states) == 4


def test_hidden_states_are_of_the_whole_batch_where_clips_merge_by_a_threshold(hugging_face) -> None:
    model = hugging_face()
    alike = torch.randn(1, 1, 64).expand(2, 192, 64)  # merges all it may, and noise next to nothing
    clips = torch.cat([alike, torch.randn(6, 192, 64)])
    reduction = fastast.TokenReduction(schedule=fastast.Constant(12), threshold=0.9, excess="cap")
    with torch.no_grad(), fastast.reduce(model, reduction):
        states = model(clips, output_hidden_states=True).hidden_states
    assert [len(state) for state in states] == [8] * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_attentions": True}, "output_attentions asks for attention of merged tokens"),
        ({"head_mask": torch.ones(3, 2)}, "head_mask asks for a mask over heads"),
        ({"attention_mask": torch.ones(2, 50)}, "attention_mask asks for a mask over the input tokens"),
        ({"is_causal": True}, "is_causal asks for causal attention"),
        ({"output_hidden_states": [0, -1]}, r"output_hidden_states is \[0, -1\]; under a reduction give True or False"),
    ],
)
def test_what_fits_no_merged_token_is_refused(hugging_face, fbank, arguments, message) -> None:
    model = hugging_face("ASTModel")
    with fastast.reduce(model, MERGE), pytest.raises(ReductionError, match=message):
        model(fbank, **arguments)


def test_a_mask_by_position_and_no_input_are_refused(hugging_face, fbank) -> None:
    model = hugging_face("ASTModel")
    with fastast.reduce(model, MERGE):
        with pytest.raises(ReductionError, match="got a mask, which does not fit merged tokens"):
            model(fbank, torch.ones(2, 50))
        with pytest.raises(ValueError, match="needs input_values"):
            model()


def test_a_configuration_that_asks_for_attention_is_refused_before_anything_is_attached(hugging_face) -> None:
    model = hugging_face()
    model.set_attn_implementation("eager")
    model.config.output_attentions = True
    with pytest.raises(ReductionError, match="output_attentions asks for"):
        fastast.reduce(model, MERGE)
    assert adapter_of(model).attached is None


def test_a_pipeline_runs_the_reduction(hugging_face) -> None:
    from transformers import ASTFeatureExtractor, pipeline

    model = hugging_face()
    extractor = ASTFeatureExtractor(num_mel_bins=64, max_length=192)
    classify = pipeline("audio-classification", model=model, feature_extractor=extractor)
    wave = np.random.default_rng(0).standard_normal(20_000).astype(np.float32) * 0.1
    plain = classify(wave)
    with fastast.reduce(classify.model, MERGE):
        merged = classify(wave)
    features = extractor(wave, sampling_rate=16_000, return_tensors="pt")["input_values"]
    with torch.no_grad(), fastast.reduce(model, MERGE):
        scores = model(features).logits[0].softmax(-1)
    assert [entry["score"] for entry in merged] == pytest.approx(scores.sort(descending=True).values.tolist(), abs=1e-6)
    assert [entry["score"] for entry in plain] != pytest.approx([entry["score"] for entry in merged], abs=1e-5)
    assert classify(wave) == plain


def test_labels_give_the_loss_of_merged_logits(hugging_face, fbank) -> None:
    model = hugging_face(problem_type="single_label_classification")
    labels = torch.tensor([1, 4])
    with torch.no_grad(), fastast.reduce(model, MERGE):
        out = model(fbank, labels=labels)
        torch.testing.assert_close(out.loss, nn.functional.cross_entropy(out.logits, labels))


def test_a_reduced_model_saves_what_the_model_is(hugging_face, fbank, tmp_path: Path) -> None:
    model = hugging_face("ASTModel")
    own = model(fbank).last_hidden_state
    with fastast.reduce(model, MERGE):
        model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    assert loaded.config.architectures == ["ASTModel"]
    torch.testing.assert_close(loaded(fbank).last_hidden_state, own)


def test_dropout_stays_the_hosts(hugging_face, fbank) -> None:
    model = hugging_face(hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2).train()
    torch.manual_seed(3)
    own = model(fbank).logits
    with fastast.reduce(model, NOTHING):
        assert model.training
        torch.manual_seed(3)
        torch.testing.assert_close(model(fbank).logits, own, atol=1e-5, rtol=1e-5)


def test_tokens_are_traced_to_the_patches_they_come_from(hugging_face, fbank) -> None:
    model, trace = hugging_face(), MergeTrace()
    with torch.no_grad(), fastast.reduce(model, MERGE):
        host = adapter_of(model)
        host.encode(host.embed(fbank), trace=trace)
    assert trace.tokens_per_block == [41, 34, 29]
    assert trace.source[-1].shape == (2, GEOMETRY.num_tokens)


def test_another_model_of_the_library_is_refused() -> None:
    from transformers import ViTConfig, ViTModel

    model = ViTModel(ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32))
    with pytest.raises(ReductionError, match="ViTModel is not supported; of transformers, FastAST knows ASTModel"):
        fastast.reduce(model, MERGE)


def test_a_layer_of_a_user_that_differs_is_refused_by_its_name(hugging_face) -> None:
    model = hugging_face()
    layers = adapter_of(model).layer_modules
    layers[1].layernorm_after = nn.Sequential(layers[1].layernorm_after, nn.Dropout(0.0))
    fastast.reduce(model, NOTHING).remove()  # a part inside a part that is called is honoured

    class Scaled(type(layers[2])):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs) * 1.1

    layers[2].__class__ = Scaled
    with pytest.raises(ReductionError, match=r"audio_spectrogram_transformer\.\S*2 \(Scaled\) cannot be honoured"):
        fastast.reduce(model, NOTHING)


def test_merging_equal_tokens_changes_no_logit(hugging_face) -> None:
    """Every token merges with its equal in the first layer, and its size makes up for it in the second."""
    model = hugging_face(max_length=32, num_hidden_layers=2).double()
    positions = model.audio_spectrogram_transformer.embeddings.position_embeddings
    with torch.no_grad():
        positions[:, 2:] = torch.randn(1, 4, 1, 32, dtype=torch.float64).expand(-1, -1, 2, -1).flatten(1, 2)
        clips = torch.randn(2, 16, 64, dtype=torch.float64).repeat(1, 2, 1)
        own = logits(model(clips))
        with fastast.reduce(model, TokenReduction(schedule=PerBlock((4, 0)))):
            torch.testing.assert_close(logits(model(clips)), own, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_either_kind_of_checkpoint_gives_the_same_gradients(hugging_face, fbank, use_reentrant) -> None:
    model = hugging_face().train()
    gradients = []
    with fastast.reduce(model, MERGE):
        for on in (False, True):
            for layer in adapter_of(model).layer_modules:
                layer.gradient_checkpointing = on
                layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=use_reentrant)
            model.zero_grad()
            model(fbank).logits.pow(2).sum().backward()
            gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain)
