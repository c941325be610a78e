"""Sweep files: every way to be wrong is said before anything runs; cells and their identity."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cell.worker import build_cell_model
from bench.cli import app
from bench.command_line import command_line
from bench.sweep.cells import Cell, ModelRef, canonical
from bench.sweep.complaints import ConfigError
from bench.sweep.config import DataConfig, MeasureConfig
from bench.sweep.data import resolve_data
from bench.sweep.expansion import expand
from bench.sweep.file import SWEEPS, find_sweep, load_sweep
from bench.sweep.grid_checks import largest_r
from fastast.geometry import geometry
from fastast.reduction import TokenReduction, reduction_method
from fastast.reduction.registry import METHODS, all_free
from fastast.schedule import Linear

SMALL = """
name = "small"
kinds = ["performance"]
[model]
name = "ast_tiny"
frames = 512
[grid]
"""
GOOD = SMALL + 'schedule = ["constant", "decreasing"]\nr = [0, 10, 40]\nbatch_size = [1, 8]\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str, overrides: tuple[str, ...] = ()) -> str:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        expand(load_sweep(path, overrides), str(path))
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (
            'schedule = ["sideways"]',
            "sweep.toml: grid.schedule.0: 'sideways' is not a schedule; allowed with the numbers of grid.r: constant, ",
        ),
        ('schedule = ["constant", "decreesing"]', "grid.schedule.1: 'decreesing' is not a schedule; did you mean"),
        ('schedule = ["linear"]', "grid.schedule.0: 'linear' is not a schedule; allowed with the numbers of grid.r"),
        ('schedule = ["constant:x"]', "grid.schedule.0: schedule 'constant:x'"),
        ('schedule = ["linear:-3"]', "grid.schedule.0: schedule linear: inflection is -3.0"),
        ('schedule = ["keep:0.2"]', "grid.schedule.0: reduction tome keep:0.2: block 1 of 12 has 602 tokens"),
        ('shedule = ["constant"]', "grid.shedule: unknown key; did you mean 'schedule'? Allowed: schedule, r,"),
        ('r = ["8"]', "sweep.toml: grid.r.0: '8' is not a whole number"),
        ("r = [1.5]", "sweep.toml: grid.r.0: 1.5 is not a whole number"),
        ("r = [true]", "sweep.toml: grid.r.0: true is not a whole number"),
        ("r = [-1]", "sweep.toml: grid.r.0: is -1; it must be a whole number of at least 0"),
        ("r = 8", "sweep.toml: grid.r: must be a list of values, such as [8]"),
        ("r = []", "sweep.toml: grid.r: is empty"),
        ("r = [8, 0, 8]", "sweep.toml: grid.r: has 8 twice"),
        ("batch_size = [0]", "sweep.toml: grid.batch_size.0: is 0; it must be a whole number of at least 1"),
        ('method = ["tom"]', "grid.method.0: 'tom' is not a method; did you mean 'tome'? allowed: tome, "),
        ('batch_size = [1, "bset"]', "grid.batch_size.1: 'bset' is neither a whole number nor 'best'"),
        ("batch_size = [1.5]", "sweep.toml: grid.batch_size.0: 1.5 is neither a whole number nor 'best'"),
        ('metric = ["key"]', "grid.metric.0: 'key' is not a metric; did you mean 'keys'? allowed: keys, queries"),
        (
            'attention = ["flash"]',
            "grid.attention.0: 'flash' is not an attention; did you mean 'flex_flash'? allowed: auto, mask, ",
        ),
        ('dtype = ["fp32"]', "grid.dtype.0: 'fp32' is not a dtype; allowed: float32, bfloat16, float16"),
        ('order = ["random"]', "grid.order.0: 'random' is not an order; allowed: tome, position"),
        ('device = ["tpu"]', "grid.device.0: 'tpu' is not a device; did you mean 'cpu'? allowed: auto, cpu, cuda"),
        ("proportional = [1]", "grid.proportional.0: 1 is not true or false"),
        ("r = [0, 10, 60]", "grid.r.2: reduction tome constant:60: block 10 of 12 has 62 tokens"),
    ],
)
def test_a_wrong_grid_is_met_with_file_key_value_and_what_is_allowed(tmp_path, grid, message):
    assert message in problems(tmp_path, SMALL + grid)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\n[grid\n', "sweep.toml: not valid TOML: "),
        ("[grid]\nr = [1]\n", "sweep.toml: name: is missing"),
        ('name = "A B"\n', "sweep.toml: name: 'A B' is not a name"),
        ('name = "x"\nkinds = ["speed"]\n', "sweep.toml: kinds.0: must be 'performance' or 'quality' (got 'speed')"),
        ('name = "x"\nkinds = []\n', "sweep.toml: kinds: is empty"),
        ('name = "x"\n[model]\nname = "ast_huge"\n', "model.name: 'ast_huge' is neither a checkpoint that exists nor"),
        ('name = "x"\n[model]\nname = "no/such.pth"\n', "model.name: 'no/such.pth' is neither a checkpoint"),
        ('name = "x"\n[data]\nclips = "all"\n', "sweep.toml: data.clips: 'all' is not a whole number"),
        (
            'name = "x"\n[data]\ndataset = "esc5"\n',
            "sweep.toml: data.dataset: 'esc5' is not a data set; did you mean 'esc50'? allowed: ast_lists, ",
        ),
        (
            'name = "x"\n[data]\nsplit = "eval"\n',
            "sweep.toml: data.split: 'eval' is not a split; did you mean 'val'? allowed: train, ",
        ),
        ('name = "x"\n[model]\nname = "ast_tiny"\n', "sweep.toml: kinds: the weights of 'ast_tiny' are random"),
        ('name = "x"\n[measure]\nbaselines = ["slice"]\n', "measure.baselines: lacks 'unmerged'"),
        (
            'name = "x"\n[measure]\nmin_seconds = 9.0\nmax_seconds = 1.0\n',
            "min_seconds 9.0 is more than max_seconds 1.0",
        ),
        ('name = "x"\n[measure]\nround = 3\n', "sweep.toml: measure.round: unknown key; did you mean 'rounds'?"),
        (GOOD + '[[exclude]]\nmethd = "tome"\n', "exclude.0.methd: unknown key; did you mean 'method'?"),
        (GOOD + "[[exclude]]\nr = 11\n", "exclude.0.r: 11 is not in the grid, which has 0, 10, 40"),
        (GOOD + "[[exclude]]\nr = [0, 10, 40]\n", "every cell is excluded"),
    ],
)
def test_a_wrong_file_is_met_with_one_clear_line(tmp_path, text, message):
    assert message in problems(tmp_path, text)


FLOATS = (
    *("hop_seconds", "min_seconds", "max_seconds", "warmup_tolerance", "warmup_seconds", "noise_limit", "time_limit_s"),
    *("energy_seconds", "bound_tolerance"),
)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_what_json_cannot_write_is_refused_with_its_key(tmp_path, value):
    for key in FLOATS:
        text = problems(tmp_path, f"{GOOD}[measure]\n{key} = {value}\n")
        assert text == f"sweep.toml: measure.{key}: {value} is not a finite number; give one"
    text = problems(tmp_path, SMALL.replace("[grid]", f"normalisation = [1, {value}]\n[grid]\nthreshold = [{value}]\n"))
    said = "is not a finite number; give one"
    assert text.splitlines() == [
        f"sweep.toml: model.normalisation.1: {value} {said}",
        f"sweep.toml: grid.threshold.0: {value} {said}",
    ]
    run = CliRunner().invoke(app, ["run", str(tmp_path / "sweep.toml"), "--dry-run"])
    assert (run.exit_code, "model.normalisation.1" in run.output) == (2, True)


def test_an_override_may_take_out_of_the_grid_what_the_file_excludes(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(GOOD + "[[exclude]]\nr = 40\n")
    cells = expand(load_sweep(path, ["grid.r=[0, 10]"]))
    path.write_text(GOOD)
    assert [cell.id for cell in cells] == [cell.id for cell in expand(load_sweep(path, ["grid.r=[0, 10]"]))]
    path.write_text(GOOD + "[[exclude]]\nr = 11\n")
    with pytest.raises(ConfigError, match="exclude.0.r: 11 is not in the grid"):
        load_sweep(path, ["seed=1"])  # of another key


def test_an_absent_file_is_met_with_the_names_of_the_sweeps_that_are_there():
    there = sorted(file.stem for file in SWEEPS.glob("*.toml"))
    assert {"default", "smoke"} <= set(there)
    message = f"absent.toml: no such file; give a TOML file or one of: {', '.join(there)}"
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_sweep(Path("absent.toml"))


def test_broken_toml_names_line_and_column(tmp_path):
    assert "at line 2, column 7" in problems(tmp_path, 'name = "x"\nr = [ = ]\n')


def test_an_impossible_r_is_refused_with_the_tokens_and_the_largest_possible(tmp_path):
    text = problems(tmp_path, SMALL + "r = [0, 60]")
    assert "542, 482, 422, 362, 302, 242, 182, 122, 62, 32, 17, 10" in text
    # By hand: 602 tokens, 2 protected; the last block has 602 - 11 r and can lose half of what is not protected.
    by_hand = max(r for r in range(100) if r <= (602 - 11 * r - 2) // 2)
    assert f"The largest r of tome constant here is {by_hand}" in text
    assert by_hand == 46


def test_the_largest_r_of_a_decreasing_schedule_is_larger():
    shape = geometry("tiny", num_frames=512)
    by_tome, by_slice = (TokenReduction(schedule=Linear(0, 0), method=method) for method in ("tome", "slice"))
    assert largest_r(by_tome, "decreasing", shape) > largest_r(by_tome, "constant", shape)
    assert largest_r(by_slice, "constant", shape) == 600 // 12


def test_a_model_without_weights_has_the_shape_that_it_is_given(tmp_path):
    text = SMALL.replace("frames = 512", "geometry = {num_frames = 512, fstride = 16, tstride = 16, num_classes = 9}")
    path = write(tmp_path, text + "r = [16]\nstride = [16, 12]")
    cells = expand(load_sweep(path, ()), str(path))
    by_hand = {16: 2 + 8 * 32, 12: 2 + 10 * 42}  # (128 - 16) / 12 + 1 and (512 - 16) / 12 + 1 steps
    found = [build_cell_model(cell.model, seed=0).geometry for cell in cells if cell.reduction is not None]
    assert {shape.fstride: shape.num_tokens for shape in found} == by_hand
    assert {shape.num_classes for shape in found} == {9}
    assert all(cell.question["model"]["geometry"]["fstride"] == 16 for cell in cells)


def test_a_trained_model_has_its_own_shape(tmp_path):
    text = SMALL.replace("ast_tiny", "ast_tiny_soundscapes").replace("frames = 512", "geometry = { fstride = 16 }")
    said = problems(tmp_path, text + "r = [16]")
    assert said.count("model.") == 1
    assert "model.geometry: 'ast_tiny_soundscapes' is not one of your own checkpoints; leave it out" in said


def test_a_device_that_is_not_here_is_refused(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "grid.device.1: 'cuda' is not here" in problems(tmp_path, GOOD + 'device = ["cpu", "cuda"]\n')


def test_clips_longer_than_the_models_input_are_refused(tmp_path):
    text = problems(tmp_path, 'name = "x"\n[data]\nseconds = 10.0\n')
    assert "data.seconds: clips of 10 s have 998 frames, the model takes 512; give at most 5.135 s" in text


def test_several_problems_are_all_told(tmp_path):
    text = problems(tmp_path, SMALL + 'r = ["x"]\ndtype = ["half"]\n')
    assert len(text.splitlines()) == 2


def test_a_method_that_draws_by_an_option_gets_the_seed_of_the_sweep(tmp_path):
    text = GOOD.replace("[grid]", "[grid]\npartition = ['alternating', 'random']")
    cells = expand(load_sweep(write(tmp_path, text.replace('"small"', '"small"\nseed = 3'))))
    seeds = {cell.reduction.options.partition: cell.reduction.seed for cell in cells if cell.reduction}
    assert seeds == {"alternating": 0, "random": 3}


def test_draws_are_an_axis_of_what_draws_alone(tmp_path):
    text = GOOD.replace("[grid]", "[grid]\npartition = ['alternating', 'random']\ndraw = [-1, 5, 9]")
    cells = expand(load_sweep(write(tmp_path, text.replace('"small"', '"small"\nseed = 3'))))
    seeds = {(cell.reduction.options.partition, cell.reduction.seed) for cell in cells if cell.reduction}
    assert seeds == {("alternating", 0), ("random", 3), ("random", 5), ("random", 9)}
    with pytest.raises(ConfigError, match=r"grid.draw\[0\]|draw.*is -2; it must be a whole number of at least -1"):
        load_sweep(write(tmp_path, GOOD.replace("[grid]", "[grid]\ndraw = [-2]")))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfAnAxis:
    dtype: str = "any"


def test_what_is_wrong_with_a_method_is_said_in_plain_words(tmp_path, monkeypatch):
    def method(name, **fields):
        return reduction_method(name, **({"label": name, "limit": all_free} | fields))(lambda tokens, r, options: None)

    for name, value in {
        "bare": lambda tokens, r, options: None,
        "hidden": method("hidden", options=OfAnAxis),
        "wide": method("wide", limit=lambda shape, options: 10**6),
    }.items():
        monkeypatch.setitem(METHODS._entries, name, value)

    def said(name):
        path = write(tmp_path, GOOD + f'method = ["{name}"]\n')
        with pytest.raises(ConfigError) as caught:
            expand(load_sweep(path), "sweep.toml")
        return str(caught.value).replace(f"{tmp_path}/", "")

    assert said("bare").startswith("sweep.toml: grid: reduction bare: what is registered is a function, not a method")
    assert "grid.method.0: 'hidden': its option 'dtype' has the name of an axis" in said("hidden")
    assert "reduction wide: block 1: its limit is 1000000; of 602 tokens, 2 of them protected" in said("wide")
    assert "largest r" not in said("wide")


def test_the_grid_becomes_cells_without_duplicates(tmp_path):
    cells = expand(load_sweep(write(tmp_path, GOOD)))
    # By hand: the unmerged model once a batch size, then 2 schedules x 2 r x 2 batch sizes.
    assert len(cells) == 2 + 8
    assert len({cell.id for cell in cells}) == 10
    unmerged = [cell for cell in cells if cell.reduction is None]
    assert [cell.batch_size for cell in unmerged] == [1, 8]
    assert cells[:2] == tuple(unmerged), "baselines come first"


def test_the_best_batch_is_a_question_of_its_own(tmp_path):
    text = GOOD.replace("batch_size = [1, 8]", 'batch_size = [1, "best"]')
    cells = expand(load_sweep(write(tmp_path, text)))
    assert [cell.batch_size for cell in cells if cell.reduction is None] == [1, "best"]
    assert {cell.question["workload"]["batch_size"] for cell in cells} == {1, "best"}
    assert len({cell.id for cell in cells}) == len(cells) == 10


def test_how_a_speed_up_is_judged_is_part_of_the_question_only_where_it_is_unusual(tmp_path):
    ids = []
    for measure in ("", "bound_tolerance = 0.25\nmin_samples = 1\n", "bound_tolerance = 0.1\n", "min_samples = 100\n"):
        ids.append({cell.id for cell in expand(load_sweep(write(tmp_path, f"{GOOD}[measure]\n{measure}")))})
    assert ids[0] == ids[1]
    assert ids[0].isdisjoint(ids[2])
    assert ids[0].isdisjoint(ids[3])


def test_quality_cells_do_not_depend_on_batch_size_or_measurement(tmp_path):
    text = 'name = "x"\nkinds = ["quality"]\n[grid]\nr = [0, 10]\nbatch_size = [1, 8]\n'
    cells = expand(load_sweep(write(tmp_path, text)))
    assert len(cells) == 2
    slower = expand(load_sweep(write(tmp_path, text + "[measure]\nrounds = 50\n")))
    assert [cell.id for cell in cells] == [cell.id for cell in slower]
    more = expand(load_sweep(write(tmp_path, text + "[data]\nclips = 7\n")))
    assert {cell.id for cell in cells}.isdisjoint(cell.id for cell in more)


def test_a_schedule_in_full_is_spelled_as_everywhere_else_and_is_the_same_cell(tmp_path):
    def cells(grid: str) -> dict[str, str]:
        found = expand(load_sweep(write(tmp_path, SMALL + grid)))
        return {cell.id: str(cell.reduction.schedule) if cell.reduction else "none" for cell in found}

    whole = cells('schedule = ["linear:20:-0.5", "constant:10", "decreasing:0"]\n')
    assert sorted(whole.values()) == ["constant:10", "linear:20:-0.5", "none"]
    families = cells('schedule = ["linear:-0.5", "constant"]\nr = [0, 10, 20]\n')
    assert whole.items() <= families.items()


def test_an_r_that_is_too_large_is_answered_with_the_keys_of_a_sweep(tmp_path):
    with pytest.raises(ConfigError) as told:
        expand(load_sweep(write(tmp_path, SMALL + "r = [400]\n")))
    assert 'grid.excess = ["cap"]' in str(told.value)
    assert "--excess" not in str(told.value)


def test_schedules_without_an_r_are_one_cell(tmp_path):
    text = SMALL + 'schedule = ["keep:0.8", "linear:-0.5"]\nr = [0, 10, 20]\n'
    cells = expand(load_sweep(write(tmp_path, text)))
    schedules = sorted(str(cell.reduction.schedule) if cell.reduction else "none" for cell in cells)
    assert schedules == ["keep:0.8", "linear:10:-0.5", "linear:20:-0.5", "none"]


def test_kernels_that_only_differ_in_sizes_are_one_cell_without_merging(tmp_path):
    text = SMALL + 'r = [0, 10]\nattention = ["auto", "mask", "key_column", "math"]\n'
    cells = expand(load_sweep(write(tmp_path, text)))
    assert [cell.attention for cell in cells if cell.reduction is None] == ["auto", "math"]
    assert sum(cell.reduction is not None for cell in cells) == 4


def test_excluded_points_are_left_out(tmp_path):
    text = GOOD + '[[exclude]]\nschedule = "decreasing"\nbatch_size = [8]\n[[exclude]]\nr = 40\n'
    cells = expand(load_sweep(write(tmp_path, text)))
    merged = {(str(cell.reduction.schedule), cell.batch_size) for cell in cells if cell.reduction}
    assert merged == {("constant:10", 1), ("constant:10", 8), ("decreasing:10", 1)}


def test_what_is_excluded_need_not_be_possible(tmp_path):
    text = GOOD.replace("r = [0, 10, 40]", "r = [0, 10, 400]")
    assert text != GOOD
    with pytest.raises(ConfigError, match="grid.r.2"):
        expand(load_sweep(write(tmp_path, text)))
    cells = expand(load_sweep(write(tmp_path, text + "[[exclude]]\nr = 400\n")))
    assert {str(cell.reduction.schedule) for cell in cells if cell.reduction} == {"constant:10", "decreasing:10"}


def test_overrides_are_written_in_toml(tmp_path):
    path = write(tmp_path, GOOD)
    config = load_sweep(
        path, ["grid.r=[4]", "measure.rounds=3", "seed=7", 'grid.dtype=["bfloat16"]', "model.name=ast_small"]
    )
    assert (config.grid.r, config.measure.rounds, config.seed) == ((4,), 3, 7)
    assert (config.grid.dtype, config.model.name) == (("bfloat16",), "ast_small")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("grid.r=[4", "-s grid.r=[4: '[4' is not a TOML value"),
        ("grid.r", "-s grid.r: write key=value, such as -s grid.r=[4]"),
        ("seed.deep=1", "-s seed.deep=1: seed is a value, not a table"),
        ("grid.q=[4]", "grid.q: unknown key"),
        ('grid.r=["a"]', "grid.r.0: 'a' is not a whole number (from -s grid.r=[\"a\"])"),
    ],
)
def test_a_wrong_override_is_named(tmp_path, override, message):
    assert message in problems(tmp_path, "seed = 0\n" + GOOD, (override,))


def golden_cell() -> Cell:
    return Cell(
        kind="performance",
        model=ModelRef(name="any", path=None, sha256="ab" * 32, frames=None),
        reduction=TokenReduction(schedule=Linear(40, -1.0)),
        attention="auto",
        dtype="float32",
        device="cpu",
        seed=0,
        measure=MeasureConfig(),
        batch_size=8,
    )


GOLDEN = (
    '{"attention":"auto","dtype":"float32","kind":"performance","measure":{"baselines":["unmerged","slice"],'
    '"max_seconds":20.0,"min_seconds":2.0,"noise_limit":0.1,"rounds":10,"warmup_iterations":50,"warmup_seconds":5.0,'
    '"warmup_tolerance":0.05,"warmup_window":3},"model":{"sha256":"' + "ab" * 32 + '"},"reduction":{"method":"tome",'
    '"metric":"keys","order":"tome","proportional":true,"schedule":"decreasing:40"},"workload":{"batch_size":8,'
    '"input":"normal","seed":0}}'
)


def test_the_identity_of_a_question_never_changes():
    """If this fails, every record that people have is orphaned: keep new axes out of the question at their default."""
    assert canonical(golden_cell().question) == GOLDEN
    assert golden_cell().id == "4dfe08a85ca8"
    assert hashlib.sha256(GOLDEN.encode()).hexdigest().startswith(golden_cell().id)


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 4}, {"dtype": "bfloat16"}, {"attention": "mask"}, {"seed": 1}, {"reduction": None}],
)
def test_another_question_is_another_cell(change):
    assert dataclasses.replace(golden_cell(), **change).id != golden_cell().id


@pytest.mark.parametrize(
    "change",
    [
        {"device": "cuda"},
        {"measure": MeasureConfig(time_limit_s=1.0, threads=3)},
        {"model": ModelRef(name="copy.pth", path=Path("elsewhere"), sha256="ab" * 32, frames=None)},
    ],
)
def test_machine_time_limit_and_place_of_the_weights_are_no_part_of_the_question(change):
    assert dataclasses.replace(golden_cell(), **change).id == golden_cell().id


def test_a_question_survives_json():
    cell = dataclasses.replace(golden_cell(), kind="quality", batch_size=None, data=resolve_data(DataConfig()))
    assert json.loads(canonical(cell.question)) == cell.question


def test_the_weights_are_the_identity_of_a_checkpoint(tmp_path):
    from bench.sweep.resolving import hash_checkpoint

    file = tmp_path / "a.bin"
    file.write_bytes(b"weights")
    assert hash_checkpoint(file) == hashlib.sha256(b"weights").hexdigest()
    before = hash_checkpoint(tmp_path)
    (tmp_path / "b.bin").write_bytes(b"more")
    assert hash_checkpoint(tmp_path) != before


@pytest.mark.parametrize("name", sorted(path.stem for path in SWEEPS.glob("*.toml")))
def test_the_sweeps_that_come_along_are_valid(name):
    path = find_sweep(name)
    config = load_sweep(path)
    if name.startswith("paper_"):  # whose data and weights are a person's: tests/bench/paper has them
        config = load_sweep(path, ['kinds=["performance"]'])
    assert config.name == name
    cells = expand(config, str(path))
    assert {cell.kind for cell in cells} == set(config.kinds)


def test_a_dry_run_prints_the_cells_and_measures_nothing(tmp_path):
    path = write(tmp_path, GOOD)
    shown = CliRunner().invoke(app, ["run", str(path), "--dry-run", "--results", str(tmp_path / "results")])
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[-1] == "10 cells: 10 performance"
    assert lines[0].endswith("performance unmerged batch 1 float32 cpu")
    assert len(lines) == 11
    assert not (tmp_path / "results").exists()


def test_a_wrong_sweep_ends_with_exit_code_2(tmp_path):
    shown = CliRunner().invoke(app, ["run", str(write(tmp_path, SMALL + "r = [-1]"))])
    assert shown.exit_code == 2
    assert "grid.r.0" in shown.output


def test_a_recorded_command_has_no_folders():
    assert command_line(["run", "/secret/a.toml", "--results=/secret/results", "-s", "grid.r=[4]"]) == (
        *("python", "-m", "bench", "run", "a.toml", "--results=results", "-s", "grid.r=[4]"),
    )
