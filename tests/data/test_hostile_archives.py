"""Archives that are wrong, by accident or on purpose: a clear error, and nothing left behind."""

import gzip
import io
import lzma
import os
import re
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.packing import (
    KINDS,
    class_folders,
    import_files,
    import_path,
    pack,
    png,
    train_and_test,
)
from worker.data import DatasetError, members

Files = dict[str, bytes]


def refused(tmp_path: Path, path: Path, **wishes: int) -> DatasetError:
    """The error that importing `path` gives, which leaves no file behind."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError) as caught:
        import_path(path, tmp_path / "dataset", **wishes)
    assert sorted(tmp_path.rglob("*")) == before
    assert caught.value.detail.endswith(".")
    assert caught.value.hint.endswith(".")
    return caught.value


@pytest.mark.parametrize(
    ("files", "detail"),
    [
        ({"a.txt": b"x", "cat/b.txt": b"y"}, "holds no PNG"),
        ({"1.png": png(1), "2.png": png(2)}, "not in class folders"),
        ({"set/1.png": png(1), "set/2.png": png(2)}, "only one class, set"),
        (class_folders("cats/", {"cat": 5}), "only one class, cat"),
        (train_and_test(cat=5), "only one class, cat"),
        (class_folders("", {"cat": 5, "dog": 5}) | {"eel/": b""}, "without images: eel"),
        (class_folders("", {"cat": 5, "dog": 5}) | {"eel/x.txt": b""}, "without images: eel"),
        (train_and_test(cat=5, dog=5) | {"train/eel/": b""}, "without images: eel"),
        (
            train_and_test(cat=5, dog=5) | {"train/eel/1.png": png(1), "train/eel/2.png": png(2)},
            "in train that test has no images of: eel",
        ),
        (
            train_and_test(cat=5, dog=5) | {"test/eel/1.png": png(1)},
            "in test that train has no images of: eel",
        ),
        (class_folders("", {"cat": 5, "dog": 2}), "fewer than 3 readable images .*: dog"),
        (train_and_test(cat=5, dog=1), "fewer than 2 readable images in train: dog"),
        (
            train_and_test(cat=5, dog=5) | {f"train/dog/{i}.png": b"?" for i in range(5)},
            "no readable image in train: dog",
        ),
        (
            train_and_test(cat=5, dog=5) | {f"test/dog/{i}.png": b"?" for i in range(2)},
            "no readable image in test: dog",
        ),
        (
            class_folders("a/train/", {"cat": 3, "dog": 3})
            | class_folders("b/test/", {"cat": 3, "dog": 3}),
            "lie in several places: a, b",
        ),
        (
            class_folders("cat/", {"train": 3, "test": 3})
            | class_folders("dog/", {"train": 3, "test": 3}),
            "lie in several places: cat, dog",
        ),
        (class_folders("", {"cat": 3, "do\ng": 3}), r'cannot be shown: "do\\ng"'),
        (class_folders("", {"cat": 3, " ": 3}), "cannot be shown"),
        (class_folders("", {"cat": 3, "d" * 101: 3}), "cannot be shown"),
        (class_folders("", {"cat": 3, "\x1b[31mdog": 3}), "cannot be shown"),
        (class_folders("", {f"c{i}": 1 for i in range(1001)}), "1,001 classes"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_unusable_contents(tmp_path: Path, files: Files, detail: str, kind: str) -> None:
    error = refused(tmp_path, pack(tmp_path / "archive", files, kind))
    assert re.search(detail, error.detail)


def test_an_empty_zip(tmp_path: Path) -> None:
    assert "holds no PNG" in refused(tmp_path, pack(tmp_path / "archive", {})).detail


def test_many_names_in_an_error_are_cut_short(tmp_path: Path) -> None:
    files = class_folders("", {"a": 5, "b": 5}) | {f"empty{i}/": b"" for i in range(9)}
    error = refused(tmp_path, pack(tmp_path / "archive", files))
    assert error.detail.endswith("empty0, empty1, empty2, empty3, empty4 and 4 more.")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\0" * 2000,
        png(0),
        b"BZh91AY&SY" + b"\0" * 600,
        b"PK\x03\x04" + b"\0" * 600,
        b"\x1f\x8b" + b"\0" * 600,
        b"\xfd7zXZ\x00" + b"\0" * 600,
        b"\0" * 257 + b"ustar" + b"\0" * 600,
        gzip.compress(b"no tar in here", mtime=0),
        gzip.compress(png(0) * 20, mtime=0),
        lzma.compress(b"no tar in here" * 200),
        lzma.compress(b""),
    ],
)
def test_other_files_are_no_archives(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "archive.zip"
    path.write_bytes(content)
    refused(tmp_path, path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_archives_cut_short(tmp_path: Path, kind: str, kept: float) -> None:
    path = pack(tmp_path / "archive", train_and_test(cat=5, dog=5), kind)
    content = path.read_bytes()
    if kind == "tar":
        content = content.rstrip(b"\0")  # its end is padded with zeros
    path.write_bytes(content[: int(kept * len(content))])
    assert "cut short" in refused(tmp_path, path).detail


def test_a_tar_cut_between_two_files_is_noticed(tmp_path: Path) -> None:
    path = pack(tmp_path / "archive", train_and_test(cat=5, dog=5), "tar")
    with tarfile.open(path) as archive:
        offset = archive.getmembers()[12].offset
    path.write_bytes(path.read_bytes()[:offset])
    assert "cut short" in refused(tmp_path, path).detail


def test_a_broken_header_in_the_middle_of_a_tar_is_noticed(tmp_path: Path) -> None:
    path = pack(tmp_path / "archive", train_and_test(cat=5, dog=5), "tar")
    with tarfile.open(path) as archive:
        offset = archive.getmembers()[12].offset
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    assert "damaged" in refused(tmp_path, path).detail


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz"])
def test_a_wrong_checksum_at_the_end_of_a_stream_is_noticed(tmp_path: Path, kind: str) -> None:
    path = pack(tmp_path / "archive", train_and_test(cat=5, dog=5), kind)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    assert "damaged" in refused(tmp_path, path).detail


def test_a_damaged_file_in_a_zip_is_skipped_alone(tmp_path: Path) -> None:
    path = pack(tmp_path / "archive", train_and_test(cat=5, dog=5))
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("train/cat/3.png").header_offset
    content = bytearray(path.read_bytes())
    content[at + 500] ^= 0xFF
    path.write_bytes(content)
    report, dataset = import_path(path, tmp_path / "dataset")
    assert [file.name for file in report.skipped_files] == ["train/cat/3.png"]
    assert report.skipped_files[0].reason.startswith("damaged in the archive")
    assert dataset.info.train_counts == (4, 5)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_lead_elsewhere_write_nothing(tmp_path: Path, kind: str) -> None:
    inside = tmp_path / "lab"
    inside.mkdir()
    outward = {
        "../../evil/1.png": png(1),
        "train/cat/../../../evil.png": png(2),
        "/etc/../evil.png": png(3),
        "..": b"x",
    }
    path = pack(inside / "archive", train_and_test(cat=3, dog=3) | outward, kind)
    _, dataset = import_path(path, inside / "dataset")
    assert dataset.class_names == ("cat", "dog")
    assert dataset.info.train_counts == (3, 3)
    assert {p.name for p in tmp_path.iterdir()} == {"lab"}
    assert {p.name for p in inside.iterdir()} == {"archive", "dataset"}


def test_absolute_names_are_names_like_others(tmp_path: Path) -> None:
    _, dataset = import_files(tmp_path, train_and_test("/tmp/", cat=3, dog=3), "tar")
    assert dataset.class_names == ("cat", "dog")


def test_links_and_devices_in_a_tar_are_ignored(tmp_path: Path) -> None:
    path = pack(tmp_path / "archive", train_and_test(cat=3, dog=3), "tar")
    (tmp_path / "secret.png").write_bytes(png(9))
    kinds = {
        "symbolic": tarfile.SYMTYPE,
        "hard": tarfile.LNKTYPE,
        "device": tarfile.CHRTYPE,
        "pipe": tarfile.FIFOTYPE,
    }
    with tarfile.open(path, "a") as archive:
        for name, kind in kinds.items():
            info = tarfile.TarInfo(f"train/cat/{name}.png")
            info.type, info.linkname = kind, str(tmp_path / "secret.png")
            archive.addfile(info)
    report, dataset = import_path(path, tmp_path / "dataset")
    assert dataset.info.train_counts == (3, 3)
    assert report.skipped == 0


def test_symbolic_links_in_a_zip_are_ignored(tmp_path: Path) -> None:
    path = pack(tmp_path / "archive", train_and_test(cat=3, dog=3))
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("train/cat/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    report, dataset = import_path(path, tmp_path / "dataset")
    assert dataset.info.train_counts == (3, 3)
    assert report.skipped == 0


def test_a_path_that_comes_twice_counts_once(tmp_path: Path) -> None:
    path = pack(tmp_path / "archive", train_and_test(cat=3, dog=3), "tar")
    with tarfile.open(path, "a") as archive:
        data = png(99)
        info = tarfile.TarInfo("train/cat/0.png")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    report, dataset = import_path(path, tmp_path / "dataset")
    assert dataset.info.train_counts == (3, 3)
    assert report.left_out == {"pictures of a name that comes twice": 1}


def test_encrypted_zips_are_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "archive", train_and_test(cat=3, dog=3))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1  # the flag in the central directory
    path.write_bytes(content)
    assert "encrypted" in refused(tmp_path, path).detail


def test_class_names_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    files = class_folders("", {"cat": 3, "d\udcffg": 3})
    path = tmp_path / "archive"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert r"d\udcffg" in refused(tmp_path, path).detail


def test_odd_file_names_in_a_report_can_be_shown(tmp_path: Path) -> None:
    files = train_and_test(cat=3, dog=3) | {"train/cat/\x1b]0;x\n.png": b"?"}
    report, _ = import_files(tmp_path, files)
    assert report.skipped_files[0].name == r"train/cat/\x1b]0;x\n.png"


@pytest.mark.parametrize("kind", KINDS)
def test_bombs_are_refused_by_their_size(tmp_path: Path, kind: str) -> None:
    files = train_and_test(cat=3, dog=3) | {f"train/cat/z{i}.png": bytes(10**6) for i in range(6)}
    path = pack(tmp_path / "archive", files, kind)
    if kind != "tar":
        assert path.stat().st_size < 100_000
    error = refused(tmp_path, path, most_bytes=5 * 2**20)
    assert error.detail == "The archive unpacks to more than 5 MB."
    assert "raise LAB_MAX_DATASET_MB" in error.hint
    import_path(path, tmp_path / "dataset", most_bytes=8 * 2**20)


@pytest.mark.parametrize("kind", ["zip", "tar.xz"])
def test_a_file_that_is_too_long_is_skipped(tmp_path: Path, kind: str) -> None:
    files = train_and_test(cat=3, dog=3) | {"train/cat/huge.png": bytes(members.MAX_FILE + 1)}
    report, dataset = import_files(tmp_path, files, kind)
    assert [file.name for file in report.skipped_files] == ["train/cat/huge.png"]
    assert "more than 32 MiB" in report.skipped_files[0].reason
    assert dataset.info.train_counts == (3, 3)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_many_files_are_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "MAX_MEMBERS", 9)
    path = pack(tmp_path / "archive", train_and_test(cat=3, dog=3), kind)
    assert "more than 9 files" in refused(tmp_path, path).detail


def tar_header(name: str, kind: bytes, size: bytes) -> bytes:
    """A header with a right checksum and whatever size one likes, as 12 bytes."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "header",
    [
        tar_header("train/cat/back.png", tarfile.REGTYPE, b"\xff" * 10 + b"\xfe\0"),
        tar_header("train/cat/far.png", tarfile.REGTYPE, b"77777777777\0"),
        tar_header("train/cat/far.png", tarfile.REGTYPE, b"\x80" + b"\x7f" + b"\xff" * 10),
        tar_header("pax", tarfile.XHDTYPE, b"07777777777\0"),
        tar_header("long", tarfile.GNUTYPE_LONGNAME, b"07777777777\0"),
        tar_header("sparse", tarfile.GNUTYPE_SPARSE, b"07777777777\0"),
    ],
    ids=["backwards", "8 GiB", "beyond 64 bits", "long pax", "long name", "sparse"],
)
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz"])
def test_headers_that_lie_about_sizes(tmp_path: Path, kind: str, header: bytes) -> None:
    content = pack(tmp_path / "plain", train_and_test(cat=3, dog=3), "tar").read_bytes()
    with tarfile.open(tmp_path / "plain") as archive:
        at = archive.getmembers()[4].offset
    compress: Callable[[bytes], bytes] = {
        "tar": bytes,
        "tar.gz": gzip.compress,
        "tar.xz": lzma.compress,
    }[kind]
    path = tmp_path / "archive"
    path.write_bytes(compress(content[:at] + header + content[at:]))
    assert "damaged" in refused(tmp_path, path).detail


def pax(body: bytes) -> bytes:
    """A header of pax with any records, padded to blocks."""
    size = b"%011o\0" % len(body)
    return tar_header("pax", tarfile.XHDTYPE, size) + body + bytes(-len(body) % 512)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (pax(b"1" * 40_000), "a number without an end"),
        (pax(b"30 a=" + b"x" * 2**20), "too long"),
    ],
    ids=["digits", "long"],
)
@pytest.mark.parametrize("first", [True, False])
def test_headers_that_take_an_age_are_not_parsed(
    tmp_path: Path, header: bytes, why: str, first: bool
) -> None:
    content = pack(tmp_path / "plain", train_and_test(cat=3, dog=3), "tar").read_bytes()
    with tarfile.open(tmp_path / "plain") as archive:
        at = 0 if first else archive.getmembers()[4].offset
    path = tmp_path / "archive"
    path.write_bytes(content[:at] + header + content[at:])
    assert why in refused(tmp_path, path).detail


def test_names_of_many_marks_take_no_age(tmp_path: Path) -> None:
    """To bring so many marks into the order of NFC takes more than a minute."""
    marks, images = "\u0301\u0316" * 200_000, train_and_test(cat=3, dog=3)
    with tarfile.open(tmp_path / "archive", "w", format=tarfile.PAX_FORMAT) as archive:
        images |= {f"train/a{marks}.png": b"", f"train/e{marks[:40]}.png": b""}
        for name, data in images.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    begin = time.process_time()
    report, _ = import_path(tmp_path / "archive", tmp_path / "made")
    assert time.process_time() - begin < 10
    assert report.left_out["with a path that is too long"] == 1


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(KINDS),
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5
    ),
)
def test_any_damage_gives_a_dataset_or_a_clear_error(
    packed: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    changes: list[tuple[float, int]],
) -> None:
    content = bytearray(packed[kind])
    for place, value in changes:
        content[int(place * len(content))] = value
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "archive"
    path.write_bytes(content)
    try:
        report, dataset = import_path(path, folder / "dataset")
    except DatasetError:
        assert os.listdir(folder) == ["archive"]
    else:
        assert len(dataset.arrays["train_labels"]) == sum(report.train_counts)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("packed")
    files = train_and_test(cat=3, dog=3)
    return {kind: pack(folder / kind, files, kind).read_bytes() for kind in KINDS}
