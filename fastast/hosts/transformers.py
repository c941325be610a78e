"""Host of Hugging Face's AST: `ASTModel` and `ASTForAudioClassification` of transformers 4.57 and 5.

Shapes: `b` batch, `f` frames, `m` mel bins, `n` tokens, `p` remaining tokens, `h` heads, `e` width of a head,
`d` width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import ASTForAudioClassification, ASTModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from fastast.attention import proportional_attention
from fastast.encoder import EncoderShape
from fastast.hosts.host import CheckpointedBlock, Host, HostBlock
from fastast.hosts.layers import BlockLayers, EndLayers, LinearLayer, linear_layer, linear_macs, norm_layer
from fastast.hosts.replaced import why_not_as_made
from fastast.reduction import MergeTrace, ReductionError
from fastast.reduction.forward.stages import HeadTensors

_NAMES_4 = {
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "projection": "attention.output.dense",
    "attention_dropout": "attention.output.dropout",
    "hidden": "intermediate",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "mlp_dropout": "output.dropout",
}
"""Names of a layer's parts in transformers 4, and at first in 5."""
_NAMES_5 = {
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "projection": "attention.o_proj",
    "attention_dropout": "dropout",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    "mlp_dropout": "dropout",
}
"""The same in transformers 5."""
_REFUSED = {
    "attention_mask": "a mask over the input tokens, which does not fit merged tokens",
    "head_mask": "a mask over heads, which the attention of merged tokens does not take",
    "output_attentions": "attention of merged tokens, whose matrices have a different size in every layer",
    "is_causal": "causal attention, but merging mixes tokens of all positions",
}
"""Arguments of a forward that a reduction rules out, and what they ask for."""


class ASTLayerBlock(HostBlock):
    """Adapter of an `ASTLayer`."""

    def __init__(self, module: nn.Module) -> None:
        """Find the layer's parts under their names in either version."""
        super().__init__(module)
        self._names = _NAMES_5 if hasattr(self.module.attention, "q_proj") else _NAMES_4

    def part(self, name: str) -> Any:
        """Return a part of the layer."""
        return self.module.get_submodule(self._names[name])

    @property
    def num_heads(self) -> int:
        """Number of heads left in the layer: transformers 4 can prune some."""
        heads: int = self._attention.num_attention_heads
        return heads

    @property
    def dropout(self) -> float:
        """Dropout rate of the attention weights in training."""
        attention = self._attention
        return float(attention.attention_dropout if hasattr(attention, "attention_dropout") else attention.dropout_prob)

    @property
    def _attention(self) -> Any:
        attention = self.module.attention
        return attention if self._names is _NAMES_5 else attention.attention

    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> tuple[Tensor, HeadTensors]:
        """(b, n, d) -> what attention adds (b, n, d), and q, k, v (b, h, n, e)."""
        normed = self.module.layernorm_before(x)

        def heads(name: str) -> Tensor:
            return self.part(name)(normed).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (b, h, n, e)

        q, k, v = heads("query"), heads("key"), heads("value")
        dropout = self.dropout if self.module.training else 0.0
        out = proportional_attention(q, k, v, size, kernel=kernel, dropout=dropout)
        branch = self.part("projection")(out.transpose(1, 2).flatten(2))  # (b, n, d)
        return self.part("attention_dropout")(branch), (q, k, v)

    def mlp_branch(self, x: Tensor) -> Tensor:
        """(b, n, d) -> what the MLP adds (b, n, d)."""
        normed = self.module.layernorm_after(x)
        hidden = self.module.mlp(normed) if self._names is _NAMES_5 else self._mlp_4(normed)
        return self.part("mlp_dropout")(hidden)

    def _mlp_4(self, normed: Tensor) -> Tensor:
        return self.part("fc2")(self.part("hidden")(normed))  # the activation is in `intermediate`


class TransformersHost(Host):
    """Adapter of Hugging Face's AST, with or without its head."""

    @property
    def module(self) -> Any:
        """The `ASTModel`, which runs the layers."""
        return self.model if isinstance(self.model, ASTModel) else self.model.audio_spectrogram_transformer

    @property
    def layer_modules(self) -> Any:
        """The layers, wherever the version keeps them."""
        return self.module.layers if hasattr(self.module, "layers") else self.module.encoder.layer

    @property
    def encoder(self) -> EncoderShape:
        """The shape of the encoder, from the configuration."""
        config, grid = self.module.config, tuple(self.module.embeddings.get_shape(self.module.config))
        return EncoderShape(
            embed_dim=config.hidden_size,
            depth=len(self.layer_modules),
            num_heads=config.num_attention_heads,
            mlp_dim=config.intermediate_size,
            num_prefix_tokens=2,
            grid=grid,
            reads="prefix",
            outside_macs=linear_macs(self.module.embeddings.patch_embeddings, grid[0] * grid[1])
            + linear_macs(getattr(self.model, "classifier", None)),
        )

    def blocks(self) -> list[HostBlock]:
        """Return an adapter for every layer, checkpointed where the layer is."""
        return [
            CheckpointedBlock(ASTLayerBlock(layer), layer._gradient_checkpointing_func)
            if layer.gradient_checkpointing and layer.training
            else ASTLayerBlock(layer)
            for layer in self.layer_modules
        ]

    def example(self) -> tuple[Tensor, ...]:
        """Return a random filterbank (1, f, m)."""
        config = self.module.config
        return (torch.randn(1, config.max_length, config.num_mel_bins),)

    def embed(self, input_values: Tensor) -> Tensor:
        """Return the tokens of filterbanks that enter the first layer, (b, f, m) -> (b, n, d)."""
        return self.module.embeddings(input_values)

    def logits(self, fbank: Tensor) -> Tensor:
        """Run the model on filterbanks (b, f, m); return its logits."""
        logits: Tensor = self.model(fbank).logits
        return logits

    def forward(
        self, input_values: Tensor | None = None, mask: Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Return what `ASTModel.forward` does, with the remaining tokens (b, p, d); hidden states shrink with them.

        Raises ReductionError for what a reduction rules out: masks, attention weights, causal attention.
        """
        config = self.module.config

        def asked(name: str) -> Any:
            given = kwargs.get(name)
            return getattr(config, name, None) if given is None else given

        for name, what in _REFUSED.items():
            if (value := asked(name)) is not None and value is not False:
                raise ReductionError(f"hosts: {name} asks for {what}. Leave it out, or remove the reduction")
        if mask is not None:
            raise ReductionError(f"hosts: {type(self.module).__name__} got a mask, which does not fit merged tokens")
        if input_values is None:
            raise ValueError("hosts: ASTModel needs input_values, a filterbank (batch, frames, mel bins)")
        x, states = self._run(self.embed(input_values), asked("output_hidden_states"))  # (b, p, d)
        normed = self.module.layernorm(x)
        if states is not None and self._ends_normed:
            states = (*states[:-1], normed)
        output = BaseModelOutputWithPooling(
            last_hidden_state=normed, pooler_output=(normed[:, 0] + normed[:, 1]) / 2, hidden_states=states
        )
        return output.to_tuple() if asked("return_dict") is False else output

    def _run(self, x: Tensor, wanted: Any) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Run the layers; return the tokens, and where wanted those that enter and leave every layer."""
        if wanted is None or wanted is False:
            return self.encode(x)[0], None
        if wanted is not True:
            raise ReductionError(f"hosts: output_hidden_states is {wanted!r}; under a reduction give True or False")
        states: list[Tensor] = []
        blocks = [_Recorded(block, states) for block in self.blocks()]
        x, _ = self.encode(x, blocks=blocks, trace=MergeTrace())  # a traced batch is never split
        return x, (*states, x)

    @property
    def _ends_normed(self) -> bool:
        """Whether the last hidden state comes after the norm, as in transformers 4 and at first in 5."""
        setting = getattr(self.module.config, "tie_last_hidden_states", None)
        return not hasattr(self.module, "layers") if setting is None else bool(setting)

    def packable(self) -> str:
        """Return why the engine's kernels cannot use the weights, as a sentence; empty where they can."""
        if not isinstance(self.model, ASTForAudioClassification):
            return f"{type(self.model).__name__} has no head for classes; compile ASTForAudioClassification"
        if type(self.model) is not ASTForAudioClassification:
            return f"{type(self.model).__name__} may compute something other than ASTForAudioClassification does"
        if not isinstance(self.model.classifier.dense, nn.Linear):
            return "classifier.dense is not a linear layer, as in a model without classes (num_labels is 0)"
        if self.module.config.hidden_act != "gelu":
            return f"hidden_act is {self.module.config.hidden_act!r}; the kernels have 'gelu'"
        for index, layer in enumerate(self.layer_modules):
            block = ASTLayerBlock(layer)
            if block.num_heads != self.module.config.num_attention_heads:
                return (
                    f"layer {index} has {block.num_heads} heads left; the kernels have the same number in every layer"
                )
        with torch.device("meta"):
            made = ASTForAudioClassification(self.module.config)
        return why_not_as_made(self.model, made)

    def layers(self, block: int) -> BlockLayers:
        """Return a layer's weights."""
        layer = ASTLayerBlock(self.layer_modules[block])
        return BlockLayers(
            norm1=norm_layer(layer.module.layernorm_before),
            qkv=linear_layer(layer.part("query"), layer.part("key"), layer.part("value")),
            proj=linear_layer(layer.part("projection")),
            norm2=norm_layer(layer.module.layernorm_after),
            fc1=linear_layer(layer.part("fc1")),
            fc2=linear_layer(layer.part("fc2")),
        )

    def ends(self) -> EndLayers:
        """Return the weights of embedding and head."""
        embeddings, classifier = self.module.embeddings, self.model.classifier
        patch = embeddings.patch_embeddings.projection
        return EndLayers(
            patch=LinearLayer(weight=patch.weight, bias=patch.bias),
            stride=patch.stride,
            prefix=torch.cat([embeddings.cls_token[0], embeddings.distillation_token[0]]),
            pos_embed=embeddings.position_embeddings,
            norm=norm_layer(self.module.layernorm),
            head_norm=norm_layer(classifier.layernorm),
            head=linear_layer(classifier.dense),
        )


class _Recorded(HostBlock):
    """A layer that records the tokens that enter it."""

    def __init__(self, block: HostBlock, states: list[Tensor]) -> None:
        super().__init__(block.module)
        self._block, self._states = block, states

    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> tuple[Tensor, HeadTensors]:
        self._states.append(x)
        return self._block.attention(x, size, kernel)

    def mlp_branch(self, x: Tensor) -> Tensor:
        return self._block.mlp_branch(x)


def transformers_host(model: nn.Module) -> TransformersHost:
    """Return the adapter of one of Hugging Face's models. Raises ReductionError for any but AST."""
    if isinstance(model, ASTModel | ASTForAudioClassification):
        return TransformersHost(model)
    if isinstance(getattr(model, "model", None), ASTForAudioClassification):
        raise ReductionError(f"hosts: {type(model).__qualname__} is a wrapper; give the model inside it, its .model")
    raise ReductionError(
        f"hosts: {type(model).__qualname__} is not supported; of transformers, FastAST knows ASTModel and "
        "ASTForAudioClassification"
    )
