"""Threads within affinity and quota, threads that sleep when they wait, memory that is kept: each seen at work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastast.system import processors, runtime
from fastast.system.allocator import allocator_name
from fastast.system.processors import cpu_quota, most_threads, usable_threads

ROOT = Path(__file__).parents[3]
CHOICES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "GLIBC_TUNABLES", "MALLOC_TOP_PAD_")


def in_a_process(code: str, **environment: str) -> dict:
    """What a fresh process prints as JSON, without choices of this one's environment."""
    clean = {name: value for name, value in os.environ.items() if name not in CHOICES}
    command = [sys.executable, "-c", f"import json, os, sys\n{code}"]
    done = subprocess.run(
        command, env=clean | {"PYTHONPATH": str(ROOT)} | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def version_1(folder: Path, quota: int, period: int = 100_000) -> None:
    group(folder, cpu__cfs_quota_us=f"{quota}\n", cpu__cfs_period_us=f"{period}\n")


@pytest.mark.parametrize(
    ("inside", "where", "text", "expected"),
    [
        ("/", "", "200000 100000", 2.0),  # a container with a view of its own
        ("/", "", "max 100000", None),
        ("/pod/c", "pod/c", "150000 100000", 1.5),
        ("/pod/c", "pod", "100000 50000", 2.0),  # of a group above
        ("/docker/1f", "", "50000 100000", 0.5),  # the host's path of it, and its own root mounted
    ],
)
def test_a_quota_of_version_2_is_found_wherever_it_is_set(tmp_path, inside, where, text, expected):
    (tmp_path / "cgroup").write_text(f"0::{inside}\n")
    root = tmp_path / "fs"
    group(root / where, cpu__max=f"{text}\n")
    assert cpu_quota(tmp_path / "cgroup", root) == expected


@pytest.mark.parametrize(("names", "folder"), [("cpu,cpuacct", "cpu,cpuacct"), ("cpuacct,cpu", "cpu"), ("cpu", "cpu")])
def test_a_quota_of_version_1_is_found_and_the_tightest_counts(tmp_path, names, folder):
    (tmp_path / "cgroup").write_text(f"9:name=systemd:/\n2:{names}:/a/b\n0::/\n")
    version_1(tmp_path / "fs" / folder / "a" / "b", 400_000)
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "fs") == 4
    version_1(tmp_path / "fs" / folder / "a", 300_000)
    version_1(tmp_path / "fs" / folder, -1)
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "fs") == 3


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cpu_quota(tmp_path / "none", tmp_path) is None
    (tmp_path / "cgroup").write_text("not a line of it\n0::/\n")
    group(tmp_path, cpu__max="nonsense\n")
    assert cpu_quota(tmp_path / "cgroup", tmp_path) is None


@pytest.mark.parametrize(
    ("allowed", "cores", "quota", "usable", "most"),
    [
        (32, 32, 2.0, 2, 2),  # seen: 32 threads under a quota of 2
        (32, 16, None, 16, 32),  # two threads a core
        (4, 16, None, 4, 4),
        (8, 8, 2.5, 2, 3),
        (8, 8, 0.5, 1, 1),
    ],
)
def test_threads_are_physical_cores_within_affinity_and_whole_quota(monkeypatch, allowed, cores, quota, usable, most):
    monkeypatch.setattr(processors, "affinity", lambda: allowed)
    monkeypatch.setattr(processors, "cpu_quota", lambda: quota)
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: cores)
    assert (usable_threads(), most_threads()) == (usable, most)


def test_a_real_quota_lowers_the_threads_of_a_process():
    folder = Path("/sys/fs/cgroup/cpu") / f"fastast-{os.getpid()}"
    if processors.affinity() < 2:
        pytest.skip("one processor: there is nothing to lower")
    try:
        folder.mkdir()
        (folder / "cpu.cfs_quota_us").write_text("100000")
    except OSError as error:
        pytest.skip(f"no control group of version 1 can be made here: {error}")
    code = f"open('{folder}/cgroup.procs', 'w').write(str(os.getpid()))\n"
    code += "from fastast.system.processors import cpu_quota, usable_threads, most_threads\n"
    code += "print(json.dumps([cpu_quota(), usable_threads(), most_threads()]))"
    try:
        assert in_a_process(code) == [1.0, 1, 1]
    finally:
        folder.rmdir()


def test_affinity_is_that_of_the_process():
    code = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from fastast.system.processors import usable_threads, most_threads\n"
    assert in_a_process(code + "print(json.dumps([usable_threads(), most_threads()]))") == [1, 1]


SET_UP = """
from fastast.system.runtime import set_up, describe_runtime
import dataclasses
set_up()
print(json.dumps(dataclasses.asdict(describe_runtime())))
"""


def test_what_the_environment_chooses_stays():
    chosen = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "1", "MALLOC_TOP_PAD_": "4096"}
    found = in_a_process(SET_UP, **chosen)
    assert found["waiting"] == {"OMP_WAIT_POLICY": "ACTIVE"}
    assert found["threads"] == 1
    assert (found["memory"], found["memory_settings"]) == ("system", "MALLOC_TOP_PAD_=4096")


def test_threads_are_lowered_to_what_affinity_allows_and_wait_briefly():
    code = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" + SET_UP
    found = in_a_process(code, OMP_NUM_THREADS="7")
    assert (found["threads"], found["waiting"]) == (1, runtime.WAITING)


FAULTS = """
import resource, torch
from fastast.system.allocator import keep_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20): torch.ones(12_000_000)  # 48 MB, which glibc never keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
system, kept = faults(), keep_memory()
faults()
print(json.dumps({"system": system, "kept": faults() if kept else None}))
"""
PAGES = 48_000_000 // os.sysconf("SC_PAGE_SIZE")


def test_kept_memory_is_not_faulted_in_again():
    if not allocator_name().startswith("glibc"):
        pytest.skip(f"the allocator is {allocator_name()}")
    found = in_a_process(FAULTS)
    assert found["system"] > 15 * PAGES  # of 20 tensors
    assert found["kept"] < PAGES


def test_a_preloaded_jemalloc_is_named_and_keeps_memory():
    library = next(Path("/usr/lib").rglob("libjemalloc.so.2"), None)
    if library is None:
        pytest.skip("libjemalloc.so.2 is not installed")
    found = in_a_process(SET_UP, LD_PRELOAD=str(library))
    assert found["allocator"].startswith("jemalloc 5")
    assert found["memory"] == "kept"
    slow = FAULTS.replace("torch.ones(12_000_000)", "torch.ones(12_000_000), __import__('time').sleep(0.1)")
    assert in_a_process(slow, LD_PRELOAD=str(library))["kept"] < PAGES


def test_flushed_denormals_are_seen_and_what_comes_too_late_is_not_told_as_if_it_were_so():
    code = "import torch\nfrom fastast.system.runtime import describe_runtime as d, set_up\nset_up()\n"
    code += "before = d().flush_denormals\ncan = torch.set_flush_denormal(True)\n"
    code += "print(json.dumps([before, can, d().flush_denormals, d().waiting]))"
    before, can, after, waiting = in_a_process(code)
    assert before is False
    assert after is can
    assert waiting == {}  # PyTorch had read the environment before


def test_the_command_line_sets_itself_up():
    code = (
        "sys.argv = ['fastast', 'predict', '--json', 'fastast/assets/examples/bird_and_water.ogg']\n"
        "import contextlib, io\nfrom fastast.cli import app\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    try: app()\n"
        "    except SystemExit as end: assert not end.code\n"
        "from fastast.system.runtime import describe_runtime\nfound = describe_runtime()\n"
        "print(json.dumps([found.memory, found.waiting, found.threads]))"
    )
    memory, waiting, threads = in_a_process(f"os.chdir({str(ROOT)!r})\n" + code, OMP_NUM_THREADS="99")
    assert waiting == runtime.WAITING
    assert threads == usable_threads()
    assert memory == ("kept" if allocator_name().startswith("glibc") else "system")
