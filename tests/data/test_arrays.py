"""Arrays of NumPy as people save them, and what lies beside their images and labels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.packing import Files, folders, import_files, kinds, pixels, refused, sizes
from tests.data.test_containers import cells, shard
from worker.data import Dataset

IMAGES = np.stack([pixels(n) for n in range(20)])
LABELS = np.arange(20) % 4
NAMES = ("owl", "cat", "eel", "dog")
"""Neither sorted nor in the order of the alphabet."""


def npz(**arrays: Any) -> Files:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return {"a.npz": file.getvalue()}


def shown(dataset: Dataset, part: str) -> dict[bytes, str]:
    """The class of each picture of a part."""
    labels = dataset.arrays[f"{part}_labels"]
    images = dataset.arrays[f"{part}_images"]
    return {
        image.tobytes(): dataset.class_names[label]
        for image, label in zip(images, labels, strict=True)
    }


def rows(numbers: Any) -> dict[bytes, str]:
    return {pixels(n).tobytes(): NAMES[n % 4] for n in numbers}


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("class_names", np.array(NAMES)),
        ("label_names", np.array([name.encode() for name in NAMES])),
        ("classes", np.array(NAMES)),
        ("target_names", np.array(NAMES)),
        ("labels", np.array(NAMES)),
        ("className", np.array(NAMES)),
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_names_of_classes_in_an_array_are_those_of_the_labels(
    tmp_path: Path, key: str, names: np.ndarray, first: int
) -> None:
    files = npz(X=IMAGES, y=LABELS + first, **{key: names})
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == NAMES
    assert shown(dataset, "train") | shown(dataset, "test") == rows(range(20))
    assert f"Classes are named by the array {key}." in report.notes
    assert "unnamed_classes" not in kinds(report)


def test_labels_that_are_texts_are_classes(tmp_path: Path) -> None:
    texts = np.array(NAMES)[LABELS]
    _, dataset = import_files(tmp_path, npz(X=IMAGES, y=texts))
    assert dataset.class_names == tuple(sorted(NAMES))
    assert shown(dataset, "train") | shown(dataset, "test") == rows(range(20))
    _, dataset = import_files(tmp_path / "named", npz(X=IMAGES, y=texts, classes=np.array(NAMES)))
    assert dataset.class_names == NAMES
    refused(tmp_path / "none", npz(X=IMAGES, y=np.array(["cat", "dog", "nan", ""] * 5)), "are none")


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"class_names": NAMES[:3]}, "class_names names 3 classes, which are not those .* 0 to 3"),
        ({"class_names": NAMES[:2], "y": LABELS + 5}, "not those of the labels: 5 to 8"),
        ({"class_names": (*NAMES, "ant"), "y": LABELS + 1}, "not those of the labels: 1 to 4"),
        ({"class_names": NAMES, "label_names": NAMES[::-1]}, "Several arrays may name the classes"),
        ({"class_names": ("a", "b"), "y": np.array(NAMES)[LABELS]}, "labels: cat, dog, eel, owl"),
    ],
)
def test_names_of_classes_that_do_not_fit_are_refused(
    tmp_path: Path, arrays: dict[str, Any], match: str
) -> None:
    refused(tmp_path, npz(**{"X": IMAGES, "y": LABELS} | arrays), match)


TRAIN, VAL, TEST = [*range(3, 15)], [0, 1, 2, 15], [16, 17, 18, 19]
MASK = np.zeros((3, 20), dtype=bool)
for _mask, _rows in zip(MASK, (TRAIN, VAL, TEST), strict=True):
    _mask[_rows] = True
WORDS = np.array(["train", "val", "test"])[MASK.argmax(axis=0)]


@pytest.mark.parametrize(
    "arrays",
    [
        {"train_idx": TRAIN, "val_idx": VAL, "test_idx": TEST},
        {"idx_train": TRAIN, "idx_val": VAL, "idx_test": TEST},
        {"trainIndices": TRAIN, "validIndices": VAL, "testIndices": TEST},
        {"train": TRAIN, "val": VAL, "test": TEST},
        {"train_mask": MASK[0], "val_mask": MASK[1], "test_mask": MASK[2]},
        {"is_train": MASK[0] * 1, "is_val": MASK[1] * 1, "is_test": MASK[2] * 1},
        {"split": WORDS},
        {"split": np.char.encode(WORDS)},
        {"split": MASK.argmax(axis=0)},
        {"train_test_split": WORDS, "test_idx": TEST, "val_idx": VAL},
    ],
    ids=lambda arrays: ", ".join(arrays),
)
def test_parts_by_arrays_beside_images_are_used(tmp_path: Path, arrays: dict[str, Any]) -> None:
    report, dataset = import_files(tmp_path, npz(X=IMAGES, y=LABELS, names=NAMES, **arrays))
    assert sizes(dataset) == (12, 4, 4)
    assert shown(dataset, "test") == rows(TEST)
    assert "test_drawn" not in kinds(report)
    held = dataset.arrays["train_images"][dataset.arrays["train_held"]]
    assert {image.tobytes() for image in held} == rows(VAL).keys()
    assert any(note.startswith("Parts are those of ") for note in report.notes)


@pytest.mark.parametrize(
    ("arrays", "sized", "said"),
    [
        ({"test_idx": TEST}, (16, 0, 4), "test_idx leave 16 images, which are taken as training"),
        ({"train_idx": TRAIN}, (12, 0, 8), "train_idx leave 8 images, which are taken as test"),
        ({"train_idx": TRAIN, "test_idx": TEST}, (12, 0, 4), ""),
    ],
)
def test_images_that_no_array_of_parts_names_are_said(
    tmp_path: Path, arrays: dict[str, Any], sized: tuple[int, int, int], said: str
) -> None:
    report, dataset = import_files(tmp_path, npz(X=IMAGES, y=LABELS, **arrays))
    assert sizes(dataset) == sized
    if said:
        assert any(said in warning.text for warning in report.warnings)
    else:
        assert report.left_out == {"images that the arrays give no part": 4}


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"train_idx": [*TRAIN, 0], "val_idx": VAL}, "images that another array of a part has"),
        ({"train_idx": np.arange(1, 21)}, "1 to 20: no rows of 20 images"),
        ({"train_idx": [1, 1, 2]}, "has an image twice"),
        ({"train_idx": np.arange(20).reshape(2, 10)}, "several splits: its shape is"),
        ({"train_mask": MASK[0][:-1]}, "no yes or no for each of 20 images"),
        ({"split": WORDS, "test_idx": TRAIN}, "say different parts"),
    ],
)
def test_parts_by_arrays_that_cannot_be_meant_are_refused(
    tmp_path: Path, arrays: dict[str, Any], match: str
) -> None:
    refused(tmp_path, npz(X=IMAGES, y=LABELS, **arrays), match)


def test_arrays_of_parts_that_are_not_used_are_said(tmp_path: Path) -> None:
    fold = npz(X=IMAGES, y=LABELS, fold=np.arange(20) % 5, weights=np.ones(20))
    report, _ = import_files(tmp_path, fold)
    assert any("fold" in w.text and "not used" in w.text for w in report.warnings)
    assert "Arrays that are not used: weights." in report.notes
    named = npz(x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS, val_idx=VAL)
    report, dataset = import_files(tmp_path / "named", named)
    assert sizes(dataset) == (20, 0, 20)
    assert any("not used are val_idx" in warning.text for warning in report.warnings)


def test_files_of_parts_and_of_names_beside_those_of_images(tmp_path: Path) -> None:
    arrays = {"X": IMAGES, "y": LABELS, "train_idx": TRAIN, "test_idx": VAL + TEST,
              "class_names": np.array(NAMES)}  # fmt: skip
    files = {}
    for name, array in arrays.items():
        file = io.BytesIO()
        np.save(file, array)
        files[f"{name}.npy"] = file.getvalue()
    _, dataset = import_files(tmp_path, files)
    assert (sizes(dataset), dataset.class_names) == ((12, 0, 8), NAMES)
    assert shown(dataset, "test") == rows(VAL + TEST)


@pytest.mark.parametrize(
    "arrays",
    [
        {"X_bgr": IMAGES[..., ::-1]},
        {"imagesBGR": IMAGES[..., ::-1]},
        {"X": IMAGES[..., ::-1], "channel_order": "BGR"},
        {"X": IMAGES[..., ::-1].transpose(0, 3, 1, 2), "color_format": np.array(["bgr"])},
    ],
    ids=lambda arrays: ", ".join(arrays),
)
def test_arrays_that_say_bgr_are_turned_and_said(tmp_path: Path, arrays: dict[str, Any]) -> None:
    report, dataset = import_files(tmp_path, npz(y=LABELS, names=NAMES, **arrays))
    assert shown(dataset, "train") | shown(dataset, "test") == rows(range(20))
    assert any("is turned from blue, green, red" in note for note in report.notes)
    both = npz(y=LABELS, **arrays | {"channel_order": "RGB", "order": "bgr"})
    refused(tmp_path / "both", both, "order of colours is said in two ways")


def test_a_file_called_bgr_is_turned_and_colours_that_nobody_said_are_said(tmp_path: Path) -> None:
    (file,) = npz(X=IMAGES[..., ::-1], y=LABELS, names=NAMES).values()
    _, dataset = import_files(tmp_path, {"faces_bgr.npz": file})
    assert shown(dataset, "train") | shown(dataset, "test") == rows(range(20))
    report, _ = import_files(tmp_path / "nothing", npz(X=IMAGES, y=LABELS))
    assert "Colours of arrays are taken as red, green, blue." in report.notes


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (IMAGES / 255, "float64, from 0 to 1: what is white"),
        ((IMAGES / 127.5 - 1).astype(np.float32), "float32, from -1 to 1: what is white"),
        (IMAGES.astype(np.int64), "int64, from 0 to 255: what is white"),
        (np.full(IMAGES.shape, np.nan), "with NaN or infinity"),
        (np.repeat(IMAGES[..., :1], 4, axis=-1), "neither its last axis nor its second"),
        (IMAGES.reshape(20, -1), "no stack of pictures"),
    ],
)
def test_images_that_are_no_bytes_are_refused_with_their_range(
    tmp_path: Path, images: np.ndarray, said: str
) -> None:
    refused(tmp_path, npz(X=images, y=LABELS), said)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES.transpose(0, 3, 1, 2), LABELS[:, None]),
        (IMAGES, np.eye(4)[LABELS]),
        (IMAGES, LABELS.astype(np.uint64)),
    ],
    ids=["channels first", "one-hot", "uint64"],
)
def test_forms_of_images_and_of_labels(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray
) -> None:
    _, dataset = import_files(tmp_path, npz(data=images, target=labels, target_names=NAMES))
    assert shown(dataset, "train") | shown(dataset, "test") == rows(range(20))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("meta.json", '{"classes": 4, "channel_order": "BGR"}'),
        ("dataset.yaml", "color_space: bgr\n"),
        ("info.json", '{"channels":"bgr"}'),
    ],
)
def test_arrays_whose_description_says_bgr_are_turned(tmp_path: Path, name: str, text: str) -> None:
    files = npz(X=IMAGES[..., ::-1], y=LABELS, names=NAMES) | {name: text.encode()}
    report, dataset = import_files(tmp_path, files)
    assert shown(dataset, "train") | shown(dataset, "test") == rows(range(20))
    assert f"Images are turned from blue, green, red, as {name} says." in report.notes
    once = npz(X_bgr=IMAGES[..., ::-1], y=LABELS, names=NAMES) | {name: text.encode()}
    _, dataset = import_files(tmp_path / "once", once)
    assert shown(dataset, "train") | shown(dataset, "test") == rows(range(20))


def test_a_description_that_speaks_of_bgr_is_said(tmp_path: Path) -> None:
    for number, text in enumerate(("Read with cv2.imread.", "Images are in BGR order.")):
        files = npz(X=IMAGES, y=LABELS) | {"README.md": text.encode()}
        report, _ = import_files(tmp_path / str(number), files)
        (doubt,) = [w.text for w in report.warnings if w.kind == "colours_guessed"]
        assert "README.md speaks of BGR or OpenCV" in doubt
    pictures = folders("faces_bgr/", 6)
    report, _ = import_files(tmp_path / "folders", pictures)
    assert "faces_bgr/cat, faces_bgr/dog says BGR" in {
        w.text.partition(".")[0] for w in report.warnings if w.kind == "colours_guessed"
    }
    rows = {"img_bgr": cells(8, 0), "label": [0, 1] * 4}
    report, _ = import_files(tmp_path / "column", {"train.parquet": shard(rows)})
    assert any("column “img_bgr” says BGR" in warning.text for warning in report.warnings)
    plain = folders("faces/", 6) | {"README.md": b"Resized with OpenCV."}
    report, _ = import_files(tmp_path / "plain", plain)
    assert "colours_guessed" not in kinds(report)


def test_parts_in_names_of_arrays_are_those_of_folders(tmp_path: Path) -> None:
    files = npz(x_trn=IMAGES[:12], y_trn=LABELS[:12], x_tst=IMAGES[12:], y_tst=LABELS[12:])
    _, dataset = import_files(tmp_path, files)
    assert len(shown(dataset, "train")) == 12
    assert len(shown(dataset, "test")) == 8


def test_a_file_for_images_and_one_for_labels_are_no_two_datasets(tmp_path: Path) -> None:
    files = {}
    for name, array in (("X", IMAGES), ("y", LABELS)):
        file = io.BytesIO()
        np.savez_compressed(file, array)
        files[f"{name}.npz"] = file.getvalue()
    report, dataset = import_files(tmp_path, files)
    assert sum(sizes(dataset)) == len(IMAGES)
    assert "labels_guessed" not in kinds(report)
