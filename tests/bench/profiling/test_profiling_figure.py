"""The figure of a profile shows the milliseconds of its tables, and nothing where they mean nothing."""

from __future__ import annotations

import pytest

from bench.profiling.by_stage import KernelRow, StageRow
from bench.profiling.figure import LONGEST, shares_figure
from bench.profiling.tables import OperatorRow, Profile, SummaryRow, without_shares


def profile(arm: str, stages: dict[str, float], operators: dict[str, float], *, device: str = "cpu") -> Profile:
    own, whole = sum(operators.values()), sum(stages.values())
    return Profile(
        arm=arm,
        trace="none",
        operators=tuple(
            OperatorRow(device=device, name=name, calls=1.0, self_ms=ms, share=ms / own)
            for name, ms in operators.items()
        ),
        blocks=(),
        summary=(
            SummaryRow(
                **{"arm": arm, "ran": "plain", "device": device, "forwards": 3, "batch_size": 8},
                **{"forward_ms": whole, "blocks_ms": whole, "merging_ms": 0.0, "plan_share": 0.0},
                **dict.fromkeys(("merging_share", "merging_share_low", "merging_share_high"), 0.0),
                **{"merging_share_of_forward": 0.0, "profiled_ms": 1.2, "unprofiled_ms": 1.0},
                **{"profiler_overhead": 1.2, "overhead_low": 1.1, "overhead_high": 1.3},
            ),
        ),
        stages=tuple(
            StageRow(device=device, stage=name, calls=1.0, ms=ms, share=ms / whole) for name, ms in stages.items()
        ),
        block_stages=(),
    )


def widths(axis, arm: int) -> list[float]:
    return [round(bar.get_width(), 6) for bar in axis.containers[arm]]


def test_bars_are_the_milliseconds_of_the_tables_with_their_shares() -> None:
    many = {f"op{i}": 10.0 - 0.1 * i for i in range(LONGEST + 2)}
    figure = shares_figure(
        [
            profile("candidate", {"attention": 3.0, "plan": 1.0}, many),
            profile("unmerged", {"attention": 6.0}, {"op0": 20.0}),
        ]
    )
    stage, operator = figure.axes
    assert [label.get_text() for label in stage.get_yticklabels()] == ["attention", "plan"]
    assert (widths(stage, 0), widths(stage, 1)) == ([3.0, 1.0], [6.0, 0.0])
    assert [text.get_text() for text in stage.texts] == ["75%", "25%", "100%"]
    assert [label.get_text() for label in operator.get_yticklabels()][-1] == "2 others"
    assert widths(operator, 0)[-1] == pytest.approx(many["op12"] + many["op13"])
    assert "1.20 times as long: for shares, not for speeds" in figure.get_supxlabel().replace("\n", " ")


def test_of_a_gpu_its_kernels_are_drawn_as_the_graph_ran_them() -> None:
    one = profile("candidate", {"qkv": 1.0}, {"launch": 9.0}, device="cuda")
    kernels = tuple(
        KernelRow(ran=ran, name=name, stages="", calls=1.0, ms=ms, share=1.0)
        for ran, name, ms in (("eagerly", "gemm", 2.0), ("graph", "gemm", 1.5))
    )
    figure = shares_figure([Profile(**{**vars(one), "kernels": kernels})])
    assert widths(figure.axes[1], 0) == [1.5]
    assert figure.axes[1].get_title(loc="left") == "By kernel"


def test_times_of_an_interpreter_are_not_drawn() -> None:
    with pytest.raises(ValueError, match="Triton's interpreter"):
        shares_figure([without_shares(profile("candidate", {"attention": 1.0}, {"op": 1.0}))])
