"""Token merging and the Audio Spectrogram Transformer in plain NumPy, one clip at a time.

Written from the description of the algorithms: Bolya et al. 2023 (arXiv 2210.09461), section 3, for merging; Gong et
al. 2021 (arXiv 2104.01778), section 2, for the model. It imports neither torch nor `fastast`, loops where a loop is
clearer, and computes in the precision of the arrays it is given.

Shapes: `n` tokens, `o` tokens after merging, `p` protected prefix tokens, `h` heads, `d` width, `f` frames, `m` mel
bins, `c` classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erf

Floats = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]


def most_removable(n: int, p: int) -> int:
    """The largest r a block of n tokens allows: half of the tokens that are not protected."""
    return max(n - p, 0) // 2


def capped(n: int, p: int, rs: Sequence[int]) -> list[int]:
    """What is left of a schedule when every block removes at most what it can."""
    effective = []
    for r in rs:
        effective.append(min(r, most_removable(n, p)))
        n -= effective[-1]
    return effective


def linear_schedule(r: int, inflection: int, blocks: int) -> list[int]:
    """From r·(1 - inflection) in the first block straight to r·(1 + inflection) in the last, each rounded down."""
    first, last = Fraction(r * (1 - inflection)), Fraction(r * (1 + inflection))
    if blocks == 1:
        return [r]
    return [math.floor(first + (last - first) * i / (blocks - 1)) for i in range(blocks)]


def directions(vectors: Floats) -> Floats:
    """Vectors (n, d) at length 1; a vector of length 0 stays, and so has a cosine of 0 with every other."""
    lengths = np.sqrt((vectors * vectors).sum(-1, keepdims=True))
    return vectors / np.where(lengths == 0, vectors.dtype.type(1), lengths)


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Which of n tokens go where."""

    slot_of: Integers
    """(n,): the output slot each token ends in."""
    owner_of: Integers
    """(o,): the token that a slot keeps the place of; for a merged slot the B token."""
    margin: float
    """How far the narrowest decision is from turning out otherwise, as a difference of two cosines; 0 for a tie."""
    scores: tuple[float, ...] = ()
    """Cosine of every pair that merges, falling."""


def match(metric: Floats, r: int, p: int, order: str = "tome") -> Matching:
    """Pair the tokens at even positions (A) with those at odd positions (B) and merge the r best pairs.

    metric: (n, d). Every A token proposes the B token with the highest cosine similarity, the first of equals; the r
    best proposals win, at equal scores those of the lower positions. The first p positions take no part.
    """
    n = len(metric)
    if not 0 <= r <= most_removable(n, p):
        raise ValueError(f"r={r} of {n} tokens with {p} protected")
    a_tokens = [i for i in range(0, n, 2) if i >= p]
    b_tokens = [i for i in range(1, n, 2) if i >= p]

    units = directions(metric)
    proposals = []  # (score, A token, B token, lead over the second best B token)
    for a in a_tokens if b_tokens else []:
        scores = (units[a] * units[b_tokens]).sum(-1).tolist()
        best = max(scores)
        choice = scores.index(best)
        rivals = scores[:choice] + scores[choice + 1 :]
        proposals.append((best, a, b_tokens[choice], best - max(rivals, default=-math.inf)))
    proposals.sort(key=lambda proposal: (-proposal[0], proposal[1]))
    winners, losers = proposals[:r], proposals[r:]

    margin = min((lead for *_, lead in winners), default=math.inf)
    if winners and losers:
        margin = min(margin, winners[-1][0] - losers[0][0])

    goes_to = {a: b for _, a, b, _ in winners}
    if order == "tome":
        owners = list(range(p)) + [a for a in a_tokens if a not in goes_to] + b_tokens
    elif order == "position":
        owners = [i for i in range(n) if i not in goes_to]
    else:
        raise ValueError(order)
    slot_of_owner = {owner: slot for slot, owner in enumerate(owners)}
    slot_of = [slot_of_owner[goes_to.get(i, i)] for i in range(n)]
    return Matching(
        slot_of=np.array(slot_of, np.int64),
        owner_of=np.array(owners, np.int64),
        margin=margin,
        scores=tuple(score for score, *_ in winners),
    )


def merge(x: Floats, sizes: Floats, matching: Matching) -> tuple[Floats, Floats]:
    """Average tokens by size: x (n, d) and sizes (n,) become (o, d) and (o,)."""
    merged, merged_sizes = [], []
    for slot in range(len(matching.owner_of)):
        members = np.flatnonzero(matching.slot_of == slot)
        total = sizes[members].sum()
        merged.append((x[members] * sizes[members, None]).sum(0) / total)
        merged_sizes.append(total)
    return np.array(merged, x.dtype), np.array(merged_sizes, sizes.dtype)


def layer_norm(x: Floats, weight: Floats, bias: Floats, eps: float) -> Floats:
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + x.dtype.type(eps)) * weight + bias


def gelu(x: Floats) -> Floats:
    half, root = x.dtype.type(0.5), x.dtype.type(math.sqrt(0.5))
    return half * x * (1 + erf(x * root))


def softmax(scores: Floats) -> Floats:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def patches(fbank: Floats, weight: Floats, bias: Floats, fstride: int, tstride: int) -> Floats:
    """(f, m) to one token a patch, (n - 2, d): the lowest frequencies first, within them by time."""
    frames, mels = fbank.shape
    side = weight.shape[-1]
    image = fbank.T  # (m, f)
    tokens = []
    for low in range(0, mels - side + 1, fstride):
        for start in range(0, frames - side + 1, tstride):
            patch = image[low : low + side, start : start + side]
            tokens.append((weight[:, 0] * patch).sum((1, 2)) + bias)
    return np.array(tokens, fbank.dtype)


@dataclass(frozen=True, kw_only=True)
class Forward:
    """What a clip's way through the model leaves behind; the lists have one entry a block."""

    logits: Floats
    """(c,)."""
    tokens_per_block: list[int]
    """Tokens that leave each block."""
    sizes: list[Floats]
    """(o,): how many of the first tokens each token stands for."""
    sources: list[Integers]
    """(n,): the slot that each of the first tokens is in."""
    owners: list[Integers]
    """(o,): the first token whose place each slot keeps."""
    margin: float
    """The narrowest decision of all blocks, see `Matching.margin`."""


def forward(
    weights: Mapping[str, Floats],
    fbank: Floats,
    rs: Sequence[int],
    *,
    num_heads: int,
    fstride: int,
    tstride: int,
    order: str = "tome",
    proportional: bool = True,
    num_protected: int = 2,
    metric: str = "keys",
    place: str = "between",
    threshold: float = -2.0,
    norm_eps: float = 1e-6,
    head_norm_eps: float = 1e-5,
) -> Forward:
    """One clip (f, m) through an AST whose block i removes rs[i] tokens between attention and MLP.

    Or "before" the attention, or "after" the MLP. Tokens are compared by the mean over heads of the `metric` (keys,
    queries, values) that the last attention before computed, or by themselves ("tokens"), as they are when they are
    about to be merged. Of the rs[i] pairs, those with a cosine of at least `threshold` merge.
    """

    def norm(x: Floats, name: str, eps: float = norm_eps) -> Floats:
        return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    def linear(x: Floats, name: str) -> Floats:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    embedded = patches(fbank, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], fstride, tstride)
    x = np.concatenate([weights["cls_token"][0], weights["dist_token"][0], embedded]) + weights["pos_embed"][0]
    n, d = x.shape
    sizes, source, owner = np.ones(n, x.dtype), np.arange(n), np.arange(n)
    counts, all_sizes, all_sources, all_owners, margin = [], [], [], [], math.inf

    def reduce(r: int) -> None:
        nonlocal x, sizes, source, owner, margin
        compared = x if metric == "tokens" else projected[metric].mean(1)
        scores = match(compared, r, num_protected, order).scores
        enough = sum(score >= threshold for score in scores)
        margin = min(margin, *(abs(score - threshold) for score in scores))
        if enough == 0:
            return
        matching = match(compared, enough, num_protected, order)
        x, sizes = merge(x, sizes, matching)
        source, owner = matching.slot_of[source], owner[matching.owner_of]
        margin = min(margin, matching.margin)

    projected: dict[str, Floats] = {}
    for i, r in enumerate(rs):
        block = f"blocks.{i}"
        if r > 0 and place == "before":
            reduce(r)
        qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k, v = (part.reshape(len(x), num_heads, d // num_heads) for part in np.split(qkv, 3, axis=-1))
        heads = []
        for head in range(num_heads):
            scores = q[:, head] @ k[:, head].T / x.dtype.type(math.sqrt(d // num_heads))
            if proportional:
                scores = scores + np.log(sizes)
            heads.append(softmax(scores) @ v[:, head])
        x = x + linear(np.concatenate(heads, axis=-1), f"{block}.attn.proj")
        projected = {"keys": k, "queries": q, "values": v}

        if r > 0 and place == "between":
            reduce(r)
        x = x + linear(gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
        if r > 0 and place == "after":
            reduce(r)

        counts.append(len(x))
        all_sizes.append(sizes)
        all_sources.append(source)
        all_owners.append(owner)

    x = norm(x, "norm")
    logits = linear(norm((x[0] + x[1]) / 2, "head.norm", head_norm_eps), "head.linear")
    return Forward(
        logits=logits,
        tokens_per_block=counts,
        sizes=all_sizes,
        sources=all_sources,
        owners=all_owners,
        margin=margin,
    )
