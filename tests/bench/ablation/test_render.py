"""Tables of alternatives from invented records, against numbers computed here in another way."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report.records import record as invented
from sklearn.metrics import average_precision_score

from bench.ablation.evidence import labels_of, read_evidence
from bench.ablation.overview import BEGIN, END, update_overview
from bench.ablation.published import published_numbers
from bench.ablation.render import render_ablation
from bench.ablation.series import sort_out
from bench.ablation.thin import thin
from bench.records.predictions import Predictions, PredictionsError, encode_predictions, read_predictions
from bench.records.replicates import ScoreReplicates, encode_replicates, read_kept
from bench.records.schema import Record
from bench.records.store import hash_array
from bench.report.frame import ReportError

pytestmark = pytest.mark.slow  # figures and pages of many records

CLIPS, CLASSES = 60, 4
RNG = np.random.default_rng(3)
LABELS = (RNG.random((CLIPS, CLASSES)) < 0.3).astype(np.uint8)
METHODS = (
    *("tome", "pitome", "tofu", "local", "algm", "adjacent"),
    *("pool", "topk", "evit", "shift", "random", "patchout"),
)
NOISE = RNG.standard_normal((CLIPS, CLASSES)).astype(np.float32)
OTHER = RNG.standard_normal((CLIPS, CLASSES)).astype(np.float32)


def logits(damage: float) -> np.ndarray:
    """What a model says: the labels in noise, and as much other noise as it was damaged."""
    return (LABELS + 0.8 * NOISE + damage * OTHER).astype(np.float32)


def precision(damage: float) -> float:
    """Its mAP, by scikit-learn."""
    return float(np.mean([average_precision_score(LABELS[:, j], logits(damage)[:, j]) for j in range(CLASSES)]))


def add(
    results: Path,
    kind: str,
    reduction: dict[str, Any] | None,
    *,
    damage: float = 0.0,
    seconds: float = 1.0,
    stride: int | None = None,
) -> Record:
    """Write a record, and of quality its predictions."""
    found = invented(kind, "none", seconds=seconds)
    name = f"{kind[0]}{len(list(results.rglob('*.json'))):011x}"
    question = found.cell.question | {"reduction": reduction}
    if stride is not None:
        question["model"] = question["model"] | {"stride": stride}
    cell = found.cell.model_copy(update={"id": name, "question": question})
    ratio = 2.0 if stride else 1 if reduction is None else 1 + int(reduction["schedule"].split(":")[1]) / 20
    model = found.model.model_copy(update={"macs_per_clip": int(4e9 / ratio)})  # type: ignore[union-attr]
    found = found.model_copy(update={"cell": cell, "model": model, "sweep": "alternatives"})
    folder = results / found.machine.key / "alternatives"
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    name = name.replace("p", "a").replace("q", "b")
    found = found.model_copy(update={"cell": cell.model_copy(update={"id": name})})
    (folder / f"{name}.json").write_text(found.model_dump_json())
    if kind == "quality":
        hashes = {"labels_sha256": hash_array(LABELS), "ids_sha256": "x"}
        content = encode_predictions(Predictions(logits(damage), "sigmoid"), hashes)
        (folder / "predictions" / f"{name}.npz").write_bytes(content)
    return found


def tome(schedule: str = "decreasing:40", **options: Any) -> dict[str, Any]:
    values = {"method": "tome", "schedule": schedule, "metric": "keys", "proportional": True, "order": "tome"}
    return values | options


@pytest.fixture
def one_axis(tmp_path: Path) -> Path:
    for metric, damage in (("keys", 0.2), ("queries", 0.2), ("values", 1.5)):
        add(tmp_path, "quality", tome(metric=metric), damage=damage)
        add(tmp_path, "performance", tome(metric=metric), seconds=0.5)
    return tmp_path


def add_methods(folder: Path, names: tuple[str, ...] = METHODS) -> Path:
    """The first is ToMe, random loses most, and top-k is fast for its arithmetic."""
    add(folder, "quality", None)
    for name in names:
        place = METHODS.index(name)
        for r in (10, 30):
            reduction = {"method": name, "schedule": f"decreasing:{r}", "proportional": True}
            damage = (4.0 if name == "random" else 0.3 + 0.05 * place) * r / 30
            add(folder, "quality", reduction, damage=damage)
            add(folder, "performance", reduction, seconds=1 / (1 + r / 20 + 0.02 * place))
    return folder


@pytest.fixture
def methods(tmp_path: Path) -> Path:
    """Twelve methods, to be changed."""
    return add_methods(tmp_path)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What is made of twelve methods."""
    records = add_methods(tmp_path_factory.mktemp("methods"))
    out = tmp_path_factory.mktemp("out")
    return render_ablation(records, out, sweep="alternatives", labels=LABELS, formats=("svg",))


def along(gains: list[float], damages: list[float], gain: float) -> float:
    """Quality between three points; the middle one does not count where the fastest is no worse."""
    points = [precision(damage) for damage in (0.0, *damages)]
    kept = [0, 2] if points[1] <= points[2] else [0, 1, 2]
    return float(np.interp(gain, [gains[i] for i in kept], [points[i] for i in kept]))


def numbers(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values={name: [""] for name in ("value", "low", "high")})


def test_one_axis_has_a_row_each_and_the_chosen_one_marked(one_axis: Path, tmp_path: Path) -> None:
    *_, text, table = render_ablation(one_axis, tmp_path / "out", sweep="alternatives", labels=LABELS)
    said = text.read_text()
    assert "**Ablation of metric, with decreasing r = 40**" in said
    assert "Speed-up: median time of the unmerged model over that of the option, interleaved" in said
    rows = {line.split("|")[1].strip(): line for line in said.splitlines() if line.startswith("| ")}
    assert set(rows) == {"metric", "keys ✓", "queries", "values"}
    assert f"| {precision(0.2):.4f} [" in rows["keys ✓"]
    assert rows["keys ✓"].split("|")[3].strip() == "0"
    assert "▼" in rows["values"]
    assert "▼" not in rows["queries"]
    assert "▲" not in rows["queries"]
    assert "2.00" in rows["keys ✓"]
    found = numbers(table)
    difference = found[(found["alternative"] == "values") & (found["against"] == "keys")]
    assert difference["value"].item() == pytest.approx(precision(1.5) - precision(0.2))


def test_methods_are_interpolated_to_equal_speed(rendered: list[Path]) -> None:
    found = numbers(rendered[-1])
    asked = found[(found["measure"] == "quality at speedup") & (found["against"] == "")]
    for name, place in (("ToMe", 0), ("PiToMe", 1), ("Top-K", 7)):
        low, high = (1 + r / 20 + 0.02 * place for r in (10, 30))
        damages = [(0.3 + 0.05 * place) * r / 30 for r in (10, 30)]
        mine = asked[asked["alternative"] == name]
        assert len(mine) > 1
        for _, row in mine.iterrows():
            expected = along([1.0, low, high], damages, float(row["at"]))
            assert row["value"] == pytest.approx(expected, abs=1e-4)
            assert row["low"] <= row["value"] <= row["high"]


def test_equal_arithmetic_is_another_comparison(rendered: list[Path]) -> None:
    found = numbers(rendered[-1])
    asked = found[(found["measure"] == "quality at macs_ratio") & (found["alternative"] == "Top-K")]
    damages = [0.65 * r / 30 for r in (10, 30)]
    for _, row in asked[asked["against"] == ""].iterrows():
        expected = along([1.0, 1.5, 2.5], damages, float(row["at"]))
        assert row["value"] == pytest.approx(expected, abs=1e-4)


def test_what_is_told_apart_is_marked(rendered: list[Path]) -> None:
    *_, text, _ = rendered
    said = text.read_text()
    rows = [line for line in said.splitlines() if line.startswith("| random drop") or line.startswith("| random")]
    assert rows
    assert all("▼" in row for row in rows[:1])
    assert "| **ToMe** |" in said
    assert "loss 0.002 | loss 0.005 | loss 0.01" in said
    assert "ratio of multiply-accumulates" in said


def test_twelve_methods_have_a_panel_each(rendered: list[Path]) -> None:
    svg = next(path for path in rendered if path.name == "fronts.svg").read_text()
    for name in ("ToMe", "PiToMe", "Top-K", "EViT", "ALGM", "local merging", "patchout"):
        assert f">{name}<" in svg


def test_what_the_numbers_are_of_is_said_in_text_captions_and_figures(rendered: list[Path]) -> None:
    *drawn, tex, text, _ = rendered
    where = "Abacus, AVX512, 2 threads, float32, batch size 8"
    about = "mAP on 10 clips of invented invented; PyTorch 1; intervals are 95 % bootstrap"
    said, captions = text.read_text(), [line for line in tex.read_text().splitlines() if "caption{" in line]
    assert f"{where}. model_with_underscores; {about}." in said
    assert len(captions) == 4
    for caption in captions:
        assert f": {where}. " in caption
        assert about.replace("%", "\\%") in caption
    assert sum("over that of the configuration, interleaved" in caption for caption in captions) == 2
    assert sum("the unmerged model's over the configuration's" in caption for caption in captions) == 2
    for svg in (path.read_text() for path in drawn):
        assert f">{where}<" in svg
        assert "model_with_underscores; mAP on" in svg


def test_several_axes_are_listed_as_in_prose(tmp_path: Path) -> None:
    for metric in ("keys", "queries"):
        for partition in ("alternating", "random"):
            for proportional in (True, False):
                changed = {"metric": metric, "partition": partition, "proportional": proportional}
                add(tmp_path, "quality", tome(**changed), damage=0.2)
    *_, text, _ = render_ablation(tmp_path, tmp_path / "out", sweep="alternatives", labels=LABELS)
    assert re.search(r"Ablation of \w+, \w+ and \w+, with decreasing r = 40", text.read_text())


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    records = add_methods(tmp_path / "records", ("tome", "topk"))
    for path in sorted(records.rglob("a*.json")):
        path.write_text(path.read_text().replace('"status":"ok"', '"status":"disturbed"'))
    *_, text, _ = render_ablation(records, tmp_path / "out", sweep="alternatives", labels=LABELS)
    said = text.read_text()
    assert "4 of 4 speeds were disturbed and have no part in this. There is no speed to compare." in said
    assert "measured speed-up" not in said
    assert "ratio of multiply-accumulates" in said


def test_a_disturbed_speed_has_no_part(tmp_path: Path) -> None:
    record = add(tmp_path, "performance", tome("decreasing:30", metric="queries"), seconds=0.1)
    (found,) = read_evidence([record.model_copy(update={"status": "disturbed"})], tmp_path, LABELS)
    assert found.speedup is None


def test_predictions_of_other_labels_are_refused(one_axis: Path, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="belongs to clips or labels other than"):
        render_ablation(one_axis, tmp_path / "out", sweep="alternatives", labels=1 - LABELS)


def test_missing_predictions_are_named(one_axis: Path, tmp_path: Path) -> None:
    lost = next(one_axis.rglob("*.npz"))
    lost.unlink()
    with pytest.raises(ReportError, match=f"{lost.name} is missing"):
        render_ablation(one_axis, tmp_path / "out", sweep="alternatives", labels=LABELS)


def test_an_option_of_one_method_names_its_line(tmp_path: Path) -> None:
    records = [
        add(tmp_path, "quality", None),
        add(tmp_path, "quality", {"method": "pool", "schedule": "constant:10", "proportional": True}),
        add(
            tmp_path,
            "quality",
            {"method": "pool", "schedule": "constant:10", "proportional": True, "axis": "frequency"},
        ),
        add(tmp_path, "quality", {"method": "topk", "schedule": "constant:10", "proportional": True}),
    ]
    found = sort_out(read_evidence(records, tmp_path, LABELS))
    assert [one.name for one in found.series] == ["Top-K", "uniform pooling", "uniform pooling, frequency"]


def test_fronts_need_the_unmerged_model(tmp_path: Path) -> None:
    for r in (10, 20):
        for metric in ("keys", "queries"):
            add(tmp_path, "quality", tome(f"constant:{r}", metric=metric))
    with pytest.raises(ReportError, match="add r = 0 to the grid"):
        render_ablation(tmp_path, tmp_path / "out", sweep="alternatives", labels=LABELS)


def test_a_larger_stride_is_a_front_of_its_own(tmp_path: Path) -> None:
    methods = add_methods(tmp_path / "records", ("tome", "topk"))
    for stride, damage, seconds in ((12, 0.2, 0.7), (16, 0.5, 0.4)):
        add(methods, "quality", None, damage=damage, stride=stride)
        add(methods, "performance", None, seconds=seconds, stride=stride)
    merged = {"method": "tome", "schedule": "decreasing:10", "proportional": True}
    add(methods, "quality", merged, damage=0.6, stride=16)
    add(methods, "performance", merged, seconds=0.3, stride=16)
    *drawn, text, table = render_ablation(
        methods, tmp_path / "out", sweep="alternatives", labels=LABELS, formats=("svg",)
    )
    found = numbers(table)
    alone = found[(found["alternative"] == "larger stride") & (found["against"] == "")]
    points = alone[alone["measure"] == "speedup"]
    assert sorted(points["at"].astype(float)) == [12, 16]
    assert sorted(points["value"]) == pytest.approx([1 / 0.7, 1 / 0.4])
    quality = alone[alone["measure"] == "quality"].set_index("at")["value"]
    assert quality.to_list() == pytest.approx([precision(0.2), precision(0.5)])
    beyond = found[(found["alternative"] == "larger stride") & (found["against"] == "ToMe") & found["value"].isna()]
    assert (beyond["at"].astype(float) >= 1 / 0.4).all()  # nothing is left out: what is not reached has an empty row
    equal = alone[alone["measure"] == "quality at speedup"]
    assert len(equal) > 1
    for _, row in equal.iterrows():
        assert row["value"] == pytest.approx(along([1.0, 1 / 0.7, 1 / 0.4], [0.2, 0.5], float(row["at"])), abs=1e-4)
    merged_too = found[(found["alternative"] == "ToMe, stride 16") & (found["against"] == "")]
    assert len(merged_too)
    equal = merged_too[merged_too["measure"] == "quality at speedup"]
    assert (equal["at"].astype(float) >= 1 / 0.4).all()  # it begins at stride 16 alone
    row = next(line for line in text.read_text().splitlines() if line.startswith("| ToMe, stride 16 |"))
    assert row.split(" | ")[1] == "from 2.50 ×"
    assert "| larger stride |" in text.read_text()
    svg = next(path for path in drawn if path.name == "fronts.svg").read_text()
    assert ">larger stride<" in svg


def test_a_stride_is_no_unmerged_model(tmp_path: Path) -> None:
    records = [add(tmp_path, "quality", tome("constant:10", metric=metric)) for metric in ("keys", "queries")]
    records.append(add(tmp_path, "quality", None, stride=16))
    found = sort_out(read_evidence(records, tmp_path, LABELS))
    assert found.unmerged is None
    assert [one.name for one in found.series] == ["ToMe", "ToMe, queries", "larger stride"]
    assert found.reference.name == "ToMe"


def test_classes_that_lose_are_drawn_and_named(methods: Path, tmp_path: Path) -> None:
    names = ("Bell", "Dog", "Rain", "Train")
    written = render_ablation(methods, tmp_path / "out", sweep="alternatives", labels=LABELS, classes=names)
    found = numbers(written[-1])
    by_class = found[found["measure"] == "average precision of class"]
    assert set(by_class["alternative"]) == set(names)
    assert sorted(set(by_class["at"].astype(float))) == [10, 30]
    for _, row in by_class.iterrows():
        column, damage = names.index(row["alternative"]), 0.3 * float(row["at"]) / 30
        scores = (logits(0.0)[:, column], logits(damage)[:, column])
        before, after = (average_precision_score(LABELS[:, column], score) for score in scores)
        assert row["value"] == pytest.approx(after - before, abs=1e-9)
        assert row["low"] <= row["value"] <= row["high"]
    worst = by_class[by_class["at"].astype(float) == 30].sort_values("value").iloc[0]
    said = (tmp_path / "out/alternatives/ablation.md").read_text()
    assert "With ToMe at r = 30, " in said
    assert f"{worst['alternative']} loses most" in said
    svg = next(path for path in written if path.name == "classes.svg").read_text()
    assert f">{worst['alternative']}<" in svg


def test_published_numbers_are_those_of_the_records_that_lie_there(methods: Path, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"ablation.csv is missing; run: python -m bench render"):
        published_numbers(methods, tmp_path / "out", "alternatives")
    render_ablation(methods, tmp_path / "out", sweep="alternatives", labels=LABELS)
    found = published_numbers(methods, tmp_path / "out", "alternatives")
    assert found["value"].dtype == float
    assert set(found["model"]) == {"model_with_underscores"}
    add(methods, "performance", {"method": "tome", "schedule": "decreasing:20", "proportional": True})
    with pytest.raises(ReportError, match="was made from records other than those in"):
        published_numbers(methods, tmp_path / "out", "alternatives")


def test_a_page_lists_what_is_published(methods: Path, tmp_path: Path) -> None:
    reports, page = tmp_path / "reports", tmp_path / "docs" / "ablations.md"
    page.parent.mkdir()
    page.write_text(f"before\n{BEGIN}\n{END}\nbehind\n")
    update_overview(page, reports)
    assert page.read_text() == f"before\n{BEGIN}\n\nNone yet.\n\n{END}\nbehind\n"
    render_ablation(methods, reports, sweep="alternatives", labels=LABELS)
    (reports / "alternatives").rename(reports / "ablation_x")
    update_overview(page, reports)
    whole = "../reports/ablation_x/ablation.csv"
    assert f"- [ablation_x](../reports/ablation_x/ablation.md), [every number]({whole}): " in page.read_text()
    page.write_text("no marks")
    with pytest.raises(ReportError, match="needs the lines"):
        update_overview(page, reports)


def test_a_gain_is_marked_from_the_side_that_is_known(tmp_path: Path) -> None:
    """ToMe loses much; PiToMe nothing at all, wherever it was measured; ToFu more than ToMe."""
    add(tmp_path, "quality", None)
    for name, damage in (("tome", 1.0), ("pitome", 0.0), ("tofu", 4.0)):
        for r in (10, 30):
            reduction = {"method": name, "schedule": f"decreasing:{r}", "proportional": True}
            add(tmp_path, "quality", reduction, damage=damage * r / 30)
            add(tmp_path, "performance", reduction, seconds=1 / (1 + r / 20))
    *_, text, _ = render_ablation(tmp_path, tmp_path / "out", sweep="alternatives", labels=LABELS, formats=("svg",))
    said = text.read_text().partition("Measured speed-up at a fixed loss")[2].partition("Loss:")[0]
    rows = {name.strip(): gain.strip() for name, gain in re.findall(r"^\|([^|]+)\|([^|]+)\|", said, re.MULTILINE)}
    assert rows["PiToMe"] == "≥ 2.50 ▲"
    assert rows["ToFu"].endswith("▼")
    assert not rows["**ToMe**"].endswith(("▲", "▼"))


def replicates_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.npz")) if isinstance(read_kept(path)[0], ScoreReplicates)]


def test_a_thinned_sweep_gives_the_same_report(methods: Path, tmp_path: Path) -> None:
    def report(folder: str) -> tuple[pd.DataFrame, str]:
        paths = render_ablation(methods, tmp_path / folder, sweep="alternatives", labels=LABELS, formats=("svg",))
        return numbers(paths[-1]).drop(columns="records"), paths[-2].read_text()

    table, text = report("whole")
    done = thin(methods, "alternatives", labels=LABELS)
    assert (done.replaced, done.kept) == (22, 3)  # the unmerged model and two of ToMe are drawn by class
    assert len(replicates_in(methods)) == 22
    again, text_again = report("thin")
    pd.testing.assert_frame_equal(table, again)
    assert text == text_again
    assert thin(methods, "alternatives", labels=LABELS).replaced == 0
    with pytest.raises(PredictionsError, match="bench thin left replicates"):
        read_predictions(replicates_in(methods)[0])


def test_replicates_of_another_draw_are_refused(methods: Path, tmp_path: Path) -> None:
    thin(methods, "alternatives", labels=LABELS)
    path = replicates_in(methods)[0]
    kept, hashes = read_kept(path)
    path.write_bytes(encode_replicates(replace(kept, seed=7), hashes))  # type: ignore[arg-type]
    with pytest.raises(ReportError, match="thinned by a FastAST version whose replicates draw other clips"):
        render_ablation(methods, tmp_path / "out", sweep="alternatives", labels=LABELS)


def test_alternatives_on_two_workloads_are_refused(methods: Path, tmp_path: Path) -> None:
    path = next(methods.rglob("a*.json"))
    path.write_text(path.read_text().replace('"batch_size":8', '"batch_size":1', 1))
    with pytest.raises(ReportError, match="has batch_size 1, 8, but alternatives are compared at one"):
        render_ablation(methods, tmp_path / "out", sweep="alternatives", labels=LABELS)


def test_labels_are_those_of_the_clips_that_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = invented("quality", "none")
    asked = {"dataset": "soundscapes", "split": "val", "clips": 5, "ids_sha256": "x", "holds": 1, "seconds": 2.0}
    names = [f"clip {index}" for index in range(5)]
    data = SimpleNamespace(classes=("a",), id=names.__getitem__, labels=lambda index, _: np.array([index]))
    opened: list[Any] = []

    def resolve(config: Any) -> Any:
        opened.append(config)
        return SimpleNamespace(open=lambda: (data, range(5)))

    monkeypatch.setattr("bench.ablation.evidence.resolve_data", resolve)
    question = found.cell.question | {"workload": asked}
    quality = found.quality.model_copy(update={"skipped": ("clip 1", "clip 3")})  # type: ignore[union-attr]
    cell = found.cell.model_copy(update={"question": question})
    labels, _ = labels_of(found.model_copy(update={"cell": cell, "quality": quality}))
    assert labels.ravel().tolist() == [0, 2, 4]
    assert opened[0].seconds == 2.0  # of the data set; what is no option of it, such as a hash, is left out
