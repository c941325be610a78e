"""A tuner's measurements so far, in a file next to its answer: an interrupted run resumes where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fastast.system.locking import release_lock, take_lock
from fastast.system.writing import write_whole
from fastast.tuning.question import differing_key
from fastast.tuning.target import TuningError

T = TypeVar("T")


class Journal:
    """Lines of JSON: the question first, then a key and a value for each measurement."""

    def __init__(self, path: Path, question: dict[str, Any]) -> None:
        """Start a journal, or resume one of the same question.

        Raises TuningError if the file belongs to another question, or another process is writing to it.
        """
        self.path, self._question = path, json.loads(json.dumps(question))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_path = path.with_name(path.name + ".lock")
        lock = take_lock(self._lock_path)
        if lock is None:
            raise TuningError(
                f"{path}: another process is writing to this file; wait for it to finish, or give another --out"
            )
        self._lock = lock
        self._known: dict[str, Any] = {}
        self.found = 0
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def get(self, key: str, measure: Callable[[], T]) -> T:
        """Return the measurement recorded under a key, or measure and record it."""
        if key not in self._known:
            value = json.loads(json.dumps(measure()))
            self._append({"key": key, "value": value})
            self._known[key] = value
        found: T = self._known[key]
        return found

    def close(self) -> None:
        """Release the lock, so that other processes can write."""
        release_lock(self._lock_path, self._lock)

    def remove(self) -> None:
        """Remove the file, which is no longer needed once the answer is written."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        for left in self.path.parent.glob(f".{self.path.name}.*.tmp"):  # from a tuner that was killed
            left.unlink(missing_ok=True)
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]  # a killed process may have left half a line
        if not whole:
            write_whole(self.path, _line({"question": self._question}))
            return
        try:
            question, *entries = [json.loads(line) for line in whole]
            theirs = question["question"]
            self._known = {entry["key"]: entry["value"] for entry in entries}
        except (ValueError, KeyError, TypeError):
            raise TuningError(f"{self.path}: this is not a journal of `fastast tune`; give another --out") from None
        if first := differing_key(theirs, self._question):
            was = repr(theirs[first]) if first in theirs else "not recorded by an older FastAST"
            raise TuningError(
                f"{self.path}: the measurements in it are for another question: {first} was {was} and is now "
                f"{self._question.get(first)!r}. Remove the file, or give another --out"
            )
        if len(whole) < len(lines):
            write_whole(self.path, "".join(whole).encode())
        self.found = len(self._known)

    def _append(self, entry: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(_line(entry))
            file.flush()
            os.fsync(file.fileno())


def _line(entry: dict[str, Any]) -> bytes:
    return (json.dumps(entry) + "\n").encode()
