"""The measure of each epoch: attacks done again by hand, and warnings of overfitting to them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.events import LogLevel
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe, TrainParams
from tests.jobs.measured import Measured
from tests.jobs.runs import run
from tests.jobs.trainings import (
    Workshop,
    judge_attacked,
    lines,
    models_of,
    open_workshop,
    points,
)
from worker.attacks.norms import uniform_in_ball
from worker.jobs.training_state import seeds
from worker.models import Classifier
from worker.registry import load_model

pytestmark = pytest.mark.trains


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return open_workshop(tmp_path_factory.mktemp("lab"))


def _right(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        right: Tensor = model(x).argmax(1) == y
    return right


def _ascent(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), y), x)
    return gradient.sign()


def test_the_figures_are_those_of_attacks_by_hand(measured: Measured) -> None:
    eps = 0.5 / 255
    # The average hardly leaves the fitted model that the training starts from.
    params = TrainParams(
        name="Model", dataset=measured.dataset_id, recipe=Recipe.PGD_AT, teacher=measured.student,
        architecture="wrn-10-1", epochs=1, batch_size=450, steps=1, epsilon=eps, ema_decay=0.9999,
    )  # fmt: skip
    job = run(measured.lab, JobKind.TRAIN, params)
    (epoch,) = points(measured.lab, job.id, "epoch")
    model = load_model(measured.lab.files, models_of(measured.lab, job)[0]).requires_grad_(False)
    images, y, _ = measured.dataset.split("validation").to(torch.device("cpu"))
    x = images.float() / 255

    clean = _right(model, x, y)
    fgsm = clean & _right(model, (x + eps * _ascent(model, x, y)).clamp(0, 1), y)
    generator = torch.Generator().manual_seed(seeds(0)["attack"])
    noise = uniform_in_ball(x, torch.ones(len(x), 1, 1, 1), "linf", generator)
    at, robust = (x + eps * noise).clamp(0, 1), clean
    for _ in range(10):
        stepped = at + eps / 4 * _ascent(model, at, y)
        at = stepped.clamp(x - eps, x + eps).clamp(0, 1)
        robust = robust & _right(model, at, y)

    assert 0 < robust.sum() <= fgsm.sum() < clean.sum(), "three figures that say something"
    for name, right in (("clean", clean), ("fgsm", fgsm), ("robust", robust)):
        share = epoch.values[f"validation_{name}"]
        assert share * len(y) == pytest.approx(int(right.sum())), name


FELL, GAP = "Robust accuracy fell by", "FGSM leaves"


@pytest.mark.parametrize(
    ("robust", "fgsm", "expected"),
    [
        # Of 20 images; the second epoch's figures.
        ([10, 6], [10, 6], []),
        ([10, 5], [10, 5], [f"{FELL} 25.0 points"]),
        ([16, 12], [16, 12], []),
        ([5, 5], [8, 8], []),
        ([5, 5], [5, 9], [f"{GAP} 20.0 points"]),
        ([12, 0], [12, 18], [f"{FELL} 60.0 points", f"{GAP} 90.0 points"]),
        ([5, 18], [5, 18], []),
    ],
)
def test_catastrophic_overfitting_is_warned_of(
    shop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    robust: list[int],
    fgsm: list[int],
    expected: list[str],
) -> None:
    """Robust accuracy that falls by more than 20 points in an epoch; FGSM over 15 above PGD."""
    judge_attacked(monkeypatch, pgd=robust, fgsm=fgsm)
    job = run(shop.lab, JobKind.TRAIN, shop.student(recipe="pgd_at", steps=1))
    assert job.status == JobStatus.SUCCEEDED
    warnings = lines(shop.lab, job.id, LogLevel.WARNING)
    assert [text.split(" in an epoch")[0].split(" more images")[0] for text in warnings] == expected
    assert all("use more steps" in text for text in warnings)
