"""Decide what happens to freed memory: the allocator keeps it, or returns it to the system as it sees fit."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Literal

MemoryPolicy = Literal["kept", "system"]
"""`kept`: the allocator keeps freed memory; `system`: the allocator is left as it is."""

_CHOICES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
"""Environment variables that configure glibc's allocator."""
_MMAP_THRESHOLD, _TRIM_THRESHOLD = 2**30, 2**31 - 1
"""In bytes. glibc serves requests below the first from its heap instead of the system, and returns memory only if more
than the second is free at the heap's end."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
"""Constants from glibc's `malloc.h`."""
_settings = ""
"""Settings that `keep_memory` made in this process; empty if none."""


def keep_memory() -> bool:
    """Let the allocator keep freed memory, and return whether it does.

    Otherwise the memory of tensors of a few hundred kilobytes and more would be returned to the system after every
    operation, and every page of it taken again, cleared, for the next one. In exchange, the resident set stays at its
    peak. This configures jemalloc if it is preloaded, else glibc; other allocators, and settings made in the
    environment, are left alone.
    """
    global _settings
    library = _library()
    if not _settings and library is not None and not chosen_memory():
        name = allocator_name().partition(" ")[0]
        _settings = {"glibc": _keep_glibc, "jemalloc": _keep_jemalloc}.get(name, lambda _: "")(library)
    return bool(_settings)


def kept_by() -> str:
    """Return the settings by which this process keeps memory; empty if it does not."""
    return _settings


def allocator_name() -> str:
    """Return the name of the `malloc` that this process uses, with its version if known; `unknown` if unrecognised."""
    library = _library()
    if library is None:
        return "unknown"
    if hasattr(library, "mallctl"):
        version = ctypes.c_char_p()
        size = ctypes.c_size_t(ctypes.sizeof(version))
        library.mallctl(b"version", ctypes.byref(version), ctypes.byref(size), None, ctypes.c_size_t(0))
        return f"jemalloc {(version.value or b'').decode().partition('-')[0]}".strip()
    for symbol, name in (("MallocExtension_ReleaseFreeMemory", "tcmalloc"), ("mi_version", "mimalloc")):
        if hasattr(library, symbol):
            return name
    if hasattr(library, "gnu_get_libc_version"):
        library.gnu_get_libc_version.restype = ctypes.c_char_p
        return f"glibc {library.gnu_get_libc_version().decode()}"
    return "unknown"


def _library() -> ctypes.CDLL | None:
    """Return a handle to what is linked into this process or preloaded, which has the `malloc` that tensors use."""
    with suppress(OSError, TypeError):  # Windows
        return ctypes.CDLL(None)
    return None


def _keep_glibc(library: ctypes.CDLL) -> str:
    if library.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD):
        how = f"M_MMAP_THRESHOLD={_MMAP_THRESHOLD}"
    elif library.mallopt(_M_MMAP_MAX, 0):  # older versions refuse thresholds above 32 MiB
        how = "M_MMAP_MAX=0"
    else:
        return ""
    return f"{how} M_TRIM_THRESHOLD={_TRIM_THRESHOLD}" if library.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD) else ""


def _keep_jemalloc(library: ctypes.CDLL) -> str:
    def write(name: str) -> int:
        never = ctypes.c_ssize_t(-1)
        size = ctypes.c_size_t(ctypes.sizeof(never))
        return int(library.mallctl(name.encode(), None, None, ctypes.byref(never), size))

    count = ctypes.c_uint()
    size = ctypes.c_size_t(ctypes.sizeof(count))
    library.mallctl(b"arenas.narenas", ctypes.byref(count), ctypes.byref(size), None, ctypes.c_size_t(0))
    for kind in ("dirty", "muzzy"):
        if write(f"arenas.{kind}_decay_ms"):  # for future arenas
            return ""
        for arena in range(count.value):  # an unused one refuses, and will follow the default for future ones
            write(f"arena.{arena}.{kind}_decay_ms")
    return "dirty_decay_ms=-1 muzzy_decay_ms=-1"


def chosen_memory() -> str:
    """Return the environment's settings of glibc's allocator; empty if there are none."""
    chosen = [f"{name}={os.environ[name]}" for name in _CHOICES if name in os.environ]
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        chosen.append(f"GLIBC_TUNABLES={os.environ['GLIBC_TUNABLES']}")
    return " ".join(chosen)
