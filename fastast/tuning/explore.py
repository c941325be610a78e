"""Look for the schedule within a time limit that changes the model's answers least: propose, measure, correct, repeat.

The search proposes schedules from the blocks' sensitivity; the measured cost of each proposal corrects that
sensitivity, until the search proposes a schedule that is already known. Then tokens move from block to block, a few at
a time, as long as that helps. Every measurement is kept, keyed by the schedule's removals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from fastast.encoder import EncoderShape
from fastast.reduction import ReductionError, TokenReduction
from fastast.schedule import Constant, Linear, ScheduleError
from fastast.tuning.measuring.latency import LatencyTable, cost_matrices
from fastast.tuning.measuring.sensitivity import Sensitivity
from fastast.tuning.measuring.timing import Counts
from fastast.tuning.search import FrontPoint, search_front
from fastast.tuning.target import TuningError

FAMILIES = {"constant": 0.0, "decreasing": -1.0, "linear:-0.5": -0.5, "increasing": 1.0}
"""Inflection of the schedules that are tried first, by name; an answer is compared with the first two."""
_LEVELS = 80
"""About how many different numbers of tokens the search considers, at most."""
_INTERVALS = 1000
"""Intervals that the search divides the time limit into; times within one interval count as equal."""
_PROPOSALS = 10
"""Maximum number of proposals per time limit."""
_TRIED = 8
"""Maximum number of moves of one size to try before the size is halved."""


@dataclass(frozen=True, kw_only=True)
class Explored:
    """A schedule that was measured on the calibration clips."""

    counts: Counts
    """Tokens that each block removes."""
    seconds: float
    """Time per batch that the latency table forecasts."""
    divergence: float
    """Mean divergence of the answers from the unmerged model's, in nats."""
    metric: float
    """mAP or accuracy."""


class Explorer:
    """Schedules of one method on one model, with what is known about their time and loss."""

    def __init__(
        self,
        shape: EncoderShape,
        method: TokenReduction,
        table: LatencyTable,
        sensitivity: Sensitivity,
        measure: Callable[[Counts], tuple[float, float]],
        *,
        evaluations: int,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`method`: a reduction whose schedule is ignored; `measure`: returns the divergence and metric of a schedule,
        for at most `evaluations` schedules per time limit."""
        self.shape, self.method, self.table = shape, method, table
        self._sensitivity, self._measure, self._say = sensitivity, measure, say
        self._evaluations = evaluations
        self._found: dict[Counts, Explored] = {}
        self._levels = self._numbers_of_tokens()
        self._times = cost_matrices(table, self._levels, self.limit)

    @property
    def evaluated(self) -> int:
        """Number of schedules measured so far."""
        return len(self._found)

    def limit(self, tokens: int, block: int) -> int:
        """Return the most tokens that a block can remove."""
        return self.method.limit(self.shape, tokens, block)

    def tokens(self, counts: Counts) -> Counts | None:
        """Return the numbers of tokens that leave each block; None if a block cannot remove that many."""
        left, found = self.shape.num_tokens, []
        for block, r in enumerate(counts):
            if r > self.limit(left, block):
                return None
            left -= r
            found.append(left)
        return tuple(found)

    def seconds(self, counts: Counts) -> float:
        """Return the forecast time of a possible schedule."""
        tokens = self.tokens(counts)
        assert tokens is not None, "ask for tokens first"
        return self.table.forward(tokens)

    def look(self, counts: Counts) -> Explored:
        """Measure a schedule, or return its earlier measurement."""
        if counts not in self._found:
            divergence, metric = self._measure(counts)
            self._found[counts] = Explored(
                counts=counts, seconds=self.seconds(counts), divergence=divergence, metric=metric
            )
            self._say(f"  {','.join(map(str, counts))}: {divergence:.4g} nats, {metric:.4f}")
        return self._found[counts]

    def family(self, name: str, seconds: float) -> Counts | None:
        """Return a family's slowest schedule within a time limit; None if all are slower."""
        return next((counts for counts in self.members(name) if self.seconds(counts) <= seconds), None)

    def slower(self, name: str, seconds: float) -> Counts | None:
        """Return a family's fastest schedule that takes at least a given time; None if all are faster."""
        fits = [counts for counts in self.members(name) if self.seconds(counts) >= seconds]
        return fits[-1] if fits else None

    def members(self, name: str) -> Iterator[Counts]:
        """Yield a family's possible schedules in order of increasing r."""
        for r in range(1, self.shape.num_tokens):
            family = Constant(r) if name == "constant" else Linear(r, FAMILIES[name])
            try:
                counts = replace(self.method, schedule=family).removals(self.shape)
            except (ReductionError, ScheduleError):
                return
            yield counts

    def fastest(self) -> float:
        """Return the forecast time of the fastest possible schedule."""
        return min(point.seconds for point in self._front(self.table.forward(self._all()))) + self.table.outside

    def within(self, seconds: float, *, thorough: bool = True) -> list[Explored]:
        """Look for schedules within a time limit and return all measured ones, in order of increasing divergence.

        If not `thorough`, measure only the search's first proposal. Raises TuningError if no schedule is that fast.
        """
        if self._propose(seconds) is None:
            raise TuningError(
                f"tune: no schedule of {self.method.method} is forecast to take {seconds * 1e3:.4g} ms per batch; "
                f"the fastest takes {self.fastest() * 1e3:.4g} ms. Ask for less"
            )
        asked: set[Counts] = set()

        def look(counts: Counts) -> Explored:
            asked.add(counts)
            return self.look(counts)

        if thorough:
            for name in FAMILIES:
                if (counts := self.family(name, seconds)) is not None:
                    look(counts)
        for _ in range(_PROPOSALS if thorough else 1):
            proposal = self._propose(seconds)
            if proposal is None or proposal in asked or len(asked) >= self._evaluations:
                break
            look(proposal)
        if thorough:
            self._move(seconds, look, asked)
        fits = [found for found in self._found.values() if found.seconds <= seconds]
        return sorted(fits, key=lambda found: (found.divergence, found.seconds))

    def _move(self, seconds: float, look: Callable[[Counts], Explored], asked: set[Counts]) -> None:
        """Move tokens between blocks, starting from the best schedule, while that helps and evaluations are left."""
        size = max(1, (self.shape.num_tokens - self.method.protected(self.shape)) // 25)
        while size >= 1:
            best = min((self._found[c] for c in asked), key=lambda found: found.divergence)
            sensitivity = self._corrected(seconds)
            moves = [move for move in self._moves(best.counts, size, seconds) if move not in asked]
            moves.sort(key=lambda move: sensitivity.schedule(self.tokens(move) or ()))
            improved = False
            for move in moves[:_TRIED]:
                if len(asked) >= self._evaluations:
                    return
                if improved := look(move).divergence < best.divergence:
                    break
            size = size if improved else size // 2

    def _moves(self, counts: Counts, size: int, seconds: float) -> Iterator[Counts]:
        """Yield schedules that remove up to `size` fewer tokens in one block, and in another the fewest more that
        keep to the time limit."""
        for i in range(len(counts)):
            fewer = min(size, counts[i])
            for j in range(len(counts)):
                if i == j or not fewer:
                    continue
                for more in range(3 * size + 1):
                    moved = list(counts)
                    moved[i] -= fewer
                    moved[j] += more
                    if self.tokens(tuple(moved)) is None:
                        break
                    if self.seconds(tuple(moved)) <= seconds:
                        yield tuple(moved)
                        break

    def _corrected(self, seconds: float) -> Sensitivity:
        """Return the sensitivity corrected by the measured schedules that take about this time."""
        near = {
            self.tokens(found.counts) or (): found.divergence
            for found in self._found.values()
            if 0.7 <= found.seconds / seconds <= 1.4
        }
        return self._sensitivity.corrected(near)

    def _propose(self, seconds: float) -> Counts | None:
        """Return the schedule within a time limit that the search expects to cost least; None if none is that fast."""
        front = self._front(seconds, self._corrected(seconds))
        fits = [point for point in front if point.seconds + self.table.outside <= seconds]
        if not fits:
            return None
        entering = self.shape.num_tokens
        counts = []
        for level in fits[-1].levels:
            counts.append(entering - self._levels[level])
            entering = self._levels[level]
        return tuple(counts)

    def _front(self, seconds: float, sensitivity: Sensitivity | None = None) -> Sequence[FrontPoint]:
        costs = (sensitivity or self._sensitivity).matrices(self._levels)
        return search_front(self._times, costs, width=seconds / _INTERVALS)

    def _numbers_of_tokens(self) -> tuple[int, ...]:
        least = self.method.protected(self.shape)
        free = self.shape.num_tokens - least
        step = max(1, -(-free // _LEVELS))
        return tuple(range(self.shape.num_tokens, max(least, 1) - 1, -step))

    def _all(self) -> Counts:
        return (self.shape.num_tokens,) * self.shape.depth
