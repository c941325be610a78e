"""The distillation section of a recipe, and the frozen teacher of a student in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fastast
from fastast.classes import ClassesError
from fastast.distill import Distillation, DistillationError, Distiller, FrozenTeacher, create_distiller
from fastast.frontend import AUDIOSET, ESC50
from fastast.model import AudioSpectrogramTransformer
from fastast.teachers import TeacherError, create_teacher, save_teacher


@pytest.fixture
def student(small_model: AudioSpectrogramTransformer) -> AudioSpectrogramTransformer:
    return small_model.train()


@pytest.fixture
def cnn() -> nn.Module:
    """A small CNN of five classes with batch norm and dropout, all that must not change in a teacher."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Unflatten(1, (1, -1)),
        nn.Conv2d(1, 4, 3, 4),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64, 5),
    )


@pytest.mark.parametrize("base", [False, True])
def test_the_loss_is_the_weighted_sum_of_both(base: bool) -> None:
    student, teacher = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.eye(5)[:4]
    label_loss = F.binary_cross_entropy_with_logits(student, labels) * (3 if base else 1)
    parts = Distillation(teacher="x", label_weight=0.3, temperature=2.0).loss(
        student, labels, teacher_logits=teacher, base_loss=label_loss if base else None
    )
    p, q = (teacher / 2).sigmoid(), student.sigmoid()
    divergence = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    torch.testing.assert_close(parts["label_loss"], label_loss)
    torch.testing.assert_close(parts["teacher_loss"], divergence)
    torch.testing.assert_close(parts["loss"], 0.3 * label_loss + 0.7 * divergence)


@pytest.mark.parametrize("form", ["kl", "bce"])
def test_softmax_takes_cross_entropy_for_the_labels(form: str) -> None:
    student, teacher = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([1, 4, 0, 2])
    parts = Distillation(teacher="x", activation="softmax", form=form).loss(
        student, F.one_hot(target, 5).float(), teacher_logits=teacher
    )
    torch.testing.assert_close(parts["label_loss"], F.cross_entropy(student, target))
    cross = -(teacher.softmax(1) * student.log_softmax(1)).sum(1).mean()
    entropy = -(teacher.softmax(1) * teacher.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(parts["teacher_loss"], cross if form == "bce" else cross - entropy)


@pytest.mark.parametrize(("weight", "part"), [(1.0, "label_loss"), (0.0, "teacher_loss")])
def test_the_ends_of_lambda_are_one_loss_alone(weight: float, part: str) -> None:
    student, teacher = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    parts = Distillation(teacher="x", label_weight=weight).loss(student, torch.eye(5)[:4], teacher_logits=teacher)
    assert torch.equal(parts["loss"], parts[part])


def train_one_step(distiller: Distiller, student: nn.Module, fbank: Tensor, **more: Tensor) -> dict[str, Tensor]:
    parts = distiller.loss(student(fbank), torch.eye(5)[: len(fbank)], fbank=fbank, **more)
    parts["loss"].backward()
    return parts


def test_the_teacher_is_frozen(student: nn.Module, cnn: nn.Module, small_fbank: Tensor) -> None:
    before = {key: value.clone() for key, value in cnn.state_dict().items()}
    distiller = Distiller(Distillation(teacher="x"), teacher=FrozenTeacher(cnn.train()))
    train_one_step(distiller, student, small_fbank)
    assert all(torch.equal(before[key], value) for key, value in cnn.state_dict().items())  # batch norm's too
    assert all(parameter.grad is None for parameter in cnn.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())
    first, second = (distiller.teacher_logits(fbank=small_fbank) for _ in range(2))
    assert torch.equal(first, second)  # no dropout
    assert not first.requires_grad
    assert not first.is_inference()


def test_a_teacher_put_in_training_mode_is_noticed(cnn: nn.Module, small_fbank: Tensor) -> None:
    teacher = FrozenTeacher(cnn)
    cnn.train()
    with pytest.raises(DistillationError, match="training mode"):
        teacher(small_fbank)


def test_the_loss_reaches_the_student_as_finite_differences_say(cnn: nn.Module, small_fbank: Tensor) -> None:
    distiller = Distiller(Distillation(teacher="x", temperature=1.5), teacher=FrozenTeacher(cnn))
    logits = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.eye(5, dtype=torch.float64)[:2]
    assert torch.autograd.gradcheck(lambda x: distiller.loss(x, labels, fbank=small_fbank)["loss"], logits)


class Listening(nn.Module):
    """A teacher that remembers the spectrograms it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, fbank: Tensor) -> Tensor:
        self.seen.append(fbank)
        return fbank[:, :5, 0]


def test_consistent_teaching_shows_the_teacher_what_the_student_saw(student: nn.Module, small_fbank: Tensor) -> None:
    teacher = Listening()
    distiller = Distiller(Distillation(teacher="x"), teacher=FrozenTeacher(teacher))
    assert not distiller.needs_plain_fbank
    train_one_step(distiller, student, small_fbank)
    assert teacher.seen[0] is small_fbank


def test_without_it_the_teacher_sees_the_plain_clips(student: nn.Module, small_fbank: Tensor) -> None:
    teacher = Listening()
    distiller = Distiller(Distillation(teacher="x", consistent=False), teacher=FrozenTeacher(teacher))
    assert distiller.needs_plain_fbank
    plain = torch.zeros_like(small_fbank)
    train_one_step(distiller, student, small_fbank, plain_fbank=plain)
    assert teacher.seen[0] is plain
    with pytest.raises(DistillationError, match="plain_fbank"):
        train_one_step(distiller, student, small_fbank)


def test_a_teacher_of_another_normalisation_sees_the_same_energies(small_fbank: Tensor) -> None:
    teacher = Listening()
    teacher.normalisation = ESC50  # type: ignore[assignment]
    FrozenTeacher(teacher, normalisation=AUDIOSET)(AUDIOSET(small_fbank))
    torch.testing.assert_close(teacher.seen[0], ESC50(small_fbank))


def test_a_student_in_double_precision_has_a_teacher_in_single(
    small_model: AudioSpectrogramTransformer, small_fbank: Tensor
) -> None:
    teacher = FrozenTeacher(small_model)
    logits = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    parts = Distiller(Distillation(teacher="x"), teacher=teacher).loss(
        logits, torch.eye(5, dtype=torch.float64)[:2], fbank=small_fbank.double()
    )
    assert parts["loss"].dtype == torch.float64
    assert torch.equal(teacher(small_fbank.double()), teacher(small_fbank))
    teacher.model.normalisation = ESC50  # type: ignore[assignment]
    converting = FrozenTeacher(teacher.model, normalisation=AUDIOSET)
    assert torch.equal(converting(small_fbank.double()), converting(small_fbank))


def test_an_ast_teaches_a_cnn_which_comes_to_agree(
    small_model: AudioSpectrogramTransformer, cnn: nn.Module, small_fbank: Tensor
) -> None:
    distiller = Distiller(Distillation(teacher="x", label_weight=0.0), teacher=FrozenTeacher(small_model))
    cnn[4] = nn.Identity()
    optimiser = torch.optim.Adam(cnn.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        losses.append(float(train_one_step(distiller, cnn.train(), small_fbank)["loss"].detach()))
        optimiser.step()
    assert losses[-1] < 0.05 * losses[0]


def test_a_merged_student_learns_from_a_cnn(student: AudioSpectrogramTransformer, cnn: nn.Module) -> None:
    fbank = torch.randn(3, 176, 48, generator=torch.Generator().manual_seed(2))
    distiller = Distiller(Distillation(teacher="x"), teacher=FrozenTeacher(cnn))
    with fastast.reduce(student, fastast.TokenReduction(schedule=fastast.Constant(10))):
        train_one_step(distiller, student, fbank)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in student.parameters())


def test_a_recipe_makes_a_distiller(tmp_path: Path, small_fbank: Tensor) -> None:
    torch.manual_seed(0)
    teacher = create_teacher("ast_tiny", 5, normalisation=AUDIOSET, num_frames=176, num_mel_bins=48, depth=2)
    path = save_teacher(tmp_path / "teacher.safetensors", teacher)
    distiller = create_distiller(
        Distillation(teacher=str(path)), num_classes=5, normalisation=AUDIOSET, shape=(176, 48)
    )
    torch.testing.assert_close(distiller.teacher_logits(fbank=small_fbank), teacher.eval()(small_fbank))
    with pytest.raises(TeacherError, match="has 5 classes, but the student has 64"):
        create_distiller(Distillation(teacher=str(path)), num_classes=64, normalisation=AUDIOSET)
    with pytest.raises(DistillationError, match="filterbank of 192 frames and 48 mel bins"):
        create_distiller(Distillation(teacher=str(path)), num_classes=5, normalisation=AUDIOSET, shape=(192, 48))


def test_a_teachers_classes_are_matched_by_name(tmp_path: Path, small_fbank: Tensor) -> None:
    torch.manual_seed(0)
    teacher = create_teacher("ast_tiny", 3, normalisation=AUDIOSET, num_frames=176, num_mel_bins=48, depth=2).eval()
    named = Distillation(teacher=str(save_teacher(tmp_path / "named.safetensors", teacher, labels=("a", "b", "c"))))
    unnamed = Distillation(teacher=str(save_teacher(tmp_path / "unnamed.safetensors", teacher)))
    answers = teacher(small_fbank)

    def logits(distillation: Distillation, classes: str) -> Tensor:
        student = {"num_classes": len(classes), "normalisation": AUDIOSET, "shape": (176, 48)}
        return create_distiller(distillation, **student, labels=tuple(classes)).teacher_logits(fbank=small_fbank)

    torch.testing.assert_close(logits(named, "cab"), answers[:, [2, 0, 1]])
    with pytest.raises(ClassesError, match=r"only the data has 'd'; only the model has 'c'; train a teacher on them"):
        logits(named, "abd")
    with pytest.raises(ClassesError, match=r"its 3 classes are not the 4 of the data: only the data has 'd'"):
        logits(named, "abcd")
    with pytest.raises(ClassesError, match=r"nothing says which .*; name them with distillation.labels FILE"):
        logits(unnamed, "cab")
    torch.testing.assert_close(logits(replace(unnamed, labels="data"), "cab"), answers)
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    stated = replace(unnamed, labels=str(tmp_path / "names.txt"))
    torch.testing.assert_close(logits(stated, "cab"), answers[:, [2, 0, 1]])


def test_answers_in_another_order_are_another_teachers(cnn: nn.Module) -> None:
    orders = (None, range(9), (1, 0, *range(2, 9)))
    assert [FrozenTeacher(cnn, columns=order).identity == FrozenTeacher(cnn).identity for order in orders] == [
        True,
        True,
        False,
    ]


def test_a_teacher_without_a_normalisation_is_refused(tmp_path: Path) -> None:
    teacher = create_teacher("ast_tiny", 5, num_frames=176, num_mel_bins=48, depth=2)
    path = save_teacher(tmp_path / "teacher.safetensors", teacher)
    with pytest.raises(DistillationError, match="normalisation"):
        create_distiller(Distillation(teacher=str(path)), num_classes=5, normalisation=AUDIOSET)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"teacher": ""}, "teacher is ''"),
        ({"label_weight": 1.5}, "label_weight is 1.5; it must be a number from 0 to 1"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"form": "l2"}, "form is 'l2'; it must be one of kl, bce"),
        ({"activation": "tanh"}, "sigmoid, softmax"),
        ({"consistent": 1}, "true or false"),
        ({"targets": None}, "targets is None"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], text: str) -> None:
    with pytest.raises(DistillationError, match=text):
        Distillation(**({"teacher": "x"} | settings))  # type: ignore[arg-type]


def test_a_distiller_has_one_source_of_answers(cnn: nn.Module) -> None:
    with pytest.raises(DistillationError, match="not both"):
        Distiller(Distillation(teacher="x"))
