"""Run a module as if some packages were not installed: `python without_packages.py PACKAGES MODULE ARGUMENTS...`.

PACKAGES are separated by commas. They are not found, which is not the same as an import that fails: libraries ask
whether others are there.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_, packages, module, *arguments = sys.argv
HIDDEN = packages.split(",")


class Finder(PathFinder):
    """Python's own finder of installed packages, but for the hidden ones."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is, None for a hidden one."""
        return None if fullname.partition(".")[0] in HIDDEN else super().find_spec(fullname, path, target)


sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
