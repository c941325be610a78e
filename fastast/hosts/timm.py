"""Host of timm's `VisionTransformer` and DeiT's `VisionTransformerDistilled`.

Shapes: `b` batch, `n` tokens, `p` remaining tokens, `q` prefix tokens, `h` heads, `e` width of a head, `d` width.

Honoured: layer scale, norms of queries and keys, of attention and of MLP, register tokens, `no_embed_class`,
`pre_norm`, `fc_norm`, dropout and stochastic depth; heads that read the class token, the average or map pooling.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Attention, AttentionPoolLatent
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fastast.attention import proportional_attention
from fastast.encoder import EncoderShape, Reads
from fastast.hosts import timm_weights
from fastast.hosts.attachment import Attachment
from fastast.hosts.host import CheckpointedBlock, Host, HostBlock, weighted_mean
from fastast.hosts.layers import BlockLayers, EndLayers, linear_macs
from fastast.reduction import ReductionError
from fastast.reduction.forward.stages import HeadTensors

_POOLING: dict[str, Reads] = {"token": "class", "avg": "average", "map": "map"}
"""timm's `global_pool` -> what the head reads."""
_CANNOT = {
    "Rope": "rotary positions rotate queries and keys by their positions, which merging changes",
    "Rotary": "rotary positions rotate queries and keys by their positions, which merging changes",
    "RelPos": "relative positions weight pairs of positions, which merging changes",
    "RelativePosition": "relative positions weight pairs of positions, which merging changes",
    "Parallel": "attention and MLP run in parallel, so there is no point between them at which to reduce tokens",
    "ResPost": "its norms come after attention and MLP",
    "DiffAttention": "differential attention has two softmaxes, and sizes belong in one",
}
"""Parts of class names that mark what a reduction cannot honour, and why."""


class TimmBlock(HostBlock):
    """Adapter of timm's `Block`."""

    elsewhere = frozenset({"attn.attn_drop"})  # its rate goes to the attention kernel

    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> tuple[Tensor, HeadTensors]:
        """(b, n, d) -> what attention adds (b, n, d), and q, k, v (b, h, n, e), the first two after their norms."""
        block, attn = self.module, self.module.attn
        qkv = attn.qkv(block.norm1(x)).unflatten(-1, (3, attn.num_heads, -1))  # (b, n, 3, h, e)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (b, h, n, e) each
        q, k = attn.q_norm(q), attn.k_norm(k)
        dropout = attn.attn_drop.p if attn.training else 0.0
        out = proportional_attention(q, k, v, size, kernel=kernel, dropout=dropout)
        out = attn.norm(out.transpose(1, 2).flatten(2))  # (b, n, d)
        return block.drop_path1(block.ls1(attn.proj_drop(attn.proj(out)))), (q, k, v)

    def mlp_branch(self, x: Tensor) -> Tensor:
        """(b, n, d) -> what the MLP adds (b, n, d)."""
        block = self.module
        return block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


class TimmHost(Host):
    """Adapter of timm's vision transformers."""

    replaces = ("forward", "forward_features", "forward_head", "pool", "forward_intermediates")

    @property
    def reads(self) -> Reads:
        """What the head reads."""
        return "prefix" if isinstance(self.model, VisionTransformerDistilled) else _POOLING[self.model.global_pool]

    @property
    def encoder(self) -> EncoderShape:
        """The shape of the model's encoder; `grid` counts patches along the height and width of an image.

        `mlp_dim` is the hidden width of a plain MLP with as many weights as that of the first block.
        """
        model, grid = self.model, _grid(self.model.patch_embed)
        weights = sum(part.weight.numel() for part in model.blocks[0].mlp.modules() if isinstance(part, nn.Linear))
        return EncoderShape(
            embed_dim=model.embed_dim,
            depth=len(model.blocks),
            num_heads=model.blocks[0].attn.num_heads,
            mlp_dim=weights // (2 * model.embed_dim),
            num_prefix_tokens=model.num_prefix_tokens,
            grid=grid,
            reads=self.reads,
            pools_prefix=model.pool_include_prefix,
            outside_macs=linear_macs(model.patch_embed, grid[0] * grid[1])
            + sum(linear_macs(getattr(model, name, None)) for name in ("head", "head_dist"))
            + (_query_macs(model.attn_pool) if self.reads == "map" else 0),
            pooled_macs=_pooled_macs(model.attn_pool) if self.reads == "map" else 0,
        )

    def blocks(self) -> list[HostBlock]:
        """Return an adapter for every block, checkpointed where the model is."""
        blocks: list[HostBlock] = [TimmBlock(block) for block in self.model.blocks]
        return [CheckpointedBlock(block, _checkpoint) for block in blocks] if self.model.grad_checkpointing else blocks

    def example(self) -> tuple[Tensor, ...]:
        """Return a random image (1, channels, height, width)."""
        embed = self.model.patch_embed
        return (torch.randn(1, embed.proj.in_channels, *embed.img_size),)

    @property
    def fbank_shape(self) -> tuple[int, int]:
        """Numbers of frames and mel bins: an image's width is time, its height frequency."""
        height, width = self.model.patch_embed.img_size
        return width, height

    def logits(self, fbank: Tensor) -> Tensor:
        """Run the model on filterbanks (b, f, m), as images with one channel; return its logits."""
        logits: Tensor = self.model(fbank.transpose(1, 2).unsqueeze(1))
        return logits

    def tokens_of(self, fbank: Tensor) -> Tensor:
        """Return the tokens of filterbanks (b, f, m), as images with one channel."""
        return self.embed(fbank.transpose(1, 2).unsqueeze(1))

    def embed(self, x: Tensor) -> Tensor:
        """Return the tokens of images that enter the first block, (b, channels, height, width) -> (b, n, d)."""
        model = self.model
        patches = model.patch_embed(x)  # (b, n, d), or (b, height, width, d) of a model with dynamic_img_size
        if patches.ndim == 4:
            self._refuse_other_grid(*patches.shape[1:3])
        return model.norm_pre(model.patch_drop(model._pos_embed(patches)))

    def forward_features(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Return the remaining tokens of images after the last norm, (b, p, d)."""
        return self._features(x, attn_mask, is_causal)[0]

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Any:
        """Return for images what the model's own forward does, with pooling that weights tokens by their sizes."""
        model = self.model
        x, size = self._features(x, attn_mask, is_causal)  # (b, p, d), (b, p)
        if self.reads in ("class", "prefix"):
            return self.own("forward_head")(x)
        first = 0 if model.pool_include_prefix else model.num_prefix_tokens
        x, size = x[:, first:], None if size is None else size[:, first:]
        pooled = weighted_mean(x, size) if self.reads == "average" else _attention_pool(model.attn_pool, x, size)
        return model.head(model.head_drop(model.fc_norm(pooled)))  # (b, d) -> (b, classes)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Any:
        """Run the model's own. Raises ReductionError where it would pool merged tokens without their sizes."""
        self._refuse_pooling("forward_head", None)
        return self.own("forward_head")(x, pre_logits=pre_logits)

    def pool(self, x: Tensor, pool_type: str | None = None) -> Tensor:
        """Run the model's own. Raises ReductionError where it would pool merged tokens without their sizes."""
        self._refuse_pooling("pool", pool_type)
        return self.own("pool")(x, pool_type)

    def forward_intermediates(self, *args: Any, **kwargs: Any) -> Any:
        """Raise ReductionError: merged tokens do not form a map."""
        raise ReductionError(
            "hosts: forward_intermediates returns maps of patches, but merged tokens do not form a map; remove the "
            "reduction first"
        )

    def _features(self, x: Tensor, attn_mask: Tensor | None, is_causal: bool) -> tuple[Tensor, Tensor | None]:
        if attn_mask is not None or is_causal:
            raise ReductionError("hosts: attn_mask and is_causal do not fit merged tokens; remove the reduction first")
        x, size = self.encode(self.embed(x))
        return self.model.norm(x), size

    def _refuse_other_grid(self, height: int, width: int) -> None:
        """Raise ReductionError for patches on another grid than methods see, even if they are as many."""
        attachment = Attachment.of(self.model)
        if attachment is not None and attachment.encoder.grid != (height, width):
            rows, columns = attachment.encoder.grid
            raise ReductionError(
                f"hosts: the reduction is for pictures of {rows} by {columns} patches, but these have {height} by "
                f"{width}. Remove the reduction, call model.set_input_size with the size of these, and attach it again"
            )

    def _refuse_pooling(self, what: str, pool_type: str | None) -> None:
        attached = self.attached
        pools = self.model.attn_pool is not None or (pool_type or self.model.global_pool) != "token"
        if pools and attached is not None and any(attached.removals):
            raise ReductionError(
                f"hosts: {what} pools tokens but cannot know the sizes of merged ones; call the model itself (after "
                "model.reset_classifier(0), it returns the pooled output), or remove the reduction first"
            )

    def packable(self) -> str:
        """Return why the engine's kernels cannot use the weights, as a sentence; empty where they can."""
        return timm_weights.why_not_weights(self.model)

    def layers(self, block: int) -> BlockLayers:
        """Return a block's weights."""
        return timm_weights.block_layers(self.model.blocks[block])

    def ends(self) -> EndLayers:
        """Return the weights of embedding and head."""
        return timm_weights.end_layers(self.model)


def timm_host(model: nn.Module) -> TimmHost:
    """Return the adapter of one of timm's models.

    Raises ReductionError, naming the module that cannot be honoured, for any but a plain vision transformer.
    """
    reason = _why_not(model)
    if reason:
        raise ReductionError(f"hosts: {type(model).__qualname__} of timm cannot be honoured: {reason}")
    return TimmHost(model)


def _why_not(model: Any) -> str:
    """Name the part of a model that cannot be honoured; empty where there is none."""
    if not isinstance(model, VisionTransformer):
        return _culprit(model) or "FastAST knows VisionTransformer and VisionTransformerDistilled"
    for index, block in enumerate(model.blocks):
        name = f"blocks.{index}"
        if not isinstance(block, Block):
            return _culprit(model) or f"{name} ({type(block).__name__}) is not timm's Block"
        if not isinstance(block.attn, Attention):
            return _culprit(model) or f"{name}.attn ({type(block.attn).__name__}) is not timm's Attention"
        if getattr(block.attn, "gate", None) is not None:
            return f"{name}.attn.gate ({type(block.attn.gate).__name__}) gates the output of attention"
    if getattr(model.patch_drop, "prob", 0.0) > 0:
        return "patch_drop (PatchDropout) changes the number of tokens in training; set patch_drop_rate to 0"
    if isinstance(model, VisionTransformerDistilled):
        return ""
    if model.global_pool not in _POOLING:
        return f"global_pool is {model.global_pool!r}; supported are {', '.join(map(repr, _POOLING))}"
    if model.global_pool == "map" and not isinstance(model.attn_pool, AttentionPoolLatent):
        return f"attn_pool ({type(model.attn_pool).__name__}) is not timm's AttentionPoolLatent"
    if model.global_pool == "map" and model.attn_pool.pos_embed is not None:
        return "attn_pool.pos_embed adds the positions of tokens, which merging changes"
    return ""


def _culprit(model: nn.Module) -> str:
    """Name the first module or parameter inside a model that a reduction cannot honour, and why; empty without one."""
    for name, module in model.named_modules():
        for mark, reason in _CANNOT.items():
            if name and mark in type(module).__name__:
                return f"{name} ({type(module).__name__}): {reason}"
    for name, _ in model.named_parameters():
        if "rel_pos" in name or "relative_position" in name:
            return f"{name}: {_CANNOT['RelPos']}"
    return ""


def _grid(embed: Any) -> tuple[int, int]:
    """Return the number of patches along height and width, also where they overlap, as in an AST of timm's parts."""
    if getattr(embed, "dynamic_img_pad", False):
        return tuple(embed.dynamic_feat_size(embed.img_size))
    (height, width), (down, right) = embed.proj.kernel_size, embed.proj.stride
    if (height, width) == (down, right):
        return tuple(embed.grid_size)
    return ((embed.img_size[0] - height) // down + 1, (embed.img_size[1] - width) // right + 1)


def _query_macs(pool: Any) -> int:
    """Return the multiply-accumulates of `AttentionPoolLatent` for its latents: of all layers but `kv`."""
    return linear_macs(pool, pool.latent_len) - linear_macs(pool.kv, pool.latent_len)


def _pooled_macs(pool: Any) -> int:
    """Return those for each token that it pools: keys and values, and both attention products with every latent."""
    return linear_macs(pool.kv) + 2 * pool.latent_len * pool.kv.out_features // 2


def _attention_pool(pool: Any, x: Tensor, size: Tensor | None) -> Tensor:
    """Compute `AttentionPoolLatent` with tokens weighted by their sizes: (b, p, d), (b, p) or None -> (b, d)."""
    h = pool.num_heads
    q = pool.q(pool.latent.expand(x.shape[0], -1, -1)).unflatten(-1, (h, -1)).transpose(1, 2)  # (b, h, latents, e)
    k, v = pool.kv(x).unflatten(-1, (2, h, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # (b, h, p, e) each
    out = proportional_attention(pool.q_norm(q), pool.k_norm(k), v, size)
    out = pool.proj_drop(pool.proj(out.transpose(1, 2).flatten(2)))  # (b, latents, d)
    if pool.mlp is not None:
        out = out + pool.mlp(pool.norm(out))
    return out.mean(1) if pool.pool == "avg" else out[:, 0]


def _checkpoint(function: Any, *arguments: Any) -> Any:
    return checkpoint(function, *arguments, use_reentrant=False)
