"""The evaluation job against a plain attack on every image at every budget, and what it refuses."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from app.contracts.events import MetricsEvent, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Attack, EvaluateParams, Goal, Method, Norm
from app.contracts.results import Accuracy, EvaluationResult, ModelFigures
from app.store import catalogue, jobs
from tests.jobs.measured import Measured, gradient, open_measured, random_model, register
from tests.jobs.runs import add_job, events_of, row_of, run
from worker.job_run import run_job
from worker.jobs.attacking import unit_noise, watched
from worker.jobs.context import Cancelled, JobContext
from worker.models import Classifier

LEVELS = (0.0, 0.25, 0.5, 1.0, 2.0)
STEP_COUNTS = (1, 2, 4, 6)
IMAGES = 150


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _params(measured: Measured, attack: Attack | None = None, **changes: Any) -> EvaluateParams:
    small = {
        "models": (measured.teacher, measured.student),
        "dataset": measured.dataset_id,
        "images": IMAGES,
        "attack": attack or Attack(steps=4),
        "epsilon": 1 / 255,
        "epsilons": tuple(level / 255 for level in LEVELS),
        "step_counts": STEP_COUNTS,
        "seed": 5,
    }
    return EvaluateParams.model_validate(small | changes)


def _evaluate(measured: Measured, params: EvaluateParams) -> EvaluationResult:
    row = run(measured.lab, JobKind.EVALUATE, params)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    return EvaluationResult.model_validate_json(measured.lab.files.result(row.id).read_bytes())


def _counts(curves: ModelFigures) -> tuple[list[int], list[int]]:
    """Correct images at each budget, and after each number of steps."""
    return (
        [point.accuracy.correct for point in curves.against_epsilon],
        [point.accuracy.correct for point in curves.against_steps],
    )


class Naive:
    """Attacks every image at one budget on its own, step by step, with nothing reused."""

    def __init__(self, measured: Measured, params: EvaluateParams, model: Classifier) -> None:
        test = measured.dataset.split("test")
        if params.attack.goal is Goal.CLASS:
            target = measured.dataset.class_names.index(str(params.attack.target_class))
            test = replace(test, indices=np.flatnonzero(test.labels != target))
        sample = test.sample(min(params.images, len(test)), seed=params.seed)
        self.params, self.attack, self.model = params, params.attack, model
        self.x, self.y = sample.to("cpu").batch(torch.arange(len(sample)))
        self.noise = unit_noise(self.x, params.attack, params.seed, sample.indices.tolist())
        logits = model(self.x)
        self.right = logits.argmax(1) == self.y
        if params.attack.goal is Goal.UNTARGETED:
            self.aim, self.sign = self.y, 1.0
        elif params.attack.goal is Goal.MOST_CONFUSING:
            wrong_only = logits.clone()
            wrong_only[torch.arange(len(self.y)), self.y] = -torch.inf
            self.aim, self.sign = wrong_only.argmax(1), -1.0
        else:
            self.aim, self.sign = torch.full_like(self.y, target), -1.0

    def first_wrong(self, eps: float, steps: int) -> Tensor:
        """The step after which each image is first misclassified, (n,); steps + 1 for never."""
        fgsm = self.attack.method is Method.FGSM
        x_adv = self.x if fgsm else (self.x + eps * self.noise).clamp(0, 1)
        length = eps if fgsm else self.attack.relative_step * eps
        first = torch.full_like(self.y, steps + 1)
        for step in range(1, (1 if fgsm else steps) + 1):
            if step == 1:
                first[self._wrong(x_adv)] = 1
            x_adv = self._project(x_adv + self.sign * length * self._unit(x_adv), eps)
            first = torch.where(self._wrong(x_adv), first.clamp(max=step), first)
        return torch.where(self.right, first, 0)

    def _wrong(self, x: Tensor) -> Tensor:
        wrong: Tensor = self.model(x).argmax(1) != self.y
        return wrong

    def _unit(self, x_adv: Tensor) -> Tensor:
        ascent = gradient(self.model, x_adv, self.aim)
        if self.attack.norm is Norm.LINF:
            return ascent.sign()
        length: Tensor = ascent.flatten(1).norm(dim=1)[:, None, None, None]
        return ascent / length

    def _project(self, moved: Tensor, eps: float) -> Tensor:
        delta = moved - self.x
        if self.attack.norm is Norm.LINF:
            delta = delta.clamp(-eps, eps)
        else:
            length = delta.flatten(1).norm(dim=1)[:, None, None, None]
            delta = delta * (eps / length).clamp(max=1)
        return (self.x + delta).clamp(0, 1)

    def epsilon_curve(self) -> list[int]:
        """Images that stand at a budget and at all smaller ones."""
        stands, correct = self.right, []
        for eps in self.params.epsilons:
            if eps > 0:
                stands = stands & (self.first_wrong(eps, self.attack.steps) > self.attack.steps)
            correct.append(int(stands.sum()))
        return correct

    def steps_curve(self) -> list[int]:
        counts = self.params.step_counts if self.attack.method is Method.PGD else ()
        first = self.first_wrong(self.params.epsilon, max(counts, default=1))
        return [int((first > count).sum()) for count in counts]


@pytest.mark.parametrize(
    ("attack", "changes"),
    [
        (Attack(steps=4), {}),
        (Attack(steps=4), {"epsilon": 0.7 / 255}),  # no point of the curve: nothing to share
        (Attack(steps=8), {}),  # longer than the run of the steps curve
        (Attack(steps=4, goal=Goal.MOST_CONFUSING), {}),
        (Attack(steps=4, goal=Goal.CLASS, target_class="cat"), {"images": 140}),
        (Attack(method=Method.FGSM), {}),
        (Attack(method=Method.FGSM, goal=Goal.MOST_CONFUSING), {}),
        (
            Attack(steps=4, norm=Norm.L2),
            {"epsilon": 0.1, "epsilons": (0.0, 0.05, 0.1, 0.15, 0.3)},
        ),
    ],
    ids=["pgd", "unshared", "long", "confusing", "class", "fgsm", "fgsm-confusing", "l2"],
)
def test_reuse_changes_no_figure(
    measured: Measured, attack: Attack, changes: dict[str, Any]
) -> None:
    params = _params(measured, attack, models=(measured.teacher,), **changes)
    (curves,) = _evaluate(measured, params).models
    naive = Naive(measured, params, measured.model(measured.teacher))
    if attack.method is Method.FGSM:
        naive.attack = attack.model_copy(update={"steps": 1})
    at_epsilons, at_steps = _counts(curves)
    assert at_epsilons == naive.epsilon_curve()
    assert at_steps == naive.steps_curve()
    assert curves.clean.correct == int(naive.right.sum()) == at_epsilons[0]
    assert len(set(at_epsilons)) > 2  # the curve falls on the way


def test_every_point_says_n_and_its_interval(measured: Measured) -> None:
    params = _params(measured)
    result = _evaluate(measured, params)
    assert result.images == IMAGES
    assert result.params == params
    assert result.dataset.sha256 == measured.dataset.checksum
    assert [curves.model for curves in result.models] == list(params.models)
    for curves in result.models:
        row = catalogue.model(measured.lab.database, curves.model)
        assert row is not None
        assert (curves.name, curves.sha256) == (row.name, row.sha256)
        assert [point.x for point in curves.against_epsilon] == list(params.epsilons)
        assert [point.x for point in curves.against_steps] == list(params.step_counts)
        for point in (*curves.against_epsilon, *curves.against_steps):
            assert point.accuracy == Accuracy.of(point.accuracy.correct, IMAGES)
        for counts in _counts(curves):
            assert counts == sorted(counts, reverse=True)


def test_figures_depend_on_neither_company_nor_batch_size(measured: Measured) -> None:
    together = _evaluate(measured, _params(measured)).models
    again = _evaluate(measured, _params(measured)).models
    alone = _evaluate(measured, _params(measured, models=(measured.student,), batch_size=16)).models
    assert again == together
    assert _counts(alone[0]) == _counts(together[1])


def test_equal_models_get_equal_figures(measured: Measured) -> None:
    """The same images and the same starts, though one model comes after the other."""
    twin = register(
        measured.lab, measured.model(measured.teacher), measured.dataset.class_names, name="Twin"
    )
    first, _, second = _evaluate(
        measured, _params(measured, models=(measured.teacher, measured.student, twin))
    ).models
    assert _counts(first) == _counts(second)


def test_the_seed_chooses_the_images(measured: Measured) -> None:
    found = {
        seed: _evaluate(
            measured, _params(measured, seed=seed, epsilons=(0.0,), step_counts=(), images=60)
        ).models[0].clean.correct
        for seed in range(4)
    }  # fmt: skip
    assert len(set(found.values())) > 1


def test_images_of_the_target_class_are_left_out(measured: Measured) -> None:
    attack = Attack(goal=Goal.CLASS, target_class="cat")
    clean_only = {"epsilons": (0.0,), "step_counts": (), "images": 1000}
    result = _evaluate(measured, _params(measured, attack, **clean_only))
    test = measured.dataset.split("test")
    others = test.labels != measured.dataset.class_names.index("cat")
    assert result.images == int(others.sum()) == 450
    x, y = test.to("cpu").batch(torch.from_numpy(np.flatnonzero(others)))
    for curves in result.models:
        right = int((measured.model(curves.model)(x).argmax(1) == y).sum())
        assert curves.clean == Accuracy.of(right, 450)


def test_points_are_reported_as_they_are_found(measured: Measured) -> None:
    params = _params(measured)
    row = run(measured.lab, JobKind.EVALUATE, params)
    result = EvaluationResult.model_validate_json(measured.lab.files.result(row.id).read_bytes())
    events = events_of(measured.lab, row.id)
    points = {
        (name, event.step): value
        for event in events
        if isinstance(event, MetricsEvent) and event.series == "curve"
        for name, value in event.values.items()
    }
    expected = {}
    for curves in result.models:
        for index, point in enumerate(curves.against_epsilon):
            expected[f"{curves.model}:epsilon", index] = point.accuracy.value
        for point in curves.against_steps:
            expected[f"{curves.model}:steps", int(point.x)] = point.accuracy.value
    assert points == expected
    progress = [event for event in events if isinstance(event, ProgressEvent)]
    assert progress[-1].done == progress[-1].total == 2 * IMAGES * 6  # clean, 4 budgets, steps
    assert [event.done for event in progress] == sorted(event.done for event in progress)


def test_a_cancelled_evaluation_leaves_nothing(tmp_path: Path) -> None:
    measured = open_measured(tmp_path)

    def cancel_at_first_point(job_id: str) -> None:
        if any(isinstance(event, MetricsEvent) for event in events_of(measured.lab, job_id)):
            jobs.request_cancel(measured.lab.database, job_id)

    lab = replace(measured.lab, ring=cancel_at_first_point)
    row = run(lab, JobKind.EVALUATE, _params(measured))
    assert row.status == JobStatus.CANCELLED
    assert row.result_file is None
    assert not any(lab.files.result(row.id).parent.iterdir())
    last = [e for e in events_of(lab, row.id) if isinstance(e, ProgressEvent)][-1]
    assert last.done < last.total


def test_a_stopping_worker_gives_the_evaluation_back(measured: Measured) -> None:
    row = run(measured.lab, JobKind.EVALUATE, _params(measured), stopping=lambda: True)
    assert (row.status, row.attempt) == (JobStatus.QUEUED, 0)
    run_job(measured.lab, row.id, stopping=lambda: False)
    assert row_of(measured.lab, row.id).status == JobStatus.SUCCEEDED


def test_a_cancel_is_noticed_between_two_steps(measured: Measured) -> None:
    job_id = add_job(measured.lab, JobKind.EVALUATE, _params(measured))
    claim = jobs.claim(measured.lab.database, job_id, lease_s=60)
    assert claim is not None
    calls = []

    def slow(x: Tensor) -> Tensor:
        calls.append(x)
        jobs.request_cancel(measured.lab.database, job_id)
        time.sleep(0.3)
        return x

    model = watched(JobContext(measured.lab, claim, lambda: False), slow)
    x = torch.zeros(1)
    assert model(x) is x
    with pytest.raises(Cancelled):
        model(x)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("classes", "image_size", "detail"),
    [
        (("a", "b", "c"), 32, "other classes"),
        (None, 64, "images of 64 pixels, the dataset's have 32"),
    ],
)
def test_refuses_a_model_that_does_not_fit(
    measured: Measured, classes: tuple[str, ...] | None, image_size: int, detail: str
) -> None:
    names = classes or measured.dataset.class_names
    model = register(measured.lab, random_model(len(names)), names, image_size=image_size)
    row = run(measured.lab, JobKind.EVALUATE, _params(measured, models=(measured.teacher, model)))
    assert row.status == JobStatus.FAILED
    assert row.failure is not None
    assert detail in row.failure["detail"]
    assert row.failure["hint"]
    # Before anything is measured.
    assert not [e for e in events_of(measured.lab, row.id) if isinstance(e, ProgressEvent)]


def test_says_that_a_model_was_deleted(measured: Measured) -> None:
    model = register(measured.lab, random_model(10), measured.dataset.class_names)
    catalogue.set_model_deleted(measured.lab.database, model, deleted=True)
    row = run(measured.lab, JobKind.EVALUATE, _params(measured, models=(model,)))
    assert row.status == JobStatus.FAILED
    assert row.failure is not None
    assert "deleted" in row.failure["detail"]


@pytest.mark.parametrize("norm", list(Norm))
def test_starts_belong_to_the_image(norm: Norm) -> None:
    attack = Attack(norm=norm)
    like = torch.zeros(3, 3, 32, 32)
    noise = unit_noise(like, attack, 7, [4, 9, 1])
    assert torch.equal(noise[1:2], unit_noise(like[:1], attack, 7, [9]))
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise, unit_noise(like, attack, 8, [4, 9, 1]))
    flat = noise.flatten(1)
    if norm is Norm.LINF:
        assert flat.abs().max() <= 1
        assert flat.mean().abs() < 0.03  # uniform in [-1, 1]: standard error 0.006
        assert abs(flat.var().item() - 1 / 3) < 0.02
    else:
        assert (flat.norm(dim=1) <= 1 + 1e-6).all()
        assert (flat.norm(dim=1) > 0.99).all()  # u^(1/3072) is near 1
