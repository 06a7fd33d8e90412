"""The evaluation job: loads models and images, measures chunk by chunk, reports, and may end early.

Robust accuracy counts an image as long as the model still says its true class: whatever an attack
aims at, any other answer is an error. So targeted and untargeted attacks are comparable, and the
images that a targeted attack cannot aim at, those of the target class, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from app.contracts.access import Need
from app.contracts.classes import places
from app.contracts.events import MetricsEvent
from app.contracts.params import EvaluateParams, Goal, Recipe
from app.contracts.results import Accuracy, EvaluationResult, Mapped, ModelFigures, Pace
from app.contracts.words import counted, percent, with_interval
from app.errors import JobError
from app.store import catalogue
from app.store.files import atomic_write
from app.store.tables import ModelRow
from worker import registry
from worker.attacks import Model
from worker.data import Dataset
from worker.data.augment import to_float
from worker.data.splits import Split
from worker.endpoint import Reach
from worker.evaluation.arguments import norm_of, unit_noise
from worker.evaluation.attacks import passes_of
from worker.evaluation.conclusion import PROBE_IMAGES, Samples, conclude, passes
from worker.evaluation.embedding import VIEW_IMAGES
from worker.evaluation.measurement import Measurement, SoFar
from worker.evaluation.progress import Meter
from worker.evaluation.target import Chunk, Source, TargetModel
from worker.jobs.attacking import FORWARD, Watch
from worker.jobs.bookmark import Bookmark
from worker.jobs.context import JobContext, Outcome
from worker.models import AnyModel, BlackBox, BudgetSpentError, Classifier

_ASK_LESS = "Take fewer test images, queries or budgets ε, or import it again with a larger budget."
_LONGEST = 2000
"""Characters of a line of the log."""
_NAMED = 20
"""Classes that are told by name."""


def run(context: JobContext, params: EvaluateParams) -> Outcome:
    """Measure every model on the same test images, each from the same random starts.

    Raises JobError, Cancelled, Interrupted.
    """
    row, dataset = registry.dataset(context.lab.database, context.lab.files, params.dataset)
    _check_room(context, params, dataset.image_size)
    test = _test_images(dataset, params)
    count = min(params.images, len(test))
    meter = Meter(context.progress)
    keep = test.drawn(seed=params.seed)[: min(count, params.keep_adversarial)].tolist()
    shelf = _Shelf(context, dataset, Watch(meter))
    measured = _measurements(shelf, params, dataset.class_names, keep)
    expected = [count * sum(m.costs.values()) + passes(params, count) for m in measured]
    meter.expect(sum(expected))
    context.log(f"{count:,} test images of “{row.name}”.")
    for each, cost in zip(measured, expected, strict=True):
        _check_budget(context, each, math.ceil(cost / FORWARD))
    bookmark = Bookmark(context, measured, meter)
    with bookmark.kept(), _within_budget():
        chunks = _chunks(test, params, count, bookmark.chunk)
        done = _measure(context, params, measured, chunks, meter, bookmark)
        samples = _samples(dataset, test, params, done)
        for each in measured[len(bookmark.figures) :]:
            bookmark.mark_figures(_concluded(context, each, samples, meter))
    result = EvaluationResult(
        params=params,
        dataset=registry.lineage_of_dataset(row),
        images=done,
        classes=dataset.class_names,
        image_numbers=tuple(sorted(measured[0].record.numbers)),
        labels=tuple(measured[0].record["y"].tolist()),
        models=tuple(bookmark.figures),
        stopped_early=done < count,
        environment=registry.environment(bookmark.seconds),
        pace=Pace(passes=round(meter.made, 1), an_image=passes_of(params)),
    )
    if params.keep_adversarial:
        _keep(context, result, measured)
    meter.finish()
    files = context.lab.files
    return Outcome(
        result,
        files=[files.adversarial(context.claim.result_name)],
        scratch=[files.checkpoints(context.claim.job_id)],
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


def _measure(
    context: JobContext,
    params: EvaluateParams,
    measured: Sequence[Measurement],
    chunks: Iterable[Chunk],
    meter: Meter,
    bookmark: Bookmark,
) -> int:
    """Chunk by chunk, every model; returns how many images it took."""
    for chunk in chunks:
        start = unit_noise(chunk.x, norm_of(params.attack), params.seed, chunk.numbers)
        for number, each in enumerate(measured):
            if not bookmark.is_past(chunk.index, number):
                # Of the first images, before the others have had their turn.
                tell = partial(_tell, context, each) if chunk.index == 0 else None
                after = partial(bookmark.mark, chunk.index, number)
                kept = bookmark.work(chunk.index, number)
                each.measure(chunk, start, meter, tell, after, kept)
        _report(context, measured, len(measured[0].record))
        if _narrow_enough(params, measured):
            break
    return len(measured[0].record)


class _Shelf:
    """The lab's models, as far as they fit the dataset; each is loaded once, and watched."""

    def __init__(self, context: JobContext, dataset: Dataset, watch: Watch) -> None:
        self._database, self._files = context.lab.database, context.lab.files
        self._dataset, self._watch = dataset, watch
        self._reach = Reach(context.lab.settings, context.check)
        self._loaded: dict[str, AnyModel] = {}

    def row(self, model_id: str) -> ModelRow:
        """Raises JobError where it was deleted or does not fit."""
        row = registry.model_row(self._database, model_id)
        _check_fits(row, self._dataset)
        return row

    def teacher_of(self, row: ModelRow) -> ModelRow | None:
        """The model that it learned from, where that is in the lab and sees the same images."""
        lineage = row.card.get("teacher")
        if lineage is None:
            return None
        teacher = catalogue.model(self._database, lineage["id"])
        if teacher is None or teacher.sha256 != lineage["sha256"]:
            return None
        fits = places(self._dataset.class_names, teacher.card["classes"]) is not None
        return teacher if fits and teacher.card["image_size"] == self._dataset.image_size else None

    def model(self, row: ModelRow) -> AnyModel:
        """Raises JobError where its weights are missing or damaged."""
        if row.id not in self._loaded:
            model = registry.load(self._files, row, self._reach)
            order = places(self._dataset.class_names, row.card["classes"])
            assert order is not None
            if order != tuple(range(model.num_classes)):
                model.choose_outputs(order)
            self._loaded[row.id] = self._watch.over(model)
        return self._loaded[row.id]

    def white_box(self, row: ModelRow) -> Classifier:
        """Raises JobError where it is none."""
        model = self.model(row)
        if not isinstance(model, Classifier):
            raise registry.is_black_box(row)
        return model

    def mapped(self, row: ModelRow) -> Mapped | None:
        """How the model's outputs are taken where it is not one by one; None where it is."""
        theirs, ours = tuple(row.card["classes"]), self._dataset.class_names
        order = places(ours, theirs)
        if theirs == ours or order is None:
            return None
        left = [name for index, name in enumerate(theirs) if index not in set(order)]
        pairs = ((theirs[index], name) for index, name in zip(order, ours, strict=True))
        renamed = tuple(f"{a} for {b}" for a, b in pairs if a != b)
        return Mapped(
            outputs=len(theirs),
            left_out=tuple(left[:_NAMED]),
            renamed=renamed[:_NAMED],
        )

    def call(self, row: ModelRow) -> Model:
        """The same function, as attacks call it. Raises JobError."""
        return self._watch.copy_of(self.model(row))


def _measurements(
    shelf: _Shelf, params: EvaluateParams, classes: Sequence[str], keep: Sequence[int]
) -> list[Measurement]:
    wanted = params.sources if any(m.record.needs_source for m in params.further) else ()
    rows, others = ([shelf.row(i) for i in ids] for ids in (params.models, wanted))
    for row in rows:
        if params.needs - row.access.record.gives:
            raise registry.is_black_box(row)
    sources = [_source(shelf, row) for row in others]
    return [Measurement(_target_model(shelf, row), params, classes, sources, keep) for row in rows]


def _source(shelf: _Shelf, row: ModelRow) -> Source:
    shelf.white_box(row)
    return Source(registry.lineage_of_model(row), shelf.call(row))


def _target_model(shelf: _Shelf, row: ModelRow) -> TargetModel:
    teacher = shelf.teacher_of(row)
    return TargetModel(
        lineage=registry.lineage_of_model(row),
        model=shelf.model(row),
        call=shelf.call(row),
        recipe=_recipe_of(row),
        mapped=shelf.mapped(row),
        kept=None if row.card.get("origin") == "imported" else row.card.get("kept", "best"),
        teacher=None if teacher is None else shelf.white_box(teacher),
        teacher_lineage=None if teacher is None else registry.lineage_of_model(teacher),
        teacher_recipe=None if teacher is None else _recipe_of(teacher),
    )


def _recipe_of(row: ModelRow) -> Recipe | None:
    """How the model was trained; None for imported weights."""
    params = row.card.get("params")
    return None if params is None else Recipe(params["recipe"])


def _check_fits(row: ModelRow, dataset: Dataset) -> None:
    """The lab may have changed since the job was submitted."""
    if places(dataset.class_names, row.card["classes"]) is None:
        raise JobError(
            f"The model “{row.name}” does not know all classes of the dataset.",
            hint="Choose models that were trained on these classes, or on more.",
        )
    if Need.SCORES not in row.access.record.gives and dataset.num_classes < len(
        row.card["classes"]
    ):
        raise JobError(
            f"“{row.name}” answers with labels, also of classes that the dataset has not.",
            hint="Choose a dataset of all its classes.",
        )
    if row.card["image_size"] != dataset.image_size:
        raise JobError(
            f"The model “{row.name}” was trained on images of {row.card['image_size']} pixels, "
            f"the dataset's have {dataset.image_size}.",
            hint="Import the dataset at the model's image size.",
        )


def _test_images(dataset: Dataset, params: EvaluateParams) -> Split:
    """All that may be drawn from: not those that already are of the class to reach."""
    test = dataset.split("test")
    if params.attack.goal is not Goal.CLASS:
        return test
    target = params.attack.target_class
    if target not in dataset.class_names:
        raise JobError(
            "The target class is not a class of the dataset.",
            hint=f"One of: {', '.join(dataset.class_names[:20])}.",
        )
    others = test.indices[test.labels != dataset.class_names.index(target)]
    return test.only(others)


def _chunks(test: Split, params: EvaluateParams, count: int, first: int) -> Iterator[Chunk]:
    """The drawn images, batch by batch, from the `first` batch on.

    They come in the order of the draw, so what is measured after any chunk is the balanced sample
    that a run of so many images would have drawn. Only the chunk is in memory.
    """
    drawn, size = test.drawn(seed=params.seed)[:count], params.batch_size
    for index, start in list(enumerate(range(0, count, size)))[first:]:
        yield _chunk(test.only(drawn[start : start + size]), index)


def _chunk(part: Split, index: int) -> Chunk:
    device, masks = registry.device(), part.masks
    pixels = torch.from_numpy(part.images).to(device)  # (B, H, W, 3)
    return Chunk(
        x=to_float(pixels.permute(0, 3, 1, 2)),
        y=torch.from_numpy(part.labels).to(device),
        numbers=tuple(part.indices.tolist()),
        masks=None if masks is None else torch.from_numpy(masks).to(device),
        index=index,
    )


def _tell(context: JobContext, measured: Measurement, known: SoFar) -> None:
    """What an attack left of the first images."""
    target = measured.target_model
    left = f" Preliminary: {counted(known.attacks_left, 'attack')} left." * bool(known.attacks_left)
    context.log(
        f"“{target.name}”, first {counted(known.images, 'image')}: {known.stage} done, "
        f"{with_interval(known.robust)} still right.{left}"
    )
    values = _estimate(target.lineage.id, known.clean, known.robust, known.attacks_left)
    context.report(MetricsEvent(series="estimate", step=known.images, values=values))


def _report(context: JobContext, measured: Sequence[Measurement], images: int) -> None:
    """What is known after so many images."""
    values: dict[str, float] = {}
    for each in measured:
        values |= _estimate(each.target_model.lineage.id, each.clean(), each.robust(), 0)
    context.report(MetricsEvent(series="estimate", step=images, values=values))
    shown = "; ".join(
        f"“{each.target_model.name}” {with_interval(each.robust())}" for each in measured
    )
    context.log(f"Robust after {counted(images, 'image')}: {shown}."[:_LONGEST])


def _estimate(model: str, clean: Accuracy, robust: Accuracy, attacks_left: int) -> dict[str, float]:
    return {
        f"{model}:clean": clean.value,
        f"{model}:robust": robust.value,
        f"{model}:low": robust.low,
        f"{model}:high": robust.high,
        f"{model}:attacks_left": attacks_left,
    }


def _narrow_enough(params: EvaluateParams, measured: Sequence[Measurement]) -> bool:
    """Whether every model's band is as narrow as was asked for."""
    if params.stop_half_width is None:
        return False
    bands = [each.robust() for each in measured]
    return all(50 * (band.high - band.low) <= params.stop_half_width for band in bands)


def _samples(dataset: Dataset, test: Split, params: EvaluateParams, measured: int) -> Samples:
    """Of the images that were measured: samples of one seed are nested."""
    few = test.sample(min(PROBE_IMAGES, measured), seed=params.seed)
    some = test.sample(min(VIEW_IMAGES, measured), seed=params.seed)
    # Backward examples start from training images; of a dataset for evaluation, from its own.
    pool = dataset.split("train" if dataset.info.train_counts[0] else "test")
    return Samples(_chunk(few, 0), _chunk(some, 0), pool)


def _concluded(
    context: JobContext, measured: Measurement, samples: Samples, meter: Meter
) -> ModelFigures:
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
