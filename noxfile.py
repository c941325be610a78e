"""The jobs: `nox -s bench`, `paper`, `report`, `tests`, `slow`, `docs`, `lint`, `oracles`, `regression`, `soak`,
`faults`, `fuzz`, `scale`, `gpu`; `everything` sets up what they all take.

All sessions share one environment, `.venv`, because torch and torchvision take 5.5 GB; whichever nox runs this file,
the project is installed there and nowhere else.
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
    """Install the project, the harness's packages and dependency groups, once while these stay the same."""
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
    """Return the files of tests that have one of these marks: to collect all the others takes half a minute."""
    marks = tuple(f"mark.{word}" for word in words)
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    found = [path for path in files if any(mark in path.read_text(encoding="utf-8") for mark in marks)]
    return [str(path.relative_to(ROOT)) for path in found]


def side_by_side(session: nox.Session, expression: str, *files: str) -> None:
    """Run tests on every core, those of a file on one, and then those that time something, alone."""
    pytest = (PYTHON, "-m", "pytest")
    session.run(*pytest, "-n", "auto", "--dist", "loadfile", "-m", f"{expression} and not alone", *files)
    alone = [file for file in marked("alone") if not files or file in files]
    session.run(*pytest, "-m", f"{expression} and alone", *alone, success_codes=[0, 5])  # 5: there is none


@nox.session
def bench(session: nox.Session) -> None:
    """Measure a sweep and draw its report: `nox -s bench -- --sweep NAME`, more as of `python -m bench run`."""
    prepare(session)
    options = list(session.posargs)
    sweep = "default"
    if "--sweep" in options:
        at = options.index("--sweep")
        if at + 1 == len(options):
            session.error("--sweep needs a name of bench/sweeps, or a TOML file")
        sweep = options.pop(at + 1)
        options.pop(at)
    session.run(PYTHON, "-m", "bench", "run", sweep, "--reports", "build/reports", *options)


@nox.session
def report(session: nox.Session) -> None:
    """Render all that is published from `results`: reports, README, the numbers of the documents."""
    prepare(session)
    session.run(PYTHON, "-m", "bench", "render", *session.posargs)


@nox.session
def paper(session: nox.Session) -> None:
    """Measure what you have of the paper's data and models: `nox -s paper -- --data DIR --checkpoints DIR`."""
    prepare(session)
    session.run(PYTHON, "-m", "bench", "paper", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on the CPU: `nox -s tests -- PYTEST-ARGUMENTS`.

    Without arguments, files of tests run side by side, one per core, and then those that time something, alone.
    """
    prepare(session, "test")
    if session.posargs:
        session.run(PYTHON, "-m", "pytest", *session.posargs)
        return
    side_by_side(session, "not soak and not slow and not oracle")


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that take long, such as those that kill and resume, or do all that a page of `docs` says."""
    prepare(session, "test")
    side_by_side(session, "slow and not soak and not oracle", *marked("slow"))


@nox.session
def everything(session: nox.Session) -> None:
    """Set up what all sessions take: then none of them installs anything, and several can run at once."""
    prepare(session, "test", "oracle", "docs", "fuzz", "lint")


@nox.session
def oracles(session: nox.Session) -> None:
    """Run the tests against other implementations: Hugging Face transformers, torchaudio, torchmetrics."""
    prepare(session, "test", "oracle")
    session.run(PYTHON, "-m", "pytest", "-m", "oracle", *(session.posargs or marked("oracle")))


@nox.session
def soak(session: nox.Session) -> None:
    """Run what takes long or a quiet machine, such as drivers ended at random: `nox -s soak -- PYTEST-ARGUMENTS`."""
    prepare(session, "test")
    places = ("tests/soak", "tests/bench/measure", "tests/bench/regression")
    session.run(PYTHON, "-m", "pytest", "-m", "soak", "--timeout", "1800", *places, *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Let every change that FastAST makes to a disk fail in every way, and print what becomes of it: `-- --update`."""
    prepare(session, "test")
    session.run(PYTHON, "tests/faults/every_fault.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Open broken and hostile files at every door: `nox -s fuzz -- --inputs 100000`."""
    prepare(session, "test", "fuzz")
    session.run(PYTHON, "tests/fuzz/fuzz.py", *session.posargs)


@nox.session
def scale(session: nox.Session) -> None:
    """Time the harness's commands where there are 1,000 and 10,000 records."""
    prepare(session, "test")
    session.run(PYTHON, "tests/scale/measure_scale.py", *session.posargs)


@nox.session
def regression(session: nox.Session) -> None:
    """Gate this build: ratios measured in the run, counts, and times against this machine's own baseline.

    `nox -s regression -- bench/regression/test_proxies.py` looks at the counts only, which need no quiet machine.
    """
    prepare(session, "test")
    session.run(PYTHON, "-m", "pytest", *(session.posargs or ["bench/regression"]))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages of `docs` and the reference into `build/docs`; a warning fails."""
    prepare(session, "docs")
    session.run(PYTHON, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "build/docs")


@nox.session
def gpu(session: nox.Session) -> None:
    """Test, measure and profile the engine on a GPU, into one archive: `nox -s gpu -- --minutes 10`.

    The minutes count from when the environment is there. `--rehearse` does without a GPU.
    """
    prepare(session, "test", "oracle", "gpu")  # of the oracles, transformers is a baseline
    session.run(PYTHON, "-m", "bench", "gpu", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and types."""
    prepare(session, "lint")
    session.run(PYTHON, "-m", "ruff", "check", ".")
    session.run(PYTHON, "-m", "ruff", "format", "--check", ".")
    session.run(PYTHON, "-m", "mypy")
