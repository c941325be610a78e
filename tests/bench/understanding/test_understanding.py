"""What methods merge: held against methods whose pairs are known, and scenes made by hand."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bench.cli import app
from bench.records.store import RecordError
from bench.understanding.observe import _gone, _interval, _silence_leads, observe
from bench.understanding.picture import choose_picture, gone_blocks, picture_of, pixels_of
from bench.understanding.record import BlockNotes, MethodNotes, Understanding, read_understanding
from bench.understanding.render import FIGURES, render_understanding
from bench.understanding.said import _silence, sentences
from bench.understanding.sounding import sounding
from fastast.data.soundscapes.mixing import ClipRecipe, SoundEvent
from fastast.hosts import reduce
from fastast.reduction import MergeTrace, TokenReduction


def event(start_s: float, length_s: float) -> SoundEvent:
    start, length = int(start_s * 16_000), int(length_s * 16_000)
    return SoundEvent(sound_class="Bell", source="a", start=start, offset=0, length=length, level_db=-20.0)


def quiet(geometry, clips: int) -> np.ndarray:
    return np.zeros((clips, geometry.encoder.grid[1]), dtype=bool)


def test_an_event_sounds_where_its_samples_are(small_geometry):
    samples = 2 * 16_000
    recipes = [
        ClipRecipe(samples=samples, events=(event(0.5, 0.1),), noise_db=-60.0),
        ClipRecipe(samples=samples, events=(event(0.0, 2.0),), noise_db=-60.0),  # a bed
        ClipRecipe(samples=samples, events=(), noise_db=-60.0),
    ]
    found = sounding(recipes, small_geometry)
    assert found.shape == (3, 17)
    # A column of patches begins every 0.1 s and lasts 0.16 s: the one at 0.4 s reaches into the event at 0.5 s.
    assert np.flatnonzero(found[0]).tolist() == [4, 5]
    assert not found[1:].any()


def test_of_merged_tokens_the_first_keeps_its_name():
    source = torch.tensor([[0, 1, 1, 2, -1, 0]])
    assert _gone(source).tolist() == [[False, False, True, False, True, True]]


def test_pooling_along_time_merges_neighbours_along_time(small_model, small_geometry, small_fbank):
    notes = observe(
        small_model,
        TokenReduction(schedule="list:34,0,0", method="pool", options={"axis": "time"}),
        small_fbank,
        quiet(small_geometry, 2),
    )
    first, second, _ = notes.blocks
    assert first.pairs > 0
    # Of 34 pairs two lie where the line turns: from the first row to the second, from the third to the fourth.
    assert (first.along_time, first.along_frequency, first.neighbours) == (round(32 / 34, 4), round(2 / 34, 4), 1.0)
    assert second.pairs == 0
    assert second.along_time is None
    assert second.similarity is None
    assert first.gone_silent == pytest.approx(34 / 68, abs=1e-4)
    assert second.gone_silent == first.gone_silent
    assert (first.gone_sounding, first.silence_leads, notes.silence_leads) == (None, None, None)  # nothing sounds
    assert small_model.attached is None


def test_similarity_is_the_cosine_of_keys_averaged_over_heads(small_model, small_geometry, small_fbank):
    notes = observe(small_model, TokenReduction(schedule="list:1,0,0"), small_fbank[:1], quiet(small_geometry, 1))
    with torch.no_grad():
        x = small_model.embed(small_fbank[:1])
        _, (_, keys, _) = small_model.blocks[0].attention(x, None, "math")
    mean = keys[0].mean(0).numpy()[2:]  # without the prefix tokens
    unit = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    best = (unit[::2] @ unit[1::2].T).max()
    assert notes.blocks[0].pairs == 1
    assert notes.blocks[0].similarity == pytest.approx((best,) * 3, abs=1e-4)


def test_dropping_has_no_pairs_and_takes_sounding_and_silent_patches_alike(small_model, small_geometry, small_fbank):
    events = quiet(small_geometry, 2)
    events[:, :8] = True
    notes = observe(small_model, TokenReduction(schedule="list:40,0,0", method="random"), small_fbank, events)
    first = notes.blocks[0]
    assert (first.pairs, first.similarity) == (0, None)
    rows, columns = small_geometry.encoder.grid
    gone = first.gone_sounding * 8 * rows + first.gone_silent * (columns - 8) * rows
    assert gone == pytest.approx(40, abs=0.02)


def test_how_far_silence_leads_is_told_with_what_other_clips_would_say():
    generator = np.random.default_rng(0)
    busy = generator.random((200, 30)) < 0.6  # (c, patches)
    blind = generator.random((200, 30)) < 0.5
    silence = np.where(generator.random((200, 30)) < 0.1, ~blind, ~busy)  # nearly all that is silent, and a little else
    leads = _silence_leads(np.stack([blind, silence, ~busy], axis=1), busy)  # (1 + b, 3)
    assert leads[0].tolist() == pytest.approx(
        [gone[~busy].mean() - gone[busy].mean() for gone in (blind, silence, ~busy)]
    )
    intervals = [_interval(one) for one in leads.T]
    assert intervals[0][0] < 0 < intervals[0][2]
    assert intervals[1][0] > 0.8
    assert intervals[2] == (1, 1, 1)
    # As wide as theory has it: two shares of half of 2,400 and of 3,600 patches.
    expected = 2 * 1.96 * np.sqrt(0.25 / (~busy).sum() + 0.25 / busy.sum())
    assert intervals[0][2] - intervals[0][0] == pytest.approx(expected, rel=0.25)


def test_methods_are_sorted_by_intervals_and_chance_is_not_judged():
    def noted(method: str, leads: tuple[float, float, float] | None) -> MethodNotes:
        return MethodNotes(method=method, schedule="constant:4", blocks=(), silence_leads=leads, gone_at=())

    shown = [
        noted("tome", (0.01, 0.025, 0.04)),
        noted("topk", (-0.01, 0.005, 0.02)),
        noted("evit", (-0.03, -0.02, -0.01)),
        noted("random", (0.01, 0.02, 0.03)),
    ]
    found = Understanding.model_construct(methods=tuple(shown))
    assert _silence(found, lambda one: one.method) == (
        "Whether silence goes before sound, on the mean over blocks: silence goes before events with tome; events go "
        "before silence with evit; not told apart with topk; random drew once, and says nothing of it."
    )


def seen(small_geometry) -> Understanding:
    """Two methods, one of which draws, on a clip of silence."""
    rows, columns = small_geometry.encoder.grid
    block = BlockNotes(
        pairs=4, along_time=0.5, along_frequency=0.25, neighbours=0.5, similarity=(0.8, 0.9, 0.95),
        gone_sounding=0.1, gone_silent=0.2, silence_leads=(0.05, 0.1, 0.15),
    )  # fmt: skip
    methods = [
        MethodNotes(
            method=name, schedule="decreasing:8", blocks=(block,) * 3, silence_leads=(0.0, 0.1, 0.2),
            gone_at=("." * columns,) * rows,
        )
        for name in ("tome", "random")
    ]  # fmt: skip
    fbank = np.zeros((small_geometry.num_frames, small_geometry.num_mel_bins))
    picture = picture_of("test_00007", fbank, np.arange(columns) < 3, small_geometry)
    return Understanding.model_construct(
        model="small", split="test", clips=9, sounding=0.6, torch="2.0", picture=picture, methods=tuple(methods)
    )


FACTS = (
    "small, decreasing r = 8; the first 9 test clips of the soundscapes (synthetic scenes of real recordings); PyTorch"
)
LABELS = {"tome": "ToMe", "random": "random drop"}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_every_figure_says_model_r_and_clips(draw, small_geometry):
    figure = draw(seen(small_geometry), LABELS)
    assert figure.get_supxlabel().replace("\n", " ").startswith(FACTS)
    figure.draw_without_rendering()
    box = figure._supxlabel.get_window_extent()
    assert 0 <= box.x0 <= box.x1 <= figure.bbox.x1
    plt.close(figure)


def test_the_clip_that_is_drawn_is_named(small_geometry):
    figure = FIGURES["merges"](seen(small_geometry), LABELS)
    assert figure.axes[0].get_title(loc="left") == "the clip: test_00007"
    assert "test_00007: the first of these clips in which events sound" in figure.get_supxlabel().replace("\n", " ")
    plt.close(figure)


def test_a_single_draw_has_no_band_and_a_share_a_space_before_its_sign(small_geometry):
    figure = FIGURES["silence"](seen(small_geometry), LABELS)
    tome, random = (axis for axis in figure.axes if axis.get_visible())
    assert len(tome.collections) == 1
    assert not random.collections
    said = figure.get_supxlabel().replace("\n", " ")
    assert said.endswith("no band: random drop drew once, and how far another draw would differ is not known")
    assert "(60 % of all patches)" in figure.get_suptitle()
    plt.close(figure)


def test_shares_of_pairs_are_said_to_have_no_interval(small_geometry):
    figure = FIGURES["axes"](seen(small_geometry), LABELS)
    said = figure.get_supxlabel().replace("\n", " ")
    assert said.endswith(
        "shares of all pairs of these clips, without an interval: pairs of one clip are not independent"
    )
    assert "ToMe (50 % of all pairs)" in sentences(seen(small_geometry), LABELS)["axes"]
    plt.close(figure)


@pytest.mark.slow
def test_the_command_observes_writes_and_draws(tmp_path, monkeypatch):
    command = ["understand", "--clips", "2", "--method", "tome", "--method", "topk", "--schedule", "constant:40"]
    folders = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "reports")]
    done = CliRunner().invoke(app, [*command, *folders])
    assert done.exit_code == 0, done.output
    path = tmp_path / "results/understanding/ast_tiny_soundscapes.json"
    found = read_understanding(path)
    assert [one.method for one in found.methods] == ["tome", "topk"]
    assert all(len(one.blocks) == 12 for one in found.methods)
    drawn = {one.name for one in (tmp_path / "reports/understanding").iterdir()}
    assert {"merges.svg", "axes.svg", "silence.pdf", "similarity.png", "understanding.csv", "understanding.md"} <= drawn
    said = (tmp_path / "reports/understanding/understanding.md").read_text()
    assert f"Which patches of {found.picture.clip} go" in said
    assert "along time most by ToMe" in said
    assert len(found.picture.sounding) == len(found.methods[0].gone_at[0]) == 50
    before = {one.name: one.read_bytes() for one in (tmp_path / "reports/understanding").iterdir()}
    render_understanding(path, tmp_path / "reports/understanding")
    assert before == {one.name: one.read_bytes() for one in (tmp_path / "reports/understanding").iterdir()}
    refused = CliRunner().invoke(app, ["understand", "--method", "tom", *folders])
    assert refused.exit_code == 1
    assert "did you mean 'tome'" in refused.output.lower()


def test_every_patch_is_noted_by_the_block_in_which_its_token_goes(small_model, small_geometry, small_fbank):
    reduction = TokenReduction(schedule="list:20,0,10", method="random")
    notes = observe(small_model, reduction, small_fbank, quiet(small_geometry, 2), picture=1)
    trace = MergeTrace()
    with reduce(small_model, reduction), torch.no_grad():
        small_model(small_fbank, trace)
    rows, columns = small_geometry.encoder.grid
    assert (len(notes.gone_at), {len(row) for row in notes.gone_at}) == (rows, {columns})
    letters = "".join(notes.gone_at)
    assert (letters.count("a"), letters.count("b"), letters.count("c")) == (20, 0, 10)
    for patch, letter in enumerate(letters):
        seen = [int(source[1, 2 + patch]) < 0 for source in trace.source]
        assert letter == ("a" if seen[0] else "c" if seen[2] else ".")
    assert np.isnan(gone_blocks(notes.gone_at)).sum() == rows * columns - 30


def test_a_picture_is_the_spectrogram_in_half_as_many_pixels_each_way(small_geometry):
    fbank = np.zeros((small_geometry.num_frames, small_geometry.num_mel_bins))
    fbank[100:, :] = 1.0
    fbank[:, 30:32] = 2.0
    events = np.arange(17) < 3
    picture = picture_of("a", fbank, events, small_geometry)
    pixels = pixels_of(picture)
    assert pixels.shape == (24, 88)
    assert (pixels[15] == 255).all()
    assert (pixels[0, :50] == 0).all()
    assert np.ptp(pixels[0, 50:]) == 0
    assert 0 < pixels[0, 50] < 255
    assert picture.sounding == "###" + "." * 14
    # Patches are 16 frames long and begin every 10: the cell of the first is frames 3 to 13.
    assert picture.edges_s == (0.03, 1.73)
    assert picture.edges_mel == (3.0, 43.0)


def test_the_clip_that_is_drawn_has_silence_and_events():
    events = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]], dtype=bool)
    assert choose_picture(events) == 2


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": 1}))
    with pytest.raises(RecordError, match="a.json: model: Field required; observe again"):
        read_understanding(path)
