"""The project's jobs: `nox -s bench`, `nox -s tests`, `nox -s lint`, `nox -s oracles`.

All sessions share one environment, `.venv`: torch and torchvision take 5.5 GB.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint"]
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
CONSTRAINTS = ROOT / "constraints" / "ci.txt"
shared = nox.session(venv_backend="venv", venv_location=".venv", reuse_venv=True)


def prepare(session: nox.Session, *groups: str) -> None:
    """Install the project and dependency groups, once for as long as what they ask for stays the same."""
    project = nox.project.load_toml(ROOT / "pyproject.toml")
    wanted = nox.project.dependency_groups(project, *groups)
    question = (ROOT / "pyproject.toml").read_bytes() + CONSTRAINTS.read_bytes() + repr(wanted).encode()
    stamp = ROOT / ".venv" / f".installed-{hashlib.sha256(question).hexdigest()[:12]}"
    if stamp.exists():
        session.log(f"environment .venv is ready for: fastast {' '.join(groups)}")
        return
    session.log("setting up .venv (torch with its libraries is about 5.5 GB; minutes on a first run)")
    session.install("-c", str(CONSTRAINTS), "-e", ".", *wanted, silent=False)
    stamp.touch()


@shared
def bench(session: nox.Session) -> None:
    """Measure a sweep and render its figures and tables: `nox -s bench -- --sweep NAME`."""
    prepare(session)
    session.run("python", "-m", "bench", "run", *session.posargs)


@shared
def tests(session: nox.Session) -> None:
    """Run the tests on the CPU: `nox -s tests -- PYTEST-ARGUMENTS`."""
    prepare(session, "test")
    session.run("python", "-m", "pytest", *session.posargs)


@shared
def oracles(session: nox.Session) -> None:
    """Run the tests against other implementations: Hugging Face transformers, torchaudio, torchmetrics."""
    prepare(session, "test", "oracle")
    # torchaudio's metadata lags behind torch; its Kaldi module needs nothing but torch itself.
    session.run("python", "-m", "pytest", "-m", "oracle", *session.posargs)


@shared
def lint(session: nox.Session) -> None:
    """Check style, format and types."""
    prepare(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
