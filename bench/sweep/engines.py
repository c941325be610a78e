"""The engines that a sweep can name: what runs a cell's candidate and its own baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fastast.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from fastast.frontend import Frontend
    from fastast.model import AudioSpectrogramTransformer
    from fastast.reduction import TokenReduction


class CellEngine(Protocol):
    """What a sweep must know about an engine before anything runs, and what builds its arms.

    Cells are of `bench.sweep.cells`, whose configuration looks engines up here.
    """

    dtypes: tuple[str, ...]
    """Types that it can compute in, from `bench.sweep.axes.DTYPES`."""
    scopes: tuple[str, ...]
    """What can be timed on it, from `bench.sweep.baselines.SCOPES`."""
    on_gpus: bool
    """Whether it runs on GPUs too; every engine runs on a CPU."""

    def attentions(self, scope: str) -> tuple[str, ...]:
        """Return the values that the axis `attention` allows where `scope` is timed; `auto` is always one of them."""
        ...

    def require(self) -> None:
        """Raise ValueError, naming what to install, where it cannot run on this machine."""
        ...

    def arm(
        self,
        cell: Any,
        model: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
        *,
        batch_size: int | None,
        frontend: Frontend | None = None,
    ) -> Callable[[Tensor], Tensor]:
        """Return `model` with `reduction` as an arm, (b, f, m) -> logits (b, c).

        `batch_size`: the only one it will be called with, None for any. With `frontend` it takes waveforms (b, s).
        """
        ...

    def ran(
        self,
        cell: Any,
        model: AudioSpectrogramTransformer,
        candidate: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
    ) -> Any:
        """Return what runs `candidate`, which is `model` with `reduction`, as a `bench.cell.engines.ran.Ran`."""
        ...


ASKED_ATTENTION = ("triton",)
"""Engines whose unmerged model runs the attention that is asked for; with others it runs its fastest."""
ANY = "any"
"""A device of a machine elsewhere, about which nothing is known."""
ENGINES: Registry[Any] = Registry(
    "engine",
    {name: f"bench.cell.engines.{name}:ENGINE" for name in ("plain", "triton", "onnxruntime", "openvino")},
)
"""All engines, each in a file of its own in `bench.cell.engines`."""


def find_engine(name: str) -> CellEngine:
    """Return the engine called `name`."""
    engine: CellEngine = ENGINES.get(name)
    return engine


def engine_problem(name: str, *, device: str, dtype: str, attention: str, scope: str) -> tuple[str, str] | None:
    """Return the key of what an engine cannot do, and why; None where it can do everything."""
    engine = find_engine(name)
    if device not in ("cpu", ANY) and not engine.on_gpus:
        return "grid.device", f"the engine '{name}' runs only on a CPU, and this is {device}; write device = ['cpu']"
    if dtype not in engine.dtypes:
        allowed = ", ".join(engine.dtypes)
        return "grid.dtype", f"'{dtype}': the engine '{name}' cannot compute in it; allowed: {allowed}"
    if attention not in engine.attentions(scope):
        allowed = ", ".join(engine.attentions(scope))
        return "grid.attention", f"'{attention}': the engine '{name}' has its own attention; allowed: {allowed}"
    if scope not in engine.scopes:
        allowed = ", ".join(engine.scopes)
        return "measure.scope", f"'{scope}' cannot be timed on the engine '{name}'; allowed: {allowed}"
    return None
