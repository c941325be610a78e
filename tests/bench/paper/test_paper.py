"""The paper's experiment from folders of data and checkpoints: found, matched, planned."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from layouts import EVAL, write_audioset, write_esc50, write_fsd50k, write_speech_commands
from typer.testing import CliRunner

from bench.cli import app
from bench.paper.command import _measure
from bench.paper.plan import PaperPlan, make_plan
from bench.paper.protocols import PROTOCOLS
from bench.records.store import read_records
from bench.sweep.complaints import ConfigError
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep
from fastast import create_model, save_checkpoint
from fastast.cli import app as fastast_app
from fastast.data.identity import hash_ids
from fastast.data.layouts.speech_commands import WORDS
from fastast.frontend import Normalisation
from tests.fastast.checkpoints.checkpoint_files import huggingface_config, huggingface_names, original_names

SHAPE = {"embed_dim": 64, "depth": 2, "num_heads": 1, "num_frames": 128, "fstride": 16, "tstride": 16}
NORMALISATION = Normalisation(mean=-6.0, std=5.0)
AUDIOSET_NAMES = ("Bird", "Bell, small", "Cymbal", "Tabla")


def tiny(num_classes: int, seed: int = 0, **changes: int):
    torch.manual_seed(seed)
    return create_model("ast_tiny", num_classes=num_classes, **SHAPE | changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    write_audioset(root / "AudioSet", "audios/{table}_segments/Y{id}.wav")
    write_esc50(root / "ESC-50-master")
    write_speech_commands(root / "speech_commands_v0.02")
    return root


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each layout, and what lies beside them."""
    root = tmp_path_factory.mktemp("weights")
    torch.save(original_names(tiny(4).state_dict()), root / "audioset_10_10_0.4593.pth")
    save_checkpoint(root / "merged.safetensors", tiny(4, 1), labels=AUDIOSET_NAMES[::-1], normalisation=NORMALISATION)
    (root / "fold2").mkdir()
    names = {"labels": ("bell", "bird"), "normalisation": NORMALISATION, "loss": "ce"}
    save_checkpoint(root / "fold2" / "ESC taught.safetensors", tiny(2), **names)
    folder = root / "hf-speech"
    folder.mkdir()
    model = tiny(35)
    torch.save(huggingface_names(model.state_dict()), folder / "pytorch_model.bin")
    labels = {str(index): word for index, word in enumerate(WORDS[::-1])}
    (folder / "config.json").write_text(json.dumps(huggingface_config(model.geometry, id2label=labels)))
    torch.save({"step": torch.tensor(3)}, root / "optimiser.pt")
    return root


def names(plan: PaperPlan) -> list[str]:
    return [sweep.config.name for sweep in plan.sweeps]


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("paper_audioset", 1214), ("paper_fsd50k", 1214), ("paper_esc50", 602), ("paper_speechcommands", 146)],
)
def test_the_sweeps_are_sized_for_their_tokens(name: str, tokens: int) -> None:
    path = find_sweep(name)
    config = load_sweep(path, ['kinds=["performance"]'])
    cells = expand(config, str(path))
    assert config.name == name
    assert {cell.batch_size for cell in cells} == {1, 64}
    assert f"{tokens:,} tokens" in path.read_text()
    assert {cell.measure.scope for cell in cells} == {"forward"}
    assert set(config.measure.baselines) == {"unmerged", "slice", "tome_plain"}
    with pytest.raises(ConfigError, match=f"The largest r of tome constant here is {max(config.grid.r)}"):
        expand(load_sweep(path, ['kinds=["performance"]', f"grid.r=[{max(config.grid.r) + 1}]"]), str(path))


def test_every_checkpoint_is_matched_to_the_data_of_its_classes(data: Path, checkpoints: Path) -> None:
    plan = make_plan(data, checkpoints, ["grid.r=[0, 4]"])
    assert names(plan) == [
        "paper_audioset-audioset_10_10_0_4593",
        "paper_audioset-merged",
        "paper_esc50-fold2_esc_taught",
        "paper_speechcommands-hf-speech",
    ]
    original, merged, taught, speech = plan.sweeps
    assert original.config.model.labels == "data"
    assert original.config.model.normalisation == (-4.2677393, 4.5689974)
    assert original.config.model.activation == "sigmoid"
    assert merged.config.model.normalisation is None
    quality = {sweep.config.name: next(c for c in sweep.cells if c.kind == "quality") for sweep in plan.sweeps}
    assert quality["paper_audioset-merged"].model.columns == (3, 2, 1, 0)
    assert quality["paper_esc50-fold2_esc_taught"].data.question()["fold"] == 2
    assert quality["paper_esc50-fold2_esc_taught"].model.columns == (1, 0)
    assert quality["paper_speechcommands-hf-speech"].model.columns == tuple(range(34, -1, -1))
    assert speech.config.data.dataset == "speech_commands"
    assert taught.config.data.split == "test"


def test_what_is_missing_is_named_with_where_its_owners_publish_it(data: Path, checkpoints: Path) -> None:
    shown = CliRunner().invoke(
        app, ["paper", "--data", str(data), "--checkpoints", str(checkpoints), "--dry-run", "-s", "grid.r=[0, 4]"]
    )
    assert shown.exit_code == 0, shown.output
    assert "FSD50K, the data: https://zenodo.org/records/4060432" in shown.output
    assert "optimiser.pt: " in shown.output
    assert shown.output.splitlines()[-1].startswith("4 sweeps, ")
    said = [line for line in shown.output.splitlines() if line.strip().startswith("by itself:")]
    assert all("python -m bench run paper_" in line for line in said)


def test_nothing_there_names_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    plan = make_plan(tmp_path / "empty", tmp_path / "empty")
    assert not plan.sweeps
    assert len(plan.missing) == 2 * len(PROTOCOLS)
    text = "\n".join(plan.missing)
    for address in ("github.com/YuanGongND/ast", "github.com/karolpiczak/ESC-50", "speech_commands_v0.02"):
        assert address in text
    shown = CliRunner().invoke(app, ["paper", "--data", str(tmp_path / "absent"), "--checkpoints", str(tmp_path)])
    assert shown.exit_code == 2
    assert "--data" in shown.output


def test_a_model_on_esc50_of_unknown_folds_is_not_measured(tmp_path: Path, data: Path) -> None:
    model = {"labels": ("bird", "bell"), "normalisation": NORMALISATION}
    save_checkpoint(tmp_path / "esc.safetensors", tiny(2), **model)
    (refused,) = make_plan(data, tmp_path).refused
    assert "it is not known which fold the model was not trained on" in refused
    recipe = {"recipe": {"data": {"name": "esc50", "fold": 4}}}
    save_checkpoint(tmp_path / "esc.safetensors", tiny(2), **model, training=recipe)
    (sweep,) = make_plan(data, tmp_path).sweeps
    assert sweep.config.data.build().fold == 4


def test_two_files_of_one_name_have_two_sweeps(tmp_path: Path, data: Path) -> None:
    for seed, name in enumerate(("a b.safetensors", "a_b.safetensors")):
        save_checkpoint(tmp_path / name, tiny(4, seed), labels=AUDIOSET_NAMES, normalisation=NORMALISATION)
    found = names(make_plan(data, tmp_path))
    assert len(set(found)) == 2
    assert all(name.startswith("paper_audioset-a_b_") for name in found)


def test_a_model_of_fewer_tokens_loses_the_same_shares_of_them(tmp_path: Path, data: Path) -> None:
    model = tiny(4, depth=12)
    save_checkpoint(tmp_path / "small.safetensors", model, labels=AUDIOSET_NAMES, normalisation=NORMALISATION)
    (sweep,) = make_plan(data, tmp_path).sweeps
    tokens = model.geometry.num_tokens
    asked = load_sweep(find_sweep("paper_audioset")).grid.r
    assert tokens == 66  # of which 12 blocks can lose 4 each: 66 - 11 * 4 = 22, 23 from 5 on would be too many
    assert sweep.config.grid.r == tuple(sorted({r * 4 // 93 for r in asked}))
    assert any("of 66 tokens each block can lose 4, not 93" in note for note in sweep.notes)


def test_clips_that_are_not_there_are_left_out_and_counted(tmp_path: Path, data: Path, checkpoints: Path) -> None:
    copy = shutil.copytree(data / "AudioSet", tmp_path / "AudioSet")
    next(copy.glob("audios/eval_segments/*")).unlink()
    plan = make_plan(tmp_path, checkpoints, ["grid.r=[0, 4]"])
    assert any("1 clips of its tables are missing and left out" in note for note in plan.sweeps[0].notes)
    shutil.rmtree(copy / "audios")
    lines = make_plan(tmp_path, checkpoints).missing
    assert any(line.startswith("AudioSet, the data (") and "of eval_segments.csv is missing" in line for line in lines)
    assert any(line.startswith("Speech Commands v0.02, the data: ") and "hf-speech" in line for line in lines)


def test_a_link_that_leads_back_is_no_data_set(tmp_path: Path, data: Path, checkpoints: Path) -> None:
    sets = shutil.copytree(data, tmp_path / "sets")
    (sets / "again").symlink_to(sets)
    (sets / "AudioSet" / "up").symlink_to(tmp_path)
    usual, found = (make_plan(folder, checkpoints, ["grid.r=[0, 4]"]) for folder in (data, sets))
    assert [sweep.config.data.build().root for sweep in found.sweeps] == [
        sweep.config.data.build().root.replace(str(data), str(sets)) for sweep in usual.sweeps
    ]
    assert found.refused == usual.refused


def test_fsd50k_is_found_in_folders_that_unpacking_added(tmp_path: Path) -> None:
    write_fsd50k(tmp_path / "sets" / "zenodo", nested=True)
    labels = ("Bell", "Bird", "Percussion", "Tabla")
    (tmp_path / "weights").mkdir()
    save_checkpoint(tmp_path / "weights" / "a.safetensors", tiny(4), labels=labels, normalisation=NORMALISATION)
    (sweep,) = make_plan(tmp_path / "sets", tmp_path / "weights", ["grid.r=[0, 4]"]).sweeps
    assert sweep.config.name == "paper_fsd50k-a"
    assert sweep.config.data.dataset == "fsd50k"


@pytest.mark.parametrize(
    "found",
    [
        pytest.param({"AudioSet": "audioset-audioset_10_10_0_4593"}, id="one"),
        pytest.param(
            {
                "AudioSet": "audioset-audioset_10_10_0_4593",
                "ESC-50-master": "esc50-fold2_esc_taught",
                "speech_commands_v0.02": "speechcommands-hf-speech",
            },
            id="all",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_from_folders_to_reports(data: Path, checkpoints: Path, tmp_path: Path, found: dict[str, str]) -> None:
    """check -> cache -> sweeps -> reports, in processes of their own; `found`: the sweep that each data set gives."""
    runner = CliRunner()
    sets = tmp_path / "sets"
    for name in found:
        checked = runner.invoke(fastast_app, ["data", "check", str(data / name), "--processes", "1", "-q", "--json"])
        assert json.loads(checked.output)["splits"]["test"]["clips"] == 2, checked.output
        if name != "AudioSet":
            shutil.copytree(data / name, sets / name)
    weights = shutil.copytree(checkpoints, tmp_path / "weights", ignore=shutil.ignore_patterns("merged*"))
    made = ["data", "cache", str(data / "AudioSet"), "--out", str(sets / "cached"), "--processes", "1", "-q"]
    assert runner.invoke(fastast_app, made).exit_code == 0
    quick = [
        "grid.r=[0, 4]", 'grid.schedule=["constant"]', "grid.batch_size=[2]", 'measure.baselines=["unmerged", "slice"]',
        "measure.rounds=3", "measure.min_seconds=0", "measure.max_seconds=0.2", "measure.warmup_seconds=0.1",
        "measure.energy_seconds=0", "measure.noise_limit=9.0", "measure.noise_repeats=0", "measure.threads=1",
    ]  # fmt: skip
    given = ["paper", "--data", str(sets), "--checkpoints", str(weights)]
    given += [part for override in quick for part in ("-s", override)]
    given += [part for name in ("results", "reports", "cache") for part in (f"--{name}", str(tmp_path / name))]
    shown = runner.invoke(app, given)
    records = read_records(tmp_path / "results")
    plan, end = re.split(r"\d+ sweeps?, \d+ cells\n", shown.output)
    for text in (plan, end):
        assert "FSD50K, the data: https://zenodo.org/records/4060432" in text
    assert end.index("FSD50K, the data: ") < end.index("report: ")
    statuses = {(record.sweep, record.cell.kind, record.status) for record in records}
    assert {status for _, _, status in statuses} <= {"ok", "disturbed", "noisy"}, shown.output
    assert {record.sweep for record in records} == {f"paper_{name}" for name in found.values()}, shown.output
    assert Counter(record.cell.kind for record in records) == {"quality": 2 * len(found), "performance": 2 * len(found)}
    for name in found.values():
        table = pd.read_csv(tmp_path / "reports" / f"paper_{name}" / "table.csv")
        assert set(table["score_name"].dropna()) == {"mAP" if name.startswith("audioset") else "accuracy"}
        assert (tmp_path / "reports" / f"paper_{name}" / "index.html").is_file()
        assert f"paper_{name}" in shown.output.partition("report: ")[2]
    quality = {record.sweep: record.quality for record in records if record.quality is not None}
    assert quality["paper_audioset-audioset_10_10_0_4593"].ids_sha256 == hash_ids(EVAL)


def test_what_a_checkpoint_is_taken_for_is_said_in_one_line(data: Path, tmp_path: Path) -> None:
    model = tiny(527, num_frames=1024)
    torch.save(original_names(model.state_dict()), tmp_path / "audioset_16_16_0.4422.pth")
    shown = CliRunner().invoke(app, ["paper", "--data", str(data), "--checkpoints", str(tmp_path), "--dry-run"])
    (line,) = [line for line in shown.stderr.splitlines() if "that of AudioSet is assumed" in line]
    assert line.startswith("fastast: ")
    assert "CheckpointWarning" not in shown.output


def test_what_is_odd_about_a_data_set_is_said_in_one_line(data: Path, checkpoints: Path) -> None:
    shown = CliRunner().invoke(
        app, ["paper", "--data", str(data), "--checkpoints", str(checkpoints), "--dry-run", "-s", "grid.r=[0, 4]"]
    )
    assert any(
        line.startswith("fastast: ") and "33 of the 35 words have no clip" in line for line in shown.stderr.splitlines()
    )
    assert "DataWarning" not in shown.output


def test_every_sweep_is_run_within_the_same_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts from the beginning of the process: what is handed on is not what is left of it."""
    given: list[float | None] = []

    @contextmanager
    def place(name: str, **options: Any) -> Iterator[None]:
        given.append(options["minutes"])
        yield

    monkeypatch.setattr("bench.run.launchers.choose.choose_launcher", place)
    monkeypatch.setattr("bench.run.driver.run_sweep", lambda *_, **__: SimpleNamespace(left=()))
    sweeps = tuple(SimpleNamespace(config=SimpleNamespace(name=name), cells=()) for name in ("a", "b", "c"))
    assert len(_measure(sweeps, SimpleNamespace(cache=Path()), 60.0)) == 3  # type: ignore[arg-type]
    assert given == [60.0] * 3
