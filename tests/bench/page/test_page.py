"""The page holds what the records say, in one file that asks nothing of a network."""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import re
import wave
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import EVIL
from typer.testing import CliRunner

from bench.cli import app
from bench.page import render
from bench.page.facts import record_facts
from bench.page.points import page_panels
from bench.page.render import page_html, render_page
from bench.records.store import read_records
from bench.report.frame import ReportError, join
from fastast.data.audio import load_audio

ROOT = Path(__file__).parents[3]


class Page(HTMLParser):
    """Elements, attributes and the content of scripts by their id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        if tag == "script" and (name := attributes.get("id")):
            self.scripts[name] = self.scripts.get(name, "") + data


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nothing_is_asked_of_a_network(page: Page, html: str) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    assert len(html.encode()) < render.LIMIT / 1.5


def test_the_library_is_plotlys_with_its_licence(page: Page) -> None:
    from plotly.offline import get_plotlyjs

    code = gzip.decompress(base64.b64decode(page.scripts["plotly"])).decode()
    assert code == get_plotlyjs()
    assert "Licensed under the MIT license" in code[:500]


def test_names_from_files_are_text_and_never_elements(page: Page, html: str) -> None:
    data = json.loads(page.scripts["records"])
    assert EVIL in [panel["choices"]["device"][0] for panel in data["panels"]]
    assert "<img" not in html
    assert not any(tag == "img" for tag, _ in page.elements)
    assert html.count("</script>") == 3 + len(render.SCRIPTS)


def test_numbers_are_those_of_the_reports(page: Page, records) -> None:
    data = json.loads(page.scripts["records"])
    joined = join(records)
    points = {
        (panel["choices"]["device"][0], panel["choices"]["batch"][0], p["name"]): p
        for panel in data["panels"]
        for p in panel["points"]
    }
    assert len(points) == len(joined)
    point = points["abacus", "8", "ToMe, constant r, r = 40"]
    # 8 clips in 1 s unmerged, twice as fast; 0.49 of 0.50.
    assert (point["throughput"], point["speed"], point["latency"]) == pytest.approx((16, 2, 500))
    assert (point["score"], point["delta_score"]) == pytest.approx((0.49, -0.01))
    unmerged = points["abacus", "8", "unmerged"]
    assert (unmerged["speed"], unmerged["speed_low"], unmerged["delta_score"]) == (1, None, 0)
    assert points["abacus", "8", "ToMe, decreasing r, r = 20"]["standing"] == "disturbed"


def test_every_point_leads_to_its_records_with_machine_and_versions(page: Page, records) -> None:
    data = json.loads(page.scripts["records"])
    facts = data["facts"]
    for panel in data["panels"]:
        for point in panel["points"]:
            speed, quality = (records[point[name]] for name in ("speed_record", "quality_record"))
            assert (speed.cell.kind, quality.cell.kind) == ("performance", "quality")
            assert speed.cell.id == point["id"]
            assert speed.cell.question["reduction"] == quality.cell.question["reduction"]
            assert speed.machine.key == quality.machine.key == panel["choices"]["device"][0]
    pairs = facts["pairs"][0]
    told = {facts["names"][pairs[i]][1]: facts["values"][pairs[i + 1]] for i in range(0, len(pairs), 2)}
    assert (told["cell"], told["commit"], told["torch"]) == (records[0].cell.id, "c0ffee", "1")
    assert told["cpu.physical_cores"] == "2"
    assert (
        facts["values"][facts["made_with"][0]]
        == "Abacus, AVX512, 2 threads, PyTorch 1, Python 1, FastAST 0, commit c0ffee"
    )
    assert facts["paths"][0] == f"results/abacus/invented/{records[0].cell.id}.json"


def test_what_failed_says_so_and_leads_to_its_message() -> None:
    import records as made

    records = [made.record("performance"), made.record("quality")]
    records.append(made.record("performance", "constant:20", status="oom", message="no memory"))
    records.append(made.record("quality", "constant:20", status="error", message="broken"))
    (panel,) = page_panels(records)
    point = panel["points"][1]
    assert (point["no_speed"], point["no_score"], point["throughput"]) == ("out of memory", "failed", None)
    facts = record_facts(records)
    for name, message in (("speed_record", "no memory"), ("quality_record", "broken")):
        pairs = facts["pairs"][point[name]]
        assert message in [facts["values"][place] for place in pairs[1::2]]


def test_an_implausible_record_has_no_numbers_on_the_page() -> None:
    import records as made

    fast = made.record("performance", "constant:20", seconds=0.01, status="implausible", message="too fast")
    (panel,) = page_panels([made.record("performance"), made.record("quality"), fast])
    point = panel["points"][1]
    assert (point["no_speed"], point["standing"]) == ("implausible", "")
    assert point["throughput"] is point["speed"] is point["latency"] is None


def test_what_is_heard_is_what_the_model_hears(sounds, html: str) -> None:
    (sound,) = sounds["sounds"]
    with wave.open(io.BytesIO(base64.b64decode(sound["wav"]))) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, 16_000)
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
    samples = load_audio(ROOT / "fastast/assets/examples/bird_and_water.ogg")
    assert np.abs(heard - samples[: len(heard)]).max() < 1e-4
    assert sound["heard"][0][0] == "Animal"  # as `fastast predict` says
    shape = sounds["shape"]
    assert len(base64.b64decode(sound["fbank"])) == shape["num_frames"] * shape["num_mel_bins"]
    assert len(sound["cells"]) == np.prod(shape["grid"]) == shape["num_tokens"] - shape["num_prefix_tokens"]
    assert "by inchadney, from GCompris, CC-BY 3.0" in html.replace(sounds["credits"], "", 1)  # where people read it
    assert [len(flat) // 2 for flat in sound["methods"][0]["runs"][1]["pairs"]] == [40] * 12


def test_the_same_records_give_the_same_bytes(html: str, records, sounds) -> None:
    from bench.page.listening import listening

    assert page_html(records, listening(methods=("tome", "topk"), removed=(20, 40))) == html


def test_the_command_writes_the_page_of_the_committed_records(tmp_path: Path, sounds, monkeypatch) -> None:
    monkeypatch.setattr(render, "listening", lambda: sounds)
    out = tmp_path / "deep" / "page.html"
    shown = CliRunner().invoke(app, ["page", "--results", str(ROOT / "results"), "--out", str(out)])
    assert shown.exit_code == 0, shown.output
    data = json.loads(Page(out.read_text(encoding="utf-8")).scripts["records"])
    assert len(data["facts"]["paths"]) == len(read_records(ROOT / "results"))
    assert data["panels"][0]["choices"]["data"][0] == "default"


def test_no_records_and_too_many_are_said(tmp_path: Path, sounds, monkeypatch) -> None:
    with pytest.raises(ReportError, match="no records in .*nothing; give a folder of results"):
        render_page(tmp_path / "nothing", tmp_path / "page.html")
    monkeypatch.setattr(render, "listening", lambda: sounds)
    monkeypatch.setattr(render, "LIMIT", 1000)
    with pytest.raises(ReportError, match="more than the 1,000 of a page; give one machine's folder"):
        render_page(ROOT / "results", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_every_id_that_a_script_asks_for_is_in_the_page(page: Page) -> None:
    there = {attributes.get("id") for _, attributes in page.elements}
    for name in render.SCRIPTS:
        code = (render.ASSETS / f"{name}.js").read_text(encoding="utf-8")
        assert set(re.findall(r'byId\("([\w-]+)"\)', code)) <= there, name


def test_inputs_have_labels_and_headings_do_not_skip(page: Page) -> None:
    labelled = {attributes.get("for") for tag, attributes in page.elements if tag == "label"}
    inputs: list[Any] = [a["id"] for tag, a in page.elements if tag in ("input", "select")]
    assert set(inputs) <= labelled
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_what_was_said_of_a_model_does_not_part_its_quality_from_its_speed() -> None:
    import records as made

    speed, quality = made.record("performance"), made.record("quality")
    stated = quality.cell.question["model"] | {"activation": "sigmoid", "normalisation": {"mean": 0.0, "std": 1.0}}
    cell = quality.cell.model_copy(update={"question": quality.cell.question | {"model": stated}})
    (panel,) = page_panels([speed, quality.model_copy(update={"cell": cell})])
    assert [point["quality_record"] for point in panel["points"]] == [1]
