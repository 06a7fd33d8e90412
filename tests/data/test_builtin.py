"""Built-in datasets, in their published formats but small, from a server on this machine."""

import hashlib
import io
import pickle
import socket
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from torchvision import datasets

from worker.data import DatasetError, builtin, import_torchvision
from worker.data.matfile import read_mat

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


def test_svhn_digits_are_their_labels(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    images, split_list = {}, {}
    stored_labels = np.tile(np.arange(1, 11, dtype=np.uint8), 3)[:, None]  # 10 means zero
    for part in ("train", "test"):
        images[part] = RNG.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
        name = f"{part}_32x32.mat"
        content = {"X": images[part].transpose(1, 2, 3, 0), "y": stored_labels}
        scipy.io.savemat(folder / name, content, do_compression=True)
        split_list[part] = [f"{address}/{name}", name, md5((folder / name).read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)
    dataset = import_torchvision("svhn", tmp_path / "d", progress=nothing)
    assert dataset.class_names == tuple("0123456789")
    for part in ("train", "test"):
        np.testing.assert_array_equal(dataset.arrays[f"{part}_images"], images[part])
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


@pytest.mark.parametrize("compressed", [True, False])
def test_matlab_files_are_read_as_scipy_wrote_them(tmp_path: Path, compressed: bool) -> None:
    arrays = {
        "X": RNG.integers(0, 256, (5, 4, 3, 7), dtype=np.uint8),
        "tiny": np.array([[7]], dtype=np.uint8),
        "a_longer_name": RNG.integers(-(2**30), 2**30, (2, 3), dtype=np.int32),
        "real": RNG.normal(size=(3, 2)),
    }
    scipy.io.savemat(tmp_path / "a.mat", arrays, do_compression=compressed)
    found = read_mat(tmp_path / "a.mat")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_other_files_are_no_matlab_files(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    for content in (b"", b"MATLAB" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="MATLAB 5"):
            read_mat(path)
    scipy.io.savemat(path, {"X": np.zeros((50, 50))}, do_compression=True)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="cut short"):
        read_mat(path)
