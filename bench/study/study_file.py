"""A study file: which trainings are compared, under which seeds, and what they are held against."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.sweep.complaints import ConfigError, problem_words
from bench.sweep.file import read_toml
from fastast.names import unknown_name
from fastast.zoo import EMBEDDED

STUDIES = Path(__file__).parent / "studies"
"""The studies that come with the repository."""
_NAME = re.compile(r"[a-z0-9_]+")


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, protected_namespaces=(), use_attribute_docstrings=True
    )


class StudyArm(_Part):
    """One way to train, or with `untrained` the weights that the recipe begins with."""

    name: str
    """Of its folder."""
    label: str
    """In tables and figures."""
    group: str = "main"
    """Arms of one group stand in one table: `main`, `teacher`, `part` (of averages), or what an ablation asks."""
    set: tuple[str, ...] = ()
    """Settings in place of the recipe's, `key=value` as on the command line."""
    evaluate: tuple[str, ...] | None = None
    """Schedules that the test set is scored under; not given: the study's. Empty: unmerged, as a CNN has no tokens."""
    teacher: str | tuple[str, ...] = ""
    """Who teaches: another arm's name (its first seed's weights), or an embedded model; several teach as one, by the
    mean of their logits. Empty: nobody."""
    stored: bool = True
    """Ask the teacher once and store its answers, for all arms that ask it about the same clips; if false, it runs
    beside the training."""
    seeds: tuple[int, ...] | None = None
    """Where not the study's."""
    against: str = ""
    """Arm that this one is held against, both under the same schedule. Empty: the study's reference."""
    average: dict[str, float] = Field(default_factory=dict)
    """Begin with the average of these models' weights, each with its share: embedded ones, or arms that stand before,
    whose weights of the same seed are meant (their only one where they have one). One alone: with its weights. Empty:
    begin as the recipe does."""
    soup: bool = False
    """Average the weights of all seeds of the arms in `average` (model soup), not of the same seed only."""
    embedded: str = ""
    """Embedded model that the training of the first seed came to, which is not repeated: its weights stand for it where
    other arms begin with this one or learn from it. It must have been trained by this very recipe."""
    untrained: bool = False
    """Weights as the recipe begins with them. With one seed they stand beside every seed of another arm."""

    @property
    def teachers(self) -> tuple[str, ...]:
        """Who teaches, one or several."""
        return (self.teacher,) * bool(self.teacher) if isinstance(self.teacher, str) else self.teacher


class Contrast(_Part):
    """Two arms held against each other under every schedule that both are scored under: what one part of one adds."""

    label: str
    """What the arm has that the other has not."""
    arm: str
    """Name of the one."""
    against: str
    """Name of the other."""


class Claim(_Part):
    """That arms are faster than one model and as accurate: all their schedules are held against its first one."""

    against: str
    """The model: an arm under its first schedule."""
    arms: tuple[str, ...] = Field(min_length=1)
    """Those that are held against it."""


class Study(_Part):
    """A whole study."""

    name: str
    """Of its folder, and of its report."""
    recipe: str
    """A recipe's name or file, the same for every arm."""
    set: tuple[str, ...] = ()
    """Settings in place of the recipe's for every arm, `key=value`; an arm's own go before them."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Every arm is trained once under each; a seed draws clips, augmentation and merging."""
    evaluate: tuple[str, ...] = ("constant:0",)
    """Schedules that the test set is scored under."""
    excess: str = "cap"
    """What becomes of a schedule that asks for more than there is, when evaluated: refuse or cap."""
    reference: str
    """Arm whose first schedule all others are held against."""
    speed: str = ""
    """Sweep whose records say how fast a schedule is. Empty: no speeds."""
    training_speed: str = ""
    """Sweep whose records say how fast a step of training with a schedule is."""
    arms: tuple[StudyArm, ...] = Field(min_length=1)
    contrasts: tuple[Contrast, ...] = ()
    claim: Claim | None = None
    families: tuple[str, ...] = ()
    """Arms of which is shown which sounds they lose, against the claim's model (soundscapes only)."""

    @model_validator(mode="after")
    def _check(self) -> Study:
        names = self.names
        for name in (self.name, *names):
            if not _NAME.fullmatch(name):
                raise ValueError(f"name {name!r} must be of a-z, 0-9 and _: it names a folder")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two arms are called {name!r}")
        self._check_labels()
        for where, seeds in (("seeds", self.seeds), *((f"arm {arm.name!r}: seeds", arm.seeds) for arm in self.arms)):
            if seeds is not None and (not seeds or len(set(seeds)) < len(seeds)):
                raise ValueError(f"{where} is {list(seeds)}; give one at least, and each once")
        if self.reference not in names:
            raise ValueError("reference: " + unknown_name("arm", self.reference, names))
        for place, arm in enumerate(self.arms):
            for teacher in arm.teachers:
                if teacher in names[place:]:
                    raise ValueError(f"arm {arm.name!r} learns from {teacher!r}, which must stand before it")
            if arm.against:
                self._check_pair(f"arm {arm.name!r}", arm.name, arm.against, names)
                if missing := [name for name in self.schedules_of(arm) if name not in self._schedules(arm.against)]:
                    raise ValueError(
                        f"arm {arm.name!r} is scored under {missing[0]!r}, {arm.against!r} that it is held against is "
                        f"not; there: {', '.join(self._schedules(arm.against)) or 'unmerged only'}"
                    )
            for source in arm.average:
                if source not in names and source not in EMBEDDED:
                    raise ValueError(
                        f"arm {arm.name!r}: average: " + unknown_name("model", source, (*names, *EMBEDDED))
                    )
                if source in names[place:]:
                    raise ValueError(f"arm {arm.name!r} averages {source!r}, which must stand before it")
            for seed in self.seeds_of(arm):
                for source, one, _ in self.parts(arm, seed):
                    if one is not None and one not in self.seeds_of(self.arm(source)):
                        raise ValueError(f"arm {arm.name!r} averages {source!r}, which has several seeds but not {one}")
            if arm.average and not math.isclose(total := math.fsum(arm.average.values()), 1, abs_tol=1e-6):
                raise ValueError(f"arm {arm.name!r}: the shares of its average add up to {total:g}; they must to 1")
            if arm.embedded and arm.embedded not in EMBEDDED:
                raise ValueError(f"arm {arm.name!r}: embedded: " + unknown_name("model", arm.embedded, tuple(EMBEDDED)))
            if arm.soup and not arm.average:
                raise ValueError(f"arm {arm.name!r} is a soup of nothing; name its models under average")
            if arm.untrained and len(self.seeds_of(arm)) > 1 and not arm.average:
                raise ValueError(f"arm {arm.name!r} is untrained and has several seeds; give it one, seeds = [0]")
        for where, told in (
            ("claim", (self.claim.against, *self.claim.arms) if self.claim else ()),
            ("families", self.families),
        ):
            for name in told:
                if name not in names:
                    raise ValueError(f"{where}: " + unknown_name("arm", name, names))
        if self.families and self.claim is None:
            raise ValueError("families: they are held against the claim's model; make a [claim]")
        for contrast in self.contrasts:
            self._check_pair(f"contrast {contrast.label!r}", contrast.arm, contrast.against, names)
            if not set(self._schedules(contrast.arm)) & set(self._schedules(contrast.against)):
                raise ValueError(f"contrast {contrast.label!r}: its arms are scored under no schedule that both have")
        return self

    def _check_labels(self) -> None:
        """Figures tell arms apart by their labels."""
        labels = [(arm.group, arm.label) for arm in self.arms] + [("contrasts", one.label) for one in self.contrasts]
        for group, label in labels:
            if labels.count((group, label)) > 1:
                raise ValueError(f"two of group {group!r} have the label {label!r}; figures tell them apart by it")

    def _check_pair(self, where: str, arm: str, against: str, names: list[str]) -> None:
        for key, name, others in (("arm", arm, names), ("against", against, [name for name in names if name != arm])):
            if name not in others:
                raise ValueError(f"{where}: {key}: " + unknown_name("arm", name, others))

    def _schedules(self, name: str) -> tuple[str, ...]:
        return self.schedules_of(self.arm(name))

    @property
    def names(self) -> list[str]:
        """Names of the arms."""
        return [arm.name for arm in self.arms]

    def parts(self, arm: StudyArm, seed: int) -> list[tuple[str, int | None, float]]:
        """Return what an arm averages: an arm's name and seed, or an embedded model's name and None; and its share."""
        parts: list[tuple[str, int | None, float]] = []
        for name, share in arm.average.items():
            if name not in self.names:
                parts.append((name, None, share))
                continue
            theirs = self.seeds_of(self.arm(name))
            used = theirs if arm.soup or len(theirs) == 1 else (seed,)
            parts += [(name, one, share / len(used)) for one in used]
        return parts

    def arm(self, name: str) -> StudyArm:
        """Return an arm. Raises ConfigError for a name that is not there."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ConfigError([f"study {self.name}: " + unknown_name("arm", name, self.names)])

    def seeds_of(self, arm: StudyArm) -> tuple[int, ...]:
        """Return the seeds that an arm is trained under."""
        return self.seeds if arm.seeds is None else arm.seeds

    def schedules_of(self, arm: StudyArm) -> tuple[str, ...]:
        """Return the schedules that an arm is scored under; none: unmerged."""
        return self.evaluate if arm.evaluate is None else arm.evaluate

    def tested_under(self, arm: StudyArm) -> tuple[str, ...]:
        """Return what an arm's scores are called: by its schedules, or `unmerged`."""
        return self.schedules_of(arm) or ("unmerged",)

    def trainings(self, arms: tuple[str, ...] = ()) -> list[tuple[StudyArm, int]]:
        """Return what is to be trained, in order: the first seed of every arm, then the second, ..."""
        chosen = [self.arm(name) for name in arms] or list(self.arms)
        seeds = list(dict.fromkeys(seed for arm in chosen for seed in self.seeds_of(arm)))
        return [
            (arm, seed)
            for seed in seeds
            for arm in chosen
            if seed in self.seeds_of(arm) and not self.is_embedded(arm, seed)
        ]

    def is_embedded(self, arm: StudyArm, seed: int) -> bool:
        """Whether an embedded model is what this training came to."""
        return bool(arm.embedded) and seed == self.seeds_of(arm)[0]


def study_names() -> tuple[str, ...]:
    """Return the studies that come with the repository."""
    return tuple(sorted(path.stem for path in STUDIES.glob("*.toml")))


def load_study(name: str) -> Study:
    """Read a study by name or path. Raises ConfigError with file, key, value and what is allowed."""
    path = STUDIES / f"{name}.toml" if name in study_names() else Path(name)
    if path.suffix != ".toml":
        raise ConfigError([unknown_name("study", name, study_names()) + ", or a file that ends in .toml"])
    if not path.is_file():
        raise ConfigError([f"{path}: there is no such study; give a file, or one of {', '.join(study_names())}"])
    values = _tuples(read_toml(path))
    try:
        return Study(**values)
    except ValidationError as error:
        raise ConfigError(problem_words(path, error, Study)) from error


def _tuples(value: Any) -> Any:
    """TOML has lists where the parts have tuples."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
