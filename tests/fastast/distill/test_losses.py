"""The distillation losses against torch.distributions, SciPy, NumPy and finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, kl_divergence

from fastast.distill import bernoulli_kl, binary_cross_entropy, softmax_cross_entropy, softmax_kl

Loss = Callable[[Tensor, Tensor, float], Tensor]
LOSSES: tuple[Loss, ...] = (bernoulli_kl, binary_cross_entropy, softmax_kl, softmax_cross_entropy)


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    """Logits of a student and a teacher for six clips and seven classes."""
    generator = torch.Generator().manual_seed(3)
    student, teacher = 3 * torch.randn(2, 6, 7, generator=generator, dtype=torch.float64)
    return student, teacher


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_bernoulli_kl_is_the_divergence_of_independent_classes(
    logits: tuple[Tensor, Tensor], temperature: float
) -> None:
    student, teacher = logits
    expected = kl_divergence(Bernoulli(logits=teacher / temperature), Bernoulli(logits=student)).mean()
    torch.testing.assert_close(bernoulli_kl(student, teacher, temperature), expected)
    p = scipy.special.expit(teacher.numpy() / temperature)
    q = scipy.special.expit(student.numpy())
    by_hand = (scipy.special.rel_entr(p, q) + scipy.special.rel_entr(1 - p, 1 - q)).mean()
    assert float(bernoulli_kl(student, teacher, temperature)) == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_softmax_kl_is_the_divergence_of_exclusive_classes(logits: tuple[Tensor, Tensor], temperature: float) -> None:
    student, teacher = logits
    expected = kl_divergence(Categorical(logits=teacher / temperature), Categorical(logits=student)).mean()
    torch.testing.assert_close(softmax_kl(student, teacher, temperature), expected)
    p, q = scipy.special.softmax(teacher.numpy() / temperature, 1), scipy.special.softmax(student.numpy(), 1)
    by_hand = np.mean([scipy.stats.entropy(a, b) for a, b in zip(p, q, strict=True)])
    assert float(softmax_kl(student, teacher, temperature)) == pytest.approx(by_hand, rel=1e-9)


def test_the_cross_entropies_are_what_numpy_says(logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits
    p, q = scipy.special.expit(teacher.numpy() / 2), scipy.special.expit(student.numpy())
    by_hand = -(p * np.log(q) + (1 - p) * np.log(1 - q)).mean()
    assert float(binary_cross_entropy(student, teacher, 2.0)) == pytest.approx(by_hand, rel=1e-9)
    p = scipy.special.softmax(teacher.numpy() / 2, 1)
    by_hand = -(p * scipy.special.log_softmax(student.numpy(), 1)).sum(1).mean()
    assert float(softmax_cross_entropy(student, teacher, 2.0)) == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_agree_with_finite_differences(loss: Loss, logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, 1.7), student.clone().requires_grad_())


@pytest.mark.parametrize(
    ("divergence", "entropy"), [(bernoulli_kl, binary_cross_entropy), (softmax_kl, softmax_cross_entropy)]
)
def test_both_forms_have_the_same_gradient(divergence: Loss, entropy: Loss, logits: tuple[Tensor, Tensor]) -> None:
    teacher = logits[1]
    gradients = []
    for loss in (divergence, entropy):
        student = logits[0].clone().requires_grad_()
        loss(student, teacher, 1.5).backward()
        gradients.append(student.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("divergence", [bernoulli_kl, softmax_kl])
def test_a_student_like_its_teacher_has_nothing_to_learn(divergence: Loss, logits: tuple[Tensor, Tensor]) -> None:
    teacher = logits[1]
    student = (teacher / 1.5).requires_grad_()
    loss = divergence(student, teacher, 1.5)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-12
    assert float(divergence(student.detach() + 0.1 * logits[0], teacher, 1.5)) > 0


def test_temperature_touches_the_teacher_only(logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits
    for loss in LOSSES:
        torch.testing.assert_close(loss(student, teacher, 4.0), loss(student, teacher / 4.0, 1.0))


@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_logits_stay_finite(loss: Loss) -> None:
    student = torch.tensor([[90.0, -90.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[-200.0, 200.0, 1e-8]])
    value = loss(student, teacher, 1.0)
    value.backward()
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_single(loss: Loss, logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = (x.to(torch.bfloat16) for x in logits)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(student, teacher, 2.0)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(student.float(), teacher.float(), 2.0), rtol=0, atol=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_other_classes_are_refused(loss: Loss) -> None:
    with pytest.raises(ValueError, match=r"\(2, 5\).*\(2, 7\)"):
        loss(torch.zeros(2, 5), torch.zeros(2, 7), 1.0)
