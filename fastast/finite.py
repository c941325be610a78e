"""Finite numbers: checks of the values that users give, and NumPy scalars as Python numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeGuard


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a finite number that fits a float; booleans are not."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer with hundreds of digits
        return False


def own_number(value: Any) -> Any:
    """Return a NumPy scalar as a Python number, anything else as it is."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 else value


def hold_own_numbers(instance: Any) -> None:
    """Replace NumPy scalars in the fields of a dataclass by Python numbers, as text and records hold them."""
    for one in dataclasses.fields(instance):
        object.__setattr__(instance, one.name, own_number(getattr(instance, one.name)))
