"""timm's vision transformers: what is honoured, what is refused, and that merged logits are FastAST's own."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import timm
import torch
from small_hosts import GEOMETRY, shaken
from timm.layers import SwiGLUPacked
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import (
    Block,
    ParallelScalingBlock,
    ParallelThingsBlock,
    ResPostBlock,
    VisionTransformer,
)
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import nn

import fastast
from fastast import Constant, PerBlock, ReductionError, TokenReduction
from fastast.hosts import adapter_of
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergeTrace, source_sizes

NOTHING = TokenReduction(schedule=Constant(0))
MERGE = TokenReduction(schedule=PerBlock((9, 7, 5)))

HONOURED = {
    "plain": {},
    "distilled": {"distilled": True},
    "four register tokens": {"reg_tokens": 4},
    "average": {"global_pool": "avg"},
    "average, norm before it": {"global_pool": "avg", "fc_norm": False},
    "average with prefix": {"global_pool": "avg", "pool_include_prefix": True},
    "average, no class token": {"global_pool": "avg", "class_token": False},
    "map": {"global_pool": "map", "class_token": False},
    "map with prefix": {"global_pool": "map", "pool_include_prefix": True},
    "layer scale": {"init_values": 0.3},
    "norms of queries and keys": {"qk_norm": True},
    "norm of attention": {"scale_attn_norm": True},
    "norm of MLP": {"scale_mlp_norm": True},
    "deit3": {"no_embed_class": True, "init_values": 1e-6},
    "norm before the blocks": {"pre_norm": True},
    "norm behind the pool": {"fc_norm": True},
    "no position embedding": {"pos_embed": "none"},
    "any size": {"dynamic_img_size": True},
    "gated MLP": {"mlp_layer": SwiGLUPacked},
    "no biases": {"qkv_bias": False, "proj_bias": False},
    "no classes": {"num_classes": 0},
}


@pytest.mark.parametrize("settings", HONOURED.values(), ids=HONOURED)
@pytest.mark.parametrize("fused", [True, False])
def test_at_r_zero_logits_are_timms(vit, picture, settings, fused) -> None:
    model = vit(**settings)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    with torch.no_grad():
        own = model(picture)
        with fastast.reduce(model, NOTHING):
            torch.testing.assert_close(model(picture), own, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(model.forward_head(model.forward_features(picture)), own, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("settings", HONOURED.values(), ids=HONOURED)
def test_merging_equal_tokens_changes_no_logit(vit, settings) -> None:
    """Two columns of patches alike: every token merges with its equal, and its size makes up for it."""
    model = vit(**(settings | {"img_size": (64, 32), "depth": 2})).double()
    with torch.no_grad():
        if model.pos_embed is not None:
            model.pos_embed[:, -8:] = torch.randn(1, 4, 1, 32, dtype=torch.float64).expand(-1, -1, 2, -1).flatten(1, 2)
        pictures = torch.randn(2, 1, 64, 16, dtype=torch.float64).repeat(1, 1, 1, 2)
        own = model(pictures)
        with fastast.reduce(model, TokenReduction(schedule=PerBlock((4, 0)))) as handle:
            assert handle.tokens_per_block[-1] == adapter_of(model).encoder.num_tokens - 4
            torch.testing.assert_close(model(pictures), own, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("stride", [16, 10])
def test_merged_logits_are_fastasts_own(vit, fbank, picture, stride) -> None:
    """At stride 10 patches overlap, as in the AST that is assembled from timm's parts."""
    native = shaken(AudioSpectrogramTransformer(dataclasses.replace(GEOMETRY, fstride=stride, tstride=stride)))
    model = vit(distilled=True, num_classes=0)  # without classes, the mean of both tokens
    if stride != 16:
        model.patch_embed.proj = nn.Conv2d(1, 32, 16, stride)
        model.pos_embed = nn.Parameter(torch.empty_like(native.pos_embed))
    theirs = native.state_dict()
    model.load_state_dict({name: theirs[name] for name in model.state_dict()}, strict=True)
    with torch.no_grad(), fastast.reduce(native, MERGE), fastast.reduce(model, MERGE) as handle:
        assert handle.tokens_per_block == MERGE.tokens_per_block(native.geometry)
        torch.testing.assert_close(native.head(model(picture)), native(fbank), atol=1e-5, rtol=1e-5)
        merged = model(picture)
    assert (model(picture) - merged).abs().max() > 1e-3


@pytest.mark.parametrize("pool", ["avg", "map"])
@pytest.mark.parametrize("with_prefix", [True, False])
def test_pooling_counts_every_original_token(vit, picture, pool, with_prefix) -> None:
    """As if every merged token stood there as often as it has members, for timm's own pooling."""
    model = vit(global_pool=pool, pool_include_prefix=with_prefix, reg_tokens=1)
    with torch.no_grad(), fastast.reduce(model, MERGE):
        host = adapter_of(model)
        tokens, size = host.encode(host.embed(picture[:1]))
        spread = model.norm(tokens).repeat_interleave(size[0].long(), dim=1)
        assert spread.shape[1] == 50
        merged = model(picture[:1])
    pooled = model.pool(spread)
    torch.testing.assert_close(merged, model.head(model.fc_norm(pooled)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", ["avg", "map"])
def test_pooling_without_sizes_is_what_timm_does_with_the_tokens_that_are_left(vit, picture, pool) -> None:
    model = vit(global_pool=pool, class_token=pool == "avg")
    plain = dataclasses.replace(MERGE, weighted_pooling=False)
    with torch.no_grad(), fastast.reduce(model, MERGE):
        host = adapter_of(model)
        tokens, size = host.encode(host.embed(picture))
        weighted = model(picture)
    assert size is not None
    with torch.no_grad(), fastast.reduce(model, plain):
        assert adapter_of(model).encode(host.embed(picture))[1] is None
        merged = model(picture)
    expected = model.head(model.fc_norm(model.pool(model.norm(tokens))))
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=1e-5)
    assert (merged - weighted).abs().max() > 1e-4


def test_a_head_that_pools_nothing_takes_no_pooling(vit, native) -> None:
    plain = dataclasses.replace(MERGE, weighted_pooling=False)
    for model, token in ((vit(), "class token"), (native, "prefix tokens")):
        with pytest.raises(
            ReductionError, match=f"weighted_pooling is False, but the head reads the {token} and pools"
        ):
            fastast.reduce(model, plain)


@pytest.mark.parametrize(("settings", "prefix"), [({"reg_tokens": 4}, 5), ({"distilled": True}, 2), ({}, 1)])
def test_prefix_tokens_stay_alone(vit, picture, settings, prefix) -> None:
    model, trace = vit(**settings), MergeTrace()
    with torch.no_grad(), fastast.reduce(model, TokenReduction(schedule=Constant(10))):
        host = adapter_of(model)
        host.encode(host.embed(picture), trace=trace)
    source = trace.source[-1]
    assert source[:, :prefix].tolist() == [list(range(prefix))] * 2
    assert source_sizes(source, trace.tokens_per_block[-1])[:, :prefix].eq(1).all()


def test_features_before_and_behind_a_forward_are_the_same(vit, picture) -> None:
    model = vit()
    with torch.no_grad(), fastast.reduce(model, MERGE):
        first = model.forward_features(picture)
        out = model(picture)
        assert first.shape == (2, 28, 32)
        assert torch.equal(model.forward_features(picture), first)
        assert torch.equal(model.forward_head(first), out)


REFUSED = {
    "relative positions": (
        partial(VisionTransformerRelPos, img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2),
        r"VisionTransformerRelPos of timm .* blocks\.0 \(RelPosBlock\): relative positions",
    ),
    "rotary positions": (
        partial(Eva, img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2, use_rot_pos_emb=True),
        r"Eva of timm .* rope \(RotaryEmbeddingCat\): rotary positions",
    ),
    "relative position bias": (
        partial(Beit, img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2, use_rel_pos_bias=True),
        r"Beit of timm .* blocks\.0\.attn\.relative_position_bias_table: relative positions",
    ),
    "another family": (
        partial(timm.models.mlp_mixer.MlpMixer, img_size=32, embed_dim=32, num_blocks=1),
        "MlpMixer of timm cannot be honoured: FastAST knows VisionTransformer",
    ),
    "parallel blocks": ({"block_fn": ParallelThingsBlock}, r"blocks\.0 \(ParallelThingsBlock\): attention and MLP run"),
    "fused parallel blocks": ({"block_fn": ParallelScalingBlock}, r"blocks\.0 \(ParallelScalingBlock\): attention and"),
    "norms behind": ({"block_fn": ResPostBlock}, r"blocks\.0 \(ResPostBlock\): its norms come after"),
    "differential attention": ({"attn_layer": "diff"}, r"blocks\.0\.attn \(DiffAttention\): differential attention"),
    "patch dropout": ({"patch_drop_rate": 0.5}, "patch_drop .PatchDropout. changes the number of tokens"),
    "largest of all": ({"global_pool": "max"}, "global_pool is 'max'; supported are 'token', 'avg', 'map'"),
    "largest and mean": ({"global_pool": "avgmax"}, "global_pool is 'avgmax'"),
    "no pooling": ({"global_pool": ""}, "global_pool is ''"),
    "refining pool": ({"global_pool": "prr"}, "global_pool is 'prr'"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_honoured_is_refused_by_its_name(vit, make, message) -> None:
    model = vit(**make) if isinstance(make, dict) else make()
    before = type(model)
    with pytest.raises(ReductionError, match=message):
        fastast.reduce(model, NOTHING)
    assert type(model) is before


def test_a_gate_behind_attention_is_refused_by_its_name(vit) -> None:
    model = vit()
    model.blocks[1].attn.gate = nn.Linear(32, 32)
    with pytest.raises(ReductionError, match=r"blocks\.1\.attn\.gate \(Linear\) gates"):
        fastast.reduce(model, NOTHING)


class GatedBlock(Block):
    """A user's block with a part that the adapter does not know."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.extra = nn.Linear(32, 32)

    def forward(self, x, **masks):
        return super().forward(x, **masks) + self.extra(x)


class LouderBlock(Block):
    """A user's block that differs without a part of its own."""

    def forward(self, x, **masks):
        return super().forward(x, **masks) * 1.5


class MyTransformer(VisionTransformer):
    """A user's model that reads its features otherwise."""

    def forward_features(self, x, **masks):
        return super().forward_features(x, **masks).flip(1)


class MyHead(VisionTransformer):
    """A user's model with a head of its own, on timm's features."""

    def forward_head(self, x, pre_logits=False):
        return super().forward_head(x, pre_logits=pre_logits) * 2


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            None,
            {"block_fn": GatedBlock},
            r"blocks\.0\.extra \(Linear\) cannot be honoured: the block's adapter never calls",
        ),
        (
            None,
            {"block_fn": LouderBlock},
            r"blocks\.0 \(LouderBlock\) cannot be honoured: at r = 0 its tokens",
        ),
        (MyTransformer, {}, r"MyTransformer\.forward_features cannot be honoured: at r = 0 the outputs differ"),
        (MyHead, {"global_pool": "avg"}, r"MyHead\.forward_head cannot be honoured"),
    ],
)
def test_a_users_class_that_differs_is_refused_with_what_differs(vit, picture, kind, settings, message) -> None:
    model = vit(kind, **settings)
    own = model(picture)
    with pytest.raises(ReductionError, match=message):
        fastast.reduce(model, MERGE)
    assert torch.equal(model(picture), own)
    assert adapter_of(model).attached is None


def test_a_users_head_on_the_class_token_is_honoured(vit, picture) -> None:
    model = vit(MyHead)
    with torch.no_grad(), fastast.reduce(model, MERGE):
        plain = VisionTransformer.forward_head(model, model.forward_features(picture))
        torch.testing.assert_close(model(picture), 2 * plain)


def test_calls_that_fit_no_merged_token_are_refused(vit, picture) -> None:
    model = vit(global_pool="avg")
    with fastast.reduce(model, MERGE):
        features = model.forward_features(picture)
        for call, message in (
            (lambda: model(picture, attn_mask=torch.ones(49, 49)), "attn_mask"),
            (lambda: model(picture, is_causal=True), "is_causal"),
            (lambda: model.forward_intermediates(picture), "merged tokens do not form a map"),
            (lambda: model.get_intermediate_layers(picture), "merged tokens do not form a map"),
            (lambda: model.forward_head(features), "forward_head pools tokens but cannot know the sizes"),
            (lambda: model.pool(features), "pool pools tokens"),
        ):
            with pytest.raises(ReductionError, match=message):
                call()
        assert torch.equal(model.pool(features, "token"), features[:, 0])
    on_class_token = vit()
    with fastast.reduce(on_class_token, MERGE), pytest.raises(ReductionError, match="pool pools tokens"):
        on_class_token.pool(features, "avg")
    assert model(picture).shape == (2, 5)
    assert len(model.get_intermediate_layers(picture)) == 1


@pytest.mark.parametrize("turned", [False, True])
def test_pictures_of_another_size_are_refused_rather_than_merged_by_the_wrong_numbers(vit, picture, turned) -> None:
    """Turned pictures have as many patches, but on another grid, which methods look at."""
    model = vit(dynamic_img_size=True)
    other = picture.transpose(2, 3) if turned else torch.cat([picture, picture], 3)
    assert model(other).shape == (2, 5)
    has = "12 by 4" if turned else "4 by 24"
    with fastast.reduce(model, MERGE), pytest.raises(ReductionError, match=f"4 by 12 patches, but these have {has}"):
        model(other)
    model.set_input_size(other.shape[2:])
    with fastast.reduce(model, MERGE):
        assert model(other).shape == (2, 5)


def test_a_picture_that_the_model_pads_has_a_patch_for_the_rest(vit, picture) -> None:
    model, cut = vit(img_size=(60, 190), dynamic_img_size=True, dynamic_img_pad=True), picture[..., :60, :190]
    own = model(cut)
    with fastast.reduce(model, NOTHING) as handle:
        assert handle.tokens_per_block == (49, 49, 49)  # 60 / 16 and 190 / 16, rounded up: 4 by 12, and the class token
        torch.testing.assert_close(model(cut), own, atol=1e-5, rtol=1e-5)


def test_dropout_and_stochastic_depth_stay_those_of_the_host(vit, picture) -> None:
    model = vit(drop_path_rate=0.3, proj_drop_rate=0.2, attn_drop_rate=0.2, drop_rate=0.2, pos_drop_rate=0.1).train()
    torch.manual_seed(5)
    own = model(picture)
    with fastast.reduce(model, NOTHING):
        assert model.training
        assert model.blocks[2].drop_path1.training
        torch.manual_seed(5)
        torch.testing.assert_close(model(picture), own, atol=1e-5, rtol=1e-5)


def test_the_encoder_is_what_the_model_says(vit) -> None:
    encoder = adapter_of(vit(reg_tokens=3, global_pool="avg")).encoder
    assert (encoder.num_prefix_tokens, encoder.grid, encoder.reads, encoder.mlp_dim) == (4, (4, 12), "average", 64)
    assert adapter_of(vit(distilled=True)).encoder.reads == "prefix"
    assert adapter_of(vit(global_pool="map")).encoder.reads == "map"
    gated = vit(mlp_layer=SwiGLUPacked)
    weights = sum(p.numel() for name, p in gated.blocks[0].mlp.named_parameters() if name.endswith("weight"))
    assert adapter_of(gated).encoder.mlp_dim * 2 * 32 == weights


def test_a_published_architecture_takes_a_reduction() -> None:
    model = shaken(timm.create_model("deit_tiny_distilled_patch16_224", depth=2), by=0.02)
    pictures = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        own = model(pictures)
        with fastast.reduce(model, TokenReduction(schedule=Constant(16))) as handle:
            assert handle.tokens_per_block == (182, 166)
            assert (model(pictures) - own).abs().max() > 1e-4
        assert torch.equal(model(pictures), own)
