"""The jobs: `nox -s bench`, `paper`, `report`, `tests`, `docs`, `lint`, `oracles`, `regression`, `soak`, `faults`,
`fuzz`, `scale`, `gpu`.

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
    project = nox.project.load_toml(ROOT / "pyproject.toml")
    wanted = nox.project.dependency_groups(project, *groups)
    files = (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__))
    question = b"".join(path.read_bytes() for path in files) + repr(wanted).encode()
    stamp = VENV / f".installed-{hashlib.sha256(question).hexdigest()[:12]}"
    if stamp.exists():
        session.log(f"environment .venv is ready: fastast {' '.join(groups)}")
        return
    session.log("setting up .venv: torch with its libraries is about 5.5 GB, which takes minutes the first time")
    if not Path(PYTHON).exists():
        session.run(sys.executable, "-m", "venv", str(VENV))
    session.run(PYTHON, "-m", "pip", "install", "-c", str(CONSTRAINTS), "-e", ".[bench]", *wanted)
    stamp.touch()


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
    quick = "not soak and not slow and not oracle"
    session.run(PYTHON, "-m", "pytest", "-n", "auto", "--dist", "loadfile", "-m", f"{quick} and not alone")
    session.run(PYTHON, "-m", "pytest", "-m", f"{quick} and alone")


@nox.session
def oracles(session: nox.Session) -> None:
    """Run the tests against other implementations: Hugging Face transformers, torchaudio, torchmetrics."""
    prepare(session, "test", "oracle")
    session.run(PYTHON, "-m", "pytest", "-m", "oracle", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run sweeps whose drivers are ended at random, for minutes: `nox -s soak -- PYTEST-ARGUMENTS`."""
    prepare(session, "test")
    places = ("tests/soak", "tests/bench/measure")
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
    prepare(session, "test", "oracle")  # of these, transformers is a baseline
    session.run(PYTHON, "-m", "bench", "gpu", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and types."""
    prepare(session, "lint")
    session.run(PYTHON, "-m", "ruff", "check", ".")
    session.run(PYTHON, "-m", "ruff", "format", "--check", ".")
    session.run(PYTHON, "-m", "mypy")
