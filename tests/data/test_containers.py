"""Files that hold many images, as their authors publish them and as people save them."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.packing import (
    import_files,
    import_path,
    kinds,
    pack,
    pixels,
    png,
    refused,
    sizes,
)
from tests.plugins import hostile
from worker.data import DatasetError, containers
from worker.jobs import pickled
from worker.jobs.unpacking import matlab


def cifar_batch(count: int, seed: int, protocol: int = 2, **more: Any) -> bytes:
    images = np.stack([pixels(seed + n) for n in range(count)])
    data = images.transpose(0, 3, 1, 2).reshape(count, 3072)
    labels = [n % 3 for n in range(count)]
    page = {b"data": data, b"labels": labels, b"filenames": ["x"] * count, **more}
    return pickle.dumps(page, protocol)


def test_cifar_10_for_python_as_it_is_distributed(tmp_path: Path) -> None:
    names = ["airplane", "automobile", "bird"]
    files = {
        f"cifar-10-batches-py/{name}": content
        for name, content in {
            "batches.meta": pickle.dumps({"label_names": names}, 2),
            "data_batch_1": cifar_batch(6, 0),
            "data_batch_2": cifar_batch(6, 50),
            "test_batch": cifar_batch(6, 90),
            "readme.html": b"<html>",
        }.items()
    }
    report, dataset = import_files(tmp_path, files, "tar.gz")
    assert dataset.class_names == tuple(names)
    assert sizes(dataset) == (12, 0, 6)
    assert report.layout == "CIFAR for Python"
    first = dataset.arrays["test_images"][dataset.arrays["test_labels"] == 0]
    np.testing.assert_array_equal(first, [pixels(90), pixels(93)])
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "dataset"}


def test_cifar_100_takes_its_fine_labels(tmp_path: Path) -> None:
    names = [f"fine {n}" for n in range(3)]
    page = {"fine_label_names": names, "coarse_label_names": ["a", "b"]}
    batches = {
        part: cifar_batch(6, seed, fine_labels=[n % 3 for n in range(6)], coarse_labels=[0] * 6)
        for part, seed in (("train", 0), ("test", 90))
    }
    files = {f"cifar-100-python/{n}": d for n, d in batches.items()}
    files["cifar-100-python/meta"] = pickle.dumps(page, 2)
    _, dataset = import_files(tmp_path, files, "tar.gz")
    assert (dataset.class_names, sizes(dataset)) == (tuple(names), (6, 0, 6))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path("/tmp/evil-was-here").touch, ()


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    files = {"c/data_batch_1": pickle.dumps({"data": Evil()}), "c/test_batch": cifar_batch(6, 0)}
    refused(tmp_path, files, "holds more than images", "tar")
    assert not Path("/tmp/evil-was-here").exists()


def test_a_type_that_numpy_would_believe_is_refused(tmp_path: Path) -> None:
    begin = np.empty(0).__reduce__()[0]
    data = hostile.Reduced(
        begin, (np.ndarray, (0,), b"b"), (1, (2, 3072), hostile.KIND, False, bytes(6144))
    )
    sent = pickle.dumps({b"data": data, b"labels": [0, 1]}, 2)
    files = {"c/data_batch_1": sent, "c/test_batch": cifar_batch(6, 0)}
    refused(tmp_path, files, "arrays of records are not read")


@pytest.mark.parametrize("protocol", range(6))
def test_cifar_that_was_pickled_again_is_the_same(tmp_path: Path, protocol: int) -> None:
    files = {"c/data_batch_1": cifar_batch(6, 0, protocol), "c/test_batch": cifar_batch(6, 90)}
    _, dataset = import_files(tmp_path, files, "tar")
    first = dataset.arrays["train_images"][dataset.arrays["train_labels"] == 0]
    np.testing.assert_array_equal(first, [pixels(0), pixels(3)])


@pytest.mark.parametrize(
    "page",
    [
        {"a": np.arange(6, dtype=">i4").reshape(2, 3)},
        {"a": np.asfortranarray(np.linspace(-1, 1, 6, dtype="<f8").reshape(2, 3))},
        {"a": np.array([True, False]), "b": [1, "two", {"three": 3.0}]},
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_plain_pickles_are_read_as_pickle_reads_them(page: dict[str, Any], protocol: int) -> None:
    written = pickle.dumps(page, protocol)
    found, expected = pickled.load(io.BytesIO(written)), pickle.loads(written)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)
        if isinstance(value, np.ndarray):  # in either order of bytes
            assert found[key].dtype == value.dtype.newbyteorder(found[key].dtype.byteorder)


def test_a_damaged_container_is_refused(tmp_path: Path) -> None:
    files = {"c/data_batch_1": cifar_batch(6, 0)[:2000], "c/test_batch": cifar_batch(6, 0)}
    refused(tmp_path, files, "damaged")


def test_two_datasets_of_cifar_in_one_archive_are_refused(tmp_path: Path) -> None:
    """Their numbers stand for other classes."""
    fine = cifar_batch(6, 90, fine_labels=[n % 3 for n in range(6)])
    ten = {"1/data_batch_1": cifar_batch(6, 0), "1/test_batch": cifar_batch(6, 50)}
    refused(tmp_path, ten | {"2/test": fine}, "holds CIFAR-10 and CIFAR-100")
    again = ten | {"2/test_batch": cifar_batch(6, 190)}
    refused(tmp_path / "again", again, "Several files are called test_batch")
    test, (train, _) = batch(range(3), 0)[0], batch(range(3), 50, coarse=True)
    for_c = {"1/data_batch_1.bin": test, "1/test_batch.bin": test, "2/train.bin": train}
    refused(tmp_path / "for_c", for_c, "holds CIFAR-10 and CIFAR-100")


def svhn(count: int, seed: int) -> bytes:
    from scipy.io import savemat

    images = np.stack([pixels(seed + n) for n in range(count)], axis=-1)
    labels = np.array([10 if n % 10 == 0 else n % 10 for n in range(count)], np.uint8)[:, None]
    file = io.BytesIO()
    savemat(file, {"X": images, "y": labels}, do_compression=True)
    return file.getvalue()


def test_svhn_as_it_is_distributed(tmp_path: Path) -> None:
    files = {"train_32x32.mat": svhn(40, 0), "test_32x32.mat": svhn(20, 100),
             "extra_32x32.mat": b"not read"}  # fmt: skip
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == tuple("0123456789")
    assert sizes(dataset) == (40, 0, 20)
    zeros = dataset.arrays["test_images"][dataset.arrays["test_labels"] == 0]
    np.testing.assert_array_equal(zeros, [pixels(100), pixels(110)])
    assert any("extra" in reason for reason in report.left_out)


def test_one_mat_alone_is_its_part(tmp_path: Path) -> None:
    path = tmp_path / "test_32x32.mat"
    path.write_bytes(svhn(20, 100))
    report, dataset = import_path(path, tmp_path / "dataset")
    assert (sizes(dataset), "evaluation_only" in kinds(report)) == ((0, 0, 20), True)


def idx(array: np.ndarray) -> bytes:
    head = b"\0\0\x08" + bytes([array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def test_mnist_as_it_is_distributed(tmp_path: Path) -> None:
    files = {}
    for part, count, seed in (("train", 20, 0), ("t10k", 10, 50)):
        images = np.stack([pixels(seed + n, 28, 28)[..., 0] for n in range(count)])
        files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(idx(images))
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.arange(count) % 5))
    report, dataset = import_files(tmp_path, files)
    assert (sizes(dataset), dataset.class_names) == ((20, 0, 10), tuple("01234"))
    assert {"unnamed_classes", "enlarged"} <= {w.kind for w in report.warnings}


def test_emnist_as_it_is_distributed(tmp_path: Path) -> None:
    files = {}
    for part, count, seed in (("train", 20, 0), ("test", 10, 50)):
        name = f"gzip/emnist-letters-{part}"
        images = np.stack([pixels(seed + n)[..., 0] for n in range(count)])
        files[f"{name}-images-idx3-ubyte.gz"] = gzip.compress(idx(images))
        files[f"{name}-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.arange(count) % 5))
    _, dataset = import_files(tmp_path, files)
    assert sizes(dataset) == (20, 0, 10)


def test_two_idx_files_of_one_name_are_refused(tmp_path: Path) -> None:
    images = idx(np.stack([pixels(n, 28, 28)[..., 0] for n in range(6)]))
    labels = idx(np.arange(6) % 3)
    files = {
        f"{part}/{name}": data
        for part in ("train", "test")
        for name, data in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels))
    }
    with pytest.raises(DatasetError, match="Several files are called images-idx3-ubyte"):
        import_files(tmp_path, files)


def test_parts_of_arrays_are_called_as_those_of_folders(tmp_path: Path) -> None:
    file = io.BytesIO()
    parts = ("train", "dev", "eval")
    np.savez_compressed(
        file, **{f"x_{p}": IMAGES for p in parts}, **{f"y_{p}": LABELS for p in parts}
    )
    _, dataset = import_files(tmp_path, {"a.npz": file.getvalue()})
    assert sizes(dataset) == (12, 12, 12)


@pytest.mark.parametrize("style", ["medmnist", "keras"])
def test_arrays_of_numpy(tmp_path: Path, style: str) -> None:
    arrays = {}
    for part, count, seed in (("train", 12, 0), ("val", 6, 30), ("test", 6, 50)):
        x, y = (
            (f"{part}_images", f"{part}_labels")
            if style == "medmnist"
            else (f"x_{part}", f"y_{part}")
        )
        arrays[x] = np.stack([pixels(seed + n) for n in range(count)])
        arrays[y] = (np.arange(count) % 3)[:, None]
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    path = tmp_path / "a.npz"
    path.write_bytes(file.getvalue())
    for source in (path, pack(tmp_path / "packed", {"a.npz": file.getvalue()})):
        _, dataset = import_path(source, tmp_path / f"d_{source.name}")
        assert (sizes(dataset), dataset.num_classes) == ((12, 6, 6), 3)


def shard(rows: dict[str, list[Any]], features: dict[str, Any] | None = None) -> bytes:
    """A Parquet file with what `datasets` says of its columns."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.table(rows)
    if features is not None:
        about = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": about})
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def cells(count: int, seed: int) -> list[dict[str, Any]]:
    return [{"bytes": png(seed + n), "path": f"{n}.png"} for n in range(count)]


def parquet_shard(
    count: int,
    seed: int,
    *,
    typed: bool = True,
    label: int | None = None,
    names: tuple[str, str] = ("pug", "husky"),
) -> bytes:
    values = [n % 2 if label is None else label for n in range(count)]
    rows = {"img": cells(count, seed), "label": values if typed else [names[v] for v in values]}
    features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    return shard(rows, features if typed else None)


@pytest.mark.parametrize("typed", [True, False])
def test_parquet_of_hugging_face(tmp_path: Path, typed: bool) -> None:
    files = {
        "data/train-00000-of-00002.parquet": parquet_shard(6, 0, typed=typed),
        "data/train-00001-of-00002.parquet": parquet_shard(6, 50, typed=typed),
        "data/test-00000-of-00001.parquet": parquet_shard(4, 90, typed=typed),
        "data/unlabelled.parquet": parquet_shard(4, 190, label=-1),
    }
    if not typed:
        del files["data/unlabelled.parquet"]
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == (("pug", "husky") if typed else ("husky", "pug"))
    assert sizes(dataset) == (12, 0, 4)
    pugs = dataset.arrays["test_images"][
        dataset.arrays["test_labels"] == dataset.class_names.index("pug")
    ]
    np.testing.assert_array_equal(pugs, [pixels(90), pixels(92)])
    assert report.left_out.get("rows without a label", 0) == (4 if typed else 0)


def test_shards_that_declare_other_classes_are_refused(tmp_path: Path) -> None:
    files = {
        "data/test-00000-of-00001.parquet": parquet_shard(4, 90, names=("dog", "cat")),
        "data/train-00000-of-00001.parquet": parquet_shard(6, 0, names=("cat", "dog")),
    }
    refused(tmp_path, files, "shards declare other columns or classes")
    other = shard({"img": cells(4, 90), "label": [0, 1, 0, 1]})
    mixed = {"train.parquet": parquet_shard(6, 0, typed=False), "test.parquet": other}
    refused(tmp_path, mixed, "shards declare other columns or classes")


@pytest.mark.parametrize(
    ("order", "names"), [("natural", ("class2", "class10")), ("sorted", ("class10", "class2"))]
)
def test_labels_of_shards_that_are_texts_are_sorted_as_asked(
    tmp_path: Path, order: str, names: tuple[str, ...]
) -> None:
    files = {
        f"{part}.parquet": parquet_shard(6, seed, typed=False, names=("class10", "class2"))
        for part, seed in (("train", 0), ("test", 90))
    }
    report, dataset = import_files(tmp_path, files, order=order)
    assert dataset.class_names == names
    assert not any("the source itself gives" in note for note in report.notes)
    first = dataset.arrays["test_images"][dataset.arrays["test_labels"] == names.index("class10")]
    np.testing.assert_array_equal(first, [pixels(90), pixels(92), pixels(94)])


@pytest.mark.parametrize("typed", [True, False])
def test_of_several_columns_of_pictures_none_is_guessed(tmp_path: Path, typed: bool) -> None:
    rows = {"mask": cells(8, 90), "image": cells(8, 0), "label": [n % 2 for n in range(8)]}
    features = {"image": {"_type": "Image"}, "mask": {"_type": "Image"}} if typed else None
    report, dataset = import_files(tmp_path, {"train.parquet": shard(rows, features)})
    stored = np.concatenate([dataset.arrays["train_images"], dataset.arrays["test_images"]])
    assert {image.tobytes() for image in stored} == {pixels(n).tobytes() for n in range(8)}
    assert "Other columns of pictures are not used: mask." in {w.text for w in report.warnings}
    rows["photo"] = rows.pop("image")
    refused_path = tmp_path / "unclear"
    refused_path.mkdir()
    refused(refused_path, {"train.parquet": shard(rows)}, "may be the pictures: mask, photo")


def test_labels_that_are_not_read_are_never_those_of_another_column(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    texts = arrow.array(["cat", "dog"] * 4, arrow.large_string())
    rows = {"image": cells(8, 0), "label": texts, "width": [32, 64] * 4}
    _, dataset = import_files(tmp_path, {"train.parquet": shard(rows)})
    assert dataset.class_names == ("cat", "dog")
    for values, kind in (([0.0, 1.0] * 4, "double"), ([[0], [1]] * 4, "list<")):
        files = {"train.parquet": shard(rows | {"label": values})}
        refused(tmp_path / kind[:4], files, f"column “label” holds {kind}")


@pytest.mark.parametrize(
    ("name", "sized"),
    [
        ("data/train-00000-of-00001-a09b74b3ef9c3b56.parquet", (6, 0, 2)),
        ("mnist-test-00000-of-00001.parquet", (0, 0, 8)),
        ("eval/0000.parquet", (0, 0, 8)),
        ("testimonials/a.parquet", (6, 0, 2)),
        ("value/0.parquet", (6, 0, 2)),
    ],
)
def test_parts_of_shards_are_told_as_those_of_folders(
    tmp_path: Path, name: str, sized: tuple[int, int, int]
) -> None:
    report, dataset = import_files(tmp_path, {name: parquet_shard(8, 0)})
    assert sizes(dataset) == sized
    drawn = [w.text for w in report.warnings if w.kind == "test_drawn"]
    said = "a training part only" if "train" in name else "no train and test folders"
    assert not drawn if sized[0] == 0 else said in drawn[0]


def test_too_many_files_of_many_images_are_refused(tmp_path: Path) -> None:
    files = {f"{n}.parquet": b"PAR1" for n in range(1001)}
    refused(tmp_path, files, "1,001 files of many images")


def test_more_images_than_fit_are_refused_before_they_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "Sample", None)  # none is made
    files = {"train.parquet": parquet_shard(12, 0)}
    with pytest.raises(DatasetError, match="12 images of 224 pixels a side take 2 MB") as caught:
        import_files(tmp_path, files, image_size=224, most_bytes=2**20)
    assert "raise LAB_MAX_DATASET_MB" in caught.value.hint


def batch(labels: range, seed: int, *, coarse: bool = False) -> tuple[bytes, list[np.ndarray]]:
    """A batch of CIFAR for C by its description: labels, then the red, green and blue plane."""
    images = [pixels(seed + n) for n in labels]
    data = b""
    for label, image in zip(labels, images, strict=True):
        data += bytes([7, label] if coarse else [label])
        for channel in range(3):
            data += image[:, :, channel].tobytes()
    return data, images


@pytest.mark.parametrize("coarse", [False, True])
def test_cifar_for_c_as_it_is_distributed(tmp_path: Path, coarse: bool) -> None:
    train, shown = batch(range(10), 0, coarse=coarse)
    test, _ = batch(range(10), 50, coarse=coarse)
    names = "\n".join(f"class {n}" for n in range(10)) + "\n\n"
    names_file = "fine_label_names.txt" if coarse else "batches.meta.txt"
    files = (
        {"train.bin": train * 3, "test.bin": test}
        if coarse
        else {f"data_batch_{n}.bin": train for n in range(1, 4)} | {"test_batch.bin": test}
    )
    _, dataset = import_files(
        tmp_path, {f"cifar/{n}": data for n, data in files.items()} | {
            f"cifar/{names_file}": names.encode()}
    )  # fmt: skip
    assert (sizes(dataset), dataset.class_names[9]) == ((30, 0, 10), "class 9")
    stored = dataset.arrays["train_images"][dataset.arrays["train_labels"] == 3]
    np.testing.assert_array_equal(stored[0], shown[3])


def test_a_batch_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    data, _ = batch(range(3), 0)
    refused(tmp_path, {"test_batch.bin": data[:-1]}, "its last image is not whole")


def test_stl_10_as_it_is_distributed(tmp_path: Path) -> None:
    """Its images lie column by column."""
    images = np.random.default_rng(0).integers(0, 256, (20, 96, 96, 3), np.uint8)
    planes = b"".join(
        image[:, column, channel].tobytes()
        for image in images for channel in range(3) for column in range(96)
    )  # fmt: skip
    files = {
        "stl/train_X.bin": planes, "stl/train_y.bin": bytes([1 + n % 2 for n in range(20)]),
        "stl/test_X.bin": planes, "stl/test_y.bin": bytes([1 + n % 2 for n in range(20)]),
        "stl/class_names.txt": b"airplane\nbird\n", "stl/fold_indices.txt": b"0 1 2\n",
    }  # fmt: skip
    report, dataset = import_files(tmp_path, files, image_size=96)
    assert dataset.class_names == ("airplane", "bird")
    np.testing.assert_array_equal(dataset.arrays["test_images"][:2], images[[0, 2]])
    assert report.left_out == {"files that are no pictures": 1}
    twice = {f"{folder}/{name}.bin": planes for folder in "12" for name in ("train_X", "train_y")}
    refused(tmp_path / "twice", twice, "Several files have one name")
    short = {"train_X.bin": planes[1:], "train_y.bin": bytes([1, 2] * 10)}
    refused(tmp_path / "short", short, "do not belong together")


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


IMAGES = np.stack([pixels(n) for n in range(12)])
LABELS = np.arange(12) % 3


@pytest.mark.parametrize(
    "names",
    [
        ("X_train.npy", "y_train.npy", "X_test.npy", "y_test.npy"),
        ("trainX.npy", "trainY.npy", "testX.npy", "testY.npy"),
        ("a/train_images.npy", "a/train_labels.npy", "a/test_images.npy", "a/test_labels.npy"),
        ("train/data.npy", "train/labels.npy", "test/data2.npy", "test/labels2.npy"),
        ("train/images.npy", "train/labels.npy", "test/images.npy", "test/labels.npy"),
    ],
)
def test_arrays_a_file_each(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = (IMAGES, LABELS, IMAGES[::-1], LABELS[::-1])
    files = {name: saved(array) for name, array in zip(names, arrays, strict=True)}
    report, dataset = import_files(tmp_path, files | {"classes.txt": b"cat\ndog\nowl\n"})
    assert (sizes(dataset), dataset.class_names) == ((12, 0, 12), ("cat", "dog", "owl"))
    assert report.left_out == {}
    assert "unnamed_classes" not in kinds(report)


def test_images_of_one_corruption_have_the_labels_beside_them(tmp_path: Path) -> None:
    fog = {"CIFAR-10-C/fog.npy": saved(IMAGES), "CIFAR-10-C/labels.npy": saved(LABELS)}
    _, dataset = import_files(tmp_path, fog)
    assert len(dataset.arrays["test_labels"]) + len(dataset.arrays["train_labels"]) == 12
    two = fog | {"CIFAR-10-C/frost.npy": saved(IMAGES)}
    refused(tmp_path / "two", two, "may have the labels: fog, frost")


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"x.npy": IMAGES, "y.npy": LABELS[:-1]}, "12 images, y 11 labels"),
        ({"x.npy": IMAGES, "images.npy": IMAGES, "y.npy": LABELS}, "may be the same"),
        ({"1/x.npy": IMAGES, "2/x.npy": IMAGES, "y.npy": LABELS}, "Several files are called x"),
        ({"x.npy": IMAGES}, "No images have labels"),
        ({"train/x.npy": IMAGES, "test/y.npy": LABELS}, "No images have labels"),
        ({"train/fog.npy": IMAGES, "test/labels.npy": LABELS}, "No images have labels"),
        ({"x.npy": IMAGES / 255, "y.npy": LABELS}, "what is white, nobody says"),
        ({"x.npy": IMAGES, "y.npy": 0.25 + 0.5 * np.eye(2)[LABELS % 2]}, "no labels of one class"),
        ({"x.npy": IMAGES, "y.npy": 3 * np.eye(2, dtype=int)[LABELS % 2] - 1},
         "no labels of one class"),
        ({"x_train.npy": IMAGES, "y_train.npy": LABELS, "x_test.npy": IMAGES[:, 1:],
          "y_test.npy": LABELS}, "of several sizes: 32 × 32, 31 × 32"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, files: dict[str, np.ndarray], match: str
) -> None:
    refused(tmp_path, {name: saved(array) for name, array in files.items()}, match)


def test_arrays_of_objects_run_nothing(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.array([Evil()], dtype=object), allow_pickle=True)
    files = {"x.npy": file.getvalue(), "y.npy": saved(LABELS)}
    refused(tmp_path, files, "x holds objects of Python")


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ("2 owl\n0 cat\n1 dog\n", "cat dog owl"),
        ("owl,2\ncat,0\ndog,1\n", "cat dog owl"),
        ("1: cat\n2: dog\n3: owl\n", "0 1 2"),
        ("no 717\nno 320\nno 2\n", "no 717,no 320,no 2"),
        ("class 2\nclass 1\nclass 0\n", "class 2,class 1,class 0"),
    ],
)
def test_numbers_before_or_behind_names_say_which_class_they_name(
    tmp_path: Path, lines: str, names: str
) -> None:
    files = {"x.npy": saved(IMAGES), "y.npy": saved(LABELS), "classes.txt": lines.encode()}
    _, dataset = import_files(tmp_path, files)
    assert dataset.class_names == tuple(names.split("," if "," in names else " "))


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("labels.json", '{\n"0": "cat",\n"1": "dog"\n}\n'),
        ("classes.csv", "class\ncat\ndog\nowl\n"),
    ],
)
def test_a_file_that_is_no_list_of_lines_names_no_classes(
    tmp_path: Path, name: str, lines: str
) -> None:
    files = {"x.npy": saved(IMAGES), "y.npy": saved(LABELS), name: lines.encode()}
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("0", "1", "2")
    assert "unnamed_classes" in kinds(report)


@pytest.mark.parametrize("lines", ["1\n2\n0\n1\n", ""])
def test_lines_that_name_no_classes_leave_them_numbers(tmp_path: Path, lines: str) -> None:
    files = {"x.npy": saved(IMAGES), "y.npy": saved(LABELS), "labels.txt": lines.encode()}
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("0", "1", "2")
    assert "unnamed_classes" in kinds(report)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_arrays_of_matlab_are_read_as_scipy_wrote_them(kind: str, packed: bool) -> None:
    from scipy.io import savemat

    for shape in ((1, 1), (3, 1), (2, 5), (2, 3, 4), (3, 3, 3, 2)):
        written = np.arange(np.prod(shape)).reshape(shape).astype(kind)
        file = io.BytesIO()
        savemat(file, {"a": [{}], "X": written, "longer": 3.0}, do_compression=packed)
        read = matlab.arrays(file.getvalue(), ("X", "absent"))
        assert list(read) == ["X"]
        assert read["X"].dtype == written.dtype
        np.testing.assert_array_equal(read["X"], written)


def test_types_that_matlab_does_not_have_are_refused() -> None:
    """SciPy read beyond the end of its table of types."""
    head = bytes(124) + b"\0\1IM"
    flags = struct.pack("<IIII", 6, 8, 9, 0)
    name_and_shape = struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<HH4s", 1, 1, b"X")
    for kind in (0, 8, 14, 18, 0xFFFF):
        held = flags + name_and_shape + struct.pack("<HH4s", kind, 1, b"1")
        with pytest.raises((KeyError, ValueError)):
            matlab.arrays(head + struct.pack("<II", 14, len(held)) + held, ("X",))
