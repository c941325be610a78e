"""Comparisons of numbers, as a claims file writes them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_SIDE = r"([A-Za-z_]\w*(?:\.(?:low|high))?|[-+]?\d+(?:\.\d+)?)"
_COMPARISON = re.compile(rf"\s*{_SIDE}\s*(<=|>=|==|!=|<|>)\s*{_SIDE}\s*")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """`left sign right`, where each side is a number's name, an end of its interval, or a literal."""

    left: str
    sign: str
    right: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read `speedup.low > 1`. Raises ValueError for anything else."""
        match = _COMPARISON.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not a comparison; write NAME < NAME or NAME.low > 1, with one of {' '.join(OPERATORS)}"
            )
        left, sign, right = match.groups()
        return cls(left=left, sign=sign, right=right)

    @property
    def names(self) -> set[str]:
        """Names of the numbers in it."""
        return {side.split(".")[0] for side in (self.left, self.right) if not _is_literal(side)}

    def holds(self, values: Mapping[str, float]) -> bool:
        """Return whether the comparison is true; `values` has ends of intervals as `NAME.low` and `NAME.high`."""
        left, right = (float(side) if _is_literal(side) else values[side] for side in (self.left, self.right))
        return OPERATORS[self.sign](left, right)


def _is_literal(side: str) -> bool:
    return side.lstrip("+-")[0].isdigit()
