"""How pictures are shared out among training, validation and test, by the parts they came in."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.data.errors import DatasetError
from worker.data.layout import Layout, Sample
from worker.data.names import name_list
from worker.data.roles import Part
from worker.data.splits import stratified_holdout
from worker.data.weaknesses import Weakness

TEST_FRACTION = 0.2
MIN_TRAIN = 2  # images a class: one to train on, one to validate on


class Parts(NamedTuple):
    train: NDArray[np.int64]
    """Rows of the training part, those of the validation part among them."""
    held: NDArray[np.bool_] | None
    """Which of them are the validation part; None where the archive has none."""
    test: NDArray[np.int64]
    notes: tuple[str, ...]
    warnings: tuple[Weakness, ...]


def share_out(layout: Layout, good: NDArray[np.int64], seed: int) -> Parts:
    """Share out the rows `good` of a layout's samples.

    Raises DatasetError where parts have other classes, or a class has too few images.
    """
    given = {part: _rows_of(part, good, layout.samples) for part in (*Part, None)}
    labels, names = np.array(layout.labels, dtype=np.int64), layout.class_names
    declared = {sample.part for sample in layout.samples}
    train, test = given[None if None in declared else Part.TRAIN], given[Part.TEST]
    held, nothing = given[Part.VALIDATION], np.array([], dtype=np.int64)
    if not declared & {Part.TRAIN, None}:
        return _to_evaluate(names, labels, test, held)
    if declared & {Part.TEST, Part.VALIDATION}:
        warnings = []
        if Part.TEST not in declared:
            test, held = held, nothing
            text = (
                "The archive has a validation part and no test part: it is the test part here, and "
                "a tenth of the training images is held out for validation."
            )
            warnings.append(Weakness("validation_is_test", text, len(test)))
        _check_shared(layout)
        _check_counts(names, labels[train], MIN_TRAIN, "in train")
        _check_counts(names, labels[test], 1, "in test")
        notes = ("The validation part is that of the archive.",) if len(held) else ()
        marks = np.repeat([False, True], [len(train), len(held)]) if len(held) else None
        return Parts(np.concatenate([train, held]), marks, test, notes, tuple(warnings))
    _check_counts(names, labels[train], MIN_TRAIN + 1, "to share among train and test")
    kept, drawn = stratified_holdout(labels[train], fraction=TEST_FRACTION, seed=seed)
    what = "a training part only" if Part.TRAIN in declared else "no train and test folders"
    text = f"The archive has {what}: a fifth of each class is the test part, drawn at random."
    return Parts(train[kept], None, train[drawn], (), (Weakness("test_drawn", text, len(drawn)),))


def _to_evaluate(
    names: Sequence[str],
    labels: NDArray[np.int64],
    test: NDArray[np.int64],
    held: NDArray[np.int64],
) -> Parts:
    """A dataset without a training part."""
    what, left = "test", 0
    if not len(test):
        what, test = "validation", held
    else:
        left = len(held)
    _check_counts(names, labels[test], 1, "in test")
    warnings = [
        Weakness(
            "evaluation_only",
            f"The archive has a {what} part only: the dataset is for evaluation, and no model can "
            "be trained on it.",
            len(test),
        )
    ]
    if left:
        text = f"Validation images left out, since there is nothing to train on: {left:,}."
        warnings.append(Weakness("folder_left_out", text, left))
    return Parts(np.array([], dtype=np.int64), None, test, (), tuple(warnings))


def _check_shared(layout: Layout) -> None:
    """Whether the parts have the same classes, as the archive has them."""
    hint = "Give each class a folder of the same name in train and in test."
    classes: dict[Part, set[str]] = {part: set() for part in Part}
    for sample in layout.samples:
        classes[sample.part or Part.TRAIN].add(sample.class_name)
    train, test = classes[Part.TRAIN], classes[Part.TEST] or classes[Part.VALIDATION]
    for where, names in (("test", test), ("validation", classes[Part.VALIDATION])):
        if names - train:
            unknown = name_list(sorted(names - train))
            raise DatasetError(f"Classes in {where} that train has no images of: {unknown}.", hint)
    if train - test:
        raise DatasetError(
            f"Classes in train that test has no images of: {name_list(sorted(train - test))}.", hint
        )


def _check_counts(
    class_names: Sequence[str], labels: NDArray[np.int64], least: int, where: str
) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    if empty := [name for name, count in zip(class_names, counts, strict=True) if count == 0]:
        raise DatasetError(
            f"Classes with no readable image {where}: {name_list(empty)}.",
            "Replace their damaged images, or remove these classes.",
        )
    if few := [name for name, count in zip(class_names, counts, strict=True) if count < least]:
        raise DatasetError(
            f"Classes with fewer than {least} readable images {where}: {name_list(few)}.",
            "Add images to these classes, or remove them.",
        )


def _rows_of(
    part: Part | None, good: NDArray[np.int64], samples: Sequence[Sample]
) -> NDArray[np.int64]:
    return np.array([row for row in good if samples[row].part is part], dtype=np.int64)
