"""The evaluation job: measures part by part, with whichever workers are free, reports, and may end
early.

Robust accuracy counts an image as long as the model still says its true class: whatever an attack
aims at, any other answer is an error. So targeted and untargeted attacks are comparable, and the
images that a targeted attack cannot aim at, those of the target class, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from app.contracts.events import MetricsEvent
from app.contracts.params import EvaluateParams
from app.contracts.results import EvaluationResult, ModelFigures, Pace
from app.contracts.words import counted, percent, with_interval
from app.errors import JobError
from app.store.files import atomic_write
from worker import registry
from worker.evaluation.attacks import passes_of
from worker.evaluation.conclusion import PROBE_IMAGES, Samples, conclude, passes
from worker.evaluation.embedding import VIEW_IMAGES
from worker.evaluation.measurement import Measurement
from worker.evaluation.progress import Meter
from worker.jobs.attacking import FORWARD
from worker.jobs.concluded import Concluded
from worker.jobs.context import JobContext, Outcome
from worker.jobs.gathering import Gathering
from worker.jobs.ground import Ground, chunk_of, estimate
from worker.models import BlackBox, BudgetSpentError

_ASK_LESS = "Take fewer test images, queries or budgets ε, or import it again with a larger budget."
_LONGEST = 2000
"""Characters of a line of the log."""


def run(context: JobContext, params: EvaluateParams) -> Outcome:
    """Measure every model on the same test images, each from the same random starts.

    Raises JobError, Cancelled, Interrupted.
    """
    ground = Ground(context, params)
    _check_room(context, params, ground.dataset.image_size)
    measured = [ground.measurement(model) for model in range(len(params.models))]
    count, beside = ground.count, passes(params, ground.count)
    expected = [ground.passes(each, count) + beside for each in measured]
    context.log(f"{count:,} test images of “{ground.row.name}”.")
    for each, cost in zip(measured, expected, strict=True):
        _check_budget(context, each, math.ceil(cost / FORWARD))
    with _within_budget():
        gathering = Gathering(context, ground, measured, sum(expected))
        for images in gathering.batches():
            _report(context, measured, images)
            if _narrow_enough(params, measured):
                break
        done = len(measured[0].record)
        meter = gathering.rest()
        ground.watch.meter = meter
        concluded = Concluded(context, gathering.facts, meter)
        with concluded.kept():
            samples = _samples(ground, done)
            for each in measured[len(concluded.figures) :]:
                concluded.add(_concluded(context, each, samples, meter))
    result = EvaluationResult(
        params=params,
        dataset=registry.lineage_of_dataset(ground.row),
        images=done,
        classes=ground.dataset.class_names,
        image_numbers=tuple(sorted(measured[0].record.numbers)),
        labels=tuple(measured[0].record["y"].tolist()),
        models=tuple(concluded.figures),
        stopped_early=done < count,
        environment=registry.environment(gathering.seconds + concluded.seconds),
        pace=Pace(passes=round(meter.made, 1), an_image=passes_of(params)),
    )
    if params.keep_adversarial:
        _keep(context, result, measured)
    meter.finish()
    files = context.lab.files
    return Outcome(
        result,
        files=[files.adversarial(context.claim.result_name)],
        scratch=files.all_checkpoints(context.claim.job_id),
    )


def _check_room(context: JobContext, params: EvaluateParams, side: int) -> None:
    """Raises JobError where the images to keep are more than the lab allows."""
    limit = context.lab.settings.max_kept_mb
    if params.kept_bytes(side) > limit * 2**20:
        raise JobError(
            f"The adversarial images to keep would take more than {limit:,} MB.",
            hint="Keep fewer, or raise LAB_MAX_KEPT_MB.",
        )


def _check_budget(context: JobContext, measured: Measurement, most: int) -> None:
    """Raises JobError where a model could be asked about more images than it may be."""
    target = measured.target_model
    budget = target.model.budget if isinstance(target.model, BlackBox) else None
    if budget is None:
        return
    if most > budget:
        raise JobError(
            f"“{target.name}” could be asked about {most:,} images, and may be about {budget:,}.",
            hint=_ASK_LESS,
        )
    context.log(f"“{target.name}” is asked about {most:,} images at most, of {budget:,}.")


@contextmanager
def _within_budget() -> Iterator[None]:
    """Raises JobError where a model was asked more often than anybody could foresee."""
    try:
        yield
    except BudgetSpentError:
        raise JobError(
            "The model was asked about as many images as it may be.",
            hint=_ASK_LESS,
        ) from None


def _keep(context: JobContext, result: EvaluationResult, measured: Sequence[Measurement]) -> None:
    """Write the adversarial images of every model, with what they are of."""
    params, folder = result.params, context.lab.files.adversarial(context.claim.result_name)
    folder.mkdir(exist_ok=True)
    for figures, each in zip(result.models, measured, strict=True):
        arrays = each.kept.arrays()
        about: dict[str, Any] = {
            "attacks": [row.method.value for row in figures.attacks],
            "classes": result.classes,
            "norm": params.attack.norm.value,
            "epsilon": params.epsilon,
            "model_sha256": figures.sha256,
            "dataset_sha256": result.dataset.sha256,
        }
        with atomic_write(folder / f"{figures.model}.npz") as stream:
            np.savez(stream, allow_pickle=False, **arrays, **about)
        context.log(
            f"Kept {counted(len(arrays['number']), 'adversarial image')} of “{figures.name}”."
        )


def _report(context: JobContext, measured: Sequence[Measurement], images: int) -> None:
    """What is known after so many images."""
    values: dict[str, float] = {}
    for each in measured:
        values |= estimate(each.target_model.lineage.id, each.clean(), each.robust(), 0)
    context.report(MetricsEvent(series="estimate", step=images, values=values))
    shown = "; ".join(
        f"“{each.target_model.name}” {with_interval(each.robust())}" for each in measured
    )
    context.log(f"Robust after {counted(images, 'image')}: {shown}."[:_LONGEST])


def _narrow_enough(params: EvaluateParams, measured: Sequence[Measurement]) -> bool:
    """Whether every model's band is as narrow as was asked for."""
    if params.stop_half_width is None:
        return False
    bands = [each.robust() for each in measured]
    return all(50 * (band.high - band.low) <= params.stop_half_width for band in bands)


def _samples(ground: Ground, measured: int) -> Samples:
    """Of the images that were measured: samples of one seed are nested."""
    dataset, test, params = ground.dataset, ground.test, ground.params
    few = test.sample(min(PROBE_IMAGES, measured), seed=params.seed)
    some = test.sample(min(VIEW_IMAGES, measured), seed=params.seed)
    # Backward examples start from training images; of a dataset for evaluation, from its own.
    pool = dataset.split("train" if dataset.info.train_counts[0] else "test")
    return Samples(chunk_of(few, 0), chunk_of(some, 0), pool)


def _concluded(
    context: JobContext, measured: Measurement, samples: Samples, meter: Meter
) -> ModelFigures:
    measured.asks_from_here()
    figures = conclude(measured, samples, meter)
    robust, verdict = measured.robust(), figures.verdict
    assert verdict is not None
    context.log(
        f"“{figures.name}”: {percent(figures.clean.value)} clean, {percent(robust.value)} robust; "
        f"verdict {verdict.light}."
    )
    if measured.params.attention and figures.attention is None:
        context.log(
            f"No attention of “{figures.name}”: no clean image was right, or the last feature map "
            "of it or of its reference has one position."
        )
    if measured.params.embedding and figures.embedding is None:
        context.log(f"No feature view of “{figures.name}”: its embeddings are not finite.")
    return figures
