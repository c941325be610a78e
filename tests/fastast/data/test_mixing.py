"""Mixing: clips of the prototype that made the published numbers, and levels, places and cuts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fastast.data.soundscapes.classes import DRUMS, INSTRUMENTS, PARENTS
from fastast.data.soundscapes.mixing import Catalogue, ClipRecipe, SoundEvent, active_rms, mix_clip, plan, render_clip
from fastast.data.soundscapes.pool import FIRST_SEED, Pool, catalogue, pool_path

# Written by the prototype, not by this code: labels, events as class@start:source (a drum loop only names its drums),
# RMS and peak of the int16 samples, and the first four samples.
PROTOTYPE = [
    (
        ("test", 2, 5.0),
        "Female speech;Music;Ringtone;Speech;Water",
        "Water@1.65:s02153a|Ringtone@0.00:s01647a|Female speech@0.86:s00610a|Female speech@2.52:s00617a|"
        "Female speech@3.26:s00597a",
        (2443.0894, 11904, [-13, -71, 63, 45]),
    ),
    (
        ("test", 9, 5.0),
        "Engine;Hand drum;Music;Percussion;Vehicle;Wind",
        "Engine@2.98:s00217a|Wind@0.00:s02171c",
        (1588.0180, 8579, [-54, -122, -4, 59]),
    ),
    (
        ("test", 2, 10.0),
        "Female speech;Music;Music track;Ringtone;Speech;Water",
        "Water@6.11:s02153a|Ringtone@0.00:s01647a|Female speech@1.71:s00610a|Female speech@3.38:s00617a|"
        "Female speech@4.11:s00597a|Female speech@6.66:s00604a|Music track@0.00:s01514a",
        (2375.3608, 12567, [-12, 20, 19, -136]),
    ),
    (
        ("val", 8, 5.0),
        "Bass drum;Brass;Choir;Cymbal;Door;Music;Percussion;Snare drum",
        "Door@2.19:s00183a|Brass@0.00:freepats0127|Choir@0.00:freepats0114",
        (2654.3303, 20162, [120, 26, -62, -36]),
    ),
]


@pytest.fixture(scope="module")
def pools() -> dict[str, Pool]:
    return {split: Pool(split, pool_path()) for split in ("val", "test")}


@pytest.mark.parametrize(("clip", "labels", "events", "numbers"), PROTOTYPE, ids=lambda value: str(value)[:24])
def test_clips_are_the_prototypes(
    pools: dict[str, Pool],
    clip: tuple[str, int, float],
    labels: str,
    events: str,
    numbers: tuple[float, int, list[int]],
) -> None:
    split, index, seconds = clip
    waveform, recipe = mix_clip(FIRST_SEED[split] + index, catalogue(split), seconds, pools[split])
    found = [f"{e.sound_class}@{e.start / 16000:.2f}:{e.source}" for e in recipe.events if e.sound_class not in DRUMS]
    assert ";".join(recipe.labels) == labels
    assert "|".join(found) == events
    rms, peak, first = numbers
    assert waveform.dtype == np.int16
    assert waveform.shape == (seconds * 16000,)
    assert np.sqrt((waveform.astype(np.float64) ** 2).mean()) == pytest.approx(rms, rel=1e-4)
    # An Opus decoder may round otherwise elsewhere, by one step of int16.
    assert abs(int(np.abs(waveform.astype(int)).max()) - peak) <= 1
    assert np.abs(waveform[:4].astype(int) - first).max() <= 1


def tone(seconds: float, amplitude: float = 0.5) -> NDArray[np.float32]:
    return (amplitude * np.sin(2 * np.pi * 1000 * np.arange(round(seconds * 16000)) / 16000)).astype(np.float32)


def one_event(**changes: object) -> ClipRecipe:
    values = {"sound_class": "Bell", "source": "x", "start": 0, "offset": 0, "length": 16000, "level_db": -20.0}
    return ClipRecipe(samples=32000, events=(SoundEvent(**(values | changes)),), noise_db=-120.0)  # type: ignore[arg-type]


def rendered(recipe: ClipRecipe, sound: NDArray[np.float32]) -> NDArray[np.float64]:
    return render_clip(np.random.RandomState(0), recipe, lambda _: sound) / 32767


@pytest.mark.parametrize("amplitude", [0.5, 0.01])
def test_an_event_has_the_level_of_its_recipe_whatever_its_own(amplitude: float) -> None:
    clip = rendered(one_event(start=8000), tone(1.0, amplitude))
    inside = clip[8000 + 80 : 24000 - 80]
    assert 20 * math.log10(np.sqrt((inside**2).mean())) == pytest.approx(-20, abs=0.05)
    assert np.abs(clip[:8000]).max() < 1e-4
    assert np.abs(clip[24000:]).max() < 1e-4


def test_a_source_is_cut_at_the_clips_end_and_fades() -> None:
    clip = rendered(one_event(start=24000), tone(1.0))
    assert np.abs(clip[-160:-80]).max() > 0.13
    assert abs(clip[-1]) < 1e-3
    assert abs(clip[24001]) < 0.01


def test_a_short_source_is_repeated_and_an_offset_skips() -> None:
    saw = np.linspace(0.1, 0.5, 8000, dtype=np.float32)
    repeated = rendered(one_event(length=32000), saw)
    np.testing.assert_allclose(repeated[8100:16000], repeated[16100:24000], atol=1e-4)
    skipped = rendered(one_event(offset=4000, length=4000), saw)
    assert skipped[2000] / skipped[200] == pytest.approx(saw[6000] / saw[4200], rel=1e-3)


def test_the_noise_floor_has_its_level() -> None:
    clip = render_clip(np.random.RandomState(0), ClipRecipe(samples=160_000, events=(), noise_db=-50.0), tone) / 32767
    assert 20 * math.log10(np.sqrt((clip**2).mean())) == pytest.approx(-50, abs=0.1)


def test_loud_clips_are_scaled_to_the_peak() -> None:
    clip = rendered(one_event(level_db=6.0), tone(1.0))
    assert np.abs(clip).max() == pytest.approx(0.97, abs=1e-4)


def test_active_rms_leaves_silence_out() -> None:
    sound = np.concatenate([np.full(400, 0.5), np.zeros(4000), np.full(400, 0.25)]).astype(np.float32)
    assert active_rms(sound) == pytest.approx(math.sqrt((0.25 + 0.0625) / 2), rel=1e-5)
    assert active_rms(np.full(10, 0.5, np.float32)) == pytest.approx(0.5, rel=1e-5)


def toy() -> Catalogue:
    """All classes with two groups of one source each; each drum kit has all drums."""
    leaves = sorted({*PARENTS, "Wind", "Crowd", "Bell"})
    classes: dict[str, dict[str, list[str]]] = {}
    for name in leaves:
        kind = "kit" if name in DRUMS else "font" if name in INSTRUMENTS else "one"
        classes[name] = {f"{kind}:{group}": [f"{name}/{group}"] for group in "ab"}
    names = [name for groups in classes.values() for sources in groups.values() for name in sources]
    return Catalogue(classes=classes, samples={name: 3000 + 1700 * i for i, name in enumerate(names)})


def test_recipes_keep_to_their_clip_and_to_one_kit() -> None:
    sources, kinds = toy(), set()
    for seed in range(300):
        recipe = plan(np.random.RandomState(seed), sources, 3.0)
        assert recipe.samples == 48000
        assert recipe.events
        assert all(0 <= event.start < 48000 for event in recipe.events)
        for event in recipe.events:
            has = sources.samples[event.source]
            assert event.offset == 0 or event.offset + event.length <= has
        kits = {event.source.split("/")[1] for event in recipe.events if event.sound_class in DRUMS}
        assert len(kits) <= 1
        kinds.add(bool(kits))
    assert kinds == {True, False}


def test_a_recipe_does_not_depend_on_the_sources_audio() -> None:
    sources = toy()
    clips = [mix_clip(7, sources, 2.0, lambda _, k=k: tone(1.0 + k, 0.2)) for k in range(2)]  # type: ignore[misc]
    assert clips[0][1] == clips[1][1]
    assert not np.array_equal(clips[0][0], clips[1][0])


def test_a_recipes_text_is_integers_and_names() -> None:
    recipe = one_event(start=5, level_db=-20.0004)
    assert recipe.text() == "32000 -120000 | Bell x 5 0 16000 -20000 | Bell"
