"""Datasets: list, look, and sample images for the pages."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.contracts.changes import Changes
from app.contracts.classes import places
from app.contracts.listings import Shelf
from app.contracts.params import EvaluateParams
from app.contracts.results import DatasetReport, ModelCard
from app.contracts.views import DatasetView, Page
from app.errors import Conflict, NotFound
from app.services import changing, checks, jobs, ownership
from app.services.changing import utc_or_none
from app.services.lab import Lab
from app.store import catalogue, marks
from app.store.tables import DatasetRow

_Views = Page[DatasetView]
SAMPLES_PER_CLASS = 8
MOST_OFFERED = 100


def all_datasets(lab: Lab, *, deleted: bool = False, name: str | None = None) -> list[DatasetView]:
    """All datasets, newest first, or those in the bin; or the one of that name."""
    return _views(lab, catalogue.datasets(lab.database, deleted=deleted, name=name))


def page(
    lab: Lab, *, shelf: Shelf = Shelf.LIST, owner: str = "", page: int = 1, page_size: int = 25
) -> Page[DatasetView]:
    """Datasets on a shelf, newest first; all, or those of the account `owner`."""
    first = (page - 1) * page_size
    rows, total = catalogue.datasets_page(lab.database, shelf, owner, offset=first, limit=page_size)
    items = tuple(_views(lab, rows))
    return _Views(items=items, total=total, page=page, page_size=page_size)


def newest(lab: Lab) -> list[DatasetView]:
    """As many as a form can hold, newest first, without those in the archive."""
    return list(page(lab, page_size=MOST_OFFERED).items)


def search(lab: Lab, text: str, *, limit: int) -> list[DatasetView]:
    """Datasets, newest first, with `text` in their name or at the start of their id."""
    return _views(lab, catalogue.datasets_like(lab.database, text, limit=limit))


def by_id(lab: Lab, ids: Collection[str]) -> dict[str, DatasetView]:
    """The datasets among `ids`, in one query."""
    rows = catalogue.datasets_by_id(lab.database, ids)
    return {view.id: view for view in _views(lab, list(rows.values()))}


def names_like(lab: Lab, start: str) -> set[str]:
    """Names that begin so and are taken, also by datasets in the bin."""
    return catalogue.dataset_names_like(lab.database, start)


def binned(lab: Lab) -> int:
    """How many are in the bin."""
    return marks.in_bin(lab.database, DatasetRow)


def get(lab: Lab, dataset_id: str) -> DatasetView:
    """One dataset. Raises NotFound."""
    (view,) = _views(lab, [_row(lab, dataset_id)])
    return view


def _row(lab: Lab, dataset_id: str, *, deleted: bool = False) -> DatasetRow:
    row = catalogue.dataset(lab.database, dataset_id, deleted=deleted)
    if row is None:
        raise NotFound("There is no such dataset.", hint="See the datasets page.")
    return row


def change(lab: Lab, dataset_id: str, changes: Changes) -> DatasetView:
    """Change a dataset. Raises NotFound; InvalidInput where another one has the name, and Conflict
    where another one gets it at the same moment.
    """
    row = _row(lab, dataset_id)
    if changes.name is not None and changes.name != row.name:
        checks.check_name(lab, changes.name)
    changing.change(lab, DatasetRow, [dataset_id], changes)
    return get(lab, dataset_id)


def trained_on(lab: Lab, dataset_id: str) -> int:
    """How many models were trained on this dataset; without it they cannot be measured on it."""
    return catalogue.trained_on(lab.database, dataset_id)


def delete(lab: Lab, dataset_id: str) -> float:
    """Move a dataset into the bin; returns when. Raises NotFound; Conflict while a job needs it."""
    _row(lab, dataset_id)
    ownership.check(lab, DatasetRow, [dataset_id])
    job = jobs.using(lab, [dataset_id])
    if job is not None:
        raise Conflict(
            f"The unfinished job “{job.title}” needs this dataset.",
            hint="Cancel the job, or wait for its end.",
        )
    return marks.put_in_bin(lab.database, DatasetRow, [dataset_id])


def restore(lab: Lab, dataset_id: str) -> DatasetView:
    """Take a dataset out of the bin. Raises NotFound."""
    _row(lab, dataset_id, deleted=True)
    ownership.check(lab, DatasetRow, [dataset_id])
    marks.take_out_of_bin(lab.database, DatasetRow, [dataset_id])
    return get(lab, dataset_id)


def of_model(lab: Lab, card: ModelCard) -> DatasetView | None:
    """The dataset that a model was trained on.

    Models travel and ids do not, so the same images count, imported anew.
    """
    row = catalogue.dataset(lab.database, card.dataset.id)
    row = row or catalogue.dataset_of(lab.database, card.dataset.sha256)
    return None if row is None else _views(lab, [row])[0]


def fitting(lab: Lab, card: ModelCard) -> DatasetView | None:
    """The dataset that a model was trained on, else the newest that it can be measured on."""
    own = of_model(lab, card)
    if own is not None:
        return own
    sized = catalogue.datasets_of_size(lab.database, card.image_size)
    same = (row for row in sized if row.report["classes"] == list(card.classes))
    known = (row for row in sized if places(row.report["classes"], card.classes) is not None)
    row = next(same, next(known, None))
    return None if row is None else _views(lab, [row])[0]


def to_train(lab: Lab, teacher: ModelCard) -> DatasetView | None:
    """The dataset that a teacher was trained on, else the newest of its very classes that has
    images to train on.
    """
    own = of_model(lab, teacher)
    if own is not None and own.report.train_images and own.report.classes == teacher.classes:
        return own
    sized = catalogue.datasets_of_size(lab.database, teacher.image_size)
    same = (row for row in sized if row.report["classes"] == list(teacher.classes))
    row = next((row for row in same if row.report["train_images"]), None)
    return None if row is None else _views(lab, [row])[0]


def sample_sheet(lab: Lab, dataset_id: str, class_index: int) -> bytes:
    """A PNG strip of the first test images of one class, side by side. Raises NotFound."""
    chosen = _samples(lab, dataset_id, class_index)
    images = _array(lab, dataset_id, "test_images")
    return png(np.concatenate([images[i] for i in chosen], axis=1))  # (H, 8 W, 3)


def sample(lab: Lab, dataset_id: str, class_index: int, position: int) -> bytes:
    """One image of that sheet as PNG, by its position from 0. Raises NotFound."""
    chosen = _samples(lab, dataset_id, class_index)
    if not 0 <= position < len(chosen):
        raise NotFound("The class has no such sample.")
    return test_image(lab, dataset_id, int(chosen[position]))


def _samples(lab: Lab, dataset_id: str, class_index: int) -> NDArray[np.intp]:
    """The numbers of a class's first test images. Raises NotFound."""
    view = get(lab, dataset_id)
    if not 0 <= class_index < len(view.report.classes):
        raise NotFound("The dataset has no such class.")
    labels = _array(lab, dataset_id, "test_labels")
    chosen = np.flatnonzero(labels == class_index)[:SAMPLES_PER_CLASS]
    if not len(chosen):
        raise NotFound("The class has no test images.")
    return chosen


def test_image(lab: Lab, dataset_id: str, number: int) -> bytes:
    """One image of the test part as PNG, by its number from 0. Raises NotFound."""
    get(lab, dataset_id)
    images = _array(lab, dataset_id, "test_images")
    if not 0 <= number < len(images):
        raise NotFound("The dataset has no such test image.")
    return png(images[number])


def measured_images(lab: Lab, params: EvaluateParams) -> int:
    """How many an evaluation takes: those that are asked for, or all there are; not those that
    already are of the class to reach. Where the dataset is gone, as many as were asked for.
    """
    try:
        report = get(lab, params.dataset).report
        labels = _array(lab, params.dataset, "test_labels")
    except NotFound:
        return params.images
    target = params.attack.target_class
    barred = report.classes.index(target) if target in report.classes else -1
    return min(params.images, int(np.count_nonzero(labels != barred)))


def arrays(lab: Lab, dataset_id: str, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (N, H, W, 3) and labels of its `train` or `test` part. Raises NotFound."""
    images, labels = (_array(lab, dataset_id, f"{part}_{what}") for what in ("images", "labels"))
    return images, labels


def _array(lab: Lab, dataset_id: str, name: str) -> NDArray[Any]:
    try:
        path = lab.files.here(lab.files.dataset(dataset_id) / f"{name}.npy")
        array: NDArray[Any] = np.load(path, mmap_mode="r")
        return array
    except (OSError, ValueError):
        raise NotFound("The dataset's files are gone.", hint="Import it again.") from None


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Of pixels (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _views(lab: Lab, rows: Sequence[DatasetRow]) -> list[DatasetView]:
    tags = marks.tags_of(lab.database, DatasetRow, [row.id for row in rows])
    owners = ownership.names(lab, DatasetRow, [row.id for row in rows])
    return [_view(row, tags.get(row.id, ()), owners.get(row.id)) for row in rows]


def _view(row: DatasetRow, tags: tuple[str, ...], owner: str | None) -> DatasetView:
    return DatasetView(
        id=row.id,
        name=row.name,
        note=row.note,
        tags=tags,
        archived_at=utc_or_none(row.archived_at),
        source=row.source,
        created_at=datetime.fromtimestamp(row.created_at, UTC),
        job=row.job_id,
        owner=owner,
        report=DatasetReport.model_validate(row.report),
    )
