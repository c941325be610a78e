"""Every fault at every change of every scenario, and the table of what became of it.

`python tests/faults/every_fault.py [--update]` prints the table; with `--update` it goes into `docs/interruptions.md`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "interruptions.md"
MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
"""Where the folders are: the disk that fails is the shim's, and one in memory is synced at once."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one fault."""

    what: str
    """The scenario."""
    call: str
    fault: str
    survived: bool
    """Whether it made no difference at all: the new content is there, and nothing was said."""
    told: str
    """What was said, empty where the process was killed or nothing was wrong."""
    wrong: str
    """What must not be, empty where all is well."""


def outcomes(scenarios: Sequence[object]) -> Iterator[Outcome]:
    """Yield the outcome of every fault at every change of the scenarios."""
    from faulty_disk import FAULTS, forked

    for scenario in scenarios:
        with tempfile.TemporaryDirectory(dir=MEMORY) as place:
            scenario.act(_fresh(Path(place), scenario))  # here, so that no forked process has to import what it needs
        with tempfile.TemporaryDirectory(dir=MEMORY) as place:
            end, changes = forked(_fresh(Path(place), scenario), scenario.act)
            assert not end.error, f"{scenario.what}: {end.error}"
        yield from _not_durable(scenario, changes)
        for at, change in enumerate(changes, start=1):
            for fault in FAULTS:
                if change.allows(fault):
                    yield _outcome(scenario, at, change, fault)


def _fresh(place: Path, scenario: object) -> Path:
    folder = place / "work"
    folder.mkdir()
    scenario.prepare(folder)
    return folder


def _outcome(scenario: object, at: int, change: object, fault: str) -> Outcome:
    from faulty_disk import forked

    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = _fresh(Path(place), scenario)
        end, _ = forked(folder, scenario.act, at=at, fault=fault)
        wrong = "" if end.expected else f"a traceback: {end.error}"
        wrong = wrong or _complaint(scenario, folder, done=not end.killed and not end.error)
        if not wrong:
            again, _ = forked(folder, scenario.act)
            wrong = f"the same command does not go on: {again.error}" if again.error else ""
            wrong = wrong or _complaint(scenario, folder, done=True)
        if not wrong and (left := [path.name for path in folder.rglob(".*") if not path.match(scenario.leaves or "-")]):
            wrong = f"left behind: {', '.join(left)}"
    survived = not end.killed and not end.error
    what = f"{change.call} {change.path}"
    wrong = wrong and f"{scenario.what}, {fault} at change {at} ({what}): {wrong}"
    return Outcome(what=scenario.what, call=change.call, fault=fault, survived=survived, told=end.error, wrong=wrong)


def _complaint(scenario: object, folder: Path, *, done: bool) -> str:
    try:
        scenario.check(folder, done)
    except Exception as error:
        lines = str(error).strip().splitlines() or [repr(error)]
        return f"{'done again' if done else 'after the fault'}, a reader finds: {type(error).__name__}: {lines[0]}"
    return ""


def _not_durable(scenario: object, changes: Sequence[object]) -> Iterator[Outcome]:
    """Yield what a power cut could take back: a rename whose file, or whose folder, was not written to the disk."""
    for number, change in enumerate(changes):
        if change.call != "rename" or ".tmp/" in change.to:  # within a folder that has no place yet
            continue
        folder = str(Path(change.to).parent)
        # Libraries rename what they write without libc, which nobody sees here: files are counted, not named.
        written = {one.path for one in changes[:number] if one.call == "write" and _within(one.path, change.path)}
        synced = {one.path for one in changes[:number] if one.call == "fsync" and _within(one.path, change.path)}
        unwritten = len(written) - len(synced - {change.path} if change.path not in written else synced)
        named = folder == "." or any(one.call == "fsync" and one.path == folder for one in changes[number + 1 :])
        wrong = "" if named else f"the name {change.to} is not written to the disk"
        if unwritten > 0:
            wrong = f"{', '.join(sorted(written))}: renamed to {change.to} before {unwritten} of it is on the disk"
        if wrong:
            wrong = f"{scenario.what}: {wrong}"
            yield Outcome(what=scenario.what, call="rename", fault="power cut", survived=False, told="", wrong=wrong)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def table(found: Sequence[Outcome]) -> str:
    """Return the table of the page."""
    from faulty_disk import FAULTS

    lines = [
        "| what is written | changes that were made to fail | " + " | ".join(FAULTS) + " |",
        "|---|---:|" + "---:|" * len(FAULTS),
    ]
    for what in dict.fromkeys(one.what for one in found):
        mine = [one for one in found if one.what == what]
        counts = Counter(one.fault for one in mine)
        cells = " | ".join(str(counts[fault] or "–") for fault in FAULTS)
        lines.append(f"| {what} | {len(mine)} | {cells} |")
    wrong = sum(bool(one.wrong) for one in found)
    killed = sum(one.fault.startswith(("killed", "torn")) for one in found)
    survived = sum(one.survived for one in found)
    told = sum(bool(one.told) for one in found)
    lines += [
        "",
        f"{len(found):,} faults: {killed:,} ended the process, {told:,} were told in one message, {survived:,} made no "
        f"difference; {wrong or 'none'} left a half-written file, lost what was there before, or kept the same command "
        "from going on.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Load the shim, run everything, print the table and what is wrong."""
    from faulty_disk import PRELOADED, build, compiler, environment

    if PRELOADED not in os.environ:
        if compiler() is None:
            print("faults: needs a C compiler, to build the disk that fails; install gcc or clang", file=sys.stderr)
            return 2
        library = build(Path(tempfile.mkdtemp()))
        paths = os.pathsep.join(map(str, (ROOT, Path(__file__).parent)))
        os.execve(sys.executable, [sys.executable, __file__, *arguments], environment(library) | {"PYTHONPATH": paths})
    from scenarios import SCENARIOS

    found = list(outcomes(SCENARIOS))
    text = table(found)
    print(text)
    for one in found:
        if one.wrong:
            print(one.wrong, file=sys.stderr)
    if "--update" in arguments:
        sys.path.append(str(ROOT / "tests"))
        from page_parts import write_part

        write_part(PAGE, "faults", text)
    return int(any(one.wrong for one in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
