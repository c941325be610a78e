"""`python -m bench gpu`: test, measure and profile the engine on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.command_line import for_people


def gpu(
    minutes: Annotated[float, typer.Option(help="Minutes for all steps together.")] = 10,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for records, profiles and logs; the archive goes next to it.")
    ] = Path("build/gpu"),
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Run the steps without a GPU: on stand-ins and in Triton's interpreter.")
    ] = False,
) -> None:
    """Test, measure and profile the engine on a GPU, most telling steps first; archive the records and logs."""
    with for_people():
        from bench.gpu.session import archive_of, run_session
        from bench.gpu.steps import gpu_steps
        from bench.measure.machine import resolve_device
        from bench.run.driver import end_on_sigterm

        if not rehearse:
            resolve_device("cuda")
        folder = out.resolve()
        with end_on_sigterm():
            ends = run_session(
                gpu_steps(folder, rehearse=rehearse), folder, minutes, rehearsal=rehearse, say=typer.echo
            )
        typer.echo(f"archive: {archive_of(out)}")
        if any(end.status in ("failed", "timeout") for end in ends):
            raise typer.Exit(1)
