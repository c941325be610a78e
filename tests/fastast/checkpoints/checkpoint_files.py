"""Small checkpoints of every format. The names are spelled out here a second time, on purpose."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer

SMALL = Geometry(embed_dim=64, depth=2, num_heads=1, num_classes=3, num_frames=128, fstride=16, tstride=16)
LABELS = ("bell", "drum", "größe")


def small_model(shape: Geometry = SMALL, seed: int = 0) -> AudioSpectrogramTransformer:
    torch.manual_seed(seed)
    model = AudioSpectrogramTransformer(shape).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def spectrogram(shape: Geometry, batch: int = 2) -> Tensor:
    return torch.randn(batch, shape.num_frames, shape.num_mel_bins, generator=torch.Generator().manual_seed(1))


def original_names(state: dict[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    named = {}
    for key, tensor in state.items():
        key = key.replace("head.norm", "mlp_head.0").replace("head.linear", "mlp_head.1")
        named[prefix + (key if key.startswith("mlp_head") else f"v.{key}")] = tensor
    return named


def huggingface_names(state: dict[str, Tensor], version: int = 4) -> dict[str, Tensor]:
    top = {
        "cls_token": "embeddings.cls_token",
        "dist_token": "embeddings.distillation_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm": "layernorm",
    }
    inner = {
        4: {
            "norm1": "layernorm_before",
            "norm2": "layernorm_after",
            "attn.proj": "attention.output.dense",
            "mlp.fc1": "intermediate.dense",
            "mlp.fc2": "output.dense",
        },
        5: {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj"},
    }[version]
    qkv = {4: "attention.attention.{}", 5: "attention.{}_proj"}[version]
    parts = {4: ("query", "key", "value"), 5: ("q", "k", "v")}[version]
    named = {}
    for key, tensor in state.items():
        stem, _, kind = key.rpartition(".")
        if key.startswith("head."):
            new = f"classifier.{ {'norm': 'layernorm', 'linear': 'dense'}[stem[5:]] }.{kind}"
            named[new] = tensor
        elif match := re.match(r"blocks\.(\d+)\.(.+)", stem):
            block = f"audio_spectrogram_transformer.{ {4: 'encoder.layer', 5: 'layers'}[version] }.{match[1]}."
            if match[2] == "attn.qkv":
                for part, third in zip(parts, tensor.chunk(3), strict=True):
                    named[f"{block}{qkv.format(part)}.{kind}"] = third.contiguous()
            else:
                named[f"{block}{inner.get(match[2], match[2])}.{kind}"] = tensor
        elif stem in top:
            named[f"audio_spectrogram_transformer.{top[stem]}.{kind}"] = tensor
        else:
            named[f"audio_spectrogram_transformer.{top[key]}"] = tensor
    return named


def huggingface_config(shape: Geometry, **changes: Any) -> dict[str, Any]:
    return {
        "model_type": "audio-spectrogram-transformer",
        "hidden_size": shape.embed_dim,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.num_heads,
        "intermediate_size": 4 * shape.embed_dim,
        "layer_norm_eps": 1e-12,
        "patch_size": 16,
        "qkv_bias": shape.qkv_bias,
        "frequency_stride": shape.fstride,
        "time_stride": shape.tstride,
        "max_length": shape.num_frames,
        "num_mel_bins": shape.num_mel_bins,
        "id2label": {str(i): name for i, name in enumerate(LABELS)},
    } | changes


def huggingface_folder(folder: Path, shape: Geometry = SMALL, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(huggingface_names(small_model(shape).state_dict()), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(huggingface_config(shape, **changes)))
    return folder
