"""Files are there whole, or not at all."""

from __future__ import annotations

import os

import pytest

from fastast.system.locking import release_lock, take_lock
from fastast.system.writing import write_together


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_that_are_written_together_replace_what_was_there(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    write_together({tmp_path / "a": b"new", tmp_path / "deep" / "b": b"b"})
    assert (tmp_path / "a").read_bytes() == b"new"
    assert content(tmp_path / "deep") == {"b": b"b"}


def test_the_disk_is_waited_for_once_a_file_and_once_a_folder(tmp_path, monkeypatch):
    synced, sync = [], os.fsync
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(sync(descriptor)))
    write_together({tmp_path / str(number): b"x" for number in range(10)})
    assert len(synced) == 10 + 1


def test_of_files_written_together_none_changes_where_one_has_no_room(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device: nothing was written") as failure:
        write_together({tmp_path / "a": b"new", tmp_path / "b": b"new"})
    assert failure.value.filename == str(tmp_path / "a")
    assert content(tmp_path) == {"a": b"old"}


def test_a_lock_is_given_back_on_a_disk_that_went_read_only(tmp_path, monkeypatch):
    path = tmp_path / ".lock"
    descriptor = take_lock(path)
    assert descriptor is not None
    with monkeypatch.context() as patch:

        def refuse(*arguments, **options):
            raise OSError(30, "Read-only file system")

        patch.setattr("os.unlink", refuse)
        patch.setattr("pathlib.Path.unlink", refuse)
        release_lock(path, descriptor)
    again = take_lock(path)  # the file is still there, and holds nobody off
    assert again is not None
    release_lock(path, again)
    assert not path.exists()
