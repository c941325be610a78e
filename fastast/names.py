"""Wording that messages share: unknown names, models on the Hugging Face Hub, errors of libraries, numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """Return the message for an unknown name, with the nearest known one first and then all of them."""
    known = list(known)
    near = get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}.{hint} There are: {', '.join(known)}"


def hub_hint(name: str | Path) -> str:
    """Return what to do about a missing path that looks like a model on the Hugging Face Hub; else an empty text."""
    owner, slash, model = str(name).partition("/")
    if not slash or "/" in model or not re.fullmatch(r"[\w][\w.-]*", owner) or not re.fullmatch(r"[\w.-]+", model):
        return ""
    if Path(model).suffix in (".pth", ".pt", ".bin", ".safetensors", ".toml") or Path(owner).exists():
        return ""
    return f". If it is a model on the Hugging Face Hub: hf download {name} --local-dir {model}, then give {model}"


def name_hint(path: str | Path) -> str:
    """Return where the name of a model belongs, for a missing path that may be one; else an empty text."""
    return ". If it is the name of a model, give it to fastast.create_model" if re.fullmatch(r"\w+", str(path)) else ""


def in_one_line(said: object) -> str:
    """Return a library's error message in one line, however many it spans."""
    return " ".join(str(said).split())


def counted(number: int, what: str) -> str:
    """Return a number with its noun: `1 thread`, `2 threads`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
