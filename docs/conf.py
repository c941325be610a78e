"""Sphinx: the pages of this folder, the reference of the public names and of the commands, `nox -s docs`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from fastast import __version__  # noqa: E402

project, author, release = "FastAST", "The FastAST authors", __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "FastAST"
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
default_role = "code"  # docstrings have names between single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
always_use_bars_union = True

OUTSIDE = re.compile(
    r"(?<!!)\[([^\]]*)\]\(\.\./((?:README|CHANGELOG)\.md|(?:bench|examples|fastast|results|tests|reports)/[^)]*)\)"
)
"""Links to files of the repository that are no pages."""


def _link_outside(app, docname, source):
    """Turn links to files of the repository that are no pages into their paths, which a reader's checkout has."""
    source[0] = OUTSIDE.sub(r"\1 (`\2`)", source[0])


def _write_commands(app):
    """Write a page of every command and its options, as `--help` has them."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    for module, name in (("fastast.cli", "fastast"), ("bench.cli", "python -m bench")):
        page = folder / f"commands_of_{module.partition('.')[0]}.md"
        asked = ["-m", "typer", module, "utils", "docs", "--name", name, "--title", f"Commands of {name}"]
        subprocess.run([sys.executable, *asked, "--output", str(page)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def setup(app):
    app.connect("builder-inited", _write_commands)
    app.connect("source-read", _link_outside)
