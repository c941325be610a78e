"""Mix recordings into multi-label clips: first a recipe of integers and levels, then its samples.

Shapes: `w` samples of a clip or source.

A clip is a scene (62 %), an ensemble of instruments (23 %) or a scene where anything goes (15 %), after URBAN-SED
(Salamon et al. 2017) and FUSS (Wisdom et al. 2021): one to three kinds of sound, perhaps a drum loop, perhaps a soft
bed, and a noise floor. A recipe needs no audio, only the length of each source. Every draw comes from the
`numpy.random.RandomState` that is passed in, whose stream NumPy keeps frozen. **The order of the draws defines the data
set**: the recipes' committed hash catches any change to it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from fastast.data.soundscapes.classes import BEDS, DRUMS, HITS, INSTRUMENTS, PARENTS, REPEATS, with_parents

SAMPLE_RATE = 16_000
"""Sample rate (Hz) of every source and clip."""
FOREGROUND_DB = -24.0
"""Reference for the levels of events: RMS of their active parts, in dB relative to full scale."""
NOISE_DB = (-66.0, -48.0)
PEAK = 0.97
FADE_SAMPLES = 80
"""Samples (5 ms) over which a source fades in and out, so that a cut does not click."""
BAR_SECONDS, STEPS = 2.0, 16
KINDS = (0.62, 0.23, 0.15)
SCENE, ENSEMBLE, ANYTHING = range(3)

SampleSource = Callable[[str], NDArray[np.float32]]
"""Function that returns a source's samples, float32 (w,) in [-1, 1], by its name."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The sources of one split, without their audio."""

    classes: Mapping[str, Mapping[str, Sequence[str]]]
    """Class -> recording group -> names of sources; the order of the classes determines what the mixer draws."""
    samples: Mapping[str, int]
    """Number of samples of every source."""


@dataclass(frozen=True, kw_only=True)
class SoundEvent:
    """One source at one position in a clip."""

    sound_class: str
    """A leaf class."""
    source: str
    """Name of the source."""
    start: int
    """Sample of the clip at which it begins."""
    offset: int
    """First sample of the source that is used."""
    length: int
    """Number of samples used; a shorter source is repeated, and the end of the clip cuts it off."""
    level_db: float
    """RMS of its active parts in the clip, in dB relative to full scale."""


@dataclass(frozen=True, kw_only=True)
class ClipRecipe:
    """Everything that defines a clip, except the samples of its noise."""

    samples: int
    """Length of the clip in samples."""
    events: tuple[SoundEvent, ...]
    """Sounds in the order in which they are added up."""
    noise_db: float
    """RMS of the white noise floor, in dB relative to full scale."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that are heard and their parents, sorted."""
        return with_parents({event.sound_class for event in self.events})

    def text(self) -> str:
        """Write the recipe as one line, the same on every platform: integers, and levels in thousandths of a dB."""
        events = (
            f"{e.sound_class} {e.source} {e.start} {e.offset} {e.length} {round(e.level_db * 1000)}"
            for e in self.events
        )
        return " | ".join([f"{self.samples} {round(self.noise_db * 1000)}", *events, ";".join(self.labels)])


def clip_samples(seconds: float) -> int:
    """Return the number of samples of a clip."""
    return round(seconds * SAMPLE_RATE)


def plan(random: RandomState, catalogue: Catalogue, seconds: float) -> ClipRecipe:
    """Draw a clip's recipe; `seconds` is at least 2 (one bar of drums)."""
    kind = int(random.choice(3, p=KINDS))
    events = _ensemble(random, catalogue, seconds) if kind == ENSEMBLE else _scene(random, catalogue, seconds, kind)
    return ClipRecipe(samples=clip_samples(seconds), events=tuple(events), noise_db=random.uniform(*NOISE_DB))


def render_clip(random: RandomState, recipe: ClipRecipe, source: SampleSource) -> NDArray[np.int16]:
    """Return the clip of a recipe, int16 (w,): its events plus its noise, drawn from `random` after the recipe.

    `source` may alter the sounds (to augment training clips, say) without changing the recipe.
    """
    clip = np.zeros(recipe.samples, np.float32)  # (w,)
    for event in recipe.events:
        _add(clip, event, source(event.source))
    clip += (_amplitude(recipe.noise_db) * random.randn(recipe.samples)).astype(np.float32)
    peak = np.abs(clip).max()
    if peak > PEAK:
        clip *= np.float32(PEAK) / peak
    return (clip * np.float32(32767)).round().astype(np.int16)


def mix_clip(
    seed: int, catalogue: Catalogue, seconds: float, source: SampleSource
) -> tuple[NDArray[np.int16], ClipRecipe]:
    """Return the clip of a seed, int16 (w,), and its recipe."""
    random = RandomState(seed)
    recipe = plan(random, catalogue, seconds)
    return render_clip(random, recipe, source), recipe


def _scene(random: RandomState, catalogue: Catalogue, seconds: float, kind: int) -> list[SoundEvent]:
    count = int(random.choice([1, 2, 3], p=[0.35, 0.4, 0.25]))
    classes = [name for name in catalogue.classes if name not in DRUMS]
    if kind == SCENE:
        classes = [name for name in classes if "Music" not in PARENTS.get(name, ()) or name == "Ringtone"]
    events: list[SoundEvent] = []
    for name in random.choice(classes, count, False):
        level = FOREGROUND_DB + random.uniform(-9, 0)
        events += _occurrences(random, catalogue, seconds, str(name), level)
    if kind == ANYTHING and random.rand() < 0.35:
        events += _drum_loop(random, catalogue, seconds, FOREGROUND_DB + random.uniform(-8, 0))
    if random.rand() < 0.5:
        events.append(_bed(random, catalogue, seconds))
    return events


def _ensemble(random: RandomState, catalogue: Catalogue, seconds: float) -> list[SoundEvent]:
    events: list[SoundEvent] = []
    players = [name for name in INSTRUMENTS if name in catalogue.classes]
    for name in random.choice(players, random.randint(1, 4), False):
        groups = catalogue.classes[name]
        source = _pick(random, groups[_pick(random, sorted(group for group in groups if group.startswith("font:")))])
        level = FOREGROUND_DB + random.uniform(-8, 0)
        events.append(_event(str(name), source, 0.0, level, length=catalogue.samples[source]))
    if random.rand() < 0.55:
        events += _drum_loop(random, catalogue, seconds, FOREGROUND_DB + random.uniform(-6, 0))
    if random.rand() < 0.2:
        name = _pick(random, ("Female speech", "Male speech", "Crowd"))
        events += _occurrences(random, catalogue, seconds, name, FOREGROUND_DB + random.uniform(-3, 3))
    return events


def _occurrences(
    random: RandomState, catalogue: Catalogue, seconds: float, name: str, level: float
) -> list[SoundEvent]:
    """Draw the events of one class: one long sound, or short ones in a row, all from one recording group."""
    # First a group, then a source in it, so that large groups do not crowd out small ones.
    groups = catalogue.classes[name]
    sources = groups[_pick(random, sorted(groups))]
    if name in REPEATS:
        return _row(random, catalogue, seconds, name, sources, level)
    source = _pick(random, sources)
    samples, clip = catalogue.samples[source], clip_samples(seconds)
    room = seconds - samples / SAMPLE_RATE
    start = random.uniform(0, max(room, seconds * 0.35)) if room > 0 else 0.0
    if samples / SAMPLE_RATE > seconds + 0.1:
        offset = int(random.randint(0, samples - clip + 1))
        return [_event(name, source, start, level, offset=offset, length=clip)]
    return [_event(name, source, start, level, length=samples)]


def _row(
    random: RandomState, catalogue: Catalogue, seconds: float, name: str, sources: Sequence[str], level: float
) -> list[SoundEvent]:
    shortest, longest = REPEATS[name]
    events: list[SoundEvent] = []
    time = random.uniform(0, seconds * 0.45)
    for _ in range(random.randint(1, 4) if longest > 1.3 else random.randint(2, 9)):
        source = _pick(random, sources)
        if time > seconds - 0.25:
            break
        samples = catalogue.samples[source]
        events.append(_event(name, source, time, level + random.uniform(-2, 2), length=samples))
        sounding = samples / SAMPLE_RATE if "speech" in name else min(samples / SAMPLE_RATE, 0.5)
        time += sounding * 0.8 + random.uniform(shortest, longest)
    return events


def _bed(random: RandomState, catalogue: Catalogue, seconds: float) -> SoundEvent:
    name = _pick(random, [name for name in BEDS if name in catalogue.classes])
    groups = catalogue.classes[name]
    source = _pick(random, groups[_pick(random, sorted(groups))])
    spare = catalogue.samples[source] - clip_samples(seconds)
    offset = int(random.randint(0, spare + 1)) if spare >= 0 else 0
    level = FOREGROUND_DB - random.uniform(4, 16)
    return _event(name, source, 0.0, level, offset=offset, length=clip_samples(seconds))


def _drum_loop(random: RandomState, catalogue: Catalogue, seconds: float, level: float) -> list[SoundEvent]:
    """Draw a bar of one kit, struck on sixteenths, and repeat it through the clip."""
    kits: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for drum in DRUMS:
        for group, sources in catalogue.classes.get(drum, {}).items():
            kits[group][drum] += sources
    kit = kits[_pick(random, sorted(kits))]
    events: list[SoundEvent] = []
    for drum in [drum for drum in kit if random.rand() < 0.75] or [_pick(random, sorted(kit))]:
        source = _pick(random, kit[drum])
        struck = [step for step in range(STEPS) if random.rand() < HITS[drum]] or [int(random.choice([0, 8]))]
        soft = -4 if drum in ("Hi-hat", "Cymbal") else 0
        for bar in range(math.ceil(seconds / BAR_SECONDS)):
            for step in struck:
                time = bar * BAR_SECONDS + step * BAR_SECONDS / STEPS
                if time < seconds - 0.1:
                    hit = level + soft + random.uniform(-1.5, 1.5)
                    events.append(_event(drum, source, time, hit, length=catalogue.samples[source]))
    return events


def _event(name: str, source: str, time: float, level: float, *, length: int, offset: int = 0) -> SoundEvent:
    return SoundEvent(
        sound_class=name, source=source, start=int(time * SAMPLE_RATE), offset=offset, length=length, level_db=level
    )


def _pick(random: RandomState, choices: Sequence[str]) -> str:
    return choices[random.randint(len(choices))]


def _add(clip: NDArray[np.float32], event: SoundEvent, source: NDArray[np.float32]) -> None:
    used = source[event.offset : event.offset + event.length]
    if len(used) < event.length:
        used = np.resize(used, event.length)
    samples = min(len(used), len(clip) - event.start)
    sound, fade = used[:samples].copy(), min(FADE_SAMPLES, samples)
    sound[:fade] *= np.linspace(0, 1, fade)
    sound[-fade:] *= np.linspace(1, 0, fade)
    clip[event.start : event.start + samples] += _amplitude(event.level_db) / max(active_rms(used), 1e-4) * sound


def active_rms(sound: NDArray[np.float32], frame: int = 400) -> float:
    """Return the RMS of the frames (25 ms) that are within 30 dB of the loudest; a shorter sound is repeated."""
    frames = max(1, len(sound) // frame)
    whole = np.resize(sound, frame) if len(sound) < frame else sound[: frames * frame]
    power = (whole.reshape(frames, frame) ** 2).mean(1)
    return float(np.sqrt(power[power >= power.max() * 1e-3].mean() + 1e-12))


def _amplitude(level_db: float) -> float:
    return float(10 ** (level_db / 20))
