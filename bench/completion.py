"""Shell completion of `python -m bench`, which shells do not see as a command of its own.

Typer completes programs by name; here the name is `python`, and the arguments after it decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

VARIABLE = "_BENCH_COMPLETE"
"""Environment variable by which a shell asks for completions instead of a run."""

BASH = f"""\
_bench_completion() {{
    COMPREPLY=()
    [[ ${{COMP_WORDS[1]}} == -m && ${{COMP_WORDS[2]}} == bench && $COMP_CWORD -gt 2 ]] || return 0
    local words="bench ${{COMP_WORDS[*]:3}}" python="${{COMP_WORDS[0]}}" IFS=$'\\n'
    local asked=(env COMP_WORDS="$words" COMP_CWORD=$((COMP_CWORD - 2)) {VARIABLE}=complete_bash)
    COMPREPLY=($("${{asked[@]}}" "$python" -m bench 2>/dev/null))
}}
complete -o default -F _bench_completion python python3 .venv/bin/python
"""

SCRIPTS = {
    "bash": BASH,
    "zsh": f"autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n{BASH}",
}
"""Completion script for each shell."""


def get_ready() -> None:
    """Let Typer answer a shell's requests, which by default it does only for programs that install its completion."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()


def sweep_names(incomplete: str) -> Iterator[str]:
    """Yield embedded sweeps that start with `incomplete`, then TOML files; folders are left to the shell."""
    from bench.sweep.file import SWEEPS

    yield from sorted(path.stem for path in SWEEPS.glob(f"{incomplete}*.toml"))
    yield from sorted(str(path) for path in Path().glob(f"{incomplete}*.toml")) if incomplete else ()


def launcher_names(incomplete: str) -> Iterator[str]:
    """Yield the launchers that start with `incomplete`."""
    from bench.run.launchers.choose import LAUNCHERS

    yield from (name for name in LAUNCHERS if name.startswith(incomplete))


def cell_ids(sweep: str, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the ids of the sweep's performance cells that start with `incomplete`, each with its title."""
    from bench.sweep.complaints import ConfigError
    from bench.sweep.expansion import expand
    from bench.sweep.file import find_sweep, load_sweep

    try:
        path = find_sweep(sweep)
        cells = expand(load_sweep(path), str(path))
    except ConfigError:
        return
    for cell in cells:
        if cell.kind == "performance" and cell.id.startswith(incomplete):
            yield cell.id, cell.title
