"""Import of archives that are as they should be, or nearly."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.packing import (
    KINDS,
    class_folders,
    encode,
    import_files,
    import_path,
    kinds,
    pack,
    pixels,
    png,
    train_and_test,
)
from worker.data import Dataset, DatasetError, Wishes, decode_image, import_archive


def stored(dataset: Dataset, part: str) -> dict[bytes, int]:
    """Label of every image of a part, by its pixels."""
    images, labels = dataset.arrays[f"{part}_images"], dataset.arrays[f"{part}_labels"]
    return {image.tobytes(): int(label) for image, label in zip(images, labels, strict=True)}


def given(files: dict[str, bytes], start: str, names: tuple[str, ...]) -> dict[bytes, int]:
    """The same for files to be imported, whose class is the folder below `start`."""
    return {
        decode_image(data, image_size=32).tobytes(): names.index(name[len(start) :].split("/")[0])
        for name, data in files.items()
        if name.startswith(start)
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefix", ["", "cifar10/", "./a/b/"])
def test_every_image_gets_its_class_and_its_part(tmp_path: Path, kind: str, prefix: str) -> None:
    files = train_and_test(prefix, dog=5, cat=4, bird=3)
    report, dataset = import_files(tmp_path, files, kind)
    assert dataset.class_names == ("bird", "cat", "dog")
    assert stored(dataset, "train") == given(files, f"{prefix}train/", dataset.class_names)
    assert stored(dataset, "test") == given(files, f"{prefix}test/", dataset.class_names)
    assert (report.train_counts, report.test_counts) == ((3, 4, 5), (2, 2, 2))
    assert (report.skipped, report.left_out, kinds(report)) == (0, {}, set())
    assert report.notes == ()
    assert dataset.info.source == "archive"


def test_every_kind_of_archive_gives_the_same_dataset(tmp_path: Path) -> None:
    files = train_and_test(cat=4, dog=4)
    backwards = dict(reversed(files.items()))
    checksums = {
        import_path(pack(tmp_path / kind, content, kind), tmp_path / f"d{kind}{order}")[1].checksum
        for kind in KINDS
        for order, content in enumerate((files, backwards))
    }
    assert len(checksums) == 1


def test_without_train_and_test_a_fifth_of_each_class_is_test(tmp_path: Path) -> None:
    files = class_folders("animals/", {"cat": 20, "dog": 10, "eel": 3})
    report, dataset = import_files(tmp_path, files)
    assert kinds(report) == {"test_drawn"}
    assert dataset.info.test_counts == (4, 2, 1)
    assert dataset.info.train_counts == (16, 8, 2)
    both = stored(dataset, "train") | stored(dataset, "test")
    assert both == given(files, "animals/", dataset.class_names)
    assert len(both) == 33


def test_the_split_depends_on_the_seed_alone(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", class_folders("", {"cat": 20, "dog": 20}))
    first, again, other = (
        import_path(path, tmp_path / f"d{i}", seed=seed)[1].checksum
        for i, seed in enumerate((1, 1, 2))
    )
    assert first == again != other


def test_train_alone_is_split(tmp_path: Path) -> None:
    report, dataset = import_files(tmp_path, class_folders("x/train/", {"cat": 5, "dog": 5}))
    assert kinds(report) == {"test_drawn"}
    assert dataset.class_names == ("cat", "dog")


def test_train_and_test_may_be_class_names_too(tmp_path: Path) -> None:
    _, dataset = import_files(tmp_path, train_and_test(train=4, test=4, tram=4))
    assert dataset.class_names == ("test", "train", "tram")
    report, flat = import_path(
        pack(tmp_path / "flat", class_folders("", {"train": 4, "tram": 4})), tmp_path / "flat_d"
    )
    assert flat.class_names == ("train", "tram")
    assert kinds(report) == {"test_drawn", "classes_like_parts"}


def test_part_names_may_be_capitalised(tmp_path: Path) -> None:
    files = class_folders("Train/", {"cat": 3, "dog": 3}) | class_folders(
        "TEST/", {"cat": 1, "dog": 2}, first_seed=100
    )
    report, dataset = import_files(tmp_path, files)
    assert kinds(report) == set()
    assert dataset.info.test_counts == (1, 2)


def test_images_deeper_in_a_class_folder_belong_to_it(tmp_path: Path) -> None:
    files = train_and_test(cat=3, dog=3) | {"train/cat/more/deep.png": png(77)}
    report, dataset = import_files(tmp_path, files)
    assert dataset.info.train_counts == (4, 3)
    assert report.left_out == {}


def test_classes_are_in_natural_order(tmp_path: Path) -> None:
    names = ["class10", "Class2", "class1", "10", "9", "a01", "a1"]
    _, dataset = import_files(tmp_path, class_folders("", dict.fromkeys(names, 3)))
    assert dataset.class_names == ("9", "10", "a01", "a1", "class1", "Class2", "class10")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_odd_names_are_kept_as_they_are(tmp_path: Path, kind: str) -> None:
    names = ["<script>alert(1)<", "a&b'\"", "Ærø 猫 🐈", "{{7*7}}", "%2e%2e", "a\\b"]
    report, dataset = import_files(tmp_path, class_folders("", dict.fromkeys(names, 3)), kind)
    assert set(dataset.class_names) == set(report.class_names) == set(names)


def test_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    files = train_and_test("set/", cat=3, dog=3) | {
        "README.md": b"about",
        "cover.png": png(50),
        "set/train/labels.csv": b"a,b",
        "set/train/cat/notes.txt": b"c",
        "set/sample/cat/1.png": png(51),
        "set/train/cat/phone.heic": b"x",
    }
    hidden = {
        "__MACOSX/set/train/cat/._0.png": b"resource fork",
        "set/train/.DS_Store": b"",
        "set/train/.thumbs/1.png": png(52),
        "set/train/cat/.hidden.png": png(53),
    }
    report, dataset = import_files(tmp_path, files | hidden)
    assert dataset.class_names == ("cat", "dog")
    assert (sum(report.train_counts), sum(report.test_counts)) == (6, 4)
    assert report.left_out == {
        "files that are no pictures": 3,
        "HEIC files, which are not read": 1,
        "pictures outside of class folders": 2,
        "hidden, or of the system that packed the archive": 4,
    }
    assert kinds(report) == {"folder_left_out"}
    assert "set/sample" in next(w.text for w in report.warnings if w.kind == "folder_left_out")


def test_damaged_images_are_skipped_and_named(tmp_path: Path) -> None:
    good = encode(pixels(0), "JPEG")
    files = train_and_test(cat=4, dog=4) | {
        "train/cat/half.jpg": good[: len(good) // 2],
        "train/cat/text.jpg": b"not an image",
        "test/dog/<b>empty</b>.png": b"",
        "train/dog/icon.png": encode(pixels(1), "ICO"),
    }
    report, dataset = import_files(tmp_path, files)
    counts = sum(report.train_counts), sum(report.test_counts), report.skipped
    assert counts == (8, 4, 4)
    reasons = {file.name: file.reason for file in report.skipped_files}
    assert set(reasons) == {
        "train/cat/half.jpg",
        "train/cat/text.jpg",
        "test/dog/<b>empty</b>.png",
        "train/dog/icon.png",
    }
    assert reasons["train/cat/half.jpg"].startswith("damaged")
    assert reasons["train/dog/icon.png"].startswith("not a PNG")
    assert report.left_out == {
        "pictures that are damaged": 1,
        "pictures that are not of a picture format": 3,
    }
    assert dataset.info.notes["skipped"] == 4
    assert {name for name, _ in dataset.info.notes["skipped_files"]} == set(reasons)
    files = {name: data for name, data in files.items() if name not in reasons}
    assert stored(dataset, "train") == given(files, "train/", dataset.class_names)


def test_a_report_names_the_first_twenty(tmp_path: Path) -> None:
    bad = {f"train/cat/bad{i:02}.png": b"?" for i in range(30)}
    report, _ = import_files(tmp_path, train_and_test(cat=2, dog=2) | bad)
    assert report.skipped == 30
    assert [f.name for f in report.skipped_files] == sorted(bad)[:20]


def test_pictures_of_every_sort_become_the_datasets_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "cat/1.png": encode(pixels(0, 1, 1)),
        "cat/2.JPG": encode(pixels(1, 90, 200), "JPEG", exif=exif),
        "cat/3.jpeg": encode(Image.new("CMYK", (64, 64)), "JPEG"),
        "cat/4.webp": encode(pixels(2, 64, 70), "WEBP"),
        "dog/1.png": encode(Image.new("L", (64, 64), 9)),
        "dog/2.PNG": encode(Image.new("RGBA", (20, 64), (1, 2, 3, 4))),
        "dog/3.bmp": encode(pixels(3, 33, 64), "BMP"),
        "dog/4.jfif": encode(pixels(4, 64, 64), "JPEG"),
        "dog/5.ppm": encode(pixels(5, 64, 64), "PPM"),
        "dog/6.pgm": encode(pixels(6, 64, 64)[..., 0], "PPM"),
        "dog/7.tif": encode(pixels(7, 64, 64), "TIFF"),
        "dog/8.gif": encode(pixels(8, 64, 64), "GIF"),
        "dog/9.avif": encode(pixels(9, 64, 64), "AVIF"),
    }
    report, dataset = import_files(tmp_path, files, image_size=64)
    assert report.skipped == 0
    assert sum(dataset.info.train_counts) + sum(dataset.info.test_counts) == len(files)
    expected = {decode_image(data, image_size=64).tobytes() for data in files.values()}
    assert set(stored(dataset, "train")) | set(stored(dataset, "test")) == expected


def test_progress_goes_from_none_to_all(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", train_and_test(cat=150, dog=100))
    calls: list[tuple[int, int]] = []
    import_archive(
        path,
        tmp_path / "d",
        wishes=Wishes(image_size=32),
        label="",
        source="",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(0, 254), (100, 254), (200, 254), (254, 254)]


@pytest.mark.parametrize("kind", ["zip", "tar.xz"])
def test_what_progress_raises_ends_the_import_without_a_trace(tmp_path: Path, kind: str) -> None:
    class CancelledError(OSError):
        pass

    def progress(done: int, total: int) -> None:
        if done:
            raise CancelledError

    path = pack(tmp_path / "archive", train_and_test(cat=100, dog=100), kind)
    with pytest.raises(CancelledError):
        import_archive(
            path,
            tmp_path / "d",
            wishes=Wishes(image_size=32),
            label="",
            source="",
            progress=progress,
        )
    assert list(tmp_path.iterdir()) == [path]


def test_an_import_clears_what_an_interrupted_one_left(tmp_path: Path) -> None:
    left = tmp_path / ".dataset.0123.partial"
    left.mkdir()
    (left / "train_images.npy").write_bytes(b"half")
    other = tmp_path / ".dataset2.0123.partial"
    other.mkdir()
    import_files(tmp_path, train_and_test(cat=2, dog=2))
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "dataset", other.name}


def test_refuses_to_replace_a_dataset(tmp_path: Path) -> None:
    files = train_and_test(cat=2, dog=2)
    _, dataset = import_files(tmp_path, files)
    with pytest.raises(FileExistsError):
        import_files(tmp_path, files | {"train/cat/new.png": png(99)})
    assert import_path(tmp_path / "archive", tmp_path / "e")[1].checksum != dataset.checksum


@pytest.mark.parametrize("image_size", [32, 64, 96, 128, 224])
def test_pictures_become_as_large_as_wished(tmp_path: Path, image_size: int) -> None:
    """Smaller and larger ones, and of those of that very size every pixel."""
    own = pixels(1, image_size, image_size)
    more = {"test/cat/own.png": encode(own), "test/cat/wide.png": encode(pixels(2, 250, 300))}
    files = train_and_test(cat=2, dog=2) | more
    report, dataset = import_files(tmp_path, files, image_size=image_size)
    assert dataset.arrays["test_images"].shape == (6, image_size, image_size, 3)
    expected = {decode_image(data, image_size=image_size).tobytes() for data in files.values()}
    assert set(stored(dataset, "train")) | set(stored(dataset, "test")) == expected
    assert own.tobytes() in stored(dataset, "test")
    enlarged = [w.count for w in report.warnings if w.kind == "enlarged"]
    assert enlarged == ([8] if image_size > 32 else [])


@pytest.mark.parametrize("image_size", [0, 31, 256])
def test_refuses_other_sizes(tmp_path: Path, image_size: int) -> None:
    with pytest.raises(ValueError, match="image_size"):
        import_files(tmp_path, train_and_test(cat=2, dog=2), image_size=image_size)


def test_imports_real_images(tmp_path: Path, real_data: Path) -> None:
    report, dataset = import_path(real_data / "cifar10-mini.zip", tmp_path / "d")
    assert dataset.class_names == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    assert dataset.info.train_counts == (100,) * 10
    assert dataset.info.test_counts == (50,) * 10
    assert (report.skipped, report.left_out) == (0, {})
    # Close to the published figures for all of CIFAR-10's training images.
    np.testing.assert_allclose(dataset.mean, (0.4914, 0.4822, 0.4465), atol=0.02)
    np.testing.assert_allclose(dataset.std, (0.247, 0.2435, 0.2616), atol=0.02)
    validation = dataset.split("validation")
    assert np.bincount(validation.labels).tolist() == [10] * 10


@pytest.mark.slow
def test_imports_the_whole_of_a_compressed_stream(tmp_path: Path, real_data: Path) -> None:
    report, dataset = import_path(real_data / "cifar10-jpeg.tar.xz", tmp_path / "d")
    assert dataset.info.train_counts == (5000,) * 10
    assert dataset.info.test_counts == (800,) * 10
    assert (report.skipped, report.left_out) == (0, {})
    np.testing.assert_allclose(dataset.mean, (0.4914, 0.4822, 0.4465), atol=0.002)
    # The small archive holds the first of the same images.
    _, mini = import_path(real_data / "cifar10-mini.zip", tmp_path / "mini")
    for part, count, few in (("train", 5000, 100), ("test", 800, 50)):
        first = [c * count + i for c in range(10) for i in range(few)]
        np.testing.assert_array_equal(
            dataset.arrays[f"{part}_images"][first], mini.arrays[f"{part}_images"]
        )


def test_dataset_errors_travel_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(DatasetError("Wrong.", "Do this.")))
    assert (error.detail, error.hint, str(error)) == ("Wrong.", "Do this.", "Wrong. Do this.")
