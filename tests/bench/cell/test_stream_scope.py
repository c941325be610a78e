"""A model that listens, one window after another: its arms, its records, and what a sweep of it can ask for."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from shallow_model import FRAMES, create_shallow
from test_worker import cell

from bench.cell import arms, inputs, worker
from bench.cell.answers import Context
from bench.records.export import to_frame
from bench.report.frame import join
from bench.report.panels import panels
from bench.report.tables.cells import panel_name, readable
from bench.report.tables.markdown import markdown
from bench.sweep.cells import canonical
from bench.sweep.complaints import ConfigError
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep
from fastast.frontend import AUDIOSET, Frontend

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
import records as made

HOP = 0.25
WINDOW = 400 + (FRAMES - 1) * 160
"""Samples of the model's input, 0.975 s."""
SWEEP = """
name = "streamed"
kinds = ["performance"]
[model]
name = "ast_tiny"
[grid]
r = [0]
[measure]
scope = "stream"
"""


def streamed(**changes: object):
    usual = {"scope": "stream", "hop_seconds": HOP, "baselines": ("unmerged", "slice")}
    measure = cell().measure.model_copy(update=usual | {"bound_tolerance": 99.0})
    return cell(measure=measure, batch_size=1, **changes)


def test_every_call_labels_the_window_that_ends_a_hop_later() -> None:
    asked, model = streamed(), create_shallow(num_frames=FRAMES).eval()
    built = arms.build_arms(asked, model, model)
    assert list(built) == ["candidate", "unmerged", "slice"]
    once = inputs.synthetic_waveforms(asked, model, 1)[0].numpy()
    sound, hop = np.tile(once, 4), int(HOP * 16_000)
    front = Frontend(model.geometry, AUDIOSET)
    with torch.inference_mode():
        for end in (4 * hop, 5 * hop, 6 * hop):  # three hops are shorter than a window
            window = torch.from_numpy(sound[None, end - WINDOW : end])
            expected = model(front(window))
            given = inputs.inputs_of(asked, model, "candidate", 1)
            torch.testing.assert_close(built["candidate"](*given), expected, rtol=1e-4, atol=1e-5)


def test_a_cell_of_a_stream_is_measured() -> None:
    answer = worker.answer(streamed(), Context())
    assert list(answer.performance.arms) == ["candidate", "unmerged", "slice"]
    assert answer.performance.input == inputs.FED["stream"]
    assert all(min(arm.seconds) > 0 for arm in answer.performance.arms.values())
    assert all(gate.passed for gate in answer.gates)
    assert {gate.name for gate in answer.gates} >= {"mac_bound", "slice_bound"}


def test_the_hop_is_part_of_the_question_unless_it_is_the_usual_one() -> None:
    asked = streamed()
    usual = dataclasses.replace(asked, measure=asked.measure.model_copy(update={"hop_seconds": 1.0}))
    assert '"hop_seconds":0.25' in canonical(asked.question).replace(" ", "")
    assert "hop_seconds" not in canonical(usual.question)
    assert "hop_seconds" not in canonical(cell().question)
    assert len({asked.id, usual.id, cell(batch_size=1).id}) == 3


def stream_record(schedule: str = "none", **options: object):
    return made.record("performance", schedule, scope="stream", batch_size=1, **options)


def test_a_record_says_the_real_time_factor_and_the_percentiles_of_the_delay() -> None:
    record = stream_record("constant:20", seconds=0.25, unmerged=0.5, rounds=101)
    row = to_frame([record]).iloc[0]
    assert (row["scope"], row["hop_s"]) == ("stream", 1.0)
    assert row["real_time_factor"] == pytest.approx(0.25)
    assert row["real_time_factor_unmerged"] == pytest.approx(0.5)
    # Seconds are evenly spaced, from 0.25 * (1 - 0.05) to 0.25 * (1 + 0.05).
    for percentile in (50, 95, 99):
        assert row[f"delay_p{percentile}_ms"] == pytest.approx(250 * (0.95 + 0.1 * percentile / 100))
    few = to_frame([stream_record(seconds=0.25, rounds=5)]).iloc[0]
    assert few["delay_p50_ms"] == pytest.approx(250)
    assert few[["delay_p95_ms", "delay_p99_ms"]].isna().all()
    slow = to_frame([stream_record(seconds=1.5, rounds=101)]).iloc[0]
    assert slow["real_time_factor"] == pytest.approx(1.5)
    assert slow[["delay_p50_ms", "delay_p95_ms"]].isna().all()
    assert to_frame([made.record("performance")]).iloc[0][["hop_s", "real_time_factor"]].isna().all()


def test_a_report_shows_both_where_a_stream_was_heard() -> None:
    found = [stream_record(seconds=1.5, unmerged=1.5, rounds=21)]
    found.append(stream_record("constant:20", seconds=0.5, unmerged=1.5, rounds=21))
    joined = join([*found, made.record("performance")])
    shown = {panel["scope"].iloc[0]: (panel_name(panel), readable(panel)) for _, panel in panels(joined)}
    name, table = shown["stream"]
    assert name.endswith(", stream")
    assert table["real_time"].tolist() == ["1.500", "0.500"]
    assert table["delay"].tolist() == ["cannot keep up", "500.0 (504.5)"]  # 500 * (0.99 + 0.02 * 0.95)
    assert not {"real_time", "delay"} & set(shown["forward"][1].columns)
    assert markdown(joined).count("Real-time factor: median seconds of computing per second of sound") == 1


def test_times_of_a_stream_are_free_of_what_slowed_the_whole_machine() -> None:
    found = [stream_record(seconds=0.4, unmerged=0.4, rounds=21)]
    found.append(stream_record("constant:20", seconds=0.3, unmerged=0.6, rounds=21))  # half as fast for this cell
    found.append(stream_record("constant:40", seconds=1.05, unmerged=2.1, rounds=21))  # and here a fifth
    joined = join(found)
    table = readable(joined).set_index("r")
    # The median of unmerged is 0.6 s, as fast as it is counted: both halve it.
    assert table["real_time"].tolist() == ["0.600", "0.300", "0.300"]
    assert table["delay"].tolist() == ["600.0 (605.4)", "300.0 (302.7)", "cannot keep up"]  # 0.99 + 0.02 * 0.95
    assert joined["latency"].tolist() == pytest.approx([600, 300, 300])
    raw = to_frame(found)["real_time_factor"].tolist()
    assert raw == pytest.approx([0.4, 0.3, 1.05])


@pytest.mark.parametrize("status", ["ok", "noisy"])
@pytest.mark.parametrize(("seconds", "scaled"), [(1.05, "0.300"), (7.0, "2.000")])
def test_a_stream_that_fell_behind_when_it_was_measured_cannot_keep_up(
    status: str, seconds: float, scaled: str
) -> None:
    found = [stream_record(seconds=0.6, unmerged=0.6), stream_record("constant:20", seconds=0.3, unmerged=0.6)]
    found.append(stream_record("constant:40", seconds=seconds, unmerged=2.1, status=status, rounds=21))
    row = readable(join(found)).set_index("r").loc["40"]
    assert row["delay"] == {"ok": "", "noisy": "≈"}[status] + "cannot keep up"
    assert row["real_time"] == ("≈" if status == "noisy" else "") + scaled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("grid.batch_size=[1,8]", "grid.batch_size: a stream is heard one window at a time; write batch_size = [1]"),
        ("measure.hop_seconds=11", "measure.hop_seconds: hop is 11 s; allowed: 0.01 to 10.255 s"),
        ("measure.hop_seconds=0", "measure.hop_seconds"),
        ("grid.engine=['triton']", "'stream' cannot be timed on the engine 'triton'; allowed: forward, waveform"),
        ("measure.baselines=['unmerged','model_alone']", "'model_alone' shows what the front end adds to 'waveform'"),
    ],
)
def test_what_a_stream_cannot_be_is_said_up_front(tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "streamed.toml"
    path.write_text(SWEEP)
    with pytest.raises(ConfigError) as caught:
        expand(load_sweep(path, [change]))
    assert message in str(caught.value)
    with pytest.raises(ConfigError, match="measure.hop_seconds: is only for streams; leave it out"):
        load_sweep(path, ["measure.scope=forward", "measure.hop_seconds=0.5"])


def test_the_sweep_on_a_cpu_holds_merged_against_unmerged() -> None:
    cells = [one for one in expand(load_sweep(find_sweep("stream_cpu"))) if one.kind == "performance"]
    assert {one.measure.scope for one in cells} == {"stream"}
    assert {one.batch_size for one in cells} == {1}
    assert {one.model.engine for one in cells} == {"plain", "onnxruntime", "openvino"}
    assert {str(one.reduction.schedule) if one.reduction else "none" for one in cells} == {
        *("none", "constant:20", "constant:40")
    }
