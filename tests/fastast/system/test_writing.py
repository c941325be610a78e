"""Files are there whole, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastast.system.locking import release_lock, take_lock
from fastast.system.writing import remove_leftovers, write_together, written_whole


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


def test_two_that_write_to_one_place_at_once_have_a_file_each(tmp_path):
    target = tmp_path / "a"
    with written_whole(target) as first, written_whole(target) as second:  # as threads of one process may
        first.write_bytes(b"first")
        second.write_bytes(b"second")
        assert first.read_bytes() == b"first"
    assert content(tmp_path) == {"a": b"first"}


def test_what_a_killed_process_left_is_found_by_its_number(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    with written_whole(tmp_path / "a") as mine:
        mine.write_bytes(b"")
        left = mine.with_name(mine.name.replace(str(os.getpid()), dead.stdout.strip()))
        left.write_bytes(b"half")
        remove_leftovers(tmp_path)
        assert set(content(tmp_path)) == {mine.name}
