"""The page's own JavaScript under node, so that what it computes is held against Python's; and a name to escape."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from bench.page.render import ASSETS

EVIL = '</script><img src=x onerror="document.title=1"> & "Co"'
"""A name that ends the script, or puts an element in the page, where it is not escaped."""

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def call(expression: str, values: Any, *names: str) -> Any:
    """Return what the function `expression`, which sees the scripts `names`, makes of `values`."""
    code = "\n".join((ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in names)
    code += '\nconst given = JSON.parse(require("fs").readFileSync(0, "utf8"));\n'
    code += f"process.stdout.write(JSON.stringify(({expression})(given)));\n"
    done = subprocess.run(
        ["node", "-e", code], input=json.dumps(values), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
