"""The least that each kernel of the engine must move and compute, counted from its definition.

Shapes: `b` batch, `n` tokens that enter a block, `p` tokens that leave it, `k` tokens that the head reads, `h` heads,
`e` width of a head, `d` = h e, `o` hidden width of the MLP, `a` = ceil(n / 2), `c` = floor(n / 2) tokens of the sets.

Bytes are compulsory: every input is read once and every output written once, as if caches held all else; weights
count. Operations are those of the algorithm, without addresses, masks and padding of tiles. So a floor is a floor.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from bench.gpu.peaks import Peaks

HALF, SINGLE = 2, 4
"""Bytes of a number."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a launch must do."""

    bytes: int = 0
    """From and to memory."""
    matrix: int = 0
    """Floating-point operations on the matrix units; a multiply-add is two."""
    exponentials: int = 0
    other: int = 0
    """Instructions on the ordinary units, for one number each; a multiply-add is one."""

    def __add__(self, more: Work) -> Work:
        return Work(**{f.name: getattr(self, f.name) + getattr(more, f.name) for f in fields(self)})

    def __mul__(self, times: int) -> Work:
        return Work(**{f.name: getattr(self, f.name) * times for f in fields(self)})

    def seconds(self, peaks: Peaks) -> dict[str, float]:
        """Return the least time of each unit by itself, seconds."""
        return {f.name: getattr(self, f.name) / getattr(peaks, f.name) for f in fields(self)}

    def floor(self, peaks: Peaks) -> float:
        """Return the least time, seconds: the units can work at once, so that of the slowest."""
        return max(self.seconds(peaks).values())

    def limit(self, peaks: Peaks) -> str:
        """Return the unit that binds: `bytes`, `matrix`, `exponentials` or `other`."""
        times = self.seconds(peaks)
        return max(times, key=lambda unit: times[unit])


def attention(b: int, n: int, h: int, e: int, *, sized: bool) -> Work:
    """Weighted attention, which reads (b, n, 3d) and writes (b, n, d).

    Two products of 2 e operations a score; per score an exponential, and a maximum, a multiply-add, a sum, half of a
    packed conversion, so 7 instructions for two scores, with sizes 9: a multiplication each.
    """
    scores = b * h * n * n
    return Work(
        bytes=4 * b * n * h * e * HALF + (b * n * SINGLE if sized else 0),
        matrix=4 * e * scores,
        exponentials=scores,
        other=(9 if sized else 7) * scores // 2,
    )


def product(rows: int, width: int, out: int) -> Work:
    """Linear layer: (rows, width) -> (rows, out), in the library."""
    return Work(
        bytes=(rows * width + out * width + out + rows * out) * HALF, matrix=2 * rows * width * out, other=rows * out
    )


def linear_gelu_work(rows: int, width: int, out: int) -> Work:
    """The same with GELU: per output an exponential, and 9 multiply-adds, bias, clamp, selection and a last one."""
    return product(rows, width, out) + Work(exponentials=rows * out, other=12 * rows * out)


def add_norm_work(rows: int, d: int) -> Work:
    """Residual sum and LayerNorm, which read two and write two rows.

    Per number: sum, sum for the mean, subtraction, multiply-add for the deviation, scale, multiply-add.
    """
    return Work(bytes=(4 * rows * d + 2 * d) * HALF, other=6 * rows * d)


def norm_work(rows: int, d: int) -> Work:
    """LayerNorm alone."""
    return Work(bytes=(2 * rows * d + 2 * d) * HALF, other=5 * rows * d)


def key_metric_work(b: int, n: int, h: int, e: int) -> Work:
    """Mean key over heads, of unit length, in float32: h sums, a multiply-add for the length, a scale."""
    return Work(bytes=b * n * (h * e * HALF + e * SINGLE), other=b * n * e * (h + 2))


def best_partner_work(b: int, n: int, e: int) -> Work:
    """For each of a tokens the nearest of c: e multiply-adds, and a comparison and two selections a pair."""
    a, c = (n + 1) // 2, n // 2
    return Work(bytes=b * (n * e + 2 * a) * SINGLE, other=b * a * c * (e + 3))


def rank_pairs(b: int, n: int) -> Work:
    """Rank of each pair by counting: per comparison of two pairs higher, equal, earlier, and, or, and a sum."""
    a = (n + 1) // 2
    return Work(bytes=2 * b * a * SINGLE, other=6 * b * a * a)


def write_plan(b: int, n: int, r: int) -> Work:
    """Lists of owners, starts and sources by counting: per two pairs 4 comparisons, 5 logical steps and 3 sums."""
    a, c = (n + 1) // 2, n // 2
    return Work(bytes=b * (2 * a + (n - r) + (n - r + 1) + r) * SINGLE, other=12 * b * a * (c + 1))


def merge_norm_work(b: int, n: int, p: int, d: int, *, sized: bool) -> Work:
    """Residual sum, mean by size and LayerNorm: reads all tokens twice (x and y), writes every slot twice, and sizes.

    As `add_norm` per slot and number; per token that joins another, sum and multiply-add.
    """
    lists = (p + p + 1 + (n - p) + p + (n if sized else 0)) * SINGLE
    return Work(
        bytes=(2 * b * n * d + 2 * b * p * d + 2 * d) * HALF + b * lists, other=6 * b * p * d + 2 * b * (n - p) * d
    )


def patch_tokens_work(b: int, n: int, k: int, d: int, *, frames: int, mel_bins: int, side: int) -> Work:
    """Patches of a filterbank in half precision as a product, with bias and positions added."""
    inputs = b * frames * mel_bins + d * side * side + d + k * d + n * d
    return Work(bytes=(inputs + b * n * d) * HALF, matrix=2 * b * (n - k) * side * side * d, other=2 * b * n * d)


def heads_tokens(b: int, n: int, k: int, h: int, d: int, *, sized: bool) -> Work:
    """Attention of the head's k tokens over all, in float32 and plain torch, and the projection behind it.

    Each token is multiplied with k h queries, and again with as many weights: in float32 on the ordinary units.
    """
    read = b * n * d * HALF + (b * n * SINGLE if sized else 0)
    weights = 2 * d * d * HALF + 2 * d * d * SINGLE
    return Work(
        bytes=read + weights + b * k * d * HALF,
        matrix=2 * 2 * b * k * d * d,
        exponentials=b * k * h * n,
        other=2 * b * k * h * n * d + 2 * b * k * d * d,
    )
