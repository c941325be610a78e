"""What is remembered of a sweep is what expanding it says, and nothing is remembered that could have changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.sweep.expansion import expand
from bench.sweep.file import load_sweep
from bench.sweep.listing import ListedCell, listing_of, place_of, remember, remembered

ROOT = Path(__file__).parents[3]
SWEEP = """
name = "small"
kinds = ["performance"]
[model]
name = "{model}"
[grid]
r = [0, 10]
device = ["cpu"]
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTAST_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SWEEP.format(model="ast_tiny"))
    return path


def keep(path, overrides=()):
    place = place_of(path, overrides)
    config = load_sweep(path, overrides)
    listing = listing_of(config, expand(config))
    remember(path, overrides, listing, place)
    return listing


def test_it_is_what_expanding_says(sweep):
    assert remembered(sweep, ()) is None
    listing = keep(sweep)
    assert remembered(sweep, ()) == listing
    assert listing.name == "small"
    assert listing.devices == ("cpu",)
    assert listing.cells == tuple(ListedCell(id=cell.id, kind=cell.kind) for cell in expand(load_sweep(sweep)))


def test_another_text_or_another_override_is_another_sweep(sweep):
    keep(sweep)
    assert remembered(sweep, ["grid.r=[4]"]) is None
    assert keep(sweep, ["grid.r=[4]"]) == remembered(sweep, ["grid.r=[4]"]) != remembered(sweep, ())
    sweep.write_text(sweep.read_text().replace("10", "20"))
    assert remembered(sweep, ()) is None


def test_a_file_that_the_sweep_names_counts(tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes((ROOT / "fastast/assets/ast_tiny_soundscapes.safetensors").read_bytes())
    path = tmp_path / "small.toml"
    path.write_text(SWEEP.format(model=model))
    keep(path)
    assert remembered(path, ()) is not None
    model.touch()
    assert remembered(path, ()) is None


def test_a_file_that_changes_while_its_sweep_runs_is_not_taken_for_what_ran(sweep):
    place, listing = place_of(sweep, ()), keep(sweep)
    sweep.write_text(sweep.read_text().replace("10", "10, 20"))
    remember(sweep, (), listing, place)
    assert remembered(sweep, ()) is None


def test_nor_is_one_that_changes_while_it_is_expanded(sweep):
    place, text = place_of(sweep, ()), sweep.read_text()
    sweep.write_text(text.replace("10", "10, 20"))
    config = load_sweep(sweep)
    remember(sweep, (), listing_of(config, expand(config)), place)
    sweep.write_text(text)
    assert remembered(sweep, ()) is None


@pytest.mark.parametrize("override", ['grid.schedule=["{file}"]', "grid={{schedule=['{file}'], r=[0]}}"])
def test_a_file_that_an_override_names_counts(sweep, tmp_path, override):
    file = tmp_path / "tuned.toml"
    file.write_text('[reduction]\nschedule = "list:40,40,0"\n')
    overrides = [override.format(file=file)]
    before = place_of(sweep, overrides)
    file.write_text('[reduction]\nschedule = "list:40,20,0"\n# longer\n')
    assert None is not before != place_of(sweep, overrides)


@pytest.mark.parametrize(
    "override", ['data={dataset="esc50"}', "data.dataset=esc50", 'grid={method=["theirs"], r=[4]}']
)
def test_an_override_by_data_or_methods_that_may_change_is_as_if_it_stood_in_the_file(sweep, override):
    assert place_of(sweep, ()) is not None
    assert place_of(sweep, [override]) is None


@pytest.mark.parametrize(
    "change",
    ['[data]\ndataset = "esc50"', '[data]\ndataset = "soundscapes"\nroot = "{folder}"'],
)
def test_of_data_that_may_change_nothing_is_remembered(sweep, tmp_path, change):
    listing = keep(sweep)
    sweep.write_text(f"{sweep.read_text()}\n{change.format(folder=tmp_path)}\n")
    remember(sweep, (), listing, place_of(sweep, ()))
    assert remembered(sweep, ()) is None


def test_nor_of_methods_of_other_packages(sweep):
    listing = keep(sweep)
    sweep.write_text(f'{sweep.read_text()}\nmethod = ["theirs"]\n')
    remember(sweep, (), listing, place_of(sweep, ()))
    assert remembered(sweep, ()) is None


def test_other_code_of_ours_is_another_sweep(sweep, tmp_path, monkeypatch):
    (tmp_path / "root" / "bench").mkdir(parents=True)
    (tmp_path / "root" / "fastast").symlink_to(ROOT / "fastast")
    code = tmp_path / "root" / "bench" / "code.py"
    code.write_text("a = 1")
    monkeypatch.setattr("bench.sweep.listing.ROOT", tmp_path / "root")
    keep(sweep)
    assert remembered(sweep, ()) is not None
    code.write_text("a = 10")
    assert remembered(sweep, ()) is None


def test_a_broken_note_is_no_note(sweep, tmp_path):
    keep(sweep)
    for note in (tmp_path / "cache" / "listings").iterdir():
        note.write_text('{"name": 1}')
    assert remembered(sweep, ()) is None


def test_status_of_a_sweep_that_is_remembered_needs_no_pytorch(sweep, tmp_path):
    keep(sweep)
    code = f"""
import sys
from bench.cli import app
try:
    app(["status", {str(sweep)!r}, "--results", {str(tmp_path)!r}])
except SystemExit as ended:
    assert not ended.code
assert "torch" not in sys.modules and "pandas" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"small: 2 cells, no records in {tmp_path}\n"
