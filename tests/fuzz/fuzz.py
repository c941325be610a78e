"""Broken and hostile files at every door, made by Atheris (libFuzzer).

`python tests/fuzz/fuzz.py [--inputs N] [--doors NAME ...] [--seed N] [--update]`, and for one file that was found
`python tests/fuzz/fuzz.py --replay FILE`.

A door is a process of its own. What is looked for: an exception that is no refusal, a process that dies, more than two
seconds or too much memory for one file, a file written or a program started. Every find is kept with its input.

What was done lies in the folder of `--out` and counts: the same command goes on where it was interrupted, and doors can
be fuzzed by several commands. Other code starts anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
LARGEST = 1 << 16
"""Bytes of an input."""
SLOW_S = 2.0
HANGS_S = 60
"""Seconds after which a file has hung its process."""
DEATHS = 5
"""Processes of a door that may die before it is given up."""
ROOM = 200 << 20
"""Bytes of memory that a file may take beside 20 times its size."""
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "socket.connect", "os.rename")
"""Audit events that no reading of a file causes."""


@dataclass(kw_only=True)
class Account:
    """What was done at a door, and found."""

    code: str
    """Digest of the code that was fuzzed."""
    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    found: dict[str, str] = field(default_factory=dict)
    """What, by where it was raised -> name of the file with the first input that did it."""

    @classmethod
    def read(cls, folder: Path, code: str) -> Account:
        """Return what the folder of a door says, nothing where that is of other code."""
        with suppress(OSError, ValueError, TypeError):
            known = cls(**json.loads((folder / "account.json").read_text()))
            if known.code == code:
                return known
        shutil.rmtree(folder, ignore_errors=True)
        return cls(code=code)

    def add(self, what: str, content: bytes, folder: Path) -> None:
        """Note a find and keep its input, the first of its kind."""
        if what not in self.found:
            name = f"{folder.name}-{hashlib.sha256(content).hexdigest()[:12]}"
            (folder / name).write_bytes(content)
            self.found[what] = name
            self.write(folder)

    def write(self, folder: Path) -> None:
        """Write the account down, whole or not at all."""
        temporary = folder / ".account.json"
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(folder / "account.json")


def run_door(name: str, inputs: int, seed: int, folder: Path, code: str) -> None:
    """Fuzz one door in this process, which ends with it, until so many inputs were tried."""
    import atheris

    with atheris.instrument_imports(include=["fastast", "bench"]):
        from doors import DOORS
    door = next(one for one in DOORS if one.name == name)
    corpus, account = folder / "corpus", Account.read(folder, code)
    corpus.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=folder))
    path = place / door.file
    for number, example in enumerate(door.examples()):
        (corpus / str(number)).write_bytes(example)
        path.write_bytes(example)
        door.open(path)  # a whole one is taken
    look = Look(place)
    before, began = account.seconds, time.perf_counter()

    def try_one(content: bytes) -> None:
        path.write_bytes(content)
        (folder / "last").write_bytes(content)  # should the process die of it
        refused, found = look.at(door, path, content)
        account.inputs += 1
        account.refused += refused
        for what in found:
            account.add(what, content, folder)
        if account.inputs % 200 == 0 or account.inputs >= inputs:
            account.seconds = before + time.perf_counter() - began
            account.write(folder)

    left = inputs - account.inputs
    options = [
        f"-runs={left}",
        f"-seed={seed}",
        f"-max_len={LARGEST}",
        f"-timeout={HANGS_S}",
        "-rss_limit_mb=0",
        "-verbosity=0",
        "-len_control=0",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", str(corpus)], try_one)
    atheris.Fuzz()


class Look:
    """Opens files at a door and tells what is wrong with how it went."""

    def __init__(self, place: Path) -> None:
        """`place`: the folder of the file, the only one where anything may be written."""
        self._place, self._watching, self._did = place, False, list[str]()
        self._base = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        sys.addaudithook(self._audit)

    def at(self, door: Any, path: Path, content: bytes) -> tuple[bool, list[str]]:
        """Return whether a file was refused, and everything that should not have happened."""
        found, refused = list[str](), False
        limit = self._base + ROOM + 20 * len(content)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        began, self._watching = time.process_time(), True  # of the processor: others may be at work
        try:
            door.open(path)
        except door.refusals as error:
            refused = True
            if "\n" in str(error).strip() and door.name != "sweep":  # a sweep is told of all that is wrong with it
                found.append(f"a refusal of several lines: {type(error).__name__}")
        except Exception as error:
            found.append(_where(error))
        finally:
            self._watching = False
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if time.process_time() - began > SLOW_S:
            found.append(f"takes more than {SLOW_S:g} s")
        found += self._did[:1]
        self._did.clear()
        if left := [one.name for one in self._place.iterdir() if one != path]:
            found.append(f"leaves {left}")
        return refused, found

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._watching:
            return
        if event in STARTS:
            self._did.append(f"{event} {arguments!r:.200}")
        elif event == "open" and set(str(arguments[1])) & set("wax+") and not self._is_inside(arguments[0]):
            self._did.append(f"writes {arguments[0]!r:.200}")

    def _is_inside(self, path: object) -> bool:
        return str(path).startswith(str(self._place))


def _where(error: Exception) -> str:
    """Return class and innermost line of the repository."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and not path.is_relative_to(HERE) and "site-packages" not in path.parts:
            return f"{type(error).__name__} at {path.relative_to(ROOT)}:{frame.lineno}: {error}"[:300]
    return f"{type(error).__name__}: {error}"[:300]


def main(arguments: Sequence[str]) -> int:
    """Fuzz every door in a process of its own; print inputs, refusals, finds and time. Exit code 1 for a find."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="of all doors together, however few are fuzzed now")
    parser.add_argument("--doors", nargs="+", metavar="DOOR", help="only these")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz", help="folder for accounts and finds")
    parser.add_argument("--update", action="store_true", help="write the table into SECURITY.md")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="open a file that was found at its door")
    parser.add_argument("--one", nargs=3, metavar=("DOOR", "FOLDER", "CODE"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        run_door(options.one[0], options.inputs, options.seed, Path(options.one[1]), options.one[2])
        return 0
    sys.path[:0] = [str(ROOT), str(HERE), str(ROOT / "tests")]
    from doors import DOORS

    from bench.run.launchers.node import code_digest

    names = [door.name for door in DOORS]
    if options.replay:
        return replay(options.replay, DOORS)
    if unknown := sorted(set(options.doors or ()) - set(names)):
        parser.error(f"no door {unknown[0]!r}; there are: {', '.join(names)}")
    each, code = -(-options.inputs // len(names)), code_digest()
    accounts = {name: Account.read(options.out / _slug(name), code) for name in names}
    print(*HEAD, sep="\n")
    with suppress(KeyboardInterrupt):
        for name in options.doors or names:
            accounts[name] = fuzz_door(name, each, options.seed, options.out / _slug(name), code)
            print(_row(name, accounts[name]), flush=True)
            for what, file in accounts[name].found.items():
                print(f"{name}: {what}\n  nox -s fuzz -- --replay {options.out / _slug(name) / file}", file=sys.stderr)
    done = {name: account for name, account in accounts.items() if account.inputs}
    print("\n" + _sum(done.values()))
    if options.update:
        from page_parts import write_part

        text = "\n".join([*HEAD, *(_row(*one) for one in done.items()), "", _sum(done.values())])
        write_part(ROOT / "SECURITY.md", "fuzz", f"{text}\n")
    return int(any(account.found for account in done.values()))


HEAD = ("| door | inputs | refused | finds | seconds |", "|---|---:|---:|---:|---:|")


def _row(name: str, account: Account) -> str:
    return f"| {name} | {account.inputs:,} | {account.refused:,} | {len(account.found)} | {account.seconds:.0f} |"


def _sum(accounts: Iterable[Account]) -> str:
    known = list(accounts)
    inputs, seconds = sum(one.inputs for one in known), sum(one.seconds for one in known)
    finds = sum(len(one.found) for one in known)
    found = f"{finds or 'no'} find{'s' * (finds != 1)}"
    return f"{inputs:,} inputs at {len(known)} doors in {seconds / 60:.0f} minutes: {found}."


def fuzz_door(name: str, inputs: int, seed: int, folder: Path, code: str) -> Account:
    """Fuzz a door until so many inputs were tried, in as many processes as that takes, and return its account."""
    for attempt in range(DEATHS):
        account = Account.read(folder, code)
        if account.inputs >= inputs:
            return account
        folder.mkdir(parents=True, exist_ok=True)
        account.write(folder)
        command = [sys.executable, __file__, "--inputs", str(inputs), "--seed", str(seed + account.inputs + attempt)]
        command += ["--one", name, str(folder), code]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
        for left in folder.glob("tmp*"):
            shutil.rmtree(left)
        account = Account.read(folder, code)
        if done.returncode or account.inputs < inputs:
            last = folder / "last"
            what = f"the process ends with {done.returncode}: {' '.join(done.stderr.split())[-300:]}"
            account.inputs += 1  # else it would never end
            account.add(what, last.read_bytes() if last.exists() else b"", folder)
    return Account.read(folder, code)


def replay(file: Path, doors: Sequence[Any]) -> int:
    """Open a file that was found at the door that its name says, and tell how it went. Exit code 1 for a find."""
    door = next((one for one in doors if file.name.rpartition("-")[0] == _slug(one.name)), None)
    if door is None:
        print(f"{file}: its name begins with no door: {', '.join(_slug(one.name) for one in doors)}", file=sys.stderr)
        return 2
    content = file.read_bytes()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / door.file
        path.write_bytes(content)
        try:
            door.open(path)
            print(f"{door.name}: taken")
        except door.refusals as error:
            print(f"{door.name}: refused: {error}")
        except Exception:
            traceback.print_exc()
            return 1
        _, found = Look(Path(place)).at(door, path, content)
    for what in found:
        print(f"{door.name}: {what}", file=sys.stderr)
    return int(bool(found))


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower())


def _environment() -> dict[str, str]:
    paths = os.pathsep.join(map(str, (ROOT, HERE)))
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
