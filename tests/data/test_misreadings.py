"""What could be taken for another thing than it is: refused, or said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.packing import Files, class_folders, encode, import_files, kinds, pixels, png, sizes
from tests.data.test_containers import cells, shard
from worker.data import DatasetError


def table(head: str, *rows: str) -> bytes:
    return "\n".join((head, *rows)).encode()


def test_shares_of_classes_are_no_labels(tmp_path: Path) -> None:
    """Soft labels: of every class a probability, of which few come again and again."""
    shares = ("0.7,0.2,0.1", "0.1,0.7,0.2", "0.2,0.1,0.7")
    rows = [f"{n}.png,{shares[n % 3]}" for n in range(12)]
    files = {f"im/{n}.png": png(n) for n in range(12)}
    files["soft.csv"] = table("file,cat,dog,owl", *rows)
    with pytest.raises(DatasetError, match=r"what soft.csv says was not understood"):
        import_files(tmp_path, files)


@pytest.mark.parametrize(
    "files",
    [
        class_folders("", {"cat_train": 4, "cat_test": 3, "dog_train": 4, "dog_test": 3}),
        {
            f"{folder}/{n % 3:04d}_c1_{n}.png": png(n + seed)
            for seed, folder in enumerate(("bounding_box_train", "bounding_box_test", "query"))
            for n in range(6)
        },
    ],
    ids=["a folder for each class and part", "Market-1501"],
)
def test_parts_within_the_names_of_folders_are_no_classes(tmp_path: Path, files: Files) -> None:
    with pytest.raises(DatasetError, match=r"_test, \w+_train are called like parts of one whole"):
        import_files(tmp_path, files)


def test_one_class_with_the_word_of_a_part_in_its_name_is_a_class(tmp_path: Path) -> None:
    _, dataset = import_files(tmp_path, class_folders("", {"freight train": 4, "tram": 4}))
    assert dataset.class_names == ("freight train", "tram")


def test_a_column_of_parts_in_shards_is_used(tmp_path: Path) -> None:
    parts = ["train"] * 8 + ["validation"] * 2 + ["test"] * 4
    rows = {"img": cells(14, 0), "label": [n % 2 for n in range(14)], "split": parts}
    report, dataset = import_files(tmp_path, {"all.parquet": shard(rows, None)})
    assert sizes(dataset) == (8, 2, 4)
    assert "Parts are those of the column “split”." in report.notes


def test_classes_that_are_declared_and_have_no_image_are_said(tmp_path: Path) -> None:
    label = {"_type": "ClassLabel", "names": ["cat", "eel", "dog"]}
    features = {"img": {"_type": "Image"}, "label": label}
    rows = {"img": cells(12, 0), "label": [2 * (n % 2) for n in range(12)]}
    report, dataset = import_files(tmp_path, {"all.parquet": shard(rows, features)})
    assert dataset.class_names == ("cat", "dog")
    assert "classes_without_images" in kinds(report)
    assert any("have no image are left out: eel" in w.text for w in report.warnings)


@pytest.mark.parametrize("nothing", ["-1", "nan", "?"])
def test_a_sample_that_says_it_has_no_label_is_of_no_class(tmp_path: Path, nothing: str) -> None:
    files = {f"{n:04d}.png": png(n) for n in range(12)}
    files |= {f"{n:04d}.cls": ("0", "1", nothing)[n % 3].encode() for n in range(12)}
    report, dataset = import_files(tmp_path, files, "tar")
    assert dataset.class_names == ("0", "1")
    assert report.left_out["samples without a label"] == 4
    assert f"Taken for no label: {nothing}." in report.notes


@pytest.mark.parametrize("highest", [1, 9, 255])
def test_numbers_and_classes_of_pixels_written_as_bytes_are_said(
    tmp_path: Path, highest: int
) -> None:
    files = {
        f"{name}/{n}.png": encode(
            Image.fromarray((pixels(n + seed) % np.uint16(highest + 1)).astype(np.uint8))
        )
        for seed, name in ((0, "cat"), (50, "dog"))
        for n in range(4)
    }
    report, _ = import_files(tmp_path, files)
    assert ("dark" in kinds(report)) == (highest < 16)
    if highest < 16:
        assert any(f"No pixel is brighter than {highest} of 255" in w.text for w in report.warnings)
