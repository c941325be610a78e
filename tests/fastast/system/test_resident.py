"""Memory of a process is its own."""

from __future__ import annotations

import mmap
import subprocess
import sys

import numpy as np
import pytest

from fastast.system.resident import peak_resident_bytes, resident_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
MUCH = 300 << 20
"""Bytes that one process holds and another does not."""


def test_a_process_does_not_have_the_peak_of_who_started_it() -> None:
    held = np.ones(MUCH, np.uint8)
    code = "from fastast.system.resident import peak_resident_bytes; print(peak_resident_bytes())"
    own = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert peak_resident_bytes() > held.nbytes > own > 1 << 20


def test_a_peak_stays_when_what_made_it_is_gone() -> None:
    before = resident_bytes("VmRSS")
    with mmap.mmap(-1, MUCH) as held:  # goes back to the system, whatever the allocator is told to keep
        held.write(bytes(MUCH))
        assert resident_bytes("VmRSS") > before + 0.9 * MUCH
    assert resident_bytes("VmRSS") < before + 0.5 * MUCH
    assert peak_resident_bytes() > before + 0.9 * MUCH
