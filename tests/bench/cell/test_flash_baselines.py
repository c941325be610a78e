"""Arms on flash kernels with a bias per key: timed where they can run, else left out by name or refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from test_worker import cell, model  # noqa: F401

from bench.cell import worker
from bench.cell.answers import Context
from bench.cell.arms import build_arms, build_where_installed
from bench.cell.model_facts import backend_that_ran
from bench.run.progress import result_text
from bench.sweep.cells import canonical
from bench.sweep.complaints import ConfigError
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep
from bench.sweep.machine_limits import check_machine
from fastast.attention.flash import MissingAttentionError

pytestmark = pytest.mark.slow

HERE = "FlashAttention-4 runs on NVIDIA's Hopper and Blackwell GPUs"


def asking(where_installed: tuple[str, ...], baselines: tuple[str, ...] = ("unmerged",), **changes: object):
    usual = cell(**changes)
    measure = {"baselines": baselines, "where_installed": where_installed, "energy_seconds": 0.0}
    return dataclasses.replace(usual, measure=usual.measure.model_copy(update=measure))


@pytest.fixture
def flex_without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention as PyTorch runs it eagerly: the same numbers, and no C++ compiler."""
    from fastast.attention import flash

    monkeypatch.setattr(flash, "_compiled", lambda kernel, shape: lambda *tensors: flash._flex(*tensors, "AUTO"))


def test_the_arm_on_flexattention_merges_as_the_candidate_does(model, flex_without_compiling) -> None:  # noqa: F811
    asked = asking(("flex_bias",))
    fbank = torch.randn(2, 96, 128, generator=torch.Generator().manual_seed(1))
    arms, left_out = build_where_installed(asked, model, model)
    with torch.inference_mode():
        plain = build_arms(cell(attention="math"), model, model)["candidate"]
        assert torch.allclose(arms["flex_bias"](fbank), _merged(model, fbank), atol=1e-4)
        assert not torch.allclose(arms["flex_bias"](fbank), plain(fbank), atol=1e-3)  # which has no reduction attached
    assert left_out == {}


def _merged(model, fbank: torch.Tensor) -> torch.Tensor:  # noqa: F811
    from fastast.hosts import reduce

    with reduce(model, cell().reduction, attention="math"):
        return model(fbank)


def test_what_cannot_run_is_left_out_by_name_and_the_cell_is_measured(flex_without_compiling) -> None:
    answer = worker.answer(asking(("fa4", "fa4_bias", "flex_bias")), Context())
    part = answer.performance
    assert list(part.arms) == ["candidate", "unmerged", "flex_bias"]
    assert list(part.left_out) == ["fa4", "fa4_bias"]
    assert part.left_out["fa4_bias"].startswith(f"baseline fa4_bias: {HERE}")
    assert list(part.attention) == ["flex_bias"]
    assert part.model_validate_json(part.model_dump_json()) == part


def test_an_arm_whose_first_call_fails_is_left_out_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such instruction\nand much more")

    monkeypatch.setattr("fastast.attention.flash._compiled", broken)
    part = worker.answer(asking(("flex_bias",)), Context()).performance
    assert part.left_out == {"flex_bias": "its first call failed: RuntimeError: no such instruction"}
    assert list(part.arms) == ["candidate", "unmerged"]


def test_the_line_of_a_cell_names_what_was_left_out() -> None:
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1] / "records"))
    from bench.records.store import read_record

    old = read_record(Path(__file__).parents[1] / "records" / "old_records" / "v1_performance.json")
    assert "left out" not in result_text(old)
    part = old.performance.model_copy(
        update={"left_out": {"fa4": "it is not installed", "fa4_bias": "it is not installed"}}
    )
    text = result_text(old.model_copy(update={"performance": part}))
    assert text.endswith(", left out: fa4, fa4_bias (it is not installed)")


def test_an_arm_that_must_be_there_is_refused_with_what_to_do(model) -> None:  # noqa: F811
    for name in ("fa4", "fa4_bias"):
        with pytest.raises(MissingAttentionError, match=f"baseline {name}: {HERE}.* in measure.where_installed it is"):
            build_arms(asking((), ("unmerged", name)), model, model)


def test_without_a_reduction_the_arms_that_merge_are_no_part_of_the_question(model) -> None:  # noqa: F811
    unmerged = asking(("fa4", "fa4_bias", "flex_bias"), reduction=None)
    assert unmerged.question["measure"]["where_installed"] == ["fa4"]
    arms, left_out = build_where_installed(unmerged, model, model)
    assert (arms, list(left_out)) == ({}, ["fa4"])


def test_cells_that_do_not_ask_for_them_keep_their_question() -> None:
    assert "where_installed" not in canonical(cell().question)
    assert (
        asking((), ("unmerged", "slice", "tome_plain"), batch_size=2).question["measure"].get("where_installed") is None
    )


SWEEP = 'name = "mine"\nkinds = ["performance"]\n[grid]\nr = [0, 40]\ndevice = ["cpu"]\n[measure]\n'


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ('where_installed = ["fa5"]', "measure.where_installed.0: 'fa5' is not a baseline; did you mean 'fa4'?"),
        ('where_installed = ["slice"]', "measure.where_installed: 'slice' is in 'baselines' too; write it in one"),
        ('where_installed = ["model_alone"]', "measure.where_installed: 'model_alone' shows what the front end adds"),
        (
            'scope = "training_step"\nwhere_installed = ["fa4_bias"]',
            "measure.where_installed: 'fa4_bias' is a baseline of inference; allowed with scope 'training_step'",
        ),
    ],
)
def test_a_wrong_list_is_met_with_what_is_allowed(tmp_path: Path, measure: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SWEEP + measure)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    assert message in str(caught.value)


def test_attention_that_cannot_run_here_is_said_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SWEEP)
    config = load_sweep(path, ["grid.attention=['auto','flex','fa4']"])
    cells = expand(config, "mine.toml")
    with pytest.raises(ConfigError) as caught:
        check_machine(config, cells, "mine.toml")
    assert caught.value.problems == (
        f"mine.toml: grid.attention.2: 'fa4': {HERE} (H100, H200, B200), and this is a cpu device; choose 'flex' or "
        "'auto'",
    )


def test_the_engine_can_be_asked_for_it_but_not_in_training(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SWEEP)
    asked = ["grid.engine=['triton']", "grid.attention=['auto','fa4']"]
    cells = expand(load_sweep(path, asked), resolve=lambda device: "cuda")
    assert [cell.attention for cell in cells] == ["auto", "auto", "fa4"]  # unmerged, and merged on both
    with pytest.raises(ConfigError, match="'fa4': the engine 'triton' has its own attention; allowed: auto"):
        expand(load_sweep(path, [*asked, "measure.scope=training_step"]), resolve=lambda device: "cuda")


def test_the_gpu_sweep_asks_for_them_where_they_are_installed() -> None:
    config = load_sweep(find_sweep("engine_gpu"))
    assert config.measure.where_installed == ("fa4", "fa4_bias", "flex_bias")


def test_the_profiler_knows_the_kernels_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "kernel_cutlass_kernel_flash_attncuteflash_fwd_sm90FlashAttentionForwardSm90_object_at__t": "fa4 4.0.0b27",
        "triton_tem_fused_flex_attention_0": "flex",
        "attention_forward": "triton",
        "aten::_scaled_dot_product_flash_attention": "flash",
        "aten::add": None,
    }
    monkeypatch.setattr("bench.cell.model_facts.fa4_version", lambda: "4.0.0b27")
    for name, expected in names.items():
        monkeypatch.setattr("torch.profiler.profile.key_averages", lambda self, found=name: [_Event(found)])
        assert backend_that_ran(lambda: None, "cpu") == expected


@dataclasses.dataclass
class _Event:
    key: str
