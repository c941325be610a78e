"""`python -m bench share`: pack one machine's records for a pull request, or check such a contribution."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path
from typing import Annotated

import typer

from bench.command_line import for_people


def share_results(
    results: Annotated[
        Path, typer.Argument(help="Folder of results; with --check, a contribution: one machine's folder, or several.")
    ] = Path("build/results"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the packed results.")] = Path("build/share"),
    machine: Annotated[str | None, typer.Option(help="Key of the machine, where there are records of several.")] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="A word to remove from texts, such as the name of a cluster's node; repeatable."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if something keeps records from being published.")
    ] = False,
) -> None:
    """Pack one machine's records for a pull request: no host names, users or folders. CONTRIBUTING.md says the rest."""
    with for_people():
        from bench.share.check import check_contribution
        from bench.share.pack import pack_results

        if check:
            for key, count in check_contribution(results).items():
                typer.echo(f"{key}: {count} records can be published")
            return
        packed = pack_results(results, out, machine=machine, names=(*_own_names(), *(name or ())))
        for text in packed.taken_out:
            typer.echo(f"removed from {text}")
        typer.echo(f"{packed.records} records of {', '.join(packed.sweeps)}: {packed.folder}, {packed.archive}")


def _own_names() -> tuple[str, ...]:
    """Return the names of this machine and its user."""
    host = socket.gethostname()
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container without a list of users
        user = ""
    usual = {"localhost", "root", "user"}
    return tuple(sorted({word for word in (host, host.partition(".")[0], user) if word.lower() not in usual}))
