"""Stored answers give the same training as running the teacher, and those of another training are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fastast.data.augment import Augmentation, step_seed
from fastast.data.training_set import Batch
from fastast.distill import (
    Distillation,
    DistillationError,
    Distiller,
    FrozenTeacher,
    create_distiller,
    load_targets,
    targets_question,
)
from fastast.distill.compression import compress, decompress
from fastast.distill.targets import StoredTargets
from fastast.frontend import AUDIOSET, Frontend
from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer
from fastast.teachers import create_teacher, save_teacher, teacher_identity
from fastast.training.recording import record_targets

GEOMETRY = Geometry(embed_dim=16, depth=1, num_heads=2, num_classes=9, num_mel_bins=48, num_frames=32)
FRONTEND = Frontend(GEOMETRY, AUDIOSET)
AUGMENTATION = Augmentation(mixup_rate=0.7, freq_mask=10, time_mask=12, noise=0.05)
QUESTION = targets_question(AUGMENTATION, FRONTEND, data="noise", batch_size=4, seed=5)
HASH_OF_BEFORE = "bb2ed027b91e76390cf71cda4b03b4f780c38b240512de979cf8eae187f77870"
"""The hash of QUESTION in files of version 1, computed by the function `targets_recipe_hash` of that time."""


def batches(epochs: int = 2) -> Iterator[tuple[int, Batch]]:
    """Yield ten clips per epoch in shuffled batches of four, the last of two, each with the seed of its step."""
    generator = torch.Generator().manual_seed(8)
    waveforms = 0.1 * torch.randn(10, 5_500, generator=generator)
    labels = (torch.rand(10, 9, generator=generator) < 0.3).float()
    step = 0
    for _ in range(epochs):
        for indices in torch.randperm(10, generator=generator).split(4):
            lengths = torch.full((len(indices),), 5_500)
            yield (
                step_seed(5, step),
                Batch(waveforms=waveforms[indices], lengths=lengths, labels=labels[indices], indices=indices),
            )
            step += 1


@pytest.fixture(scope="module")
def teacher() -> FrozenTeacher:
    torch.manual_seed(4)
    model = AudioSpectrogramTransformer(GEOMETRY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return FrozenTeacher(model)


def record(path: Path, teacher: FrozenTeacher, *, k: int = 9, **options: object) -> StoredTargets:
    settings: dict[str, object] = {"activation": "sigmoid", "consistent": True} | options
    record_targets(
        path,
        teacher,
        batches(),
        augmentation=AUGMENTATION,
        frontend=FRONTEND,
        generator=torch.Generator(),
        question=QUESTION,
        num_classes=9,
        k=k,
        **settings,  # type: ignore[arg-type]
    )
    return load(path, teacher, **settings)


def load(path: Path, teacher: FrozenTeacher, **changes: object) -> StoredTargets:
    expected: dict[str, object] = {
        "num_classes": 9,
        "activation": "sigmoid",
        "consistent": True,
        "teacher_identity": teacher_identity(teacher.model),
        "question": QUESTION,
    }
    return load_targets(path, **(expected | changes))  # type: ignore[arg-type]


def train(distiller: Distiller) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return the losses and weights of a student trained for two epochs."""
    torch.manual_seed(0)
    student = AudioSpectrogramTransformer(GEOMETRY)
    optimiser = torch.optim.AdamW(student.parameters(), 1e-3)
    generator = torch.Generator()
    losses = []
    for seed, batch in batches():
        generator.manual_seed(seed)
        fbank, labels = AUGMENTATION.apply(batch, generator, FRONTEND)
        plain = Augmentation.plain(batch, FRONTEND) if distiller.needs_plain_fbank else None
        parts = distiller.loss(student(fbank), labels, fbank=fbank, indices=batch.indices, plain_fbank=plain, seed=seed)
        optimiser.zero_grad()
        parts["loss"].backward()
        optimiser.step()
        losses.append(parts["loss"].detach())
    return losses, student.state_dict()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_with_all_classes_stored_the_training_is_the_same_bit_for_bit(
    tmp_path: Path, teacher: FrozenTeacher, temperature: float
) -> None:
    distillation = Distillation(teacher="x", temperature=temperature)
    losses, weights = train(Distiller(distillation, teacher=teacher))
    targets = record(tmp_path / "targets.safetensors", teacher)
    assert targets.largest_missing_probability == 0
    assert len(targets) == 20
    stored_losses, stored_weights = train(Distiller(distillation, targets=targets))
    assert all(torch.equal(a, b) for a, b in zip(losses, stored_losses, strict=True))
    assert all(torch.equal(weights[key], stored_weights[key]) for key in weights)
    assert len({float(loss) for loss in losses}) == len(losses)


def test_so_it_is_without_consistent_teaching(tmp_path: Path, teacher: FrozenTeacher) -> None:
    distillation = Distillation(teacher="x", consistent=False)
    losses, _ = train(Distiller(distillation, teacher=teacher))
    targets = record(tmp_path / "targets.safetensors", teacher, consistent=False)
    assert len(targets) == 10  # each clip once, regardless of the number of epochs
    stored_losses, _ = train(Distiller(distillation, targets=targets))
    torch.testing.assert_close(losses, stored_losses, atol=1e-5, rtol=0)  # other batches round differently


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_with_fewer_the_error_of_a_probability_is_bounded_by_the_kth(activation: str, k: int) -> None:
    logits = 2 * torch.randn(200, 9, generator=torch.Generator().manual_seed(k)) - 1
    values, classes, rest = compress(logits, k, activation)
    assert values.shape == classes.shape == (200, k)
    squash = scipy.special.expit if activation == "sigmoid" else lambda x: scipy.special.softmax(x, 1)
    true = squash(logits.double().numpy())
    stored = squash(decompress(values, classes, rest, 9).double().numpy())
    bound = -np.sort(-true, 1)[:, k - 1 : k]
    assert (np.abs(true - stored) <= bound + 1e-6).all()
    np.testing.assert_allclose(stored.sum(1), true.sum(1), rtol=1e-5)
    best = np.take_along_axis(true, classes.numpy(), 1)
    np.testing.assert_allclose(np.take_along_axis(stored, classes.numpy(), 1), best, rtol=1e-5)
    assert np.abs(true - stored).max() > 1e-3  # something is lost


def test_the_mean_of_one_missing_class_is_that_class() -> None:
    logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(0))
    for activation in ("sigmoid", "softmax"):
        torch.testing.assert_close(decompress(*compress(logits, 8, activation), 9), logits)


def test_the_largest_loss_is_told(tmp_path: Path, teacher: FrozenTeacher) -> None:
    whole = record(tmp_path / "whole.safetensors", teacher)
    some = record(tmp_path / "some.safetensors", teacher, k=2)
    differences, kth = [], []
    for seed, batch in batches():
        true = whole.logits(batch.indices, seed=seed).sigmoid()
        differences.append((true - some.logits(batch.indices, seed=seed).sigmoid()).abs().max())
        kth.append(true.sort(1, descending=True).values[:, 1].max())
    assert some.largest_missing_probability == pytest.approx(float(max(kth)), rel=1e-5)
    assert 0 < float(max(differences)) <= some.largest_missing_probability


def test_huge_logits_are_stored_finitely() -> None:
    logits = torch.tensor([[50.0, -80.0, -90.0, -100.0], [5.0, 120.0, 110.0, 90.0]])
    for activation in ("sigmoid", "softmax"):
        assert decompress(*compress(logits, 2, activation), 4).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"teacher_identity": "other"}, "teacher_identity is .* another teacher"),
        ({"question": QUESTION | {"seed": 6}}, "another training: seed is 5, this run's is 6"),
        ({"question": QUESTION | {"num_frames": 80}}, "num_frames is 32, this run's is 80"),
        ({"question": QUESTION | {"batch_size": 2}}, r"batch_size is 4, .* batch_size / \(processes \* accumulation\)"),
        (
            {"question": QUESTION | {"clips": {"sounds": "x"}}},
            r"clips\.sounds is None, this run's is 'x'. .* same names",
        ),
        ({"num_classes": 64}, "num_classes is 9, this run's is 64"),
        ({"activation": "softmax"}, "activation is 'sigmoid', this run's is 'softmax'"),
        ({"consistent": False}, "consistent is True, this run's is False"),
    ],
)
def test_answers_of_another_training_are_refused(
    tmp_path: Path, teacher: FrozenTeacher, changes: dict[str, object], text: str
) -> None:
    path = tmp_path / "targets.safetensors"
    record(path, teacher, k=1)
    with pytest.raises(DistillationError, match=text):
        load(path, teacher, **changes)


def test_a_teacher_trained_further_is_another_teacher(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = create_teacher("ast_tiny", 9, normalisation=AUDIOSET, num_frames=32, num_mel_bins=48, depth=1)
    teacher_path = save_teacher(tmp_path / "teacher.safetensors", teacher)
    path = tmp_path / "targets.safetensors"
    record(path, FrozenTeacher(teacher))
    distillation = Distillation(teacher=str(teacher_path), targets=str(path))
    distiller = create_distiller(distillation, num_classes=9, normalisation=AUDIOSET, question=QUESTION)
    seed, batch = next(batches())
    assert distiller.teacher_logits(fbank=batch.waveforms, indices=batch.indices, seed=seed).shape == (4, 9)
    with torch.no_grad():
        nn.init.ones_(teacher.model.head.linear.bias)  # type: ignore[union-attr, arg-type]
    save_teacher(teacher_path, teacher)
    with pytest.raises(DistillationError, match="teacher_identity"):
        create_distiller(distillation, num_classes=9, normalisation=AUDIOSET, question=QUESTION)


def test_the_question_knows_all_that_changes_an_answer() -> None:
    settings = {"data": "noise", "batch_size": 4, "seed": 5}
    changes = [
        {"data": "other"}, {"batch_size": 5}, {"seed": 6}, {"generator": "cuda"}, {"precision": "bfloat16"},
        {"clips": {"ids": "others"}},
    ]  # fmt: skip
    questions = [
        QUESTION,
        targets_question(replace(AUGMENTATION, noise=0.06), FRONTEND, **settings),  # type: ignore[arg-type]
        targets_question(AUGMENTATION, Frontend(replace(GEOMETRY, num_frames=80), AUDIOSET), **settings),  # type: ignore[arg-type]
        *(targets_question(AUGMENTATION, FRONTEND, **(settings | change)) for change in changes),  # type: ignore[arg-type]
    ]
    assert len({json.dumps(question, sort_keys=True) for question in questions}) == 9
    assert targets_question(AUGMENTATION, FRONTEND, **settings) == QUESTION  # type: ignore[arg-type]


def test_a_file_of_before_is_taken_with_a_notice(tmp_path: Path, teacher: FrozenTeacher) -> None:
    path = tmp_path / "targets.safetensors"
    record(path, teacher)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["fastast_targets"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    del header["question"]
    header |= {"version": 1, "recipe_hash": HASH_OF_BEFORE}
    save_file(tensors, path, {"fastast_targets": json.dumps(header)})
    assert "before files stated their clips and precision" in load(path, teacher).notice
    with pytest.raises(DistillationError, match="for other data, .* number of processes, .* of version 1"):
        load(path, teacher, question=QUESTION | {"seed": 6})


def test_other_clips_than_the_stored_are_refused(tmp_path: Path, teacher: FrozenTeacher) -> None:
    targets = record(tmp_path / "targets.safetensors", teacher)
    seed, batch = next(batches())
    with pytest.raises(DistillationError, match="sampler and batch size"):
        targets.logits(batch.indices.flip(0), seed=seed)
    with pytest.raises(DistillationError, match="no batch with augmentation seed 1 "):
        targets.logits(batch.indices, seed=1)
    with pytest.raises(DistillationError, match="pass seed="):
        targets.logits(batch.indices)
    plain = record(tmp_path / "plain.safetensors", teacher, consistent=False)
    with pytest.raises(DistillationError, match="no answer is stored for clip 77"):
        plain.logits(torch.tensor([0, 77]))


def test_what_cannot_be_recorded_leaves_no_file(tmp_path: Path, teacher: FrozenTeacher) -> None:
    path = tmp_path / "targets.safetensors"
    with pytest.raises(DistillationError, match="k is 10; the teacher has 9 classes"):
        record(path, teacher, k=10)
    with pytest.raises(DistillationError, match="9 classes, but the student has 5"):
        record_targets(
            path, teacher, batches(), augmentation=AUGMENTATION, frontend=FRONTEND, generator=torch.Generator(),
            question={}, num_classes=5, k=2,
        )  # fmt: skip
    twice = [next(batches()), next(batches())]
    with pytest.raises(DistillationError, match="comes twice"):
        record_targets(
            path, teacher, twice, augmentation=AUGMENTATION, frontend=FRONTEND, generator=torch.Generator(),
            question={}, num_classes=9, k=2,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_refused(tmp_path: Path, teacher: FrozenTeacher) -> None:
    path = tmp_path / "targets.safetensors"
    record(path, teacher)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DistillationError, match=r"targets\.safetensors: not a complete file"):
        load(path, teacher)
    save_teacher(path, create_teacher("ast_tiny", 9, num_frames=32, num_mel_bins=48, depth=1))
    with pytest.raises(DistillationError, match="not a file of stored answers"):
        load(path, teacher)
    with pytest.raises(FileNotFoundError, match="fastast record RECIPE"):
        load(tmp_path / "none.safetensors", teacher)


def test_the_file_says_what_it_is(tmp_path: Path, teacher: FrozenTeacher) -> None:
    path = tmp_path / "targets.safetensors"
    record(path, teacher, k=3)
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["fastast_targets"])
        assert file.get_tensor("values").shape == (20, 3)
        assert file.get_tensor("seeds").tolist() == [seed for seed, _ in batches()]
        assert file.get_tensor("starts").tolist() == [0, 4, 8, 10, 14, 18, 20]
    assert header["teacher_identity"] == teacher_identity(teacher.model)
    assert header["question"] == QUESTION
