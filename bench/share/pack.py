"""Pack one machine's records as a folder and an archive that can be published."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.records.gather import gather_results
from bench.records.store import Store, read_record, read_records
from bench.records.table import write_table
from bench.share.check import ShareError, check_contribution, record_problems
from bench.share.private import private_texts, without_private
from fastast.system.writing import write_whole


@dataclass(frozen=True, kw_only=True)
class SharedResults:
    """What was packed."""

    folder: Path
    """The machine's folder."""
    archive: Path
    """The same folder as one file."""
    records: int
    sweeps: tuple[str, ...]
    taken_out: tuple[str, ...]
    """The private texts that were removed: record, key and words, a line each."""


def pack_results(results: Path, out: Path, *, machine: str | None = None, names: Sequence[str] = ()) -> SharedResults:
    """Copy one machine's records below `results` to `out/<machine>`, without private data, and pack them.

    `machine`: its key, needed where there are several. `names`: names of hosts and users to remove from texts. The
    originals stay as they are. Raises GatherError for incomplete files, ShareError for records that cannot be
    published, for several machines of which none was chosen, and where `out` has the machine already.
    """
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out, prefix=".share-") as folder:
        gathered = gather_results([results], Path(folder))
        key = _one_machine(gathered.machines, machine)
        target, taken_out = out / key, []
        if target.exists():
            raise ShareError(f"{target}: exists already; remove it, or give another folder with --out")
        records = read_records(Path(folder) / key)
        for record in records:
            taken_out += [
                f"{record.sweep}/{record.cell.id}: {name}: {text!r}" for name, text in private_texts(record, names)
            ]
            Store(Path(folder), key, record.sweep).write(without_private(record, names))
        problems = []
        for path in sorted((Path(folder) / key).glob("*/*.json")):
            problems += [
                f"{results}: {path.name}{text.removeprefix(str(path))}"
                for text in record_problems(path, read_record(path), names)
            ]
        if problems:
            raise ShareError("\n".join([*problems, "nothing was packed"]))
        for sweep in sorted((Path(folder) / key).iterdir()):
            write_table(sweep)
        check_contribution(Path(folder) / key)
        shutil.move(Path(folder) / key, target)
    archive = out / f"{key}.tar.gz"
    write_whole(archive, _packed(target))
    sweeps = tuple(sorted({record.sweep for record in records}))
    return SharedResults(
        folder=target, archive=archive, records=len(records), sweeps=sweeps, taken_out=tuple(taken_out)
    )


def _one_machine(there: Sequence[str], wanted: str | None) -> str:
    if wanted is not None and wanted not in there:
        raise ShareError(f"machine: {wanted!r} has no records; there are: {', '.join(there)}")
    if wanted is None and len(there) != 1:
        raise ShareError(f"there are records of {len(there)} machines; choose one with --machine: {', '.join(there)}")
    return wanted or there[0]


def _packed(folder: Path) -> bytes:
    """Return a folder as an archive; the same files give the same bytes, whoever packs them."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = tarfile.TarInfo((Path(folder.name) / path.relative_to(folder)).as_posix())
            content = path.read_bytes()
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
