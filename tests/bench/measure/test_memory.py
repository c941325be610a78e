"""What an allocator says when there is no memory left, and what is measured of an arm that fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.measure.memory import is_out_of_memory, measure_memory


@pytest.mark.parametrize(
    "ask",
    [lambda: torch.empty(1 << 50, dtype=torch.uint8), lambda: np.empty(1 << 60, np.uint8)],
    ids=["torch", "numpy"],
)
def test_what_this_machine_cannot_allocate_is_out_of_memory(ask) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as failed:
        ask()
    assert is_out_of_memory(failed.value)
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_an_arm_that_fails_is_no_counter_that_is_missing() -> None:
    def fails() -> None:
        raise OSError("the arm's own")

    with pytest.raises(OSError, match="the arm's own"):
        measure_memory({"candidate": fails}, "cpu")
