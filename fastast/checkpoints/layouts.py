"""Names of tensors in each family of files, and their strict conversion to FastAST's keys.

Shapes: `d` width, `n` tokens, `c` classes, `p` side of a patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor

from fastast.checkpoints.checkpoint import CheckpointError
from fastast.geometry import Geometry


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Naming scheme of one family of checkpoints."""

    format: str
    """`original`, `huggingface` or `fastast`."""
    names: Mapping[str, str]
    """From the stem of FastAST's key outside the blocks (`cls_token`, `norm`) to that of the file's key."""
    block_names: Mapping[str, tuple[str, ...]]
    """From the stem inside a block (`attn.qkv`) to the file's; several tensors are joined along the first axis."""
    block: str
    """Prefix of the keys of a block, with `{}` for its index."""
    prefix: str = ""
    """Prefix of every key (such as DataParallel's `module.`)."""
    ignored: frozenset[str] = field(default_factory=frozenset)
    """Keys that are expected in such files but are not part of the model."""

    def keys(self, native: str) -> tuple[str, ...]:
        """Return the file's key for one of FastAST's; several if the file stores the tensor in parts."""
        if native.startswith("blocks."):
            _, index, rest = native.split(".", 2)
            stem, _, kind = rest.rpartition(".")
            return tuple(f"{self.prefix}{self.block.format(index)}{part}.{kind}" for part in self.block_names[stem])
        stem, _, kind = native.rpartition(".")
        if stem in self.names:
            return (f"{self.prefix}{self.names[stem]}.{kind}",)
        return (f"{self.prefix}{self.names[native]}",)


_SAME = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_TOP = ("cls_token", "dist_token", "pos_embed", "patch_embed.proj", "norm")
_HF = "audio_spectrogram_transformer."
_HF_TOP = {
    "cls_token": f"{_HF}embeddings.cls_token",
    "dist_token": f"{_HF}embeddings.distillation_token",
    "pos_embed": f"{_HF}embeddings.position_embeddings",
    "patch_embed.proj": f"{_HF}embeddings.patch_embeddings.projection",
    "norm": f"{_HF}layernorm",
    "head.norm": "classifier.layernorm",
    "head.linear": "classifier.dense",
}
OWN = Layout(
    format="fastast",
    names={name: name for name in (*_TOP, "head.norm", "head.linear")},
    block="blocks.{}.",
    block_names={name: (name,) for name in _SAME},
)
ORIGINAL = Layout(
    format="original",
    names={name: f"v.{name}" for name in _TOP} | {"head.norm": "mlp_head.0", "head.linear": "mlp_head.1"},
    block="v.blocks.{}.",
    block_names={name: (name,) for name in _SAME},
    ignored=frozenset(f"v.{head}.{kind}" for head in ("head", "head_dist") for kind in ("weight", "bias")),
)
"""YuanGongND/ast. Its files still contain the two heads of the ImageNet model it starts from, which are never used."""
HUGGINGFACE = Layout(
    format="huggingface",
    names=_HF_TOP,
    block=f"{_HF}encoder.layer.{{}}.",
    block_names={
        "norm1": ("layernorm_before",),
        "attn.qkv": tuple(f"attention.attention.{name}" for name in ("query", "key", "value")),
        "attn.proj": ("attention.output.dense",),
        "norm2": ("layernorm_after",),
        "mlp.fc1": ("intermediate.dense",),
        "mlp.fc2": ("output.dense",),
    },
)
"""Hugging Face's names on disk in transformers 4 and 5, and in memory in 4."""
HUGGINGFACE_5 = Layout(
    format="huggingface",
    names=_HF_TOP,
    block=f"{_HF}layers.{{}}.",
    block_names={
        "norm1": ("layernorm_before",),
        "attn.qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        "attn.proj": ("attention.o_proj",),
        "norm2": ("layernorm_after",),
        "mlp.fc1": ("mlp.fc1",),
        "mlp.fc2": ("mlp.fc2",),
    },
)
"""Hugging Face's names in memory in transformers 5, as written by torch.save(model.state_dict())."""


def recognise(path: Path, tensors: Mapping[str, Tensor]) -> Layout:
    """Recognise a checkpoint's layout by its keys. Raises CheckpointError if they belong to none."""
    if not tensors:
        raise CheckpointError(f"{path}: contains no tensors")
    if any(key.startswith(_HF) for key in tensors):
        return HUGGINGFACE_5 if any(key.startswith(f"{_HF}layers.") for key in tensors) else HUGGINGFACE
    for prefix in ("module.", ""):
        if any(key.startswith(f"{prefix}v.") for key in tensors):
            ignored = frozenset(prefix + key for key in ORIGINAL.ignored)
            return Layout(**{**vars(ORIGINAL), "prefix": prefix, "ignored": ignored})
    if "cls_token" in tensors and "dist_token" in tensors:
        return OWN
    first = ", ".join(repr(key) for key in list(tensors)[:3])
    raise CheckpointError(
        f"{path}: not an Audio Spectrogram Transformer with a head: its first keys are {first}. FastAST reads the "
        "original AST ('module.v.…'), Hugging Face's ASTForAudioClassification ('audio_spectrogram_transformer.…') and "
        "its own files"
    )


def expected_shapes(geometry: Geometry) -> dict[str, tuple[int, ...]]:
    """Return FastAST's keys with the shapes that a geometry requires."""
    d, hidden = geometry.embed_dim, geometry.mlp_dim
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, d),
        "dist_token": (1, 1, d),
        "pos_embed": (1, geometry.num_tokens, d),
        "patch_embed.proj.weight": (d, 1, geometry.patch_size, geometry.patch_size),
        "patch_embed.proj.bias": (d,),
    }
    for i in range(geometry.depth):
        linear = {"attn.qkv": (3 * d, d), "attn.proj": (d, d), "mlp.fc1": (hidden, d), "mlp.fc2": (d, hidden)}
        for name, shape in linear.items():
            shapes[f"blocks.{i}.{name}.weight"] = shape
            shapes[f"blocks.{i}.{name}.bias"] = shape[:1]
        if not geometry.qkv_bias:
            del shapes[f"blocks.{i}.attn.qkv.bias"]
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{name}.weight": (d,), f"blocks.{i}.{name}.bias": (d,)}
    for name in ("norm", "head.norm"):
        shapes |= {f"{name}.weight": (d,), f"{name}.bias": (d,)}
    return shapes | {"head.linear.weight": (geometry.num_classes, d), "head.linear.bias": (geometry.num_classes,)}


def convert(path: Path, tensors: Mapping[str, Tensor], layout: Layout, geometry: Geometry) -> dict[str, Tensor]:
    """Convert a file's tensors to FastAST's keys: exactly those that the geometry requires.

    Raises CheckpointError naming the first key that is missing, superfluous or of another shape.
    """
    if geometry.depth > len(tensors):  # before anything is made for every block
        raise CheckpointError(
            f"{path}: should have {geometry.depth:,} blocks by its geometry, but contains only {len(tensors)} tensors"
        )
    shapes = expected_shapes(geometry)
    wanted = {key for native in shapes for key in layout.keys(native)}
    extra = [key for key in tensors if key not in wanted and key not in layout.ignored]
    missing = [key for native in shapes for key in layout.keys(native) if key not in tensors]
    if missing:
        near = get_close_matches(missing[0], extra, n=1)
        hint = f" (it has {near[0]!r})" if near else ""
        raise CheckpointError(f"{path}: key {missing[0]!r} is missing{hint}{_others(missing)}; {_context(geometry)}")
    if extra:
        raise CheckpointError(
            f"{path}: key {extra[0]!r} has no place in the model{_others(extra)}; {_context(geometry)}. "
            "Remove it from the file if it is not a weight of AST"
        )
    state = {}
    for native, shape in shapes.items():
        keys = layout.keys(native)
        part = (shape[0] // len(keys), *shape[1:])
        for key in keys:
            if tuple(tensors[key].shape) != part:
                raise CheckpointError(
                    f"{path}: key {key!r} has shape {tuple(tensors[key].shape)}; {part} was expected; "
                    f"{_context(geometry)}"
                )
        state[native] = tensors[keys[0]] if len(keys) == 1 else torch.cat([tensors[key] for key in keys])
    return state


def _others(keys: list[str]) -> str:
    return f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""


def _context(geometry: Geometry) -> str:
    return (
        f"the geometry is {geometry.embed_dim} wide, {geometry.depth} blocks, {geometry.num_tokens} tokens, "
        f"{geometry.num_classes} classes"
    )
