"""Whole evaluations of an honest model, and of the same with a fault that fakes robustness."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from app.contracts.params import Attack, EvaluateParams, Method, Recipe
from app.contracts.results import Accuracy, Light, Lineage, ModelFigures, Verdict
from tests.plugins.controls import InputQuantised, ScaledLogits, SmallNet, train_briefly
from tests.plugins.images import MINI
from worker.attacks import pgd
from worker.data.splits import Split
from worker.evaluation.arguments import unit_noise
from worker.evaluation.conclusion import Samples, conclude
from worker.evaluation.measurement import Measurement
from worker.evaluation.progress import Meter
from worker.evaluation.target import Chunk, TargetModel
from worker.models import Classifier

CLASSES = ("airplane", "automobile", "frog")
TEST_IMAGES = 100
EPOCHS = 20
EPS = 8 / 255
TRAINED_EPS = EPS / 3
"""Less than what the student meets: the attack leaves room above its figure."""
ROOM = 0.2
"""The share of images that the attack takes from the student, at least; checks look for half."""

pytestmark = [pytest.mark.slow, pytest.mark.trains]


@dataclass(frozen=True)
class Trained:
    """What is evaluated, and on what."""

    student: Classifier
    teacher: Classifier
    x: Tensor
    y: Tensor
    pool: Split


def pictures(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) uint8 and their classes (N,) of one part of the archive."""
    with zipfile.ZipFile(MINI) as archive:
        names = sorted(
            name
            for name in archive.namelist()
            if name.endswith(".jpg") and name.split("/")[-3] == part
            if name.split("/")[-2] in CLASSES
        )
        pixels = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names]
    labels = [CLASSES.index(name.split("/")[-2]) for name in names]
    return np.stack(pixels), np.array(labels, dtype=np.int64)


def as_tensors(pixels: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255
    return x, torch.from_numpy(labels)


@pytest.fixture(scope="module")
def trained() -> Trained:
    train, test = pictures("train"), pictures("test")
    x, y = as_tensors(*train)
    torch.manual_seed(0)
    teacher = train_briefly(SmallNet(3), x, y, epochs=EPOCHS, eps=0)
    some = np.random.default_rng(0).permutation(len(test[0]))[:TEST_IMAGES]
    seen = as_tensors(test[0][some], test[1][some])
    students = (student_of(x, y, seed) for seed in range(10))
    student = next(each for each in students if taken_from(each, *seen) >= ROOM)
    pool = Split("train", *train, all_masks=None, indices=np.arange(len(train[0])))
    return Trained(student, teacher, *seen, pool)


def student_of(x: Tensor, y: Tensor, seed: int) -> Classifier:
    torch.manual_seed(seed)
    return train_briefly(SmallNet(3), x, y, epochs=EPOCHS, eps=TRAINED_EPS, seed=seed)


def taken_from(model: Classifier, x: Tensor, y: Tensor) -> float:
    """The share of images that PGD turns from right to wrong."""
    attacked = pgd(
        model, x, y, eps=EPS, step_size=EPS / 4, steps=10, norm="linf", targeted=False,
        random_start=False, generator=None,
    )  # fmt: skip
    clean, robust = (model(images).argmax(1) == y for images in (x, attacked))
    return float(clean.float().mean() - (clean & robust).float().mean())


def evaluated(trained: Trained, model: nn.Module, method: Method = Method.PGD) -> ModelFigures:
    """Measured and concluded as a job does it, with one attack alone."""
    params = EvaluateParams(
        models=("0" * 32,),
        dataset="1" * 32,
        images=TEST_IMAGES,
        attack=Attack(method=method, steps=10),
        epsilon=EPS,
        epsilons=(0.0, EPS),
        step_counts=(),
        minimal_epsilon=False,
        attention=False,
    )
    target_model = TargetModel(
        lineage=Lineage(id="0" * 32, name="Model", sha256="0" * 64),
        model=model.eval().requires_grad_(False),
        call=model,
        recipe=Recipe.PGD_AT,
        kept="last",
        teacher=trained.teacher,
        teacher_recipe=Recipe.CLEAN,
    )
    measured = Measurement(target_model, params, CLASSES, ())
    chunk = Chunk(x=trained.x, y=trained.y, numbers=tuple(range(TEST_IMAGES)), masks=None, index=0)
    meter = Meter(lambda done, total, phase: None)
    start = unit_noise(chunk.x, params.attack.norm.value, params.seed, chunk.numbers)
    measured.measure(chunk, start, meter)
    return conclude(measured, Samples(chunk, chunk, trained.pool), meter)


def verdict_of(figures: ModelFigures) -> Verdict:
    assert figures.verdict is not None
    return figures.verdict


def lit(verdict: Verdict, light: Light) -> set[str]:
    return {check.id for check in verdict.checks if check.light is light}


def robust(figures: ModelFigures) -> Accuracy:
    assert figures.robust is not None
    return figures.robust


@pytest.fixture(scope="module")
def honest(trained: Trained) -> ModelFigures:
    return evaluated(trained, trained.student)


def test_an_honest_model_is_not_red(honest: ModelFigures) -> None:
    verdict = verdict_of(honest)
    assert lit(verdict, Light.RED) == set()
    assert verdict.light is Light.AMBER  # without AutoAttack there is no green
    assert "autoattack_gap" in lit(verdict, Light.AMBER)
    assert 0.2 < robust(honest).value < honest.clean.value - 0.1


@pytest.mark.parametrize("control", [InputQuantised, ScaledLogits])
def test_a_control_is_red_for_more_than_one_reason(
    trained: Trained, honest: ModelFigures, control: type[InputQuantised | ScaledLogits]
) -> None:
    figures = evaluated(trained, control(trained.student))
    # The attack fails: the figure looks better than the same model's without the fault.
    assert robust(figures).value > robust(honest).value + 0.1
    verdict = verdict_of(figures)
    assert verdict.light is Light.RED
    assert {"zero_gradients", "unbounded", "square", "transfer"} <= lit(verdict, Light.RED)
    assert verdict.sentence.startswith("Do not quote")


def test_the_margin_sees_through_scaled_logits_but_not_through_rounding(trained: Trained) -> None:
    scaled = evaluated(trained, ScaledLogits(trained.student), Method.CW)
    honest = evaluated(trained, trained.student, Method.CW)
    assert robust(scaled).correct == robust(honest).correct
    assert lit(verdict_of(scaled), Light.RED) == set()
    rounded = evaluated(trained, InputQuantised(trained.student), Method.CW)
    assert {"zero_gradients", "unbounded", "square"} <= lit(verdict_of(rounded), Light.RED)
