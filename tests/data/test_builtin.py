"""Built-in datasets, in their published formats but small, from a server on this machine."""

import hashlib
import io
import pickle
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from torchvision import datasets

from worker.data import DatasetError, builtin, import_torchvision

RNG = np.random.default_rng(0)


class Handler(SimpleHTTPRequestHandler):
    """Serves files; of one whose name starts with `slow` only the first half, until told."""

    release = threading.Event()

    def log_message(self, *args: Any) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if "slow" not in self.path:
            super().copyfile(source, outputfile)
            return
        data = source.read()
        outputfile.write(data[: len(data) // 2])
        outputfile.flush()
        self.release.wait(30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which its files are served."""
    folder = tmp_path / "served"
    folder.mkdir()
    Handler.release.clear()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_address[1]}"
    Handler.release.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def nothing(done: int, total: int) -> None:
    pass


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def batch(count: int, classes: int, key: str) -> dict[str, Any]:
    """A CIFAR batch: rows of 1024 red, 1024 green and 1024 blue values, and their labels."""
    data = RNG.integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": data, key: [i % classes for i in range(count)]}


def serve_cifar(
    monkeypatch: pytest.MonkeyPatch,
    served: tuple[Path, str],
    dataset: type[datasets.CIFAR10],
    batches: dict[str, dict[str, Any]],
    names: list[str],
    filename: str = "small.tar.gz",
) -> None:
    """Put an archive in the published format on the server, and let torchvision expect it."""
    folder, address = served
    meta = dataset.meta
    contents = {name: pickle.dumps(content) for name, content in batches.items()}
    contents[meta["filename"]] = pickle.dumps({meta["key"]: names})
    with tarfile.open(folder / filename, "w:gz") as archive:
        for name, data in contents.items():
            info = tarfile.TarInfo(f"{dataset.base_folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    sums = {name: md5(data) for name, data in contents.items()}
    train = [name for name in batches if "test" not in name]
    monkeypatch.setattr(dataset, "url", f"{address}/{filename}")
    monkeypatch.setattr(dataset, "filename", filename)
    monkeypatch.setattr(dataset, "tgz_md5", md5((folder / filename).read_bytes()))
    monkeypatch.setattr(dataset, "train_list", [[name, sums[name]] for name in train])
    monkeypatch.setattr(dataset, "test_list", [[n, sums[n]] for n in batches if "test" in n])
    monkeypatch.setattr(dataset, "meta", meta | {"md5": sums[meta["filename"]]})


def cifar10_batches() -> dict[str, dict[str, Any]]:
    names = [f"data_batch_{i}" for i in range(1, 6)]
    return {name: batch(20, 10, "labels") for name in [*names, "test_batch"]}


def images_of(batches: list[dict[str, Any]]) -> np.ndarray:
    rows = np.concatenate([content["data"] for content in batches])
    return np.stack([rows[:, i * 1024 : (i + 1) * 1024].reshape(-1, 32, 32) for i in range(3)], -1)


def test_cifar10(tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"name{i}" for i in range(10)]
    batches = cifar10_batches()
    serve_cifar(monkeypatch, server, datasets.CIFAR10, batches, names)
    calls: list[tuple[int, int]] = []
    dataset = import_torchvision(
        "cifar10", tmp_path / "d", progress=lambda done, total: calls.append((done, total))
    )
    assert dataset.class_names == tuple(names)
    *train, test = batches.values()
    np.testing.assert_array_equal(dataset.arrays["train_images"], images_of(train))
    np.testing.assert_array_equal(dataset.arrays["test_images"], images_of([test]))
    np.testing.assert_array_equal(dataset.arrays["train_labels"], np.arange(100) % 10)
    assert dataset.info.label == "CIFAR-10"
    assert calls
    assert all(0 <= done <= total for done, total in calls)
    assert {path.name for path in tmp_path.iterdir()} == {"d", "served"}


def test_cifar100_has_its_fine_labels(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"fine{i}" for i in range(100)]
    batches = {"train": batch(200, 100, "fine_labels"), "test": batch(100, 100, "fine_labels")}
    serve_cifar(monkeypatch, server, datasets.CIFAR100, batches, names)
    dataset = import_torchvision("cifar100", tmp_path / "d", progress=nothing)
    assert dataset.class_names == tuple(names)
    np.testing.assert_array_equal(dataset.arrays["train_images"], images_of([batches["train"]]))
    np.testing.assert_array_equal(dataset.arrays["test_labels"], np.arange(100))


Corrupt = Callable[[bytes], bytes]


def serve_svhn(
    monkeypatch: pytest.MonkeyPatch,
    served: tuple[Path, str],
    contents: dict[str, dict[str, np.ndarray]],
    *,
    compressed: bool = True,
    corrupt: Corrupt = bytes,
    corrupt_later: Corrupt = bytes,
) -> None:
    """Put MATLAB files on the server: corrupted before or after torchvision learns of them."""
    folder, address = served
    split_list = {}
    for part, arrays in contents.items():
        name = f"{part}_32x32.mat"
        scipy.io.savemat(folder / name, arrays, do_compression=compressed)
        published = corrupt((folder / name).read_bytes())
        (folder / name).write_bytes(corrupt_later(published))
        split_list[part] = [f"{address}/{name}", name, md5(published)]
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)


def svhn_part() -> dict[str, np.ndarray]:
    """Images (H, W, 3, N) and labels (N, 1), of which 10 means zero."""
    return {
        "X": RNG.integers(0, 256, (32, 32, 3, 30), dtype=np.uint8),
        "y": np.tile(np.arange(1, 11, dtype=np.uint8), 3)[:, None],
    }


@pytest.mark.parametrize("compressed", [True, False])
def test_svhn_digits_are_their_labels(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    contents = {"train": svhn_part(), "test": svhn_part()}
    serve_svhn(monkeypatch, server, contents, compressed=compressed)
    dataset = import_torchvision("svhn", tmp_path / "d", progress=nothing)
    assert dataset.class_names == tuple("0123456789")
    for part, arrays in contents.items():
        images = arrays["X"].transpose(3, 0, 1, 2)
        np.testing.assert_array_equal(dataset.arrays[f"{part}_images"], images)
        np.testing.assert_array_equal(dataset.arrays[f"{part}_labels"], [*range(1, 10), 0] * 3)


def refused(tmp_path: Path, name: str = "cifar10") -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        import_torchvision(name, tmp_path / "d", progress=nothing)
    assert not [path for path in tmp_path.iterdir() if path.name != "served"]
    assert "could not be downloaded" in caught.value.detail
    assert "archive of class folders" in caught.value.hint
    return caught.value


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_a_closed_network_points_to_archives(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", closed)
    assert "Name or service not known" in refused(tmp_path, name).detail
    assert socket.getdefaulttimeout() is None


def test_a_silent_name_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def silent(*args: Any, **options: Any) -> Any:
        answer.wait(30)
        raise socket.gaierror(-2, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr(builtin, "STALLED", 0.5)
    assert "no answer" in refused(tmp_path).detail
    answer.set()


def test_a_download_that_stalls_is_given_up(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"name{i}" for i in range(10)]
    args = (monkeypatch, server, datasets.CIFAR10, cifar10_batches(), names)
    serve_cifar(*args, filename="slow.tar.gz")
    monkeypatch.setattr(builtin, "STALLED", 1.0)
    assert "no answer" in refused(tmp_path).detail


def test_a_download_with_another_checksum_is_refused(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"name{i}" for i in range(10)]
    serve_cifar(monkeypatch, server, datasets.CIFAR10, cifar10_batches(), names)
    file = server[0] / "small.tar.gz"
    file.write_bytes(file.read_bytes()[:-100])
    assert "corrupted" in refused(tmp_path).detail


def with_type(number: int) -> Corrupt:
    """Another data type for the images of an uncompressed file."""

    def corrupt(content: bytes) -> bytes:
        pixels = (2).to_bytes(4, "little") + (32 * 32 * 3 * 30).to_bytes(4, "little")
        assert content.count(pixels) == 1
        return content.replace(pixels, number.to_bytes(4, "little") + pixels[4:])

    return corrupt


def of_many_images(content: bytes) -> bytes:
    """Declares 2 billion images where there are 30."""
    shape = np.array([32, 32, 3, 30], dtype="<i4").tobytes()
    assert content.count(shape) == 1
    return content.replace(shape, np.array([32, 32, 3, 2**31 - 1], dtype="<i4").tobytes())


@pytest.mark.parametrize("corrupt", [with_type(200), of_many_images, lambda content: b""])
def test_a_damaged_file_is_refused_before_it_is_read(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, corrupt: Corrupt
) -> None:
    """SciPy's reader does not survive the first."""
    contents = {"train": svhn_part(), "test": svhn_part()}
    serve_svhn(monkeypatch, server, contents, compressed=False, corrupt_later=corrupt)
    assert "corrupted" in refused(tmp_path, "svhn").detail


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda content: b"", "truncated"),
        (lambda content: b"MATLAB" * 100, "Unknown mat file type"),
        (lambda content: content[:-10], "could not read bytes"),
        (of_many_images, "cannot reshape"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whatever_its_checksum(
    tmp_path: Path,
    server: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    corrupt: Corrupt,
    message: str,
) -> None:
    contents = {"train": svhn_part(), "test": svhn_part()}
    serve_svhn(monkeypatch, server, contents, compressed=False, corrupt=corrupt)
    assert message in refused(tmp_path, "svhn").detail


def test_images_of_another_shape_are_refused(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {"train": svhn_part() | {"X": np.zeros((32, 32), np.uint8)}, "test": svhn_part()}
    serve_svhn(monkeypatch, server, contents)
    assert "axes don't match" in refused(tmp_path, "svhn").detail


def test_what_progress_raises_ends_the_download(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"name{i}" for i in range(10)]
    args = (monkeypatch, server, datasets.CIFAR10, cifar10_batches(), names)
    serve_cifar(*args, filename="slow.tar.gz")

    def progress(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_torchvision("cifar10", tmp_path / "d", progress=progress)
    assert {path.name for path in tmp_path.iterdir()} == {"served"}


def test_refuses_unknown_names_and_existing_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cifar10, cifar100, svhn"):
        import_torchvision("mnist", tmp_path / "d", progress=nothing)
    with pytest.raises(FileExistsError):
        import_torchvision("svhn", tmp_path, progress=nothing)
