"""The work of `python -m bench compare A B`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bench.compare.comparison import compare_sides
from bench.compare.found import Comparison
from bench.compare.samples import Side, load_side
from bench.sweep.complaints import ConfigError

_OF_REVISIONS = ("launches", "rounds", "threads", "device")
"""Options that say how revisions are timed; folders hold times already."""


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The options of the command, as in its help; None, or no cells, where not given."""

    relative_to: str | None
    allow_different_machines: bool
    cells: tuple[str, ...]
    launches: int | None
    rounds: int | None
    threads: int | None
    device: str | None
    alpha: float
    threshold: float
    csv: Path | None
    markdown: Path | None


def run_compare(a: str, b: str, options: CompareOptions) -> int:
    """Compare, print, write, and return the exit code of what was found (`Comparison.exit_code`).

    Raises ConfigError for whatever keeps the two from being compared, so that the exit code does not mean "slower".
    """
    from bench.compare.output import show, write_comparison_csv, write_comparison_markdown

    try:
        comparison = _compare(a, b, options)
        show(comparison)
        for write, path in ((write_comparison_csv, options.csv), (write_comparison_markdown, options.markdown)):
            if path is not None:
                write(comparison, path)
    except ConfigError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        raise ConfigError([f"compare: {error}"]) from None
    return comparison.exit_code


def _compare(a: str, b: str, options: CompareOptions) -> Comparison:
    from bench.compare.revisions import is_revision

    sides: tuple[Side, Side]
    kinds = ["folder" if Path(one).is_dir() else "revision" if is_revision(one) else "neither" for one in (a, b)]
    if set(kinds) == {"folder", "revision"}:
        said = " and ".join(f"{one} is a {kind}" for one, kind in zip((a, b), kinds, strict=True))
        raise ConfigError([f"compare: {said}; give two folders of results, or two git revisions"])
    if Path(a).is_dir() or Path(b).is_dir() or not (is_revision(a) and is_revision(b)):
        asked = {"cell": options.cells or None} | {name: getattr(options, name) for name in _OF_REVISIONS}
        if given := [f"--{name}" for name, value in asked.items() if value is not None]:
            raise ConfigError([f"compare: {given[0]} is for git revisions, and {a} and {b} are folders; leave it out"])
        sides = load_side(Path(a), options.relative_to), load_side(Path(b), options.relative_to)
    else:
        sides = _time_revisions(a, b, options)
    return compare_sides(
        *sides,
        allow_different_machines=options.allow_different_machines,
        alpha=options.alpha,
        threshold=options.threshold,
    )


def _time_revisions(a: str, b: str, options: CompareOptions) -> tuple[Side, Side]:
    import torch

    from bench.compare.revisions import DEFAULT_CELLS, Plan, parse_cells, time_revisions
    from bench.measure.machine import describe_machine, resolve_device

    if options.relative_to is not None or options.allow_different_machines:
        raise ConfigError(["compare: --relative-to and --allow-different-machines are for folders, not for revisions"])
    given = {name: value for name in _OF_REVISIONS if (value := getattr(options, name)) is not None}
    plan = Plan(cells=parse_cells(options.cells or DEFAULT_CELLS), **given)
    plan = replace(plan, device=resolve_device(plan.device))
    torch.set_num_threads(plan.threads)
    return time_revisions(a, b, plan, describe_machine(plan.device).key)
