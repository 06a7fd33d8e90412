"""The whole step against the same step written out plainly, and who is called how."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from worker.agkd_bml.examples import TrainingAttack
from worker.agkd_bml.objective import Weights
from worker.agkd_bml.step import StepResult, agkd_bml_step

N, EPS, STEP_SIZE, STEPS = 6, 0.1, 0.03, 4
ATTACK = TrainingAttack(eps=EPS, step_size=STEP_SIZE, steps=STEPS)
WEIGHTS = Weights(
    smoothing=0.5, mart_beta=6.0, agkd_weight=1.5, bml_weight=2.0, margin=0.03, mu=0.001
)


class Batch:
    """Images, classes, and a pool from which x' is drawn; notes which classes were asked for."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(7)
        self.x = torch.rand(N, 3, 8, 8, generator=generator, dtype=torch.float64)
        self.y = torch.randint(4, (N,), generator=generator)
        self.pool = torch.rand(4, 3, 8, 8, generator=generator, dtype=torch.float64)
        self.asked: list[Tensor] = []

    def draw_prime(self, y_prime: Tensor) -> Tensor:
        self.asked.append(y_prime)
        return self.pool[y_prime]


def take_step(student: Any, teacher: Any, batch: Batch) -> StepResult:
    return agkd_bml_step(
        student,
        teacher,
        batch.x,
        batch.y,
        batch.draw_prime,
        attack=ATTACK,
        weights=WEIGHTS,
        generator=torch.Generator().manual_seed(5),
    )


def plain_attack(student: nn.Module, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    x_adv = (x + EPS * (2 * noise - 1)).clamp(0, 1)
    for _ in range(STEPS):
        x_adv.requires_grad_()
        loss = F.cross_entropy(student(x_adv), target)
        (gradient,) = torch.autograd.grad(loss, x_adv)
        x_adv = x_adv.detach() - STEP_SIZE * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - EPS), x + EPS).clamp(0, 1)
    return x_adv


def plain_map(features: Tensor) -> Tensor:
    sums = features.sum(dim=1)
    low, high = sums.amin(dim=(1, 2)), sums.amax(dim=(1, 2))
    return (sums - low[:, None, None]) / (high - low)[:, None, None]


def plain_step(student: Any, teacher: Any, batch: Batch) -> tuple[dict[str, Tensor], int]:
    """The method, equation by equation, without the lab's own functions."""
    x, y = batch.x, batch.y
    logits = student(x).detach()
    logits[range(N), y] = -1e9
    y_prime = logits.argmax(dim=1)
    x_prime = batch.pool[y_prime]
    noise = torch.rand(
        2 * N, 3, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    x_f = plain_attack(student, x, y_prime, noise[:N])
    x_b = plain_attack(student, x_prime, y, noise[N:])

    student.train()
    features = student.body((torch.cat([x_f, x, x_b]) - 0.5) / 0.25)
    embedding = features.flatten(2).mean(dim=2)
    log_p = student.head(embedding).log_softmax(dim=1)
    p = log_p.exp()
    with torch.no_grad():
        seen = plain_map(teacher.body((torch.cat([x, x_prime]) - 0.5) / 0.25))

    labels = torch.full((N, 4), 0.5 / 3, dtype=torch.float64)
    labels[range(N), y] = 0.5
    classification = -(labels * log_p[:N]).sum() / N
    others = p[:N].clone()
    others[range(N), y] = 0
    kl = F.kl_div(log_p[:N], p[N : 2 * N], reduction="none").sum(dim=1)
    doubt = 1.0000001 - p[N : 2 * N][range(N), y]
    mart = (-(1.0001 - others.amax(dim=1) + 1e-12).log() + 6 * kl * doubt).mean()
    maps = plain_map(features)
    agkd = (maps[:N] - seen[:N]).abs().mean() + (maps[2 * N :] - seen[N:]).abs().mean()
    a, q, n = embedding.split(N)
    unit = [e / e.square().sum(dim=1, keepdim=True).sqrt() for e in (a, q, n)]
    near, far = (1 - (unit[0] * other).sum(dim=1).abs() for other in unit[1:])
    bml = (0.03 + near - far).clamp(min=0).mean() + 0.001 * sum(
        e.square().mean() for e in (a, q, n)
    )
    total = classification + mart + 1.5 * agkd + 2.0 * bml
    terms = {
        "classification": classification,
        "mart": mart,
        "agkd": agkd,
        "bml": bml,
        "total": total,
    }
    return terms, int((log_p[:N].argmax(dim=1) == y).sum())


def test_equals_the_step_written_out(make_model: Callable[[int], Any]) -> None:
    student, plain_student = make_model(0), make_model(0)
    teacher, batch = make_model(1), Batch()
    found = take_step(student, teacher, batch)
    expected, correct = plain_step(plain_student, teacher, batch)
    for name, value in expected.items():
        torch.testing.assert_close(getattr(found.losses, name), value, rtol=1e-9, atol=1e-9)
    assert found.adversarial_correct.item() == correct
    assert found.losses.bml.item() > 0.03 / 2  # the triplet takes part

    found.losses.total.backward()
    expected["total"].backward()
    for mine, plain in zip(student.parameters(), plain_student.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, plain.grad, rtol=1e-7, atol=1e-9)
    buffers = zip(student.buffers(), plain_student.buffers(), strict=True)
    for mine, plain in buffers:  # batch norms saw one batch of 3N, and nothing of the attack
        torch.testing.assert_close(mine, plain)


def test_modes_and_batches_of_each_stage(make_model: Callable[[int], Any]) -> None:
    student, teacher, batch = make_model(0).train(), make_model(1), Batch()
    take_step(student, teacher, batch)
    stages = [(training, gradient, len(x)) for training, gradient, x in student.calls]
    assert stages == [
        (False, False, N),  # the most confusing class
        *[(False, True, 2 * N)] * STEPS,  # both attacks as one batch
        (True, True, 3 * N),  # the loss
    ]
    assert student.training
    assert [(training, gradient, len(x)) for training, gradient, x in teacher.calls] == [
        (False, False, 2 * N)
    ]
    assert not teacher.training


def test_each_model_sees_its_images(make_model: Callable[[int], Any]) -> None:
    student, teacher, batch = make_model(0), make_model(1), Batch()
    take_step(student, teacher, batch)
    (y_prime,) = batch.asked
    x_prime = batch.pool[y_prime]
    assert (y_prime != batch.y).all()
    assert torch.equal(teacher.calls[0][2], torch.cat([batch.x, x_prime]))
    x_f, x, x_b = student.calls[-1][2].chunk(3)
    assert torch.equal(x, batch.x)
    for adversarial, source in [(x_f, batch.x), (x_b, x_prime)]:
        moved = (adversarial - source).abs().amax()
        assert STEP_SIZE < moved <= EPS + 1e-12
        assert adversarial.min() >= 0
        assert adversarial.max() <= 1


def test_gradients_reach_the_student_only(make_model: Callable[[int], Any]) -> None:
    student, teacher, batch = make_model(0), make_model(1), Batch()
    result = take_step(student, teacher, batch)
    assert all(p.grad is None for p in student.parameters())  # the attack left none
    result.losses.total.backward()
    assert all(p.grad is not None and p.grad.any() for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())


def test_the_generator_decides_the_step(make_model: Callable[[int], Any]) -> None:
    results = [take_step(make_model(0), make_model(1), Batch()) for _ in range(2)]
    assert torch.equal(results[0].losses.total, results[1].losses.total)


def test_refuses_a_teacher_in_train_mode(make_model: Callable[[int], Any]) -> None:
    with pytest.raises(ValueError, match="teacher must be in eval mode"):
        take_step(make_model(0), make_model(1).train(), Batch())


class Waits(TorchDispatchMode):
    """Operations that make the host wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if any(name in str(func) for name in ("_local_scalar_dense", "nonzero", "is_nonzero")):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device(make_model: Callable[[int], Any]) -> None:
    student, teacher, batch = make_model(0), make_model(1), Batch()
    with Waits() as waits:
        result = take_step(student, teacher, batch)
        result.losses.total.backward()
        assert waits.names == []
        result.losses.total.item()
    assert len(waits.names) == 1  # it would have been noticed
