"""Whether a value that someone gave is a number to compute with."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeGuard


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a finite number that fits a float; true and false are none."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def own_number(value: Any) -> Any:
    """Return a scalar of numpy as Python's own number, anything else as it is."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 else value


def hold_own_numbers(instance: Any) -> None:
    """Hold scalars of numpy in the fields of a dataclass as Python's own numbers, as text and records have them."""
    for one in dataclasses.fields(instance):
        object.__setattr__(instance, one.name, own_number(getattr(instance, one.name)))
