"""BlockTokens: what a block knows about its tokens when a method chooses which of them go.

Shapes: `b` batch, `n` tokens, `p` prefix tokens, `h` heads, `e` width of a head, `d` = h e.

Anything that costs time is computed on first use, and only once.
"""

from __future__ import annotations

import hashlib
import random
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastast.reduction.choosing.precision import widened, without_autocast
from fastast.reduction.once import once
from fastast.reduction.options import ReductionError
from fastast.system.compiling import constant_result

if TYPE_CHECKING:
    from fastast.encoder import EncoderShape
    from fastast.macs import BlockPlace
    from fastast.reduction.forward.lineage import Lineage


class BlockTokens:
    """The tokens of one block where it reduces them: between its attention and its MLP, unless the reduction has
    another place. With place "after", `branch` is what the whole block added; with place "before", `before`, `branch`
    and `heads` are those of the whole previous block."""

    before: Tensor
    """(b, n, d), the tokens as they entered the block; before the first block, the tokens themselves."""
    size: Tensor | None
    """(b, n) float32, number of original tokens in each; None where every token is one."""
    shape: EncoderShape
    """Shape of the encoder."""
    num_protected: int
    """Number of leading tokens that must stay alone."""
    block: int
    """Index of the block, from 0."""
    place: BlockPlace
    """Where in the block tokens are removed."""
    seed: int
    """Seed for everything that a method draws at random."""
    threshold: float | None
    """Least cosine at which a pair merges; None where `r` pairs merge, however similar."""
    has_drawn: bool
    """Whether a method has used `draw` or `generator`."""
    drawn: list[Tensor]
    """What `draw` returned: a captured graph reads it in place, so code that captures must keep it."""

    def __init__(
        self,
        before: Tensor,
        branch: Tensor | None,
        heads: tuple[Tensor, Tensor, Tensor] | None,
        size: Tensor | None,
        *,
        after: Tensor | None = None,
        shape: EncoderShape,
        num_protected: int,
        block: int,
        place: BlockPlace = "between",
        lineage: Lineage | None = None,
        seed: int = 0,
        proportional: bool = True,
        threshold: float | None = None,
    ) -> None:
        """`heads` are queries, keys and values; `lineage` is that of the tokens in `before`.

        Without `branch`, `after` is the output of the block. Without `heads`, the tokens have not been in a block yet,
        and `after` is `before`.
        """
        self.before, self.size = before, size
        self._branch, self._heads = branch, heads
        self.shape, self.num_protected, self.seed = shape, num_protected, seed
        self.block, self.place = block, place
        self._lineage, self._proportional = lineage, proportional
        self.threshold = threshold
        self.has_drawn, self.drawn = False, []
        self._after = before if heads is None else after

    @property
    def after(self) -> Tensor:
        """(b, n, d), the tokens after attention with the residual added, or after the block: what is merged."""
        if self._after is None:
            self._after = self.before + self.branch
        return self._after

    @property
    def entering(self) -> Tensor:
        """(b, n, d), the tokens as they enter block `block`; with place "before", they are what is merged."""
        return self.after if self.place == "before" else self.before

    @property
    def branch(self) -> Tensor:
        """(b, n, d), what the block's attention adds to the tokens."""
        if self._branch is None:
            _ = self.heads  # raises, and says why, where no block has added anything
            self._branch = self.after - self.before
        return self._branch

    @property
    def heads(self) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values. Raises ReductionError before the first block, where there are none."""
        if self._heads is None:
            raise ReductionError(
                "reduction: before the first block there are no queries, keys or values, and nothing was added to the "
                "tokens; a method registered with at_input=True may use only tokens.before, after, places and draw()"
            )
        return self._heads

    @property
    def queries(self) -> Tensor:
        """Queries, (b, h, n, e)."""
        return self.heads[0]

    @property
    def keys(self) -> Tensor:
        """Keys, (b, h, n, e)."""
        return self.heads[1]

    @property
    def values(self) -> Tensor:
        """Values, (b, h, n, e)."""
        return self.heads[2]

    @property
    def batch(self) -> int:
        """Number of clips `b`."""
        return self.before.shape[0]

    @property
    def num_tokens(self) -> int:
        """Number of tokens `n`."""
        return self.before.shape[1]

    @property
    def device(self) -> torch.device:
        """Device of the tokens."""
        return self.before.device

    @property
    def depth(self) -> int:
        """Number of blocks in the encoder."""
        return self.shape.depth

    @property
    def protected(self) -> Tensor:
        """(n,) bool, True for the tokens that must stay alone."""
        return torch.arange(self.num_tokens, device=self.device) < self.num_protected

    @property
    def dead(self) -> Tensor | None:
        """(b, n) bool, tokens that only pad a clip; None where there can be none."""
        return None if self.threshold is None or self.size is None else self.size == 0

    @once
    def sizes(self) -> Tensor:
        """(b, n) float32, number of original tokens in each; ones where nothing was merged yet."""
        return self.size if self.size is not None else torch.ones(self.before.shape[:2], device=self.device)

    @once
    def prefix_attention(self) -> Tensor:
        """(b, h, p, n) float32 or wider, how much every prefix token attends to every token, in proportion to sizes.

        Multiplies only p queries; the (n, n) matrix is never computed.
        """
        with without_autocast(self.queries):
            q = widened(self.queries[:, :, : self.shape.num_prefix_tokens])  # (b, h, p, e)
            scores = (q * q.shape[-1] ** -0.5) @ widened(self.keys).transpose(-2, -1)  # (b, h, p, n)
            if self._proportional and self.size is not None:
                scores = scores + self.size.to(scores.dtype).log()[:, None, None, :]
            return scores.softmax(-1)

    @once
    def places(self) -> Tensor:
        """(b, n, 2) float32, frequency and time of each token's owner on the patch grid; -1 for a prefix token."""
        return self._known_lineage.places(self.batch, self.device)

    @once
    def centres(self) -> Tensor:
        """(b, n, 2) float32, frequency and time of each token's centre of mass on the patch grid."""
        return self._known_lineage.centres(self.batch, self.device)

    @property
    def _known_lineage(self) -> Lineage:
        if self._lineage is None:
            raise ValueError("BlockTokens: these tokens were given without their lineage, so they have no places")
        return self._lineage

    @once
    def generator(self) -> torch.Generator:
        """A generator on the CPU that depends on seed and block alone, so that what is drawn repeats.

        For what `draw` cannot do: no CUDA graph, compiler or exporter can hold it. A method that uses it must be
        registered with `cannot`.
        """
        if self.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise ReductionError(
                "reduction: tokens.generator draws on the CPU, which no CUDA graph can hold; use tokens.draw(), or "
                "register the method with cannot='it draws on the CPU'"
            )
        self.has_drawn = True
        return torch.Generator().manual_seed(_seed(self.seed, self.block))

    def draw(self, count: int | None = None, *, block: int | None = None) -> Tensor:
        """Return uniform numbers in [0, 1), (count,) float32, the same for all clips and in every forward pass.

        By default, one per token and those of this block. An engine keeps what was drawn as long as it lives, so that
        its captured CUDA graphs find it at the same address.
        """
        self.has_drawn = True
        count = self.num_tokens if count is None else count
        block = self.block if block is None else block
        if torch.compiler.is_compiling() or torch.compiler.is_exporting():  # a tracer's tensors must not be kept
            return torch.tensor(_numbers(self.seed, block, count), dtype=torch.float32, device=self.device)
        self.drawn.append(_kept(self.seed, block, count, self.device))
        return self.drawn[-1]


def _seed(seed: int, block: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {block}".encode()).digest()[:7], "big")


@constant_result
def _numbers(seed: int, block: int, count: int) -> list[float]:
    """Draw numbers in Python, because random tensors are not available while a compiler or exporter traces."""
    drawn = random.Random(_seed(seed, block))
    return [drawn.getrandbits(24) / 2**24 for _ in range(count)]  # exact in float32


@lru_cache(maxsize=1024)
def _kept(seed: int, block: int, count: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(_numbers(seed, block, count), dtype=torch.float32, device=device)
