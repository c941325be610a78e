"""The command line, on the embedded model and the example scene."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import fastast
from fastast.cli import app
from fastast.data.audio import load_audio
from fastast.inference.file_names import utf8_json, utf8_name

EXAMPLE = Path(__file__).parents[2] / "fastast/assets/examples/bird_and_water.ogg"


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize("schedule", [(), ("--schedule", "constant:40")])
def test_the_scene_is_what_it_is_made_of(schedule: tuple[str, ...]) -> None:
    # The scene was mixed from a bird and running water; the model was not trained on either recording.
    out = run("predict", EXAMPLE, "--top", 3, *schedule)
    labels = {line.split(maxsplit=1)[1] for line in out.splitlines() if line.startswith("  ")}
    assert labels == {"Animal", "Bird song", "Water"}
    assert ("602 tokens merged to 122" in out) == bool(schedule)


def test_with_a_threshold_numbers_of_tokens_are_bounds() -> None:
    reduction = fastast.TokenReduction(schedule="constant:40", threshold=0.999)
    model = fastast.create_model("ast_tiny_soundscapes").eval()
    trace = fastast.MergeTrace()
    with fastast.reduce(model, reduction) as handle, torch.inference_mode():
        frontend = fastast.Frontend(model.geometry, model.normalisation)
        model(frontend(torch.from_numpy(load_audio(EXAMPLE, sample_rate=16_000))[None]), trace)
        left = trace.counts()[0].tolist()
        assert all(planned <= found for planned, found in zip(handle.tokens_per_block, left, strict=True))
    assert 122 < left[-1] <= 602
    options = ("--schedule", "constant:40", "--option", "threshold=0.999")
    assert "602 tokens merged to at least 122 by tome" in run(
        "predict", EXAMPLE, "-m", "ast_tiny_soundscapes", *options
    )
    said = run("info", "ast_tiny_soundscapes", *options).splitlines()[-1]
    found = re.fullmatch(r"at least (\S+) GMACs per clip, (\S+) unmerged: at most (\S+) times fewer, .*", said)
    assert found, said
    assert float(found[1]) < fastast.model_macs(model.geometry, left) / 1e9 <= float(found[2]) + 1e-3


def test_json_is_one_object_a_file() -> None:
    lines = run("predict", "--json", EXAMPLE, EXAMPLE).splitlines()
    first, second = map(json.loads, lines)
    assert first == second
    assert first["seconds"] == 5.0
    assert [label["score"] for label in first["labels"]] == sorted((x["score"] for x in first["labels"]), reverse=True)


def test_a_long_file_is_heard_to_its_end(tmp_path: Path) -> None:
    scene, rate = soundfile.read(EXAMPLE, dtype="float32")
    noise = np.random.default_rng(0).normal(0, 1e-3, 3 * len(scene)).astype(np.float32)
    soundfile.write(tmp_path / "late.wav", np.concatenate([noise, scene]), rate)
    soundfile.write(tmp_path / "never.wav", np.concatenate([noise, noise[: len(scene)]]), rate)

    def bird(name: str) -> tuple[float, int]:
        found = json.loads(run("predict", "--json", "--top", 64, tmp_path / name))
        return next(label["score"] for label in found["labels"] if label["label"] == "Bird song"), found["windows"]

    (late, windows), (never, _) = bird("late.wav"), bird("never.wav")
    assert windows == 4
    assert late > never + 0.1


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    out = run("predict", EXAMPLE, "--schedule", "constant:40", "--draw", tmp_path / "pictures")
    assert str(tmp_path / "pictures" / "bird_and_water.png") in out
    assert (tmp_path / "pictures" / "bird_and_water.png").read_bytes().startswith(b"\x89PNG")


def test_files_that_are_called_alike_have_a_picture_each(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = shutil.copy(EXAMPLE, tmp_path / "other")
    run("predict", EXAMPLE, other, "--schedule", "constant:40", "--draw", tmp_path / "pictures")
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "bird_and_water-2.png",
        "bird_and_water.png",
    ]


def test_a_name_that_is_not_utf_8_is_read_printed_and_written(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.ogg")
    shutil.copy(EXAMPLE, name)
    table = tmp_path / "events.csv"
    command = [sys.executable, "-m", "fastast.cli", "predict", name, "--events", str(table)]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"caf\xe9.ogg (5.00 s" in done.stdout
    assert b"caf\xe9.ogg,0.0,5.0,Water," in table.read_bytes()
    vectors = tmp_path / "vectors.parquet"
    run("embed", name, "--out", vectors)
    assert pyarrow.parquet.read_table(vectors)["file"].to_pylist() == [f"{tmp_path}/caf\\xe9.ogg"]


def test_names_that_are_no_utf_8_and_look_like_formulas_cost_neither_json_nor_pictures(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + "/cost $x^ \u97f3 caf".encode() + b"\xe9.ogg")
    shutil.copy(EXAMPLE, name)
    (tmp_path / "pictures" / "bird_and_water.png").mkdir(parents=True)  # where the picture of the other would be
    table = tmp_path / "events.jsonl"
    asked = [name, str(EXAMPLE), "--json", "--events", str(table), "--threshold", "0.1", "--draw"]
    command = [sys.executable, "-m", "fastast.cli", "predict", *asked, str(tmp_path / "pictures")]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"}, capture_output=True)
    assert done.returncode == 1, done.stderr
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [line["file"] for line in lines] == [f"{tmp_path}/cost $x^ \u97f3 caf\\xe9.ogg", str(EXAMPLE)]
    assert {json.loads(line)["file"] for line in table.read_text().splitlines()} == {line["file"] for line in lines}
    (picture,) = [path for path in os.listdir(os.fsencode(tmp_path / "pictures")) if b"caf\xe9" in path]
    assert (Path(os.fsdecode(os.fsencode(tmp_path / "pictures") + b"/" + picture))).read_bytes()[:4] == b"\x89PNG"
    assert b"bird_and_water.png: no picture: " in done.stderr
    assert b"Glyph" not in done.stderr


def test_an_error_is_said_on_a_terminal_that_cannot_write_its_letters() -> None:
    command = [sys.executable, "-m", "fastast.cli", "data", "check", "gone \u2014 away"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "1"}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 1
    assert done.stderr == b"fastast: gone \\u2014 away: there is no such folder\n"


def test_json_with_bytes_of_names_is_utf_8_and_says_them_as_every_table_does() -> None:
    name = os.fsdecode("\u97f3/caf".encode() + b"\xe9\x80.wav")
    text = utf8_json({"folder": name, name: [1.5, None, '\u2014 \\xe9 "x"']})
    said = "\u97f3/caf\\xe9\\x80.wav"
    assert json.loads(text.encode("utf-8")) == {"folder": said, said: [1.5, None, '\u2014 \\xe9 "x"']}
    assert said == utf8_name(name)
    assert "\u97f3" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("predict", "in.wav", "--events", "folder.csv"), "folder.csv: this is a folder; name a file"),
        (("predict", "in.wav", "--events", "in.wav", "--events-format", "csv"), "in.wav: this is an input, and the"),
        (("predict", "in.wav", "--events", "in.wav/x.csv"), "in.wav: this is a file, but a folder is needed"),
        (("predict", "in.wav", "--draw", "in.wav"), "in.wav: this is a file, but a folder is needed"),
        (("embed", "in.csv", "--out", "in.csv"), "in.csv: this is an input, and the output would"),
        (("embed", "in.wav", "--out", "folder.npz"), "folder.npz: this is a folder"),
        (("average", "in.wav", "in.csv", "--out", "in.wav"), "in.wav: this is an input, and the output would"),
        (("ensemble", "in.wav", "in.csv", "--out", "in.csv"), "in.csv: this is an input, and the output would"),
        (("convert", "in.wav", "--out", "in.wav"), "in.wav: this is an input, and the output would"),
        (("export", "ast_tiny_soundscapes", "--out", "folder.onnx"), "folder.onnx: this is a folder"),
        (
            ("export", "hf", "-o", "hf/pytorch_model.xml", "--format", "openvino"),
            "pytorch_model.bin: this is an input, and",
        ),
        (
            ("convert", "hf", "--out", "hf/pytorch_model.bin"),
            "pytorch_model.bin: this is an input, and the output would",
        ),
        (("average", "in.wav", "hf", "--out", "hf/config.json"), "config.json: this is an input, and the output would"),
        (("ensemble", "in.wav", "hf", "--out", "hf/model.safetensors"), "hf would be read with this file"),
        (("convert", "hf", "--out", "hf/part-2.bin"), "hf would be read with this file"),
        (
            ("export", "in.bin", "-o", "in.xml", "--format", "openvino"),
            "in.bin: this is an input, and the output would",
        ),
        (("export", "hf", "-o", "in.xml", "--format", "openvino"), "in.bin: exists without in.xml"),
    ],
)
def test_a_file_that_cannot_be_written_or_that_is_read_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    for name in ("folder.csv", "folder.npz", "folder.onnx", "hf"):
        (tmp_path / name).mkdir()
    for name in ("in.wav", "in.csv", "in.bin", "hf/config.json", "hf/pytorch_model.bin"):
        (tmp_path / name).write_text("kept")
    (tmp_path / "hf" / "model.safetensors.index.json").write_text('{"weight_map": {"head": "part-2.bin"}}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.load", lambda *_, **__: pytest.fail("work was begun"))
    assert says in run(*arguments, code=1)
    assert [(tmp_path / name).read_text() for name in ("in.wav", "in.csv")] == ["kept", "kept"]


def test_channels_that_cancel_can_be_heard_by_the_first(tmp_path: Path) -> None:
    mono, rate = soundfile.read(EXAMPLE, dtype="float32")
    soundfile.write(tmp_path / "mono.wav", mono, rate, "FLOAT")
    soundfile.write(tmp_path / "anti.wav", np.stack([mono, -mono], axis=1), rate, "FLOAT")
    soundfile.write(tmp_path / "zero.wav", np.zeros(8_000), rate)
    files = [tmp_path / name for name in ("anti.wav", "mono.wav", "zero.wav")]
    result = CliRunner().invoke(app, ["predict", "--json", "--mix", "first", *map(str, files)])
    anti, alone, _ = map(json.loads, result.stdout.splitlines())
    assert anti["labels"] == alone["labels"]
    assert "cancels" not in result.stderr
    assert "zero.wav: silent: every sample is 0" in result.stderr
    result = CliRunner().invoke(app, ["predict", "--json", "--events", str(tmp_path / "x.csv"), str(files[0])])
    assert "averaging its 2 channels cancels them out; take the first: " in result.stderr
    assert "--mix first" in result.stderr
    run("embed", files[0], files[1], "--mix", "first", "--out", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as found:
        np.testing.assert_array_equal(*found["vector"])


def test_what_an_exported_file_says_is_not_said_again(tmp_path: Path) -> None:
    for option in (("--normalisation=-4,4",), ("--geometry", "num_frames=100")):
        out = run("predict", EXAMPLE, "-m", tmp_path / "model.onnx", *option, code=1)
        assert "model.onnx: its geometry and normalisation are in the file; leave them out" in out


def test_a_bad_file_is_named_and_the_others_are_still_read(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is no sound")
    out = run("predict", tmp_path / "text.wav", EXAMPLE, tmp_path / "gone.wav", code=1)
    assert f"{tmp_path / 'text.wav'}:" in out
    assert f"{tmp_path / 'gone.wav'}: there is no such file" in out
    assert "Bird song" in out
    assert "2 of 3 files gave no result" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "ast_tiny_soundscape"), "Did you mean 'ast_tiny_soundscapes'"),
        (("--model", "ast_base"), "ast_base has no trained weights"),
        (("--schedule", "constant:50"), "block 12 of 12 has 52 tokens"),
        (("--schedule", "constant:50"), "--excess cap"),
        (("--schedule", "constant"), "constant:R"),
        (("--model", str(EXAMPLE)), "not a checkpoint"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_read(arguments: tuple[str, ...], message: str) -> None:
    assert message in run("predict", "gone.wav", *arguments, code=1)


def test_more_than_there_is_can_be_capped() -> None:
    capped = ("--schedule", "constant:50", "--excess", "cap")
    assert "602 tokens merged to 27 by tome constant:50 excess=cap" in run("predict", EXAMPLE, *capped)
    assert "   12          52        25           27" in run("info", "ast_tiny_soundscapes", *capped)
    assert "--excess cap" in run("info", "ast_tiny_soundscapes", *capped[:2], code=1)
    assert "crop" in run("info", "ast_tiny_soundscapes", *capped[:3], "crop", code=2)


def test_info_counts_tokens_and_macs() -> None:
    out = run("info", "ast_base", "--schedule", "constant:40")
    assert "1214 tokens" in out
    assert "   12         774        40          734" in out  # 1214 - 11 * 40
    assert "130.514 unmerged" in out
    assert "602 tokens" in run("info", "ast_base", "--frames", 512)
    assert "ast_tiny_soundscapes" in run("info")
    assert run("--version").startswith("fastast 0.")


def test_an_error_is_told_once_and_the_exit_itself_is_no_message(tmp_path: Path) -> None:
    lost = tmp_path / "lost.wav"
    result = CliRunner().invoke(app, ["predict", str(lost)])
    assert result.exit_code == 1
    reason, count = result.stderr.splitlines()
    assert reason.startswith(f"fastast: {lost}")
    assert count == "fastast: 1 of 1 files gave no result"
    result = CliRunner().invoke(app, ["info", "no_such_model"])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert CliRunner().invoke(app, ["--version"]).exit_code == 0
