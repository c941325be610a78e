"""Recipes: reading them, and the messages about those that are wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from fastast.data.augment import Augmentation
from fastast.data.datasets import DATASETS
from fastast.data.layouts.audioset import AudioSet
from fastast.distill import Distillation
from fastast.reduction import TokenReduction
from fastast.reduction.spec import reduction_keys
from fastast.schedule import Constant
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.file import load_recipe, parse_recipe, recipe_names
from fastast.training.recipe.parts.data import DataPart
from fastast.training.recipe.parts.model import ModelPart
from fastast.training.recipe.parts.normalisation import NormalisationPart
from fastast.training.recipe.parts.optimiser import OptimiserPart
from fastast.training.recipe.parts.reduction import ReductionPart
from fastast.training.recipe.parts.run import RunPart
from fastast.training.recipe.parts.schedule import SchedulePart
from fastast.training.recipe.recipe import Recipe, first_difference
from fastast.training.trainer import Trainer


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_can_be_read(name: str) -> None:
    assert load_recipe(name).batch_size >= 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optimiser.lr=true", r"optimiser.lr is True; it must be a number, more than 0"),
        ("optimiser.lr=-1", r"optimiser.lr is -1; it must be a number, more than 0"),
        ("optimiser.weight_decey=0.1", r"optimiser.weight_decey: unknown key .* mean 'weight_decay'"),
        ("optimiser.name=adamww", r"optimiser.name: unknown value 'adamww'. Did you mean 'adamw'"),
        ("bach_size=3", r"unknown key 'bach_size'. Did you mean 'batch_size'"),
        ("data.name=esc5", r"data.name: unknown data set 'esc5'. Did you mean 'esc50'"),
        ("data.name=[1]", r"data.name: unknown data set \[1\]"),
        ("data.root=3", r"data: root is 3; it must be text, the path of a folder"),
        ("data.fold=1.0", r"data: fold is 1.0; ESC-50 has the folds"),
        ("data.fold=6", r"data: fold is 6; ESC-50 has the folds 1, 2, 3, 4 and 5"),
        ("data.foldd=2", r"data.foldd: unknown key 'foldd'. Did you mean 'fold'"),
        ("accumulation=3", r"accumulation is 3; it must divide batch_size, 8"),
        ("epochs=3", r"epochs is 3, steps is 12; give one of the two"),
        ("precision=float8", r"precision: unknown value 'float8'"),
        ("reduction.r=-3", r"reduction.r is -3; it must be a whole number of at least 0"),
        ("reduction.schedule=decreasin:3", r"reduction: schedule 'decreasin:3': unknown schedule"),
        ("reduction={r=1, schedule='constant:1'}", "one of the two"),
        ("schedule.name=step", r"schedule.name: unknown value 'step'"),
        ("augmentation.mixup_rate=2", r"augmentation: mixup_rate is 2"),
        ("distillation={teacher='x', activation='softmax'}", r"with loss = 'bce' it must be 'sigmoid'"),
        ("distillation.label_weight=0.5", r"distillation.teacher is missing"),
        ("average_epochs=[1,2]", r"epochs is 0"),
        ("start_share=1", r"start_share is 1; it must be a number"),
        ("start_share=0.5", r"start_share is 0.5, but ast_tiny begins with random weights"),
        ("run.workers=1.5", r"run.workers is 1.5"),
        ("run.evaluate_excess=crop", r"run.evaluate_excess: unknown value 'crop'"),
        ("run.keep_scores=1", r"run.keep_scores is 1"),
        ("reduction={r=1, excess='crop'}", r"reduction: .*'crop'"),
        (
            "reduction={r=1, num_protected=-1}",
            r"reduction.num_protected is -1; it must be a whole number of at least 0",
        ),
        ("reduction={r=1, order='random'}", r"reduction: reduction tome: order is 'random'; allowed: tome, position"),
        ("reduction={r=1, method=[1]}", r"reduction.method is \[1\]; it must be text"),
        (
            "reduction.schedule=3",
            r"reduction.schedule is 3; it must be text such as 'decreasing:40', or a list of such",
        ),
        ("run.evaluate=3", r"run.evaluate is 3; it must be text such as 'constant:40', or a list of such"),
        ("run.evaluate=['constant:3', 3]", r"run.evaluate is 3; it must be text such as 'constant:40'"),
        ("model.options=3", r"model.options is 3; it must be a table, such as { num_frames = 512 }"),
        ("model.options.depth=[2]", r"model.options.depth is \[2\]; it must be text, a number, or true or false"),
        ("model.options.num_frames=x", r"model.options.num_frames is 'x'; it must be a whole number of at least 1"),
        ("model.options.num_classes=3", r"model.options.num_classes: the classes are those of the data"),
        ("model.options.checkpoint=a.pth", r"model\.options\.checkpoint: model\.checkpoint sets it; take it out"),
        ("model.options.new_head=true", r"model\.options\.new_head: model\.new_head sets it"),
        ("model={name='resnet10t', options={name='x'}}", r"model\.options\.name: model\.name sets it"),
        ("model.options.normalisation=1", r"model\.options\.normalisation: the part \[normalisation\] sets it"),
        (f"optimiser.lr={10**400}", r"optimiser\.lr is a number of 401 digits; it must be a number, more than 0"),
        (
            "schedule={name='cosine', factor=0.1}",
            r"schedule\.factor is 0\.1, which is only for 'multistep', .*'cosine'",
        ),
        ("schedule={name='constant', every=2}", r"schedule\.every is 2, .* set schedule\.name = 'multistep'"),
        (
            "schedule.floor=0.1",
            r"schedule\.floor is 0\.1, which is only for 'cosine', but schedule\.name is 'constant'",
        ),
        (
            "schedule={warmup_steps=5, warmup_stair=50}",
            r"schedule\.warmup_stair is 50, and schedule\.warmup_steps is 5:",
        ),
        ("schedule.warmup_stair=50", r"schedule\.warmup_stair is 50, and schedule\.warmup_steps is 0:"),
        ("model={trained='head', drop_path_rate=0.5}", r"model\.drop_path_rate is 0\.5, and model\.trained is 'head'"),
        ("optimiser=3", r"optimiser is 3; it must be a part of the recipe"),
        ("optimiser.lr", r"it must be key=value"),
        ("normalisation.std=", r"normalisation.std is missing"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(recipe_file: Path, setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe(str(recipe_file), [setting])


PARTS = {
    "": Recipe,
    "model": ModelPart,
    "reduction": ReductionPart,
    "normalisation": NormalisationPart,
    "optimiser": OptimiserPart,
    "schedule": SchedulePart,
    "augmentation": Augmentation,
    "distillation": Distillation,
    "run": RunPart,
    "data": DataPart,
    **{f"data {name}": DATASETS.get(name) for name in DATASETS},
}
WRONG = ("3", "-1.5", "nan", "true", "'x'", "[]", "[1]", "[['x']]", "{a = 1}", "[{a = 1}]", "1979-05-27")


def refusal(recipe: Path, *settings: str) -> str | None:
    """Return the message about the last setting, None where it is accepted; raise any error but RecipeError."""
    try:
        load_recipe(str(recipe), settings).question()
    except RecipeError as error:
        return str(error).partition(f"{settings[-1]}: ")[2]
    return None


@pytest.mark.parametrize("part", PARTS)
def test_a_value_of_any_type_is_taken_or_refused_with_one_message(recipe_file: Path, part: str) -> None:
    """Whatever TOML can express, the only error is the recipe's own, and it names the key."""
    table, _, data_set = part.partition(" ")
    for field in dataclasses.fields(PARTS[part]):
        base = {"distillation": ["distillation.teacher=x"], "reduction": ["reduction.r=1"]}.get(part, [])
        if data_set:
            base = [f"data={{name='{data_set}'}}"]
        elif part == "reduction" and field.name == "schedule":
            base = []
        for value in WRONG:
            said = refusal(recipe_file, *base, f"{table}.{field.name}={value}".removeprefix("."))
            assert said is None or field.name in said, (field.name, value, said)


def test_balanced_sampling_is_not_for_clips_that_change() -> None:
    settings = ["data.sampler=balanced", "data.fresh=true"]
    with pytest.raises(
        ValueError, match=r"data.sampler is \"balanced\", but .*; set data.fresh = false, or data.sampler"
    ):
        load_recipe("smoke", settings)
    with pytest.raises(ValueError, match="data.fresh mixes other clips in every epoch"):
        load_recipe("soundscapes_tiny", settings[:1])  # fresh is the default
    assert load_recipe("smoke", ["data.sampler=balanced"]).data.sampler == "balanced"


def test_the_file_is_named(recipe_file: Path) -> None:
    with pytest.raises(ValueError, match=r"tones.toml with seed=-1: seed is -1"):
        load_recipe(str(recipe_file), ["seed=-1"])
    recipe_file.write_text("batch_size = = 3")
    with pytest.raises(ValueError, match=r"tones.toml: not readable as TOML: .*line 1"):
        load_recipe(str(recipe_file))
    with pytest.raises(ValueError, match=r"Did you mean 'smoke'"):
        load_recipe("smok")


def test_settings_go_before_the_file(recipe_file: Path) -> None:
    recipe = load_recipe(
        str(recipe_file), ["optimiser.lr=0.5", "reduction.r=[0, 3]", "model.options.depth=3", "seed=4"]
    )
    assert recipe.optimiser.lr == 0.5
    assert recipe.reduction is not None
    assert recipe.reduction.texts() == ("constant:0", "constant:3")
    assert recipe.model.options["depth"] == 3


def test_options_of_the_files_data_set_do_not_outlive_it(recipe_file: Path) -> None:
    kept = load_recipe(str(recipe_file), ["data.name=esc50", "data.root=somewhere"]).data
    assert (kept.name, kept.options.root) == ("esc50", "somewhere")
    other = load_recipe(str(recipe_file), ["data.root=here", "data.name=speech_commands"]).data  # in any order
    assert (other.name, dataclasses.asdict(other.options)["root"]) == ("speech_commands", "here")


@dataclasses.dataclass
class Changing:
    root: str = ""

    def split(self, name: str) -> None: ...


@dataclasses.dataclass(frozen=True)
class WithoutSplit:
    root: str = ""


@pytest.mark.parametrize("kind", [Changing, WithoutSplit, dict, 5])
def test_what_is_registered_as_a_data_set_must_be_one(recipe_file: Path, monkeypatch, kind: object) -> None:
    monkeypatch.setitem(DATASETS._entries, "odd", kind)
    with pytest.raises(ValueError, match="data set odd: what is registered, .* must be a dataclass"):
        load_recipe(str(recipe_file), ["data.name=odd"])


def test_identity_is_what_decides_the_weights_and_no_more(recipe_file: Path, tmp_path: Path) -> None:
    base = load_recipe(str(recipe_file))
    for same in ("run.workers=2", f"data.root={tmp_path}"):
        assert load_recipe(str(recipe_file), [same]).identity == base.identity
    for other in ("seed=1", "optimiser.lr=1e-3", "data.fold=2", "model.options.depth=1", "augmentation.gain_db=1.0"):
        assert load_recipe(str(recipe_file), [other]).identity != base.identity
    other_lr = load_recipe(str(recipe_file), ["optimiser.lr=1e-3"])
    assert first_difference(base.question(), other_lr.question()) == "optimiser.lr is 0.003 here, but 0.001 there"


def test_a_recipe_can_have_any_reduction(recipe_file: Path) -> None:
    base = load_recipe(str(recipe_file), ["reduction.r=3"])
    assert base.reduction is not None
    plain = TokenReduction(schedule=Constant(3))
    assert base.reduction.reductions() == (plain,)
    other = {
        "method": "tome", "metric": "'tokens'", "proportional": "false", "num_protected": "1", "order": "'position'",
        "excess": "'cap'", "combine": "'mean'", "seed": "3", "heads": "'concat'", "distance": "'dot'",
        "partition": "'time'", "place": "'after'", "weighted_pooling": "false",
    }  # fmt: skip
    assert set(reduction_keys("tome")) == {"schedule", "threshold", *other}  # a threshold excludes these others
    above = load_recipe(str(recipe_file), ["reduction.r=3", "reduction.threshold=0.9"])
    assert above.reduction is not None
    assert above.reduction.reductions() == (TokenReduction(schedule=Constant(3), threshold=0.9),)
    settings = [f"reduction.{key}={value}" for key, value in other.items()]
    full = load_recipe(str(recipe_file), ["reduction.r=3", *settings])
    assert full.reduction is not None
    assert full.reduction.reductions() == (
        TokenReduction(
            schedule=Constant(3),
            options={
                "metric": "tokens",
                "order": "position",
                "heads": "concat",
                "distance": "dot",
                "partition": "time",
            },
            proportional=False,
            num_protected=1,
            combine="mean",
            seed=3,
            excess="cap",
            place="after",
            weighted_pooling=False,
        ),
    )
    identities = {load_recipe(str(recipe_file), ["reduction.r=3", setting]).identity for setting in settings[1:]}
    assert len(identities | {base.identity}) == len(settings)


PUBLISHED = sorted((Path(__file__).parents[4] / "results" / "studies").glob("*/*/seed-*/recipe.json"))


@pytest.mark.skipif(not PUBLISHED, reason="the results come with the repository only")
def test_published_trainings_are_still_those_of_their_recipes() -> None:
    """A new key must not change the identity of recipes without it, or their runs could not be resumed."""
    for path in PUBLISHED:
        published = json.loads(path.read_text(encoding="utf-8"))
        question = published["question"]
        own = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
        assert own == published["identity"], path
        values = {key: value for key, value in question.items() if value is not None}
        data = question["data"]
        values["data"] = {"name": data["name"], "sampler": data["sampler"], **data["options"]}
        recipe = parse_recipe(values, str(path))
        assert first_difference(recipe.question(), question) == "", path
        assert recipe.identity == published["identity"], path


def test_asts_recipes_are_asts() -> None:
    """Compared with the values of the published run scripts (egs/*/run*.sh), copied here by hand."""
    published = {
        "audioset_full": (
            1e-5, 5, 12, 2, 1, 0.5, 1000, 48, 192, 0.5, 1024, -4.2677393, 4.5689974, (1, 5), "bce", "mAP",
        ),
        "audioset_balanced": (
            5e-5, 25, 12, 10, 5, 0.5, 1000, 48, 192, 0.5, 1024, -4.2677393, 4.5689974, (6, 25), "bce", "mAP",
        ),
        "esc50": (1e-5, 25, 48, 5, 1, 0.85, 0, 24, 96, 0.0, 512, -6.6268077, 5.358466, (), "ce", "accuracy"),
        "speech_commands": (
            2.5e-4, 30, 128, 5, 1, 0.85, 0, 48, 48, 0.6, 128, -6.845978, 5.5654526, (), "bce", "accuracy",
        ),
    }  # fmt: skip
    for name, expected in published.items():
        r = load_recipe(name)
        assert r.augmentation is not None
        found = (
            r.optimiser.lr, r.epochs, r.batch_size, r.schedule.start, r.schedule.every, r.schedule.factor,
            r.schedule.warmup_steps, r.augmentation.freq_mask, r.augmentation.time_mask, r.augmentation.mixup_rate,
            r.model.options["num_frames"], r.normalisation.mean, r.normalisation.std, r.average_epochs,
            r.loss, r.metric,
        )  # fmt: skip
        assert found == expected, name
        assert (r.optimiser.name, r.optimiser.weight_decay, r.optimiser.betas) == ("adam", 5e-7, (0.95, 0.999))
        assert r.optimiser.decay_all
        assert (r.model.options.get("fstride", 10), r.model.options.get("tstride", 10)) == (10, 10)
        assert r.data.sampler == ("balanced" if name == "audioset_full" else "shuffle")
        noise = (0.1, 10) if name == "speech_commands" else (0.0, 0)
        assert (r.augmentation.noise, r.augmentation.shift_frames) == noise
        assert r.augmentation.mixup_alpha == 10  # lambda is drawn from Beta(10, 10)
        assert r.augmentation.mixup_labels == "weighted"
        assert r.schedule.name == "multistep"
        assert r.schedule.warmup_stair == (50 if name.startswith("audioset") else 1)  # 1,000 steps in stairs of 50
        assert r.precision == "float16"  # autocast with gradient scaling
        assert r.model.name == "ast_base"
        # ESC-50 continues from AudioSet with a new last layer; the others begin with ImageNet's weights.
        began = ("", True, True) if name == "esc50" else ("download", False, False)
        assert (r.model.imagenet, bool(r.model.checkpoint), r.model.new_head) == began
        if isinstance(r.data.options, AudioSet):
            assert r.data.options.subset == name.removeprefix("audioset_")


def test_a_merging_that_a_model_cannot_do_is_refused_before_training(recipe_file: Path) -> None:
    from fastast.data.sampling import Sampler
    from fastast.training.distributed import World

    recipe = load_recipe(str(recipe_file), ["reduction.r=[0, 9]"])
    with pytest.raises(ValueError, match="can remove"):
        Trainer(recipe, ("a", "b"), Sampler(num_clips=8, batch_size=8, seed=0), World())


def test_a_cap_merges_what_there_is_in_training_and_in_evaluation(recipe_file: Path) -> None:
    from fastast.data.sampling import Sampler
    from fastast.training.distributed import World
    from fastast.training.recipe.reductions import evaluation_reductions

    sampler = Sampler(num_clips=8, batch_size=8, seed=0)
    asked = ["reduction.r=[0, 9]", "reduction.excess=cap", "run.evaluate=['constant:9']"]
    trainer = Trainer(load_recipe(str(recipe_file), asked), ("a", "b"), sampler, World())
    # A grid of 8 by 2 patches and two protected tokens: half of the 16 can be removed, then half of the rest.
    assert trainer.reducible.geometry.num_tokens == 18
    assert [r.removals(trainer.reducible.geometry) for r in trainer.reductions] == [(0, 0), (8, 4)]
    ((_, reduction),) = evaluation_reductions(trainer.recipe)
    assert reduction.removals(trainer.reducible.geometry) == (8, 4)
    with pytest.raises(RecipeError, match=r"run\.evaluate_excess is 'cap', .* set reduction\.excess instead"):
        load_recipe(str(recipe_file), [*asked, "run.evaluate_excess=cap"])
    unmerged = ["run.evaluate=['constant:9']", "run.evaluate_excess=cap"]
    ((_, reduction),) = evaluation_reductions(load_recipe(str(recipe_file), unmerged))
    assert reduction.removals(trainer.reducible.geometry) == (8, 4)
