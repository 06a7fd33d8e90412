"""What weakens a dataset, by images whose faults are known."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.packing import import_files, kinds, png, train_and_test
from tests.plugins.images import MINI
from worker.data import Images, Weakness, decode_image, weaknesses

NAMES = ("cat", "dog")


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    import zipfile

    with zipfile.ZipFile(MINI) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")][:400:2]
        return np.stack([decode_image(archive.read(name), image_size=32) for name in names])


def found(
    train: np.ndarray, test: np.ndarray, train_labels: np.ndarray | None = None,
    test_labels: np.ndarray | None = None,
) -> dict[str, Weakness]:  # fmt: skip
    def part(images: np.ndarray, labels: np.ndarray | None) -> Images:
        alternating = np.arange(len(images)) % 2
        return Images(images, np.arange(len(images)), alternating if labels is None else labels)

    listed = weaknesses(NAMES, part(train, train_labels), part(test, test_labels), lambda: None)
    return {weakness.kind: weakness for weakness in listed}


def again(image: np.ndarray, change: str) -> np.ndarray:
    if change == "jpeg":
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=90)
        return np.asarray(Image.open(file))
    if change == "resized":
        large = Image.fromarray(image).resize((48, 48), Image.Resampling.BICUBIC)
        return np.asarray(large.resize((32, 32), Image.Resampling.BICUBIC))
    return (image * 0.97 + 3).astype(np.uint8)  # a little flatter


def test_sound_parts_have_no_weakness(photographs: np.ndarray) -> None:
    assert found(photographs[:120], photographs[120:]) == {}


@pytest.mark.parametrize("change", ["jpeg", "resized", "flatter"])
def test_leaks_are_found(photographs: np.ndarray, change: str) -> None:
    train, test = photographs[:120], photographs[120:].copy()
    test[:5] = train[10:15]
    test[5:45] = [again(image, change) for image in train[20:60]]
    weak = found(train, test)
    assert weak["test_in_train"].count == 5
    assert 36 <= weak["test_nearly_in_train"].count <= 40
    assert weak["test_in_train"].text.startswith("5 of 80 test images")


def test_duplicates_and_plain_images_are_counted(photographs: np.ndarray) -> None:
    train, test = photographs[:120].copy(), photographs[120:].copy()
    train[50:53], test[3] = train[0], test[1]
    train[60:62], test[9] = 7, 200
    weak = found(train, test)
    parts = ("training", "test")
    counts = {kind: w.count for kind, w in weak.items() if kind.split("_")[0] in parts}
    assert counts == {
        "training_duplicates": 4, "test_duplicates": 1, "training_plain": 2, "test_plain": 1,
    }  # fmt: skip


def test_one_picture_under_two_classes_is_said(photographs: np.ndarray) -> None:
    train = photographs[:120].copy()
    train[1], train[2] = train[0], train[4]
    assert found(train, photographs[120:])["several_labels"].count == 1  # 2 and 4 are of one class


def test_small_and_unbalanced_classes_are_named(photographs: np.ndarray) -> None:
    labels = np.array([0] * 10 + [1] * 110)
    weak = found(photographs[:120], photographs[120:], labels, np.array([0] * 9 + [1] * 71))
    assert weak["few_training"].text == "Classes with fewer than 20 training images: cat (10)."
    assert weak["few_test"].count == 1
    assert "dog has 110, cat 10" in weak["unbalanced_training"].text
    assert "unbalanced_test" not in weak


def test_a_crowd_of_like_images_costs_no_more_than_its_size(photographs: np.ndarray) -> None:
    """Thousands of images of one hash: nothing grows with their square."""
    crowd = np.repeat(photographs[:1], 6000, axis=0)
    crowd[:, 0, 0] = np.random.default_rng(0).integers(0, 256, (6000, 3))
    assert found(crowd[:3000], crowd[3000:])["test_nearly_in_train"].count > 2900


def test_enlarged_pictures_are_counted(tmp_path: Path) -> None:
    report, _ = import_files(tmp_path, train_and_test(cat=3, dog=3), image_size=64)
    (enlarged,) = [w for w in report.warnings if w.kind == "enlarged"]
    assert enlarged.count == 10


def test_weaknesses_are_stored_with_the_dataset(tmp_path: Path) -> None:
    files = train_and_test(cat=3, dog=3) | {"test/cat/again.png": png(0)}
    report, dataset = import_files(tmp_path, files)
    assert kinds(report) == {"test_in_train"}
    assert ["test_in_train", "1 of 5 test images are also training images, pixel by pixel.", 1] in (
        dataset.info.notes["warnings"]
    )
