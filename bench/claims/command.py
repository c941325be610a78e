"""`python -m bench claims` and `render`: make the documents' numbers, and everything published, from the records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.command_line import for_people

CLAIMS = Path("reports/claims.toml")


def claims(
    root: Annotated[Path, typer.Option(help="Folder of README.md, CHANGELOG.md and docs/.")] = Path(),
    results: Annotated[Path, typer.Option(help="Root folder of records.")] = Path("results"),
    file: Annotated[Path, typer.Option("--file", help="File of the claims.")] = CLAIMS,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 if a document is out of date.")
    ] = False,
) -> None:
    """Fill in the numbers of README, CHANGELOG and docs from the records, and check that their sentences hold."""
    with for_people():
        from bench.claims.check import update_claims
        from bench.claims.claim import ClaimError

        count, changed = update_claims(root, file, results, write=not check)
        if check and changed:
            raise ClaimError(f"{', '.join(map(str, changed))}: not what the records say; run: python -m bench claims")
        typer.echo(f"{count} claims hold{''.join(f'; wrote {path}' for path in changed)}")


def render_all(
    root: Annotated[Path, typer.Option(help="Folder of README.md, results/, reports/ and docs/.")] = Path(),
) -> None:
    """Render everything published from results: the reports of sweeps and studies, README, claims, and the page."""
    with for_people():
        from bench.claims.everything import render_everything

        render_everything(root, say=typer.echo)
