"""The evaluation job: accuracy on test images against the budget and the steps of one attack.

Robust accuracy counts an image as long as the model still says its true class: whatever the attack
aims at, any other answer is an error. So targeted and untargeted attacks are comparable, and the
images that a targeted attack cannot aim at, those of the target class, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from app.contracts.events import MetricsEvent
from app.contracts.params import EvaluateParams, Goal, Method, Norm
from app.contracts.results import Accuracy, CurvePoint, EvaluationResult, ModelFigures
from app.contracts.units import format_255
from app.errors import JobError
from app.store.tables import ModelRow
from worker import registry
from worker.attacks import Model, Steps
from worker.attacks import walk as attack_by
from worker.data import Dataset, to_float
from worker.data.splits import Split
from worker.jobs.attacking import Walk, aim, unit_noise, walk_of, watched
from worker.jobs.context import JobContext, Outcome


@dataclass
class _Work:
    """What is measured, and how far the measurement is, in image-attacks."""

    context: JobContext
    params: EvaluateParams
    classes: tuple[str, ...]
    images: Split
    total: int
    done: int = 0
    phase: str = ""

    @property
    def n(self) -> int:
        return len(self.images)

    def batch(self, part: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """The images at `part` (B,): (B, 3, H, W) in [0, 1], channels last; their classes (B,).

        And their numbers within the test part. Only the batch is in memory.
        """
        rows, device = self.images.indices[part.numpy()], registry.device()
        pixels = torch.from_numpy(self.images.all_images[rows]).to(device)  # (B, H, W, 3)
        y = torch.from_numpy(self.images.all_labels[rows]).to(device)
        return to_float(pixels.permute(0, 3, 1, 2)), y, rows.tolist()

    def advance(self, images: int) -> None:
        self.done += images
        self.context.progress(self.done, self.total, self.phase)


@dataclass(frozen=True)
class _Subject:
    """One model under test. `aims` (n,): the class to leave, or if targeted to reach."""

    row: ModelRow
    model: Model
    correct: Tensor
    """(n,) bool: right on the clean image."""
    aims: Tensor


def run(context: JobContext, params: EvaluateParams) -> Outcome:
    """Measure every model on the same test images, each from the same random starts.

    Raises JobError, Cancelled, Interrupted.
    """
    lab = context.lab
    dataset_row, dataset = registry.dataset(lab.database, lab.files, params.dataset)
    rows = [registry.model_row(lab.database, model_id) for model_id in params.models]
    for row in rows:
        _check_fits(row, dataset)
    split = _test_images(dataset, params)
    points = 1 + sum(eps > 0 for eps in params.epsilons) + bool(_step_counts(params))
    work = _Work(
        context,
        params,
        dataset.class_names,
        split,
        total=len(split) * points * len(rows),
    )
    context.log(f"{work.n:,} test images of “{dataset_row.name}”.")
    curves = tuple(_measure(work, row) for row in rows)
    result = EvaluationResult(
        params=params,
        dataset=registry.lineage_of_dataset(dataset_row),
        images=work.n,
        models=curves,
        environment=registry.environment(context.seconds),
    )
    return Outcome(result)


def _check_fits(row: ModelRow, dataset: Dataset) -> None:
    """The lab may have changed since the job was submitted."""
    if tuple(row.card["classes"]) != dataset.class_names:
        raise JobError(
            f"The model “{row.name}” has other classes than the dataset.",
            hint="Choose models that were trained on the dataset's classes, in the same order.",
        )
    if row.card["image_size"] != dataset.image_size:
        raise JobError(
            f"The model “{row.name}” was trained on images of {row.card['image_size']} pixels, "
            f"the dataset's have {dataset.image_size}.",
            hint="Import the dataset at the model's image size.",
        )


def _test_images(dataset: Dataset, params: EvaluateParams) -> Split:
    test = dataset.split("test")
    if params.attack.goal is Goal.CLASS:
        target = params.attack.target_class
        if target not in dataset.class_names:
            raise JobError(
                "The target class is not a class of the dataset.",
                hint=f"One of: {', '.join(dataset.class_names[:20])}.",
            )
        others = test.indices[test.labels != dataset.class_names.index(target)]
        test = replace(test, indices=others)
    return test.sample(min(params.images, len(test)), seed=params.seed)


def _step_counts(params: EvaluateParams) -> tuple[int, ...]:
    return params.step_counts if params.attack.method is Method.PGD else ()


def _measure(work: _Work, row: ModelRow) -> ModelFigures:
    model = registry.load_model(work.context.lab.files, row)
    subject = _clean(work, row, watched(work.context, model))
    first_break = _against_steps(work, subject)
    against_steps = _steps_curve(work, subject, first_break)
    clean = Accuracy.of(int(subject.correct.sum()), work.n)
    against_epsilon = _epsilon_curve(work, subject, first_break)
    work.context.log(f"“{row.name}”: {_in_words(work.params, clean, against_epsilon)}.")
    return ModelFigures(
        model=row.id,
        name=row.name,
        sha256=row.sha256,
        clean=clean,
        against_epsilon=against_epsilon,
        against_steps=against_steps,
    )


def _clean(work: _Work, row: ModelRow, model: Model) -> _Subject:
    work.phase = f"{row.name}: clean images"
    correct, aims = [], []
    for part in _parts(work, torch.arange(work.n)):
        x, y, _ = work.batch(part)
        with torch.no_grad():
            logits = model(x)
        correct.append(logits.argmax(dim=1) == y)
        aims.append(aim(work.params.attack, work.classes, logits, y))
        work.advance(len(part))
    return _Subject(row, model, torch.cat(correct), torch.cat(aims))


def _against_steps(work: _Work, subject: _Subject) -> Tensor | None:
    """First breaking step of every image at the budget of the steps curve, (n,), in one run.

    0 where the clean image is misclassified already. None where no steps curve is asked for.
    """
    counts = _step_counts(work.params)
    if not counts:
        return None
    work.phase = f"{subject.row.name}: up to {counts[-1]} steps"
    walk = walk_of(work.params.attack)._replace(steps=counts[-1])
    return _first_break(work, subject, subject.correct, work.params.epsilon, walk)


def _steps_curve(
    work: _Work, subject: _Subject, first_break: Tensor | None
) -> tuple[CurvePoint, ...]:
    if first_break is None:
        return ()
    counts = _step_counts(work.params)
    points = tuple(
        CurvePoint(x=count, accuracy=Accuracy.of(int((first_break > count).sum()), work.n))
        for count in counts
    )
    name = f"{subject.row.id}:steps"
    work.context.report(
        *(
            MetricsEvent(series="curve", step=count, values={name: point.accuracy.value})
            for count, point in zip(counts, points, strict=True)
        )
    )
    return points


def _epsilon_curve(
    work: _Work, subject: _Subject, first_break: Tensor | None
) -> tuple[CurvePoint, ...]:
    """Budgets rise, and an image broken by one is broken by all larger ones: it lies in their ball.

    At the budget of the steps curve, that run has taken the very steps asked for here.
    """
    params, walk = work.params, walk_of(work.params.attack)
    standing = subject.correct
    points = []
    for index, eps in enumerate(params.epsilons):
        if eps > 0:
            work.phase = f"{subject.row.name}: ε = {_budget(params.attack.norm, eps)}"
            if eps == params.epsilon and first_break is not None and _reaches(params, walk):
                breaks = first_break
                work.advance(work.n)
            else:
                breaks = _first_break(work, subject, standing, eps, walk)
            standing = standing & (breaks > walk.steps)
        accuracy = Accuracy.of(int(standing.sum()), work.n)
        work.context.metrics("curve", index, {f"{subject.row.id}:epsilon": accuracy.value})
        points.append(CurvePoint(x=eps, accuracy=accuracy))
    return tuple(points)


def _reaches(params: EvaluateParams, walk: Walk) -> bool:
    """Whether the run of the steps curve is as long as the attack."""
    return _step_counts(params)[-1] >= walk.steps


def _first_break(
    work: _Work, subject: _Subject, standing: Tensor, eps: float, walk: Walk
) -> Tensor:
    """Attack the images that stand, (n,) bool; the step that first breaks each image, (n,).

    0 for images that did not stand before, walk.steps + 1 for those that still do.
    """
    attack, targeted = work.params.attack, work.params.attack.goal is not Goal.UNTARGETED
    breaks = torch.zeros(work.n, dtype=torch.int64, device=standing.device)
    which = standing.nonzero().squeeze(1).cpu()  # (M,)
    work.advance(work.n - len(which))
    for part in _parts(work, which):
        x, y, numbers = work.batch(part)
        noise = unit_noise(x, attack, work.params.seed, numbers) if walk.random_start else None
        found = attack_by(
            subject.model,
            x,
            y,
            how=Steps(attack.method.value, *walk),
            eps=eps,
            norm=attack.norm.value,
            noise=noise,
            target=subject.aims[part] if targeted else None,
        )
        breaks[part] = found.first_break
        work.advance(len(part))
    return breaks


def _parts(work: _Work, which: Tensor) -> Sequence[Tensor]:
    """Indices (M,) in batches; none where there are none."""
    return torch.split(which, work.params.batch_size) if len(which) else ()


def _budget(norm: Norm, eps: float) -> str:
    return format_255(eps) if norm is Norm.LINF else f"{eps:g}"


def _in_words(params: EvaluateParams, clean: Accuracy, points: Sequence[CurvePoint]) -> str:
    last = points[-1]
    budget = _budget(params.attack.norm, last.x)
    return f"clean {clean.value:.1%}, {last.accuracy.value:.1%} at ε = {budget}"
