"""Quality cells from a sweep file to their record's numbers, on data of one's own: what `fastast evaluate` says too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import accuracy_score
from typer.testing import CliRunner

from bench.cell import worker
from bench.cell.answers import Answer, Context
from bench.records.predictions import encode_predictions
from bench.sweep.cells import Cell
from bench.sweep.expansion import expand
from bench.sweep.file import load_sweep
from fastast import create_model, load_model, save_checkpoint
from fastast.cli import app
from fastast.data.soundscapes.classes import CLASSES
from fastast.data.soundscapes.pool import pool_path
from fastast.frontend import Frontend, Normalisation
from fastast.hosts import reduce
from fastast.reduction import MergeTrace

SHAPE = {"embed_dim": 16, "depth": 2, "num_heads": 2, "num_frames": 64, "fstride": 16, "tstride": 16}
NAMES = ("dog", "rain", "clock_tick", "siren")


@pytest.fixture(scope="module")
def esc50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of four tones in fold 1; one of them is broken."""
    root = tmp_path_factory.mktemp("esc50")
    random = np.random.default_rng(0)
    (root / "audio").mkdir()
    (root / "meta").mkdir()
    rows = ["filename,fold,target,category"]
    for index in range(12):
        rows.append(f"{index:02d}.wav,1,{index % 4},{NAMES[index % 4]}")
        tone = np.sin(2 * np.pi * 300 * 2 ** (index % 4) * np.arange(8000) / 16_000)
        soundfile.write(root / "audio" / f"{index:02d}.wav", 0.3 * tone + 0.1 * random.standard_normal(8000), 16_000)
    (root / "audio" / "05.wav").write_bytes(b"RIFF")
    (root / "meta" / "esc50.csv").write_text("\n".join(rows))
    return root


def checkpoint(path: Path, names: tuple[str, ...], loss: str = "ce") -> Path:
    """The same model, whatever the order of its outputs."""
    torch.manual_seed(0)
    model = create_model("ast_tiny", num_classes=4, **SHAPE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for parameter in model.head.linear.parameters():
            parameter.copy_(parameter[[NAMES.index(name) for name in names]].clone())
    normalisation = Normalisation(mean=-6.0, std=5.0)
    return save_checkpoint(path, model, labels=names, normalisation=normalisation, loss=loss)


def cells(folder: Path, text: str) -> tuple[Cell, ...]:
    path = folder / "sweep.toml"
    path.write_text(f'name = "x"\nkinds = ["quality"]\n{text}[measure]\nthreads = 1\n')
    return expand(load_sweep(path), str(path))


def measured(cell: Cell, cache: Path, reference: tuple[str, Path] | None = None) -> Answer:
    features = worker.prepare(cell.data, cell.model, cache, 1, False)
    return worker.answer(cell, Context(features=features, reference=reference))


def test_a_single_label_set_has_its_accuracy_and_difference(tmp_path: Path, esc50: Path) -> None:
    model = checkpoint(tmp_path / "model.safetensors", NAMES)
    text = f'[model]\nname = "{model}"\n[data]\ndataset = "esc50"\nroot = "{esc50}"\n[grid]\nr = [0, 3]\n'
    unmerged, merged = cells(tmp_path, text)
    first = measured(unmerged, tmp_path)
    part = first.quality
    assert (part.dataset, part.task, part.activation, part.clips) == ("esc50", "single_label", "softmax", 11)
    assert part.skipped == ("05.wav",)
    assert part.reading["channels"] == "average"
    truth = [index % 4 for index in range(12) if index != 5]
    said = first.predictions.values.argmax(1)
    assert part.accuracy == pytest.approx(accuracy_score(truth, said))
    assert part.accuracy_interval[0] <= part.accuracy <= part.accuracy_interval[1]
    assert part.delta is None
    loading = part.loading
    assert (loading.preparation.source, loading.preparation.clips, loading.clips) == ("files", 11, 11)
    assert not loading.reused
    assert loading.cached_seconds + loading.model_seconds <= part.seconds

    (tmp_path / "reference.npz").write_bytes(encode_predictions(first.predictions, first.hashes))
    second = measured(merged, tmp_path, (unmerged.id, tmp_path / "reference.npz"))
    assert second.quality.loading.reused
    assert second.quality.loading.preparation == loading.preparation
    delta = second.quality.delta
    assert delta.accuracy == pytest.approx(second.quality.accuracy - part.accuracy)
    assert delta.accuracy_interval[0] <= delta.accuracy <= delta.accuracy_interval[1]
    assert delta.top1_agreement == np.mean(second.predictions.values.argmax(1) == said)


def test_a_sweep_and_the_command_say_the_same_of_a_model_in_any_order(tmp_path: Path, esc50: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        f'batch_size = 4\nsteps = 1\nloss = "ce"\n[data]\nname = "esc50"\nroot = "{esc50}"\n'
        "[normalisation]\nmean = -6.0\nstd = 5.0\n[optimiser]\nlr = 1.0\n"
    )
    found = {}
    for order in (NAMES, NAMES[::-1]):
        model = checkpoint(tmp_path / f"{order[0]}.safetensors", order)
        text = f'[model]\nname = "{model}"\n[data]\ndataset = "esc50"\nroot = "{esc50}"\n'
        (cell,) = cells(tmp_path, text)
        part = measured(cell, tmp_path).quality
        found[order] = (part.mAP, part.AUC, part.accuracy)
        assert part.columns == (None if order == NAMES else (3, 2, 1, 0))
        shown = CliRunner().invoke(app, ["evaluate", str(model), str(tmp_path / "recipe.toml"), "--json"])
        assert shown.exit_code == 0, shown.output
        told = json.loads(shown.output)
        assert told["ids_sha256"] == part.ids_sha256
        assert told["metrics"]["unmerged"]["mAP"] == pytest.approx(part.mAP, abs=1e-6)
        assert told["metrics"]["unmerged"]["accuracy"] == pytest.approx(part.accuracy)
        rates = told["clips_per_second"]
        assert min(rates["reading"], rates["filterbank"], rates["model"]["unmerged"]) > 0
        assert rates["limits"]["unmerged"] in ("reading", "model")
    assert found[NAMES] == pytest.approx(found[NAMES[::-1]], abs=1e-6)


@pytest.mark.skipif(not pool_path().exists(), reason="the recordings come with the repository only")
def test_the_shipped_model_with_its_classes_permuted_is_measured_as_the_shipped_one(tmp_path: Path) -> None:
    model = create_model("ast_tiny_soundscapes")
    order = list(np.random.default_rng(0).permutation(64))
    with torch.no_grad():
        for parameter in model.head.linear.parameters():
            parameter.copy_(parameter[order].clone())
    names = [CLASSES[index] for index in order]
    permuted = save_checkpoint(tmp_path / "permuted.safetensors", model, labels=names)
    assert load_model(permuted).labels == tuple(names)
    found = []
    for name in ("ast_tiny_soundscapes", permuted):
        (cell,) = cells(tmp_path, f'[model]\nname = "{name}"\nframes = 200\n[data]\nclips = 3\nseconds = 2.0\n')
        answer = measured(cell, tmp_path)
        found.append((answer.predictions.values, answer.quality))
    assert found[1][1].columns is not None
    np.testing.assert_allclose(found[1][0], found[0][0], atol=1e-5)
    assert found[1][1].mAP == pytest.approx(found[0][1].mAP)


def test_clips_at_their_own_length_are_those_of_models_of_that_length(tmp_path: Path) -> None:
    """Against one model per length, as the checkpoint loader makes them, and against `fastast evaluate`."""
    torch.manual_seed(1)
    model = create_model("ast_tiny", num_classes=4, **SHAPE | {"num_frames": 256})  # 16 patches along time
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    scale = Normalisation(mean=-6.0, std=5.0)
    weights = save_checkpoint(tmp_path / "model.safetensors", model, labels=NAMES, normalisation=scale, loss="ce")
    random, rows = np.random.default_rng(0), ["filename,fold,target,category"]
    root = tmp_path / "esc50"
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    for index in range(8):  # half a second, which is 3 patches and runs as 8, and two, which fill the input
        rows.append(f"{index}.wav,1,{index % 4},{NAMES[index % 4]}")
        samples = 0.2 * random.standard_normal(8_000 if index % 3 else 32_000)
        soundfile.write(root / "audio" / f"{index}.wav", samples, 16_000)
    (root / "meta" / "esc50.csv").write_text("\n".join(rows))
    text = f'[model]\nname = "{weights}"\n[data]\ndataset = "esc50"\nroot = "{root}"\n'
    unmerged, own, merged = cells(
        tmp_path, text + '[grid]\nr = [0, 6]\nlength = ["padded", "own"]\n[[exclude]]\nlength = "padded"\nr = 6\n'
    )
    first = measured(unmerged, tmp_path)
    (tmp_path / "reference.npz").write_bytes(encode_predictions(first.predictions, first.hashes))
    found = {cell: measured(cell, tmp_path, (unmerged.id, tmp_path / "reference.npz")) for cell in (own, merged)}
    for cell, reduction in ((own, None), (merged, merged.reduction)):
        tokens = []
        for index in range(8):
            frames = 128 if index % 3 else 256
            alone = load_model(weights, num_frames=frames).eval()
            samples, _ = soundfile.read(root / "audio" / f"{index}.wav", dtype="float32")
            fbank = Frontend(alone.geometry, scale)([torch.from_numpy(samples)])
            trace = MergeTrace()
            if reduction is not None:
                reduce(alone, reduction)
            with torch.inference_mode():
                logits = alone(fbank, trace)[0]
            np.testing.assert_allclose(found[cell].predictions.values[index], logits, atol=1e-4)
            tokens.append(trace.tokens_per_block)
        facts, part = found[cell].model, found[cell].quality
        assert part.clip_tokens.mean == pytest.approx(np.mean(tokens, axis=0))
        assert facts.tokens_measured == tuple(np.rint(np.mean(tokens, axis=0)).astype(int))
        assert facts.tokens_planned == tuple(tokens[1])
        assert facts.tokens_in == round(np.mean([66 if index % 3 else 130 for index in range(8)]))
        assert facts.macs_per_clip < first.model.macs_per_clip == facts.macs_unmerged
        assert all(gate.passed for gate in found[cell].gates)
        assert part.delta.mAP == pytest.approx(part.mAP - first.quality.mAP)

    (tmp_path / "recipe.toml").write_text(
        f'batch_size = 4\nsteps = 1\nloss = "ce"\n[data]\nname = "esc50"\nroot = "{root}"\n'
        "[normalisation]\nmean = -6.0\nstd = 5.0\n[optimiser]\nlr = 1.0\n"
    )
    shown = CliRunner().invoke(app, ["evaluate", str(weights), str(tmp_path / "recipe.toml"), "--json", "--own-length"])
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.output)
    assert told["metrics"]["unmerged"]["mAP"] == pytest.approx(found[own].quality.mAP, abs=1e-6)
