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


@pytest.mark.parametrize(
    ("column", "sized", "said"),
    [
        ({"is_valid": [n % 7 == 0 for n in range(14)]}, (12, 0, 2), ""),
        ({"is_test": [int(n > 9) for n in range(14)]}, (10, 0, 4), ""),
        ({"split": [0] * 8 + [1] * 2 + [2] * 4}, (8, 2, 4), "taken for train, validation and test"),
        ({"fold": [n % 3 for n in range(14)]}, (12, 0, 2), "says 0, 1, 2, which names no part"),
        ({"split": ["a", "b"] * 7}, (12, 0, 2), "says a, b, which names no part"),
    ],
    ids=lambda column: str(*column) if isinstance(column, dict) else None,
)
def test_columns_of_parts_in_shards_are_read_as_those_of_tables(
    tmp_path: Path, column: dict[str, list[object]], sized: tuple[int, int, int], said: str
) -> None:
    rows = {"img": cells(14, 0), "label": [n % 2 for n in range(14)], **column}
    report, dataset = import_files(tmp_path, {"all.parquet": shard(rows, None)})
    assert sum(sizes(dataset)[:2]) == sum(sized[:2])
    assert any(said in warning.text for warning in report.warnings if said) == bool(said)
    assert ("test_drawn" in kinds(report)) == ("no part" in said)
    files = {"a.parquet": shard(rows, None), "b.parquet": shard(dict(list(rows.items())[:2]))}
    with pytest.raises(DatasetError, match="Some shards lack the column"):
        import_files(tmp_path / "lacking", files)


def test_labels_of_shards_that_are_none_categories_or_guessed(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    texts = [("cat", "dog", "nan", "")[n % 4] for n in range(24)]
    rows = {"img": cells(24, 0), "label": arrow.array(texts).dictionary_encode()}
    report, dataset = import_files(tmp_path, {"a.parquet": shard(rows)})
    assert dataset.class_names == ("cat", "dog")
    assert report.left_out == {"rows without a label": 12}
    rows = {"img": cells(12, 0), "width": [n % 2 for n in range(12)]}
    report, _ = import_files(tmp_path / "guessed", {"a.parquet": shard(rows)})
    assert any("“width” is taken for it" in warning.text for warning in report.warnings)
    rows = {"img": cells(12, 0), "breed": arrow.array(["a", "b"] * 6).dictionary_encode(),
            "id": list(range(12))}  # fmt: skip
    with pytest.raises(DatasetError, match="Several columns may be the label: breed, id"):
        import_files(tmp_path / "several", {"a.parquet": shard(rows)})


def test_shards_with_paths_in_place_of_pictures_are_refused(tmp_path: Path) -> None:
    paths = [{"bytes": None, "path": f"/data/{n}.png"} for n in range(12)]
    arrow = pytest.importorskip("pyarrow")
    kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    rows = {"image": arrow.array(paths, kind), "label": [n % 2 for n in range(12)]}
    with pytest.raises(DatasetError, match="“image” holds no picture, at most where they lie"):
        import_files(tmp_path, {"train.parquet": shard(rows)})


LABELS = ("cat", "dog")


@pytest.mark.parametrize(
    "data",
    [
        table("file;label", *(f"{n}.png;{LABELS[n % 2]}" for n in range(12))),
        table("file\tlabel", *(f"{n}.png\t{LABELS[n % 2]}" for n in range(12))),
        b"\xef\xbb\xbf" + table("file,label", *(f"{n}.png,{LABELS[n % 2]}" for n in range(12))),
        table("file,label", *(f"{n}.png,{LABELS[n % 2]}" for n in range(12)))
        .decode().encode("utf-16"),
        table("file,label,said", *(f'"{n}.png","{LABELS[n % 2]}","a, b"' for n in range(12))),
        table("file,label", *(f"C:\\im\\{n}.png,{LABELS[n % 2]}" for n in range(12))),
        table("file,label", *(f"{n}.png,{LABELS[n % 2]}" for n in range(12)))
        .replace(b"\n", b"\r"),
        table("file;label;score", *(f"{n}.png;{LABELS[n % 2]};0,{n}" for n in range(12))),
    ],
    ids=["semicolons", "tabs", "BOM", "UTF-16", "quotes", "Windows", "\\r", "decimal commas"],
)  # fmt: skip
def test_tables_as_programs_write_them(tmp_path: Path, data: bytes) -> None:
    files = {f"im/{n}.png": png(n) for n in range(12)} | {"labels.csv": data}
    report, dataset = import_files(tmp_path, files)
    assert (dataset.class_names, sum(sizes(dataset)), report.left_out) == (LABELS, 12, {})


def test_rows_that_name_no_picture_are_said(tmp_path: Path) -> None:
    rows = (f"{n}.png,{LABELS[n % 2]}" for n in range(20))
    files = {f"im/{n}.png": png(n) for n in range(12)} | {"a.csv": table("file,label", *rows)}
    report, _ = import_files(tmp_path, files)
    (doubt,) = [w for w in report.warnings if w.kind == "rows_without_pictures"]
    assert doubt.text == "Of 20 rows of a.csv, 8 name no picture that is there, or several."


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
