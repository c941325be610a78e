"""The steps on a GPU, the most informative first: is it correct, how fast is it, and where does the time go.

Arms that compile before their first sample come last, as a cell that runs out of time leaves no record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Root folder of the repository."""
ALL_BASELINES = ("grid.schedule=['constant']", "grid.r=[40, 80, 0]", "grid.dtype=['bfloat16']")
"""Settings that restrict the sweep `engine_gpu` to the cells measured here."""
REHEARSAL = (
    "model.name=ast_tiny_soundscapes",
    "model.frames=64",
    "grid.device=['cpu']",
    "grid.dtype=['float32']",
    "grid.r=[4]",
    "measure.baselines=['unmerged', 'slice']",
    "measure.threads=1",  # on a busy machine, threads wait for each other
    "measure.rounds=3",
    "measure.min_seconds=0",
    "measure.max_seconds=0.5",
    "measure.warmup_iterations=6",
    "measure.energy_seconds=0",
)
"""Settings that replace AST-base on a GPU by a small model on short clips, on this machine's CPU."""
REHEARSED_ARMS = "measure.where_installed=['fa4', 'fa4_bias']"
"""Setting that keeps only those optional arms of the sweep `engine_gpu` that a machine without a GPU leaves out."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command that runs in its own process."""

    name: str
    """Name of the step in the archive."""
    arguments: tuple[str, ...]
    """Arguments of the Python interpreter."""
    share: float
    """Share of the remaining time that it may take, relative to the shares of the steps after it."""
    limits_itself: bool = False
    """Whether it takes `--minutes` and keeps to them itself."""


def gpu_steps(folder: Path, *, rehearse: bool = False) -> tuple[Step, ...]:
    """Return the steps, which write into `folder`.

    `rehearse` gives the same commands without a GPU: tests of one kernel in Triton's interpreter, and cells with the
    settings of `REHEARSAL`, where the engine falls back to plain PyTorch.
    """
    repeats = () if rehearse else ("measure.noise_repeats=0",)  # the time is better spent on another cell

    def cells(sweep: str, *settings: str, batch: int | None = None) -> tuple[str, ...]:
        batch = 2 if rehearse else batch
        sizes = () if batch is None else (f"grid.batch_size=[{batch}]",)
        stand_ins = (*REHEARSAL, *([REHEARSED_ARMS] if sweep == "engine_gpu" else [])) if rehearse else ()
        settings = (*settings, *sizes, *repeats, *stand_ins)
        return (sweep, *(word for setting in settings for word in ("-s", setting)))

    def measure(name: str, share: float, asked: tuple[str, ...]) -> Step:
        arguments = ("-m", "bench", "run", *asked, "--results", str(folder / "results"))
        return Step(name=name, share=share, arguments=arguments, limits_itself=True)

    tests: tuple[str, ...] = ("-n", "0", "tests/fastast/kernels/test_best_partner.py")
    profiled: tuple[str, ...] = ("--r", "4", "--forwards", "1")
    if not rehearse:
        tests = ("-n", "auto", "--maxprocesses", "12", "-m", "gpu", *gpu_tests())
        profiled = ("--r", "40", "--forwards", "3")  # tables are written once all arms are done
    profile = ("-m", "bench", "profile", *cells("engine_gpu_first", batch=64), *profiled)
    return (
        Step(name="tests", share=95, arguments=("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)),
        measure("headline", 195, cells("engine_gpu_first")),
        Step(name="profile", share=70, arguments=(*profile, "--out", str(folder / "profiles"))),
        measure("training_step", 90, cells("engine_gpu_training")),
        measure("waveforms", 85, cells("engine_gpu_waveform")),
        measure("all_baselines", 65, cells("engine_gpu", *ALL_BASELINES, batch=64)),
    )


def gpu_tests() -> Iterator[str]:
    """Yield the test files that need a GPU, or their whole folder where its `conftest.py` marks them.

    Files that import the fixture `device` have no mark in their own text.
    """
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if re.search(r"mark\.gpu|import device as device", path.read_text(encoding="utf-8")):
            yield (path.parent if path.name == "conftest.py" else path).relative_to(ROOT).as_posix()
