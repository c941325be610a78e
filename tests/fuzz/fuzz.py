"""Broken and hostile files at every door, made by Atheris (libFuzzer).

`python tests/fuzz/fuzz.py [--inputs N] [--door NAME] [--seed N]`.

A door is a process of its own. What is looked for: an exception that is no refusal, a process that dies, more than two
seconds or too much memory for one file, a file written or a program started. Every find is kept with its input.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
LARGEST = 1 << 16
"""Bytes of an input."""
SLOW_S = 2.0
ROOM = 200 << 20
"""Bytes of memory that a file may take beside 20 times its size."""
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "socket.connect", "os.rename")
"""Audit events that no reading of a file causes."""


@dataclass
class Finds:
    """What was found at a door, by where it was raised."""

    folder: Path
    inputs: int = 0
    refused: int = 0
    found: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, content: bytes) -> None:
        """Note a find and keep its input, the first of its kind."""
        if what not in self.found:
            name = hashlib.sha256(content).hexdigest()[:12]
            (self.folder / name).write_bytes(content)
            self.found[what] = name

    def write(self, path: Path) -> None:
        """Write the account down."""
        path.write_text(json.dumps({"inputs": self.inputs, "refused": self.refused, "found": self.found}))


def run_door(name: str, inputs: int, seed: int, folder: Path) -> None:
    """Fuzz one door in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["fastast", "bench"]):
        from doors import DOORS
    door = next(one for one in DOORS if one.name == name)
    corpus, kept = folder / "corpus", folder / "finds"
    corpus.mkdir(parents=True)
    kept.mkdir()
    finds, place = Finds(folder=kept), Path(tempfile.mkdtemp(dir=folder))
    path = place / door.file
    for number, example in enumerate(door.examples()):
        (corpus / str(number)).write_bytes(example)
        path.write_bytes(example)
        door.open(path)  # a whole one is taken
    did: list[str] = []
    watching = False

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if not watching:
            return
        if event in STARTS:
            did.append(f"{event} {arguments!r:.200}")
        elif event == "open" and set(str(arguments[1])) & set("wax+") and not str(arguments[0]).startswith(str(place)):
            did.append(f"writes {arguments[0]!r:.200}")

    sys.addaudithook(audit)
    base = _memory()

    def try_one(content: bytes) -> None:
        nonlocal watching
        path.write_bytes(content)
        limit = base + ROOM + 20 * len(content)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        began, watching = time.process_time(), True  # of the processor: others may be at work
        try:
            door.open(path)
        except door.refusals as error:
            finds.refused += 1
            if "\n" in str(error).strip() and door.name != "sweep":  # a sweep is told of all that is wrong with it
                finds.add(f"a refusal of several lines: {type(error).__name__}", content)
        except Exception as error:
            finds.add(_where(error), content)
        finally:
            watching = False
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if (seconds := time.process_time() - began) > SLOW_S:
            finds.add(f"takes {seconds:.1f} s", content)
        if did:
            finds.add(did[0], content)
            did.clear()
        if left := [one.name for one in place.iterdir() if one != path]:
            finds.add(f"leaves {left}", content)
        finds.inputs += 1
        if finds.inputs % 200 == 0 or finds.inputs >= inputs:
            finds.write(folder / "account.json")

    options = [
        f"-runs={inputs}",
        f"-seed={seed}",
        f"-max_len={LARGEST}",
        "-rss_limit_mb=0",
        "-verbosity=0",
        "-len_control=0",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={kept}/", str(corpus)], try_one)
    atheris.Fuzz()


def _memory() -> int:
    """Return the address space of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _where(error: Exception) -> str:
    """Return class and innermost line of the repository."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and not path.is_relative_to(HERE) and "site-packages" not in path.parts:
            return f"{type(error).__name__} at {path.relative_to(ROOT)}:{frame.lineno}: {error}"[:300]
    return f"{type(error).__name__}: {error}"[:300]


def main(arguments: Sequence[str]) -> int:
    """Fuzz every door in a process of its own; print inputs, refusals, finds and time. Exit code 1 for a find."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="of all doors together")
    parser.add_argument("--door", action="append", help="only this one; repeatable")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz", help="folder for inputs that were found")
    parser.add_argument("--one", nargs=2, metavar=("DOOR", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        run_door(options.one[0], options.inputs, options.seed, Path(options.one[1]))
        return 0
    from doors import DOORS

    names = [door.name for door in DOORS if not options.door or door.name in options.door]
    each, failed = -(-options.inputs // len(names)), False
    print("| door | inputs | refused | finds | seconds |\n|---|---:|---:|---:|---:|")
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            began = time.perf_counter()
            known = _account(name, each, options.seed, Path(place))
            seconds = time.perf_counter() - began
            inputs, refused, found = known["inputs"], known["refused"], known["found"]
            print(f"| {name} | {inputs:,} | {refused:,} | {len(found)} | {seconds:.0f} |", flush=True)
            for what, file in found.items():
                failed = True
                print(f"{name}: {what} ({file})", file=sys.stderr)
                if file:
                    options.out.mkdir(parents=True, exist_ok=True)
                    kept = options.out / f"{name.replace(' ', '_')}-{file}"
                    kept.write_bytes((Path(place) / "finds" / file).read_bytes())
    return int(failed)


def _account(name: str, inputs: int, seed: int, folder: Path) -> dict[str, Any]:
    """Fuzz a door in a process and return what it wrote down."""
    command = [sys.executable, __file__, "--inputs", str(inputs), "--seed", str(seed), "--one", name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    account = folder / "account.json"
    known: dict[str, Any] = {"inputs": 0, "refused": 0, "found": {}}
    if account.exists():
        known = json.loads(account.read_text())
    if done.returncode or known["inputs"] < inputs:
        known["found"][f"the process ends with {done.returncode}: {done.stderr.strip()[-600:]}"] = ""
    return known


def _environment() -> dict[str, str]:
    paths = os.pathsep.join(map(str, (ROOT, HERE)))
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
