"""What an evaluation measures on, as every worker sees it that takes part in it."""

from __future__ import annotations

import torch

from app.contracts.access import Held, Need
from app.contracts.classes import places
from app.contracts.events import MetricsEvent
from app.contracts.params import EvaluateParams, Goal, Recipe
from app.contracts.results import Accuracy, Mapped
from app.contracts.words import counted, with_interval
from app.errors import JobError
from app.store import catalogue
from app.store.tables import ModelRow
from worker import registry
from worker.attacks import Model
from worker.data import Dataset
from worker.data.augment import to_float
from worker.data.splits import Split
from worker.endpoint import Reach
from worker.evaluation.measurement import Measurement, SoFar
from worker.evaluation.progress import Meter
from worker.evaluation.target import Chunk, Source, TargetModel
from worker.jobs.attacking import Watch
from worker.jobs.context import JobContext
from worker.models import AnyModel, Classifier

_NAMED = 20
"""Classes that are told by name."""


class Ground:
    """The images and models of an evaluation, and how they are divided.

    A part is a batch before one model; parts are numbered from 0, batch by batch. Batches come in
    the order of the draw, so what is measured after any of them is the balanced sample that a run
    of so many images would have drawn.
    """

    def __init__(self, context: JobContext, params: EvaluateParams) -> None:
        """Raises JobError where the lab has changed since the evaluation was submitted."""
        self.params = params
        lab = context.lab
        self.row, self.dataset = registry.dataset(lab.database, lab.files, params.dataset)
        self.test = _test_images(self.dataset, params)
        self.count = min(params.images, len(self.test))
        self._drawn = self.test.drawn(seed=params.seed)[: self.count]
        self.watch = Watch(Meter(context.progress))
        self._shelf = _Shelf(context, self.dataset, self.watch)
        self._targets: dict[str, tuple[TargetModel, list[Source]]] = {}
        """By the model's id; as attacks call it, a network is prepared once for all parts."""

    @property
    def parts(self) -> int:
        """How many there are."""
        batches = -(-self.count // self.params.batch_size)
        return batches * len(self.params.models)

    @property
    def shared(self) -> bool:
        """Whether workers may take parts that have not the job: not where questions go to an
        address, which has a pace and a budget."""
        rows = map(self._shelf.row, (*self.params.models, *self.params.sources))
        return all(row.held is not Held.ADDRESS for row in rows)

    def model_of(self, part: int) -> int:
        """The place of a part's model among those of the evaluation."""
        return part % len(self.params.models)

    def chunk(self, part: int) -> Chunk:
        """A part's images."""
        index, size = part // len(self.params.models), self.params.batch_size
        rows = self._drawn[index * size : (index + 1) * size]
        return chunk_of(self.test.only(rows), index)

    def measurement(self, model: int) -> Measurement:
        """Of a model by its place, before its first chunk. Raises JobError."""
        params, wanted = self.params, self.params.models[model]
        if wanted not in self._targets:
            self._targets[wanted] = self._target(wanted)
        target, sources = self._targets[wanted]
        keep = self._drawn[: params.keep_adversarial].tolist()
        return Measurement(target, params, self.dataset.class_names, sources, keep)

    def _target(self, model_id: str) -> tuple[TargetModel, list[Source]]:
        """A model, and those that transfer attacks in its place."""
        params, row = self.params, self._shelf.row(model_id)
        wanted = params.sources if any(m.record.needs_source for m in params.further) else ()
        others = map(self._shelf.row, wanted)
        if params.needs - row.access.record.gives:
            raise registry.gives_too_little(row)
        sources = [_source(self._shelf, other) for other in others]
        return _target_model(self._shelf, row), sources

    def passes(self, measured: Measurement, images: int) -> float:
        """What so many images take at most, in passes forward and backward."""
        return images * sum(measured.costs.values())


class _Shelf:
    """The lab's models, as far as they fit the dataset; each is loaded once, and watched."""

    def __init__(self, context: JobContext, dataset: Dataset, watch: Watch) -> None:
        self._database, self._files = context.lab.database, context.lab.files
        self._dataset, self._watch = dataset, watch
        self._reach = Reach(context.lab.settings, context.check)
        self._loaded: dict[str, AnyModel] = {}
        self._calls: dict[str, Model] = {}

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
            raise registry.gives_too_little(row)
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
        if row.id not in self._calls:
            self._calls[row.id] = self._watch.copy_of(self.model(row))
        return self._calls[row.id]


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


def chunk_of(part: Split, index: int) -> Chunk:
    device, masks = registry.device(), part.masks
    pixels = torch.from_numpy(part.images).to(device)  # (B, H, W, 3)
    return Chunk(
        x=to_float(pixels.permute(0, 3, 1, 2)),
        y=torch.from_numpy(part.labels).to(device),
        numbers=tuple(part.indices.tolist()),
        masks=None if masks is None else torch.from_numpy(masks).to(device),
        index=index,
    )


def tell(context: JobContext, measured: Measurement, known: SoFar) -> None:
    """What an attack left of the first images."""
    target = measured.target_model
    left = f" Preliminary: {counted(known.attacks_left, 'attack')} left." * bool(known.attacks_left)
    context.log(
        f"“{target.name}”, first {counted(known.images, 'image')}: {known.stage} done, "
        f"{with_interval(known.robust)} still right.{left}"
    )
    values = estimate(target.lineage.id, known.clean, known.robust, known.attacks_left)
    context.report(MetricsEvent(series="estimate", step=known.images, values=values))


def estimate(model: str, clean: Accuracy, robust: Accuracy, attacks_left: int) -> dict[str, float]:
    return {
        f"{model}:clean": clean.value,
        f"{model}:robust": robust.value,
        f"{model}:low": robust.low,
        f"{model}:high": robust.high,
        f"{model}:attacks_left": attacks_left,
    }
