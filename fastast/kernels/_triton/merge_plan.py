"""Device code of the plan: first the rank of every pair, then, from the ranks, the lists of owners and sources.

`best`, `partner` and `rank` are (b, a), `owner` (b, p), `start` (b, p + 1), `source` (b, r). Everything is found by
counting: a program compares its BM pairs with all pairs of the clip, BN at a time, and no program waits for another.
"""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl

LOWEST = tl.constexpr(-(2**31))
SECOND_LOWEST = tl.constexpr(-(2**31) + 1)
HIGHEST = tl.constexpr(2**31 - 1)


@triton.jit
def sort_key(best, i, a, protected_a):
    """Return similarities as integers in the same order, below all others for protected pairs and beyond the last one.

    Integers are totally ordered: a similarity that is NaN ranks first, as in torch, and cannot make two pairs share a
    rank, which would make lists overrun their end.
    """
    similarity = tl.load(best + i, mask=i < a, other=0.0)
    bits = tl.where(similarity == 0.0, 0.0, similarity).to(tl.int32, bitcast=True)  # -0 equals 0
    key = bits ^ ((bits >> 31) & HIGHEST)
    key = tl.where(similarity != similarity, HIGHEST, key)
    return tl.where((i < protected_a) | (i >= a), LOWEST, tl.maximum(key, SECOND_LOWEST))


@triton.jit(do_not_specialize=["a", "protected_a"])
def rank_pairs(best, rank, a, protected_a, BM: tl.constexpr, BN: tl.constexpr):
    """Count the clip's pairs before each: those of higher similarity, and equally similar ones at lower positions."""
    tiles = tl.cdiv(a, BM)
    clip = (tl.program_id(0) // tiles).to(tl.int64)
    i = (tl.program_id(0) % tiles) * BM + tl.arange(0, BM)
    mine = sort_key(best + clip * a, i, a, protected_a)
    count = tl.zeros([BM, BN], tl.int32)
    for start in range(0, a, BN):
        k = start + tl.arange(0, BN)
        theirs = sort_key(best + clip * a, k, a, protected_a)
        tie = (theirs[None, :] == mine[:, None]) & (k[None, :] < i[:, None])
        count += ((theirs[None, :] > mine[:, None]) | tie).to(tl.int32)
    tl.store(rank + clip * a + i, tl.sum(count, 1), mask=i < a)


@triton.jit(do_not_specialize=["n", "r", "protected_a", "protected_b"])
def write_plan(rank, partner, owner, start, source, n, r, protected_a, protected_b, BM: tl.constexpr, BN: tl.constexpr):
    """Write the slot of every token that stays, the place in `source` of every other, and each slot's start."""
    c = n // 2
    a = n - c
    slots = n - r
    tiles = tl.cdiv(c + 1, BM)
    clip = (tl.program_id(0) // tiles).to(tl.int64)
    i = (tl.program_id(0) % tiles) * BM + tl.arange(0, BM)  # an index into A, and one into B
    rank += clip * a
    partner += clip * a
    owner += clip * slots
    start += clip * (slots + 1)
    source += clip * r

    merges = (tl.load(rank + i, mask=i < a, other=r) < r) & (i < a)
    into = tl.load(partner + i, mask=i < a, other=0)
    kept_before = tl.zeros([BM, BN], tl.int32)
    sources_before = tl.zeros([BM, BN], tl.int32)
    begin = tl.zeros([BM, BN], tl.int32)
    for first in range(0, a, BN):
        k = first + tl.arange(0, BN)
        k_merges = (tl.load(rank + k, mask=k < a, other=r) < r)[None, :]
        k_into = tl.load(partner + k, mask=k < a, other=0)[None, :]
        earlier = k[None, :] < i[:, None]
        kept_before += (earlier & (k_merges == 0)).to(tl.int32)
        before = (k_into < into[:, None]) | ((k_into == into[:, None]) & earlier)
        sources_before += (k_merges & before).to(tl.int32)
        begin += (k_merges & (k_into < i[:, None])).to(tl.int32)
    kept_before = tl.sum(kept_before, 1)
    sources_before = tl.sum(sources_before, 1)
    begin = tl.sum(begin, 1)

    protected = protected_a + protected_b
    stays = (i < a) & (merges == 0)
    slot = tl.where(i < protected_a, 2 * i, protected + kept_before - protected_a)
    tl.store(owner + slot, 2 * i, mask=stays)
    tl.store(start + slot, tl.zeros([BM], tl.int32), mask=stays)
    tl.store(source + sources_before, 2 * i, mask=merges)
    # The slots of B come last, so those before them have empty ranges at the beginning of the list.
    slot = tl.where(i < protected_b, 2 * i + 1, protected + a - r - protected_a + i - protected_b)
    tl.store(owner + slot, 2 * i + 1, mask=i < c)
    tl.store(start + slot, begin, mask=i <= c)
