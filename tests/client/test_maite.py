"""MAITE's own functions on what leaves the lab, and its datasets on their way in."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.maite import KeptImages, ReleasedModel, class_folders
from worker.data import Wishes, import_archive, load_dataset

CLASSES = ("cat", "dog", "ship")
NUMBERS, LABELS = [3, 8, 11], [2, 0, 1]


class Images:
    """Images with their targets, as MAITE has them."""

    def __init__(self, held: Sequence[tuple[Any, Any]], named: Mapping[int, str]) -> None:
        self._held = held
        self.metadata = {"id": "images", "index2label": named}

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, index: int, /) -> tuple[Any, Any, dict[str, Any]]:
        return (*self._held[index], {"id": index})


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Its network answers with ten times the mean of each colour: red cats, green dogs."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Mul", ["flat", "ten"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("images", kind, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("logits", kind, ["N", 3])],
        [helper.make_tensor("ten", kind, [1], [10.0])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path / "net.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.onnx", model.SerializeToString())
        card = {"name": "Net", "image_size": 4, "classes": CLASSES}
        archive.writestr("card.json", json.dumps(card))
    return path


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Three clean images, each of the colour of its class; the attack makes them all red."""
    clean = np.zeros((3, 3, 4, 4), np.uint8)
    for place, label in enumerate(LABELS):
        clean[place, label] = 255
    red = np.zeros((3, 3, 4, 4), np.float32)
    red[:, 0] = 1
    path = tmp_path / "kept.npz"
    np.savez(path, clean=clean, adversarial=red, label=LABELS, number=NUMBERS, classes=CLASSES,
             dataset_sha256="d" * 64)  # fmt: skip
    return path


def test_maite_predicts_with_a_released_model(package: Path, kept: Path) -> None:
    tasks = pytest.importorskip("maite.tasks")
    model, rights = ReleasedModel(package), {}
    for which in ("clean", "adversarial"):
        images = KeptImages(kept, which)  # type: ignore[arg-type]
        batches, _ = tasks.predict(model=model, dataset=images, batch_size=2)
        said = [int(np.asarray(one).argmax()) for batch in batches for one in batch]
        rights[which] = sum(k == label for k, label in zip(said, LABELS, strict=True))
    assert rights == {"clean": 3, "adversarial": 1}


def test_they_are_what_maite_calls_a_model_and_a_dataset(package: Path, kept: Path) -> None:
    protocols = pytest.importorskip("maite.protocols.image_classification")
    model, images = ReleasedModel(package), KeptImages(kept)
    assert isinstance(model, protocols.Model)
    assert isinstance(images, protocols.Dataset)
    assert model.metadata == {"id": "Net", "index2label": dict(enumerate(CLASSES))}
    assert images.metadata["index2label"] == model.metadata["index2label"]
    image, target, about = images[1]
    assert (image.shape, target.tolist(), about) == ((3, 4, 4), [1, 0, 0], {"id": 8})
    shares = model([image])[0]
    assert shares.sum() == pytest.approx(1)
    assert shares[0] / shares[1] == pytest.approx(np.exp(10), rel=1e-4)


@pytest.mark.parametrize(
    "image", [np.zeros((3, 5, 4)), np.full((3, 4, 4), 255), np.full((3, 4, 4), -0.1)]
)
def test_images_of_another_form_are_refused(package: Path, image: Any) -> None:
    with pytest.raises(ValueError, match="images are"):
        ReleasedModel(package)([image])


def test_other_files_are_refused(tmp_path: Path, package: Path) -> None:
    (tmp_path / "text.zip").write_text("no archive")
    np.savez(tmp_path / "other.npz", x=[1])
    with pytest.raises(ValueError, match="no release package"):
        ReleasedModel(tmp_path / "text.zip")
    with pytest.raises(ValueError, match="no images that a lab kept"):
        KeptImages(tmp_path / "other.npz")


def test_a_dataset_becomes_an_archive_of_class_folders(tmp_path: Path, kept: Path) -> None:
    clean = KeptImages(kept, "clean")
    path = class_folders(tmp_path / "photos.zip", train=clean, test=KeptImages(kept))
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == sorted(
            [
                *(
                    f"{part}/{CLASSES[label]}/{place:06d}.png"
                    for part in ("train", "test")
                    for place, label in enumerate(LABELS)
                ),
                "classes.txt",
            ]
        )
        with archive.open("train/ship/000000.png") as stream, Image.open(stream) as picture:
            pixels = np.asarray(picture).transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels, np.rint(clean[0][0] * 255))


def test_the_lab_reads_that_archive(tmp_path: Path, kept: Path) -> None:
    images = KeptImages(kept, "clean")
    path = class_folders(tmp_path / "photos.zip", test=images)
    import_archive(
        path, tmp_path / "dataset", wishes=Wishes(image_size=32), label="Photos",
        source=path.name, progress=lambda done, total: None,
    )  # fmt: skip
    dataset = load_dataset(tmp_path / "dataset")
    assert dataset.class_names == CLASSES
    test = dataset.split("test")
    assert sorted(test.labels.tolist()) == [0, 1, 2]
    for label, image in zip(test.labels.tolist(), test.images, strict=True):
        assert int(image[0, 0].argmax()) == label


@pytest.mark.parametrize("name", ["..", "a/b", "", "x\n", "c:d"])
def test_a_class_that_is_no_folder_is_refused(tmp_path: Path, kept: Path, name: str) -> None:
    images = KeptImages(kept)
    images.metadata = {"id": "x", "index2label": {2: name}}
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        class_folders(tmp_path / "photos.zip", test=images)


def test_the_order_of_the_classes_is_kept(tmp_path: Path) -> None:
    black = np.zeros((3, 4, 4), np.uint8)
    named = Images([(black, hot) for hot in np.eye(3)], {2: "ant", 0: "cow", 1: "bee"})
    path = class_folders(tmp_path / "photos.zip", test=named)
    import_archive(
        path, tmp_path / "dataset", wishes=Wishes(image_size=32, order="file"), label="Photos",
        source=path.name, progress=lambda done, total: None,
    )  # fmt: skip
    assert load_dataset(tmp_path / "dataset").class_names == ("cow", "bee", "ant")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"target": 1}, "targets are one-hot"),
        ({"target": [[0, 1]]}, "targets are one-hot"),
        ({"named": {0: "cat", 1: "cat"}}, "have one name"),
        ({"named": {0: "cat"}}, "has no name"),
        ({"image": np.full((3, 4, 4), 256)}, "whole numbers are in"),
        ({"image": np.full((3, 4, 4), -1)}, "whole numbers are in"),
        ({"image": np.full((3, 4, 4), np.nan)}, "floats are in"),
    ],
)
def test_nothing_is_guessed_of_a_dataset(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    one = {"image": np.zeros((3, 4, 4), np.uint8), "target": [0, 1], "named": {}} | changed
    with pytest.raises(ValueError, match=said):
        class_folders(
            tmp_path / "photos.zip", test=Images([(one["image"], one["target"])], one["named"])
        )


@pytest.mark.parametrize(
    ("target", "said"), [([1, 0], "0 is the class 'cat' and 'dog'"), ([0, 1], "has two numbers")]
)
def test_a_number_is_one_class_in_both_parts(tmp_path: Path, target: Any, said: str) -> None:
    black = np.zeros((3, 4, 4), np.uint8)
    train = Images([(black, [1, 0])], {0: "cat", 1: "dog"})
    test = Images([(black, target)], {0: "dog", 1: "cat"})
    with pytest.raises(ValueError, match=said):
        class_folders(tmp_path / "photos.zip", train=train, test=test)


def test_nothing_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no dataset"):
        class_folders(tmp_path / "photos.zip")
