"""A dataset in its folder: what is written is what is read, whole or not at all."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.data import DatasetError, load_dataset, write_dataset

NAMES = ("cat", "<b>dog</b>", "Ærø")


def contents(seed: int = 0, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    parts: dict[str, Any] = {"class_names": NAMES, "label": "Test", "source": "here"}
    for part, per_class in (("train", 10), ("test", 4)):
        labels = rng.permutation(np.repeat(np.arange(3), per_class))
        parts[f"{part}_images"] = rng.integers(0, 256, (len(labels), 16, 16, 3), dtype=np.uint8)
        parts[f"{part}_labels"] = labels
    return parts | {"notes": {"skipped": 2, "remarks": ["Two skipped."]}} | changes


def test_reads_what_was_written(tmp_path: Path) -> None:
    given = contents()
    write_dataset(tmp_path / "d", **given)
    dataset = load_dataset(tmp_path / "d")
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(dataset.arrays[name], given[name])
        assert isinstance(dataset.arrays[name], np.memmap)
        assert not dataset.arrays[name].flags.writeable
    assert dataset.class_names == NAMES
    assert (dataset.num_classes, dataset.image_size) == (3, 16)
    assert dataset.info.train_counts == (10, 10, 10)
    assert dataset.info.test_counts == (4, 4, 4)
    assert (dataset.info.label, dataset.info.source) == ("Test", "here")
    assert dataset.info.notes == {"skipped": 2, "remarks": ["Two skipped."]}


def test_mean_and_std_are_those_of_train_in_0_1(tmp_path: Path) -> None:
    given = contents(test_images=np.zeros((12, 16, 16, 3), dtype=np.uint8))
    dataset = write_dataset(tmp_path / "d", **given)
    scaled = given["train_images"].astype(np.float64) / 255
    np.testing.assert_allclose(dataset.mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, scaled.std((0, 1, 2)), rtol=1e-12)


def test_checksum_is_sha256_of_names_and_arrays(tmp_path: Path) -> None:
    given = contents()
    digest = hashlib.sha256(json.dumps(list(NAMES)).encode())
    for name in ("test_images", "test_labels", "train_images", "train_labels"):
        array = given[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    assert write_dataset(tmp_path / "d", **given).checksum == digest.hexdigest()


def test_checksum_tells_data_apart_but_not_places(tmp_path: Path) -> None:
    given = contents()
    pixel = given["train_images"].copy()
    pixel[3, 2, 1, 0] ^= 1
    variants = [
        given,
        given | {"label": "Another", "notes": {}},
        given | {"train_images": pixel},
        given | {"class_names": ("cat", "dog", "Ærø")},
        given | {"test_labels": given["test_labels"][::-1].copy()},
    ]
    first, second, *others = [
        write_dataset(tmp_path / str(i), **variant).checksum for i, variant in enumerate(variants)
    ]
    assert first == second
    assert len({first, *others}) == 4


def test_masks_are_kept_with_their_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    masks = {f"{p}_masks": rng.random((n, 16, 16)) < 0.5 for p, n in (("train", 30), ("test", 12))}
    dataset = write_dataset(tmp_path / "d", **contents(**masks))
    split = dataset.split("validation")
    assert split.masks is not None
    np.testing.assert_array_equal(split.masks, masks["train_masks"][split.indices])
    test = dataset.split("test").to("cpu")
    assert test.masks is not None
    np.testing.assert_array_equal(test.masks.numpy(), masks["test_masks"])


def test_refuses_an_existing_folder(tmp_path: Path) -> None:
    before = write_dataset(tmp_path / "d", **contents()).checksum
    with pytest.raises(FileExistsError):
        write_dataset(tmp_path / "d", **contents(seed=1))
    assert load_dataset(tmp_path / "d").checksum == before


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_dataset(tmp_path / "d", **contents(notes={"mean": float("nan")}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"train_images": np.zeros((30, 16, 16, 3), dtype=np.float32)},
        {"train_images": np.zeros((30, 16, 15, 3), dtype=np.uint8)},
        {"test_images": np.zeros((12, 8, 8, 3), dtype=np.uint8)},
        {"test_images": np.zeros((11, 16, 16, 3), dtype=np.uint8)},
        {"test_labels": np.zeros(12, dtype=np.int64)},
        {"test_labels": np.tile(np.arange(3, dtype=np.int32), 4)},
        {"class_names": ("cat", "dog")},
        {"class_names": ("cat", "dog", "bird", "fish")},
        {"train_masks": np.zeros((30, 16, 16), dtype=bool)},
        {
            "train_masks": np.zeros((30, 16, 16), dtype=bool),
            "test_masks": np.zeros((12, 8, 8), dtype=bool),
        },
    ],
)
def test_refuses_arrays_that_do_not_fit(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"images are|labels are|masks are"):
        write_dataset(tmp_path / "d", **contents(**changes))
    assert list(tmp_path.iterdir()) == []


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _replace_by_pickle(file: Path) -> None:
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _change_page(file: Path) -> None:
    page = json.loads(file.read_text())
    file.write_text(json.dumps(page | {"format": 99}))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("dataset.json", Path.unlink),
        ("dataset.json", _truncate),
        ("dataset.json", _change_page),
        ("dataset.json", lambda file: file.write_text("[]")),
        ("dataset.json", lambda file: file.write_text('{"format": 1, "arrays": []}')),
        ("train_images.npy", Path.unlink),
        ("train_images.npy", _truncate),
        ("test_labels.npy", _replace_by_pickle),
        ("test_labels.npy", lambda file: np.save(file, np.zeros(12, dtype=np.int64))),
    ],
)
def test_a_damaged_folder_is_an_error_with_a_hint(tmp_path: Path, name: str, damage: Any) -> None:
    write_dataset(tmp_path / "d", **contents())
    damage(tmp_path / "d" / name)
    with pytest.raises(DatasetError) as caught:
        load_dataset(tmp_path / "d")
    assert "damaged" in caught.value.detail
    assert "import it again" in caught.value.hint
