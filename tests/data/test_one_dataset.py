"""Two datasets in one archive are never joined."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from tests.data.packing import Files, import_files, kinds, pixels, png, refused, sizes
from tests.data.test_arrays import IMAGES, LABELS
from tests.data.test_containers import idx, parquet_shard, saved

SEVERAL = "are of several datasets: "


@pytest.mark.parametrize(
    "names",
    [
        ("plain_text/train-00000-of-00001.parquet", "other_config/train-00000-of-00001.parquet"),
        ("config-a/train/0000.parquet", "config-b/train/0000.parquet"),
        ("d/cifar10/train.parquet", "d/cifar100/train.parquet"),
        ("d/cifar-10/train.parquet", "d/cifar-100/test.parquet"),
        ("a/0.parquet", "b/0.parquet"),
        ("train.parquet", "other/train.parquet"),
        ("mnist-train.parquet", "kmnist-train.parquet"),
        ("mnist-train.parquet", "kmnist-test.parquet"),
    ],
)
def test_two_configurations_in_one_archive_are_refused(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    files = {name: parquet_shard(6, 50 * n) for n, name in enumerate(names)}
    said = (name.rpartition("/")[0] or name.partition(".")[0] for name in names)
    refused(tmp_path, files, SEVERAL + ".* and .*".join(said))


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("cifar10/train/0000.parquet", "cifar10/test/0000.parquet"),
        ("data/chunk-000/file-000.parquet", "data/chunk-001/file-000.parquet"),
        ("train_1.parquet", "train_2.parquet"),
        ("mnist-train.parquet", "mnist-test.parquet"),
        ("data/train.parquet", "data/extra/0.parquet"),
    ],
)
def test_shards_of_one_dataset_are_joined(tmp_path: Path, names: tuple[str, str]) -> None:
    files = {name: parquet_shard(6, 50 * n) for n, name in enumerate(names)}
    _, dataset = import_files(tmp_path, files)
    assert sum(sizes(dataset)) == 12


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("cifar10", "cifar100"), ["cifar10, cifar100"]),
        (("mnist", "kmnist"), ["kmnist, mnist"]),
        (("0000", "0001"), []),
        (("shard-000001", "shard-000002"), []),
    ],
)
def test_files_that_are_called_differently_are_said(
    tmp_path: Path, names: tuple[str, str], said: list[str]
) -> None:
    files = {f"{name}.parquet": parquet_shard(6, 50 * n) for n, name in enumerate(names)}
    report, _ = import_files(tmp_path, files)
    warnings = [each.text for each in report.warnings if each.kind == "labels_guessed"]
    assert [text.partition(": ")[2].rstrip(".") for text in warnings] == said


def pairs_of_idx(*names: str) -> Files:
    files = {}
    for seed, name in enumerate(names):
        images = np.stack([pixels(50 * seed + n)[..., 0] for n in range(12)])
        files[f"{name}-images-idx3-ubyte.gz"] = gzip.compress(idx(images))
        files[f"{name}-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.arange(12) % 3))
    return files


def arrays(*names: str) -> Files:
    return {f"{name}.npy": saved(array) for name in names
            for array in (IMAGES if name.endswith("images") else LABELS,)}  # fmt: skip


def tables(*names: str) -> Files:
    head = ",".join(["label", *(f"pixel{n}" for n in range(64))])
    rows = "\n".join(",".join([str(n % 2), *map(str, range(n, n + 64))]) for n in range(12))
    return {f"{name}.csv": f"{head}\n{rows}\n".encode() for name in names}


@pytest.mark.parametrize(
    ("files", "match"),
    [
        (pairs_of_idx("mnist/train", "fashion/t10k"), SEVERAL + "mnist/train and fashion/t10k"),
        (pairs_of_idx("emnist-letters-train", "emnist-digits-test"), SEVERAL),
        (arrays("a/train_images", "a/train_labels", "b/test_images", "b/test_labels"),
         SEVERAL + "a and b"),
        (arrays("mnist_train_images", "mnist_train_labels", "k49_test_images", "k49_test_labels"),
         SEVERAL + "mnist_train_images and k49_test_images"),
        (tables("mnist_train", "fashion_test"), SEVERAL + "fashion_test and mnist_train"),
        (tables("mnist/train", "fashion/train"), "Several tables are called train.csv"),
    ],
    ids=["idx in folders", "idx by name", "npy in folders", "npy by name", "tables", "one name"],
)  # fmt: skip
def test_files_of_two_datasets_are_refused(tmp_path: Path, files: Files, match: str) -> None:
    refused(tmp_path, files, match)


def test_arrays_of_two_datasets_in_one_file_are_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez(file, cat_images=IMAGES, cat_labels=LABELS, dog_images=IMAGES, dog_labels=LABELS)
    refused(tmp_path, {"a.npz": file.getvalue()}, SEVERAL + "cat_images and dog_images")
    file = io.BytesIO()
    np.savez(file, x_train_1=IMAGES, y_train_1=LABELS, x_train_2=IMAGES, y_train_2=LABELS)
    _, dataset = import_files(tmp_path / "one", {"a.npz": file.getvalue()})
    assert sum(sizes(dataset)) == 40


def samples(folder: str, first: int, labels: tuple[str, ...]) -> Files:
    return {
        f"{folder}{n:03d}.{suffix}": data
        for n in range(first, first + 8)
        for suffix, data in (("png", png(n)), ("cls", labels[n % len(labels)].encode()))
    }


def test_samples_of_two_datasets_are_refused_and_class_folders_are_none(tmp_path: Path) -> None:
    two = samples("config_a/", 0, ("0", "1")) | samples("config_b/", 50, ("0", "1"))
    refused(tmp_path, two, "samples are of several datasets: config_a and config_b", "tar")
    by_class = samples("cat/", 0, ("0",)) | samples("dog/", 50, ("1",))
    _, dataset = import_files(tmp_path / "classes", by_class, "tar")
    assert sum(sizes(dataset)) == 16
    shards = samples("00000/", 0, ("0", "1")) | samples("00001/", 50, ("0", "1"))
    report, dataset = import_files(tmp_path / "shards", shards, "tar")
    assert (sum(sizes(dataset)), "part_guessed" in kinds(report)) == (16, False)


def labelled_twice(cls: list[str], json: list[str], suffix: str = "json") -> Files:
    files = {}
    for n, (one, other) in enumerate(zip(cls, json, strict=True)):
        text = f'{{"label": {other}}}' if suffix == "json" else other
        files |= {f"{n:03d}.png": png(n), f"{n:03d}.cls": one.encode()}
        files[f"{n:03d}.{suffix}"] = text.encode()
    return files


NUMBERS = [str(n % 3) for n in range(24)]
NAMED = [('"owl"', '"cat"', '"eel"')[n % 3] for n in range(24)]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (labelled_twice(NUMBERS, ["1", *NUMBERS[1:]]), r"In 1 of 24 .* 000.cls says 0, .json 1\."),
        (labelled_twice(NUMBERS, NUMBERS[::-1]), "In 16 of 24 .* 000.cls says 0, .json 2"),
        (labelled_twice(NUMBERS, ['"cat"', *NAMED[1:]]), "000.cls says 0, .json cat"),
        (labelled_twice(NUMBERS, ["2", *NUMBERS[1:]], "txt"), "000.cls says 0, .txt 2"),
    ],
    ids=["a number", "all numbers", "a name", "a text"],
)
def test_a_second_label_that_contradicts_the_first_is_refused(
    tmp_path: Path, files: Files, said: str
) -> None:
    refused(tmp_path, files, said, "tar")


def test_a_second_label_of_other_words_names_the_first_or_is_said(tmp_path: Path) -> None:
    report, dataset = import_files(tmp_path, labelled_twice(NUMBERS, NAMED), "tar")
    assert dataset.class_names == ("owl", "cat", "eel")
    assert "unnamed_classes" not in kinds(report)
    from_one = labelled_twice(NUMBERS, [str(int(n) + 1) for n in NUMBERS])
    report, dataset = import_files(tmp_path / "from_one", from_one, "tar")
    assert dataset.class_names == ("0", "1", "2")
    assert any("numbers the classes otherwise: 1 where" in w.text for w in report.warnings)
    finer = labelled_twice(NUMBERS, [f'"{n} {at % 2}"' for at, n in enumerate(NUMBERS)])
    report, dataset = import_files(tmp_path / "finer", finer, "tar")
    assert dataset.class_names == ("0", "1", "2")
    assert any("has other labels than the .cls" in w.text for w in report.warnings)
    captions = labelled_twice(NUMBERS, [f"picture {n}" for n in range(24)], "txt")
    report, dataset = import_files(tmp_path / "captions", captions, "tar")
    assert (dataset.class_names, kinds(report)) == (
        ("0", "1", "2"),
        {"unnamed_classes", "test_drawn"},
    )
