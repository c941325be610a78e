"""The minimum that each kernel of the engine must move and compute, counted from its definition.

Shapes: `b` batch, `n` tokens that enter a block, `p` tokens that leave it, `k` tokens that the head reads, `h` heads,
`e` width of a head, `d` = h e, `o` hidden width of the MLP, `a` = ceil(n / 2), `c` = floor(n / 2) tokens of the sets.

Bytes are compulsory: every input, weights included, is read once and every output is written once, as if caches held
everything else. Operations are those of the algorithm, without addresses, masks and padding of tiles. The resulting
times are therefore lower bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from bench.gpu.peaks import Peaks

HALF, SINGLE = 2, 4
"""Bytes per number in half and single precision."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work that a launch must do."""

    bytes: int = 0
    """Bytes moved to and from memory."""
    matrix: int = 0
    """Floating-point operations on the matrix units; a multiply-add is two."""
    exponentials: int = 0
    """Base-2 exponentials on the special function units."""
    other: int = 0
    """Instructions on the ordinary units, for one number each; a multiply-add is one."""

    def __add__(self, more: Work) -> Work:
        return Work(**{f.name: getattr(self, f.name) + getattr(more, f.name) for f in fields(self)})

    def __mul__(self, times: int) -> Work:
        return Work(**{f.name: getattr(self, f.name) * times for f in fields(self)})

    def seconds(self, peaks: Peaks) -> dict[str, float]:
        """Return the least time of each unit by itself, in seconds."""
        return {f.name: getattr(self, f.name) / getattr(peaks, f.name) for f in fields(self)}

    def floor(self, peaks: Peaks) -> float:
        """Return the least time in seconds: that of the slowest unit, as all units can work at once."""
        return max(self.seconds(peaks).values())

    def limit(self, peaks: Peaks) -> str:
        """Return the limiting unit: `bytes`, `matrix`, `exponentials` or `other`."""
        times = self.seconds(peaks)
        return max(times, key=lambda unit: times[unit])


def attention(b: int, n: int, h: int, e: int, *, sized: bool) -> Work:
    """Return the work of weighted attention, which reads (b, n, 3d) and writes (b, n, d).

    Per score, two products of 2 e operations, an exponential, and 3.5 other instructions: a maximum, a multiply-add, a
    sum and half of a packed conversion; with sizes 4.5, as each takes a multiplication.
    """
    scores = b * h * n * n
    return Work(
        bytes=4 * b * n * h * e * HALF + (b * n * SINGLE if sized else 0),
        matrix=4 * e * scores,
        exponentials=scores,
        other=(9 if sized else 7) * scores // 2,
    )


def product(rows: int, width: int, out: int) -> Work:
    """Return the work of a linear layer in the library: (rows, width) -> (rows, out)."""
    return Work(
        bytes=(rows * width + out * width + out + rows * out) * HALF, matrix=2 * rows * width * out, other=rows * out
    )


def linear_gelu_work(rows: int, width: int, out: int) -> Work:
    """Return the work of a linear layer with GELU.

    Per output, an exponential, the bias, 9 multiply-adds, a clamp, a selection and a last multiply-add.
    """
    return product(rows, width, out) + Work(exponentials=rows * out, other=12 * rows * out)


def add_norm_work(rows: int, d: int) -> Work:
    """Return the work of residual sum and LayerNorm, which read two rows and write two.

    Per number: sum, sum for the mean, subtraction, multiply-add for the deviation, scale, multiply-add.
    """
    return Work(bytes=(4 * rows * d + 2 * d) * HALF, other=6 * rows * d)


def norm_work(rows: int, d: int) -> Work:
    """Return the work of LayerNorm alone."""
    return Work(bytes=(2 * rows * d + 2 * d) * HALF, other=5 * rows * d)


def key_metric_work(b: int, n: int, h: int, e: int) -> Work:
    """Return the work of the mean key over heads, of unit length, in float32.

    Per number, h sums, a multiply-add for the length and a scale.
    """
    return Work(bytes=b * n * (h * e * HALF + e * SINGLE), other=b * n * e * (h + 2))


def best_partner_work(b: int, n: int, e: int) -> Work:
    """Return the work of finding the nearest of c tokens for each of a.

    Per pair, e multiply-adds, a comparison and two selections.
    """
    a, c = (n + 1) // 2, n // 2
    return Work(bytes=b * (n * e + 2 * a) * SINGLE, other=b * a * c * (e + 3))


def rank_pairs(b: int, n: int) -> Work:
    """Return the work of ranking pairs by counting: per two pairs 3 comparisons, 2 logical steps and a sum."""
    a = (n + 1) // 2
    return Work(bytes=2 * b * a * SINGLE, other=6 * b * a * a)


def write_plan(b: int, n: int, r: int) -> Work:
    """Return the work of counting for the plan's lists: per two pairs 4 comparisons, 5 logical steps and 3 sums."""
    a, c = (n + 1) // 2, n // 2
    return Work(bytes=b * (2 * a + (n - r) + (n - r + 1) + r) * SINGLE, other=12 * b * a * (c + 1))


def merge_norm_work(b: int, n: int, p: int, d: int, *, sized: bool) -> Work:
    """Return the work of residual sum, mean by size and LayerNorm.

    It reads all tokens twice (x and y), and writes every slot twice (mean and norm) and its size. Per number of a slot
    the operations are those of `add_norm`; per number of a token that joins another, a sum and a multiply-add.
    """
    lists = (p + p + 1 + (n - p) + p + (n if sized else 0)) * SINGLE
    return Work(
        bytes=(2 * b * n * d + 2 * b * p * d + 2 * d) * HALF + b * lists, other=6 * b * p * d + 2 * b * (n - p) * d
    )


def patch_tokens_work(b: int, n: int, k: int, d: int, *, frames: int, mel_bins: int, side: int) -> Work:
    """Return the work of multiplying the patches of a filterbank in half precision, and adding bias and positions."""
    inputs = b * frames * mel_bins + d * side * side + d + k * d + n * d
    return Work(bytes=(inputs + b * n * d) * HALF, matrix=2 * b * (n - k) * side * side * d, other=2 * b * n * d)


def heads_tokens(b: int, n: int, k: int, h: int, d: int, *, sized: bool) -> Work:
    """Return the work of attention from the head's k tokens to all, in float32 and plain torch, and of its projections.

    Each token is multiplied by k h queries, and again by their k h weights, in float32 on the ordinary units.
    """
    read = b * n * d * HALF + (b * n * SINGLE if sized else 0)
    weights = 2 * d * d * HALF + 2 * d * d * SINGLE
    return Work(
        bytes=read + weights + b * k * d * HALF,
        matrix=2 * 2 * b * k * d * d,
        exponentials=b * k * h * n,
        other=2 * b * k * h * n * d + 2 * b * k * d * d,
    )
