"""A study file: which trainings are compared, with which seeds, and with what."""

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
"""Folder of the studies that come with the repository."""
_NAME = re.compile(r"[a-z0-9_]+")


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, protected_namespaces=(), use_attribute_docstrings=True
    )


class StudyArm(_Part):
    """One way to train or, with `untrained`, the weights that the recipe starts from."""

    name: str
    """Name of the arm and of its folder."""
    label: str
    """Name in tables and figures."""
    group: str = "main"
    """Arms of one group share a table: `main`, `teacher`, `part` (of averages), or the question of an ablation."""
    set: tuple[str, ...] = ()
    """Settings that replace the recipe's, `key=value` as on the command line."""
    evaluate: tuple[str, ...] | None = None
    """Schedules under which the test set is scored; not given: the study's. Empty: unmerged, for a CNN, which has no
    tokens."""
    teacher: str | tuple[str, ...] = ""
    """Teacher: the name of another arm (the weights of its first seed) or of an embedded model; several teach as one,
    by the mean of their logits. Empty: none."""
    stored: bool = True
    """Run the teacher once and store its answers for all arms that need them for the same clips; if false, it runs
    during the training."""
    seeds: tuple[int, ...] | None = None
    """Seeds of this arm; not given: the study's."""
    against: str = ""
    """Arm with which this one is compared, both under the same schedule. Empty: the first schedule of the study's
    reference."""
    average: dict[str, float] = Field(default_factory=dict)
    """Start from the average of these models' weights, each with its share: embedded models, or earlier arms, of which
    each seed takes the weights of the same seed (or of the only one). A single model: start from its weights. Empty:
    start as the recipe does."""
    soup: bool = False
    """Average the weights of all seeds of the arms in `average` (model soup) rather than those of the same seed."""
    embedded: str = ""
    """Embedded model that resulted from the first seed's training, which is not repeated: arms that start from this one
    or learn from it use that model's weights. It must have been trained by exactly this recipe."""
    untrained: bool = False
    """The arm is the weights that the recipe starts from. With one seed, it is paired with every seed of another
    arm."""

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of the teachers: none, one or several."""
        return (self.teacher,) * bool(self.teacher) if isinstance(self.teacher, str) else self.teacher


class Contrast(_Part):
    """Two arms, compared under every schedule under which both are scored, to show what one part adds."""

    label: str
    """What `arm` has that `against` does not."""
    arm: str
    """Name of the arm with that part."""
    against: str
    """Name of the arm without it."""


class Claim(_Part):
    """The claim that arms are faster than a model and as accurate: all their schedules are compared with its first."""

    against: str
    """Arm that, under its first schedule, is the model."""
    arms: tuple[str, ...] = Field(min_length=1)
    """Arms that are compared with it."""


class Study(_Part):
    """A whole study."""

    name: str
    """Name of the study's folder and of its report."""
    recipe: str
    """Name or file of the recipe, the same for every arm."""
    set: tuple[str, ...] = ()
    """Settings that replace the recipe's for every arm, `key=value`; an arm's own take precedence."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Seeds; every arm is trained once with each. A seed draws clips, augmentation and merging."""
    evaluate: tuple[str, ...] = ("constant:0",)
    """Schedules under which the test set is scored."""
    excess: str = "cap"
    """How evaluation treats a schedule that asks for more tokens than there are: refuse or cap. An arm that trains with
    merging is evaluated under its own `reduction.excess`."""
    reference: str
    """Arm with whose first schedule all others are compared."""
    speed: str = ""
    """Sweep whose records give the speed of each schedule. Empty: no speeds."""
    training_speed: str = ""
    """Sweep whose records give the speed of a training step with each schedule. Empty: none."""
    arms: tuple[StudyArm, ...] = Field(min_length=1)
    contrasts: tuple[Contrast, ...] = ()
    claim: Claim | None = None
    families: tuple[str, ...] = ()
    """Arms for which the report shows which sounds they lose, compared with the claim's model (soundscapes only)."""

    @model_validator(mode="after")
    def _check(self) -> Study:
        names = self.names
        for name in (self.name, *names):
            if not _NAME.fullmatch(name):
                raise ValueError(f"name {name!r} must consist of a-z, 0-9 and _, as it names a folder")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two arms are called {name!r}")
        self._check_labels()
        for where, seeds in (("seeds", self.seeds), *((f"arm {arm.name!r}: seeds", arm.seeds) for arm in self.arms)):
            if seeds is not None and (not seeds or len(set(seeds)) < len(seeds)):
                raise ValueError(f"{where} is {list(seeds)}; give at least one, and each only once")
        if self.reference not in names:
            raise ValueError("reference: " + unknown_name("arm", self.reference, names))
        for place, arm in enumerate(self.arms):
            for teacher in arm.teachers:
                if teacher in names[place:]:
                    raise ValueError(f"arm {arm.name!r} learns from {teacher!r}, which must come before it")
            if arm.against:
                self._check_pair(f"arm {arm.name!r}", arm.name, arm.against, names)
                if missing := [name for name in self.schedules_of(arm) if name not in self._schedules(arm.against)]:
                    raise ValueError(
                        f"arm {arm.name!r} is scored under {missing[0]!r}, but {arm.against!r}, with which it is "
                        f"compared, only under: {', '.join(self._schedules(arm.against)) or 'unmerged'}"
                    )
            for source in arm.average:
                if source not in names and source not in EMBEDDED:
                    raise ValueError(
                        f"arm {arm.name!r}: average: " + unknown_name("model", source, (*names, *EMBEDDED))
                    )
                if source in names[place:]:
                    raise ValueError(f"arm {arm.name!r} averages {source!r}, which must come before it")
            for seed in self.seeds_of(arm):
                for source, one, _ in self.parts(arm, seed):
                    if one is not None and one not in self.seeds_of(self.arm(source)):
                        raise ValueError(f"arm {arm.name!r} averages {source!r}, which has several seeds but not {one}")
            if arm.average and not math.isclose(total := math.fsum(arm.average.values()), 1, abs_tol=1e-6):
                raise ValueError(f"arm {arm.name!r}: the shares in average add up to {total:g}; they must add up to 1")
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
            raise ValueError("families: they are compared with the claim's model; add a [claim]")
        for contrast in self.contrasts:
            self._check_pair(f"contrast {contrast.label!r}", contrast.arm, contrast.against, names)
            if not set(self._schedules(contrast.arm)) & set(self._schedules(contrast.against)):
                raise ValueError(f"contrast {contrast.label!r}: its arms have no schedule in common")
        return self

    def _check_labels(self) -> None:
        """Raise ValueError if two labels of a group are the same, as figures distinguish arms by them."""
        labels = [(arm.group, arm.label) for arm in self.arms] + [("contrasts", one.label) for one in self.contrasts]
        for group, label in labels:
            if labels.count((group, label)) > 1:
                raise ValueError(f"two of group {group!r} have the label {label!r}; figures need different ones")

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
        """Return what an arm averages: an arm's name and seed, or an embedded model's name and None, with the share."""
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
        """Return an arm by name. Raises ConfigError for an unknown name."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ConfigError([f"study {self.name}: " + unknown_name("arm", name, self.names)])

    def seeds_of(self, arm: StudyArm) -> tuple[int, ...]:
        """Return the seeds with which an arm is trained."""
        return self.seeds if arm.seeds is None else arm.seeds

    def schedules_of(self, arm: StudyArm) -> tuple[str, ...]:
        """Return the schedules under which an arm is scored; none: unmerged."""
        return self.evaluate if arm.evaluate is None else arm.evaluate

    def tested_under(self, arm: StudyArm) -> tuple[str, ...]:
        """Return the names of an arm's scores: its schedules, or `unmerged`."""
        return self.schedules_of(arm) or ("unmerged",)

    def trainings(self, arms: tuple[str, ...] = ()) -> list[tuple[StudyArm, int]]:
        """Return arms and seeds to train, in order: the first seed of every arm, then the second, and so on."""
        chosen = [self.arm(name) for name in arms] or list(self.arms)
        seeds = list(dict.fromkeys(seed for arm in chosen for seed in self.seeds_of(arm)))
        return [
            (arm, seed)
            for seed in seeds
            for arm in chosen
            if seed in self.seeds_of(arm) and not self.is_embedded(arm, seed)
        ]

    def is_embedded(self, arm: StudyArm, seed: int) -> bool:
        """Return whether an embedded model is the result of this training."""
        return bool(arm.embedded) and seed == self.seeds_of(arm)[0]


def study_names() -> tuple[str, ...]:
    """Return the names of the studies that come with the repository."""
    return tuple(sorted(path.stem for path in STUDIES.glob("*.toml")))


def load_study(name: str) -> Study:
    """Read a study by name or path. Raises ConfigError that states file, key, value and what is allowed."""
    path = STUDIES / f"{name}.toml" if name in study_names() else Path(name)
    if path.suffix != ".toml":
        raise ConfigError([unknown_name("study", name, study_names()) + ", or a file that ends in .toml"])
    if not path.is_file():
        raise ConfigError([f"{path}: no such study; give a file, or one of {', '.join(study_names())}"])
    values = _tuples(read_toml(path))
    try:
        return Study(**values)
    except ValidationError as error:
        raise ConfigError(problem_words(path, error, Study)) from error


def _tuples(value: Any) -> Any:
    """Turn the lists of TOML into the tuples that parts of a study have."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
