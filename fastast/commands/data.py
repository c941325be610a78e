"""`fastast data`: check a data set, compute its mean and standard deviation, cache it, and time reading it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastast.commands.options import JsonOption, QuietOption
from fastast.commands.people import errors_for_people
from fastast.inference.file_names import utf8_json

if TYPE_CHECKING:
    from fastast.data.datasets import DataOptions

data_app = typer.Typer(
    help="Check a data set on disk, compute its mean and standard deviation, cache it, or time reading it.",
    no_args_is_help=True,
)

RootArgument = Annotated[Path, typer.Argument(help="Folder of the data set.", metavar="DIR")]
NameOption = Annotated[
    str, typer.Option("--name", help="Type of the data set (esc50, table, ...). Not given: recognised by its files.")
]
DataSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="Override an option of the data set, such as fold=2; repeatable."
    ),
]
ProcessesOption = Annotated[
    int, typer.Option("--processes", min=0, help="Number of processes that read clips. 0: one per processor.")
]
SplitsOption = Annotated[
    list[str] | None, typer.Option("--split", help="train, val or test; repeatable. Not given: all that the set has.")
]


@data_app.command()
def check(
    root: RootArgument,
    name: NameOption = "",
    settings: DataSetOption = None,
    splits: SplitsOption = None,
    processes: ProcessesOption = 0,
    everything: Annotated[bool, typer.Option("--all", help="Name every clip and class, not just the first.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Recognise a data set, decode every clip, and count those that are missing, broken, silent or wrongly scaled.

    Exit code 0: every listed clip can be used, none is listed in two splits, and every class that is evaluated has
    clips to train on. 1: there is a problem, or the folder is not a known data set.
    """
    with errors_for_people():
        from fastast.commands.next_steps import next_steps, suggestions, sweep_part
        from fastast.data.checking.check import check_set
        from fastast.data.checking.report import as_dict, as_text
        from fastast.system.processors import affinity

        called, options = open_set(root, name, settings or ())
        found = check_set(
            called,
            options,
            splits=splits or (),
            processes=processes or affinity(),
            progress=not quiet,
        )
        if as_json:
            steps = {"suggestions": suggestions(found), "sweep": sweep_part(found)}
            typer.echo(utf8_json(as_dict(found) | steps))
        else:
            parts = (as_text(found, everything=everything), next_steps(found))
            typer.echo("\n\n".join(filter(None, parts)))
    if not found.is_sound:
        raise typer.Exit(1)


def open_set(root: Path, name: str, settings: list[str] | tuple[str, ...]) -> tuple[str, DataOptions]:
    """Return the name and options of the data set in a folder, recognised by its files where `name` is empty.

    Raises ValueError for an option that the data set does not have, a value that is not allowed, and a folder that is
    not recognised.
    """
    import dataclasses

    from fastast.data.datasets import get_data_set
    from fastast.data.layouts.recognise import recognise_set
    from fastast.data.training_set import DataError
    from fastast.training.recipe.file import build, read_value

    given: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.removeprefix("data.").partition("=")
        if not equals:
            raise DataError(f"setting {setting!r}: it must be key=value, such as fold=2")
        given[key.strip()] = read_value(text)
    known: dict[str, Any] = {"root": str(root)}
    if not name:
        name, options = recognise_set(root)
        known = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}  # type: ignore[arg-type]
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in {**known, **given}.items()}
    return name, build(get_data_set(name), values, "data")


@data_app.command()
def cache(
    root: RootArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the cache; an unfinished one is continued.")],
    kind: Annotated[
        str,
        typer.Option(
            help="flac: 16 kHz, 16 bits; flac24: 24 bits, as exact as decoding itself; fbank: filterbanks in float16, "
            "the fastest, for evaluation and for training without mixup, which needs samples."
        ),
    ] = "flac",
    name: NameOption = "",
    settings: DataSetOption = None,
    splits: SplitsOption = None,
    processes: ProcessesOption = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Decode a data set once, to FLAC at 16 kHz or to filterbanks, in checksummed files of a few hundred clips each.

    You can stop it at any time: running it again continues where it stopped. Train and evaluate on the cache with
    data.name=cache. A clip that cannot be read stays in the cache's lists, and is named and skipped as in the set
    itself; the next run tries it again. Exit code 1: not one clip could be read.
    """
    with errors_for_people():
        import dataclasses

        from fastast.data.caching.making import make_cache
        from fastast.system.processors import affinity

        called, options = open_set(root, name, settings or ())
        outcome = make_cache(
            called,
            options,
            out,
            kind=kind,
            splits=splits or (),
            processes=processes or affinity(),
            progress=not quiet,
        )
        if as_json:
            typer.echo(utf8_json(dataclasses.asdict(outcome)))
        else:
            lines = [
                f"{out}: {outcome.clips:,} clips of {called} in {outcome.made + outcome.kept:,} parts, "
                f"{outcome.size / 1e6:,.1f} MB; {outcome.made:,} parts were made now, {outcome.kept:,} before",
                *(f"  left out: {fault}" for fault in outcome.skipped),
                *(f"  not there: {split}" for split in outcome.absent),
                "not one clip could be read; fix the problems listed above and run this again"
                if outcome.is_empty
                else f"use it with: -s data.name=cache -s {shlex.quote(f'data.root={out}')}",
            ]
            typer.echo("\n".join(lines))
    if outcome.is_empty:
        raise typer.Exit(1)


@data_app.command()
def stats(
    root: RootArgument,
    name: NameOption = "",
    settings: DataSetOption = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "train",
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pad or cut every clip to this many frames first, as AST did for its own statistics. Not given: every "
            "clip keeps its length.",
        ),
    ] = None,
    mel_bins: Annotated[int, typer.Option(min=1, help="Mel bins of the filterbank.")] = 128,
    processes: ProcessesOption = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compute the mean and standard deviation of a set's filterbanks: the `normalisation` section of a recipe."""
    with errors_for_people():
        import dataclasses

        from fastast.data.checking.fbank_statistics import fbank_statistics
        from fastast.system.processors import affinity

        called, options = open_set(root, name, settings or ())
        found = fbank_statistics(
            options.split(split),
            num_mel_bins=mel_bins,
            num_frames=frames,
            processes=processes or affinity(),
            progress=not quiet,
            what=f"{called}: {split}",
        )
        if as_json:
            typer.echo(utf8_json(dataclasses.asdict(found)))
            return
        lines = [
            f"# {called}, {split}: {found.clips:,} clips, {found.frames:,} frames"
            + (f", each clip {frames} frames" if frames else ""),
            *(f"# left out: {fault}" for fault in found.skipped),
            "[normalisation]",
            f"mean = {found.mean:.6f}",
            f"std = {found.std:.6f}",
        ]
        typer.echo("\n".join(lines))


@data_app.command()
def rate(
    roots: Annotated[
        list[Path], typer.Argument(help="Folders of data sets or of their caches, to compare.", metavar="DIR...")
    ],
    name: NameOption = "",
    settings: DataSetOption = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    clips: Annotated[int, typer.Option(min=1, help="Number of clips to read, spread evenly over the split.")] = 64,
    mel_bins: Annotated[int, typer.Option(min=1, help="Mel bins of the filterbank.")] = 128,
    as_json: JsonOption = False,
) -> None:
    """Measure how many clips per second one processor reads: decoding and resampling, filterbank, and both.

    Give a data set and its caches to see what they save. With n processors, reading is about n times as fast.
    """
    with errors_for_people():
        import dataclasses

        from fastast.data.checking.rate import measure_loading

        found = {}
        for root in roots:
            called, options = open_set(root, name, settings or ())
            kind = getattr(options, "holds", {}).get("kind")
            measured = measure_loading(options.split(split), clips=clips, num_mel_bins=mel_bins)
            found[str(root)] = (f"{called} {kind}" if kind else called, measured)
        if as_json:
            rows = [
                {"folder": folder, "data": what, **dataclasses.asdict(one), "together": one.together}
                for folder, (what, one) in found.items()
            ]
            typer.echo(utf8_json(rows))
            return
        typer.echo("clips per second per processor: read (decode, resample), filterbank, both")
        for folder, (what, one) in found.items():
            computed = "        -" if one.filterbank is None else f"{one.filterbank:9,.1f}"
            lost = f", {one.skipped} left out" if one.skipped else ""
            typer.echo(
                f"{one.read:9,.1f} {computed} {one.together:9,.1f}  {what}, {one.clips} clips of "
                f"{one.audio_seconds / one.clips:.2f} s{lost}: {folder}"
            )
