"""The project's jobs: `nox -s bench`, `paper`, `report`, `tests`, `slow`, `docs`, `lint`, `oracles`, `regression`,
`soak`, `faults`, `fuzz`, `scale`, `gpu`; `everything` sets up what all but `gpu` need.

All sessions share one environment, `.venv`, because torch and torchvision take 5.5 GB. Whichever nox runs this file,
the project is installed only there.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint"]
nox.options.default_venv_backend = "none"

ROOT = Path(__file__).parent
CONSTRAINTS = ROOT / "constraints" / "ci.txt"
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(BIN / "python")


def prepare(session: nox.Session, *groups: str) -> None:
    """Install the project, the harness's packages and dependency groups, unless that is already done."""
    files = (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__))
    stamp = VENV / f".installed-{hashlib.sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:12]}"
    installed = set(stamp.read_text().split()) if stamp.exists() else set()
    if stamp.exists() and installed >= set(groups):
        session.log(f"environment .venv is ready: fastast {' '.join(groups)}")
        return
    session.log("setting up .venv: torch with its libraries is about 5.5 GB, which takes minutes the first time")
    if not Path(PYTHON).exists():
        session.run(sys.executable, "-m", "venv", str(VENV))
    wanted = nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), *groups)
    session.run(PYTHON, "-m", "pip", "install", "-c", str(CONSTRAINTS), "-e", ".[bench]", *wanted)
    stamp.write_text("\n".join(sorted(installed | set(groups))))


def marked(*words: str) -> list[str]:
    """Return the test files that use one of these marks, as collecting all the others takes half a minute."""
    marks = tuple(f"mark.{word}" for word in words)
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    found = [path for path in files if any(mark in path.read_text(encoding="utf-8") for mark in marks)]
    return [str(path.relative_to(ROOT)) for path in found]


def side_by_side(session: nox.Session, expression: str, *files: str) -> None:
    """Run tests on all cores, each file on one core, and then, one at a time, those that time something."""
    pytest = (PYTHON, "-m", "pytest")
    session.run(*pytest, "-n", "auto", "--dist", "loadfile", "-m", f"{expression} and not alone", *files)
    alone = [file for file in marked("alone") if not files or file in files]
    session.run(*pytest, "-m", f"{expression} and alone", *alone, success_codes=[0, 5])  # 5: no tests were selected


@nox.session
def bench(session: nox.Session) -> None:
    """Measure a sweep and draw its report: `nox -s bench -- --sweep NAME`, plus options of `python -m bench run`."""
    prepare(session)
    options = list(session.posargs)
    sweep = "default"
    if "--sweep" in options:
        at = options.index("--sweep")
        if at + 1 == len(options):
            session.error("--sweep needs the name of a sweep in bench/sweeps, or a TOML file")
        sweep = options.pop(at + 1)
        options.pop(at)
    session.run(PYTHON, "-m", "bench", "run", sweep, "--reports", "build/reports", *options)


@nox.session
def report(session: nox.Session) -> None:
    """Render everything that is published from `results`: reports, README, and the numbers in the documents."""
    prepare(session)
    session.run(PYTHON, "-m", "bench", "render", *session.posargs)


@nox.session
def paper(session: nox.Session) -> None:
    """Measure the paper's data and models, as far as you have them: `nox -s paper -- --data DIR --checkpoints DIR`."""
    prepare(session)
    session.run(PYTHON, "-m", "bench", "paper", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on the CPU: `nox -s tests -- PYTEST-ARGUMENTS`.

    Without arguments, test files run in parallel, one per core, and then, one at a time, tests that time something.
    """
    prepare(session, "test")
    if session.posargs:
        session.run(PYTHON, "-m", "pytest", *session.posargs)
        return
    side_by_side(session, "not soak and not slow and not oracle")


@nox.session
def slow(session: nox.Session) -> None:
    """Run the slow tests, such as those that kill and resume runs, or do everything that a page of `docs` says."""
    prepare(session, "test")
    side_by_side(session, "slow and not soak and not oracle", *marked("slow"))


@nox.session
def everything(session: nox.Session) -> None:
    """Set up the environment for all sessions but `gpu`, so that they install nothing and several can run at once."""
    prepare(session, "test", "oracle", "docs", "fuzz", "lint")


@nox.session
def oracles(session: nox.Session) -> None:
    """Run the tests against other implementations: Hugging Face transformers, torchaudio, torchmetrics."""
    prepare(session, "test", "oracle")
    session.run(PYTHON, "-m", "pytest", "-m", "oracle", *(session.posargs or marked("oracle")))


@nox.session
def soak(session: nox.Session) -> None:
    """Run the tests that take very long or need a quiet machine: `nox -s soak -- PYTEST-ARGUMENTS`.

    Some of them end drivers of sweeps at random.
    """
    prepare(session, "test")
    places = ("tests/soak", "tests/bench/measure", "tests/bench/regression")
    session.run(PYTHON, "-m", "pytest", "-m", "soak", "--timeout", "1800", *places, *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Make every change that FastAST makes to a disk fail in every way, and print the outcomes.

    `nox -s faults -- --update` also writes them into `docs/interruptions.md`.
    """
    prepare(session, "test")
    session.run(PYTHON, "tests/faults/every_fault.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Open broken and hostile files in every way that FastAST reads files: `nox -s fuzz -- --inputs 100000`."""
    prepare(session, "test", "fuzz")
    session.run(PYTHON, "tests/fuzz/fuzz.py", *session.posargs)


@nox.session
def scale(session: nox.Session) -> None:
    """Measure the time and memory of the harness's commands with 1,000 and 10,000 records."""
    prepare(session, "test")
    session.run(PYTHON, "tests/scale/measure_scale.py", *session.posargs)


@nox.session
def regression(session: nox.Session) -> None:
    """Gate this build: ratios measured in the run, counts, and times against this machine's own baseline.

    `nox -s regression -- bench/regression/test_proxies.py` checks only the counts, which need no quiet machine.
    """
    prepare(session, "test")
    session.run(PYTHON, "-m", "pytest", *(session.posargs or ["bench/regression"]))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages of `docs` and the reference into `build/docs`; a warning is an error."""
    prepare(session, "docs")
    session.run(PYTHON, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "build/docs")


@nox.session
def gpu(session: nox.Session) -> None:
    """Test, measure and profile the engine on a GPU, into one archive: `nox -s gpu -- --minutes 10`.

    The minutes count once the environment is ready. `--rehearse` needs no GPU.
    """
    prepare(session, "test", "oracle", "gpu")  # oracle: transformers is a baseline
    session.run(PYTHON, "-m", "bench", "gpu", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and types."""
    prepare(session, "lint")
    session.run(PYTHON, "-m", "ruff", "check", ".")
    session.run(PYTHON, "-m", "ruff", "format", "--check", ".")
    session.run(PYTHON, "-m", "mypy")
