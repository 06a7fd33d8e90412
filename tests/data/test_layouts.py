"""How archives are understood that people have on disk: parts, names, order, tables, containers."""

from __future__ import annotations

import io
import json
import tarfile
import time
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.data.packing import (
    Files,
    encode,
    folders,
    import_files,
    import_path,
    kinds,
    look,
    pack,
    pixels,
    png,
    refused,
    sizes,
    train_and_test,
)
from tests.data.test_containers import parquet_shard
from worker.data import DatasetError
from worker.data.layout import Contents, contents_of
from worker.data.members import Listing, Member
from worker.data.picture_index import PictureIndex
from worker.data.roles import Part, part_of
from worker.data.tables import tables_of

# Parts


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", Part.TRAIN), ("Training", Part.TRAIN), ("TRAIN", Part.TRAIN),
        ("seg_train", Part.TRAIN), ("train_data", Part.TRAIN), ("TrainingSet", Part.TRAIN),
        ("train2017", Part.TRAIN), ("trainset", Part.TRAIN), ("images_train", Part.TRAIN),
        ("test", Part.TEST), ("Testing", Part.TEST), ("eval", Part.TEST), ("test_32x32", Part.TEST),
        ("Test Images", Part.TEST), ("val", Part.VALIDATION), ("validation", Part.VALIDATION),
        ("Valid", Part.VALIDATION), ("dev", Part.VALIDATION), ("seg_pred", Part.UNLABELLED),
        ("tram", None), ("freight_train", None), ("testudo", None), ("cat", None), ("sample", None),
        ("value", None), ("training_test", None),
    ],
)  # fmt: skip
def test_names_of_parts(name: str, part: Part | None) -> None:
    assert part_of(name) is part


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"), ("training", "testing"), ("train_data", "test_data"),
        ("train", "eval"), ("TRAIN", "Test"), ("asl_alphabet_train", "asl_alphabet_test"),
        ("trainset", "testset"), ("Train_Images", "Test_Images"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["", "a/b/"])
def test_parts_by_any_of_their_names(tmp_path: Path, train: str, test: str, around: str) -> None:
    files = folders(f"{around}{train}/") | folders(f"{around}{test}/", 2, first=50)
    report, dataset = import_files(tmp_path, files)
    assert (dataset.class_names, sizes(dataset), kinds(report)) == (
        ("cat", "dog"),
        (6, 0, 4),
        set(),
    )


@pytest.mark.parametrize("validation", ["val", "validation", "VALID"])
def test_a_validation_part_is_used_as_such(tmp_path: Path, validation: str) -> None:
    files = train_and_test(cat=4, dog=4) | folders(f"{validation}/", 2, first=500)
    report, dataset = import_files(tmp_path, files)
    assert (sizes(dataset), kinds(report)) == ((8, 4, 4), set())
    held = {image.tobytes() for image in dataset.split("validation").images}
    assert held == {pixels(500 + n).tobytes() for n in range(4)}
    assert not held & {image.tobytes() for image in dataset.split("train").images}
    assert report.held_counts == (2, 2)


@pytest.mark.parametrize(("train", "validation"), [("train", "val"), ("training", "validation")])
def test_a_validation_part_alone_is_the_test_part_and_said(
    tmp_path: Path, train: str, validation: str
) -> None:
    files = folders(f"{train}/", 4) | folders(f"{validation}/", 2, first=500)
    report, dataset = import_files(tmp_path, files)
    assert (sizes(dataset), kinds(report)) == ((8, 0, 4), {"validation_is_test"})


@pytest.mark.parametrize("test", ["test", "seg_test", "a/Testing", "pets_test"])
def test_a_test_part_alone_is_for_evaluation(tmp_path: Path, test: str) -> None:
    report, dataset = import_files(tmp_path, folders(f"{test}/", 4))
    assert (sizes(dataset), kinds(report)) == ((0, 0, 8), {"evaluation_only"})
    assert report.train_counts == (0, 0)
    assert len(dataset.split("train")) == len(dataset.split("validation")) == 0


@pytest.mark.parametrize("unread", ["train", "val", "test"])
@pytest.mark.parametrize("flat", [False, True])
def test_a_part_without_a_picture_that_is_read_is_not_forgotten(
    tmp_path: Path, unread: str, flat: bool
) -> None:
    files = {}
    for part in ("train", "val", "test"):
        for n in range(8):
            pet = ("cat", "dog")[n % 2]
            suffix = "heic" if part == unread else "png"
            files[f"pets/{part}/{pet}{'.' if flat else '/'}{n}.{suffix}"] = png(len(files))
    refused(tmp_path, files, f"pets/{unread} holds no picture that is read: 8 HEIC files")
    for part in {"train", "val", "test"} - {unread, "train" if unread != "train" else "test"}:
        files = {name: data for name, data in files.items() if f"/{part}/" not in name}
    refused(tmp_path, files, f"pets/{unread} holds no picture that is read: 8 HEIC files")


@pytest.mark.parametrize(
    ("files", "match"),
    [
        (folders("") | {"eel/1.heic": b"x", "eel/2.heic": b"x"}, r"without images: eel\. Left out: "
         r"HEIC files, which are not read \(2\)"),
        (folders("", names="cat") | {"dog/1.jxl": b"x", ".hidden/1.png": b"x"},
         r"only one class, cat, .*Left out: .*hidden.* \(1\), JXL files, which are not read \(1\)"),
        (folders("train/", names="cat dog") | folders("test/", names="cat")
         | {"test/__MACOSX/dog/1.png": b"x"}, r"test has no images of: dog\. Left out: .* \(1\)"),
        (folders("", names="cat") | {"dog/1.png": b"x", "dog/1.txt": b"x"},
         r"no readable image .*: dog\. Left out: pictures that are .* \(1\), files that are no "
         r"pictures \(1\)"),
    ],
)  # fmt: skip
def test_what_was_left_out_is_said_with_every_refusal(
    tmp_path: Path, files: Files, match: str
) -> None:
    refused(tmp_path, files, match)


def test_parts_within_folders_of_their_own_name_and_pictures_to_predict(tmp_path: Path) -> None:
    files = (
        folders("seg_train/seg_train/", 4)
        | folders("seg_test/seg_test/", 2, first=50)
        | {f"seg_pred/seg_pred/{n}.png": png(90 + n) for n in range(3)}
    )
    report, dataset = import_files(tmp_path, files)
    assert (sizes(dataset), kinds(report)) == ((8, 0, 4), {"folder_left_out"})
    assert report.left_out == {"pictures outside of class folders": 3}


def test_an_archive_within_itself_counts_once(tmp_path: Path) -> None:
    files = train_and_test("xray/", cat=4, dog=4) | train_and_test("xray/xray/", cat=4, dog=4)
    report, dataset = import_files(tmp_path, files)
    assert (sizes(dataset), kinds(report)) == ((8, 0, 4), {"folder_left_out"})


def test_parts_beside_classes_are_said(tmp_path: Path) -> None:
    files = train_and_test(cat=4, dog=4) | folders("", 5, first=900, names="bird eel")
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("cat", "dog")
    said = [w.text for w in report.warnings if w.kind == "folder_left_out"]
    assert len(said) == 2
    assert "bird" in said[0]


@pytest.mark.parametrize(
    ("files", "match"),
    [
        (folders("original/") | folders("augmented/"), "hold the same subfolders"),
        (folders("fold1/") | folders("fold2/") | folders("fold3/"), "hold the same subfolders"),
        (train_and_test("bottle/", cat=3, dog=3) | train_and_test("cable/", cat=3, dog=3),
         "several places: bottle, cable"),
        (train_and_test(cat=3, dog=3) | folders("testing/"), "look like the test part"),
        ({"train/a.png": png(0), "train/b.png": png(1), "test/c.png": png(2)},
         "train are not in class folders"),
        (folders("", 4, names="images masks"), "named for what is in them"),
        (folders("Train/", 2) | folders("train/", 2) | folders("test/", 2), "look like the train"),
    ],
)  # fmt: skip
def test_parts_are_never_taken_for_classes(tmp_path: Path, files: Files, match: str) -> None:
    refused(tmp_path, files, match)


def test_a_flat_test_part_has_no_labels_and_is_said(tmp_path: Path) -> None:
    files = folders("train/", 5) | {f"test/{n}.png": png(90 + n) for n in range(4)}
    report, dataset = import_files(tmp_path, files)
    assert (sizes(dataset), kinds(report)) == ((8, 0, 2), {"folder_left_out", "test_drawn"})


def test_parts_in_one_of_several_folders_are_said(tmp_path: Path) -> None:
    files = train_and_test("small/", cat=4, dog=4) | folders("raw/", 5, first=900)
    report, dataset = import_files(tmp_path, files)
    assert (sizes(dataset), kinds(report)) == ((8, 0, 4), {"folder_left_out"})


def test_a_class_with_the_name_of_a_part_is_said(tmp_path: Path) -> None:
    report, dataset = import_files(tmp_path, folders("", 4, names="cat dog test"))
    assert dataset.class_names == ("cat", "dog", "test")
    assert "classes_like_parts" in kinds(report)


@pytest.mark.parametrize("suffix", ["", ".png"])
def test_parts_by_lists(tmp_path: Path, suffix: str) -> None:
    files = folders("images/", 6)
    for part, numbers in (("train", range(4)), ("test", range(4, 6))):
        lines = [f"{name}/{n}{suffix}\n" for name in ("cat", "dog") for n in numbers]
        files[f"meta/{part}.txt"] = "".join(lines).encode()
    report, dataset = import_files(tmp_path, files)
    assert (sizes(dataset), kinds(report)) == ((8, 0, 4), set())
    assert any("meta/test.txt" in note for note in report.notes)
    files["meta/val.txt"] = files.pop("meta/test.txt")
    report, dataset = import_files(tmp_path / "val", files)
    assert (sizes(dataset), kinds(report)) == ((8, 0, 4), {"validation_is_test"})


def test_a_part_beside_folders_of_pictures_is_no_class(tmp_path: Path) -> None:
    """As the Simpsons of Kaggle are packed."""
    files = {f"simpsons_dataset/{c}/{n}.png": png(n) for c in ("bart", "homer") for n in range(6)}
    files |= {f"kaggle_simpson_testset/bart_{n}.png": png(20 + n) for n in range(6)}
    with pytest.raises(DatasetError, match=r"testset is called like a part.*bart, homer"):
        import_files(tmp_path, files)


def test_a_split_that_is_not_used_is_said(tmp_path: Path) -> None:
    names = [f"{k + 1} {name}\n" for k, name in enumerate(folders("", 6))]
    texts = {"images.txt": "".join(names), "train_test_split.txt": "1 0\n2 1\n"}
    files = folders("images/", 6) | {name: text.encode() for name, text in texts.items()}
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("cat", "dog")
    assert "split_not_used" in kinds(report)


def test_folders_numbered_like_shares_are_said(tmp_path: Path) -> None:
    report, _ = import_files(tmp_path, folders("", 3, names="images_part_1 images_part_2"))
    assert "numbered_folders" in kinds(report)


@pytest.mark.parametrize(
    ("most", "said"),
    [(12, ["Pictures of 16 bits a channel that use 12, taken as 12-bit data: 6."]), (16, [])],
)
def test_bits_in_use_are_counted_as_they_are_used(
    tmp_path: Path, most: int, said: list[str]
) -> None:
    files: Files = {}
    for n in range(6):
        levels = np.random.default_rng(n).integers(0, 256, (32, 32)).astype(np.uint16)
        levels[0, 0] = 2**most - 1 if n == 5 else 255
        files[f"{'ab'[n % 2]}/{n}.png"] = encode(levels)
    report, _ = import_files(tmp_path, files)
    assert [note for note in report.notes if "16 bits a channel" in note] == said


def test_why_images_were_left_out_is_said_when_the_import_fails(tmp_path: Path) -> None:
    files = train_and_test(cat=5, dog=1) | {"train/dog/1.png": b"?", "train/dog/2.png": png(9)[:90]}
    refused(
        tmp_path,
        files,
        r"train: dog\. Left out: pictures that are not of a picture format \(1\), pictures that "
        r"are damaged \(1\)",
    )
    refused(tmp_path, {"cat/1.heic": b"x", "dog/2.heic": b"x"}, "HEIC files, which are not read")


# Names


def zip_of(path: Path, files: Files, *, raw: bool = False, system: int = 3) -> Path:
    """A zip whose names are written as given; with `raw` in UTF-8, and it does not say so."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system = system
            archive.writestr(info, data)
    if raw:
        content = bytearray(path.read_bytes())
        for mark, flags in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
            at = content.find(mark)
            while at >= 0:
                content[at + flags] &= ~0x08  # bit 11 of the flags
                at = content.find(mark, at + 4)
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(("system", "readme"), [(0, "a/b.txt"), (3, "b.txt")])
def test_backslashes_of_windows_are_separators(tmp_path: Path, system: int, readme: str) -> None:
    files = {n.replace("/", "\\"): d for n, d in train_and_test(cat=4, dog=4).items()}
    path = zip_of(tmp_path / "a.zip", files | {readme: b"x"}, system=system)
    _, dataset = import_path(path, tmp_path / "dataset")
    assert (dataset.class_names, sizes(dataset)) == (("cat", "dog"), (8, 0, 4))


def test_names_in_utf8_without_the_flag(tmp_path: Path) -> None:
    files = folders("", 3, names="Käfer Straße")
    report, dataset = import_path(zip_of(tmp_path / "a.zip", files, raw=True), tmp_path / "dataset")
    assert dataset.class_names == ("Käfer", "Straße")
    assert "names_guessed" not in kinds(report)


@pytest.mark.parametrize(
    ("encoding", "name"), [("cp850", "Größe"), ("cp932", "日本語"), ("cp1251", "Кошка")]
)
def test_names_in_another_encoding_are_said_and_chosen(
    tmp_path: Path, encoding: str, name: str
) -> None:
    raw = name.encode(encoding)
    files = {f"{'x' * len(raw)}/{n}.png": png(n) for n in range(3)} | folders("", names="dog")
    path = zip_of(tmp_path / "a.zip", files)
    path.write_bytes(path.read_bytes().replace(b"x" * len(raw) + b"/", raw + b"/"))
    report, guessed = import_path(path, tmp_path / "guessed")
    assert "names_guessed" in kinds(report)
    assert set(guessed.class_names) == {"dog", raw.decode("cp437")}
    report, chosen = import_path(path, tmp_path / "chosen", encoding=encoding)
    assert "names_guessed" not in kinds(report)
    assert set(chosen.class_names) == {"dog", name}


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_one_name_in_two_forms_of_unicode_is_one_class(tmp_path: Path, kind: str) -> None:
    composed, apart = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    assert composed != apart
    files = (
        folders("train/", 3, names=f"{composed} dog")
        | folders("train/", 2, first=50, names=apart)
        | folders("test/", 2, first=90, names=f"{apart} dog")
    )
    _, dataset = import_files(tmp_path, files, kind)
    assert dataset.class_names == (composed, "dog")
    assert dataset.info.train_counts == (5, 3)


# The order of classes


NAMES = "Automobile airplane bird10 bird2"


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("natural", ("airplane", "Automobile", "bird2", "bird10")),
        ("sorted", ("Automobile", "airplane", "bird10", "bird2")),
        ("file", ("bird2", "bird10", "Automobile", "airplane")),
    ],
)
@pytest.mark.parametrize("listing", ["bird2\nbird10\nAutomobile\nairplane\n",
                                     "2 Automobile\n0 bird2\n1 bird10\n3 airplane\n",
                                     "bird2,0\nbird10,1\nAutomobile,2\nairplane,3\n"])  # fmt: skip
def test_the_order_of_classes_is_chosen(
    tmp_path: Path, order: str, names: tuple[str, ...], listing: str
) -> None:
    files = folders("", 3, names=NAMES)
    report, dataset = import_files(tmp_path, files | {"classes.txt": listing.encode()}, order=order)
    assert dataset.class_names == names
    assert any("order" in note for note in report.notes)
    for image, label in zip(
        dataset.arrays["test_images"], dataset.arrays["test_labels"], strict=True
    ):
        (name,) = {n for n, d in files.items() if np.array_equal(image, png_pixels(d))}
        assert name.split("/")[0] == names[label]


def png_pixels(data: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)))


def test_the_classes_may_be_given(tmp_path: Path) -> None:
    given = ("dog", "eel", "cat")
    _, dataset = import_files(tmp_path, folders("", names="cat dog eel"), classes=given)
    assert dataset.class_names == given
    for wrong in (("dog", "cat"), ("dog", "cat", "cow"), ("dog", "cat", "eel", "eel")):
        with pytest.raises(DatasetError, match="not those of the archive"):
            look(tmp_path / "archive", tmp_path / "again", classes=wrong)


def test_a_file_is_asked_for_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path, folders(""), "no file that names each class once", order="file")


def test_a_class_of_thousands_of_digits_is_refused(tmp_path: Path) -> None:
    table = "id,label\n" + "".join(f"p{n},{'1' * 5000 if n % 2 else 'a'}\n" for n in range(8))
    files = {f"p{n}.png": png(n) for n in range(8)} | {"labels.csv": table.encode()}
    refused(tmp_path, files, "name cannot be shown")


def test_of_many_long_texts_the_first_are_read() -> None:
    texts = [Member(n, (f"{n}.txt",), 16 * 2**20, False, f"{n}.txt") for n in range(9)]
    asked: list[int] = []

    def read(wanted: Mapping[int, int]) -> list[tuple[int, bytes]]:
        asked.extend(wanted)
        return []

    contents_of(Listing([Member(9, ("0",), 0, True, "0"), *texts], Counter(), ()), read)
    assert asked == [0, 1, 2, 3]


def test_a_list_of_long_lines_is_no_list_of_classes(tmp_path: Path) -> None:
    lines = b"1" * 5000 + b" cat\n" + b" " + b"2 " * 20_000 + b"\n"
    _, dataset = import_files(tmp_path, folders("", 4) | {"notes.txt": lines})
    assert dataset.class_names == ("cat", "dog")


def test_ids_of_wordnet_get_their_words_in_the_order_of_ids(tmp_path: Path) -> None:
    ids = "n01443537 n02123045 n03126707 n02012849"
    words = "n01443537\tgoldfish, Carassius auratus\nn02012849\tcrane\nn02123045\ttabby, cat\n" \
        "n03126707\tcrane\nn09999999\tnothing\n"  # fmt: skip
    files = folders("train/", 3, names=ids) | folders("val/", 2, first=90, names=ids)
    _, dataset = import_files(tmp_path, files | {"words.txt": words.encode()})
    assert dataset.class_names == ("goldfish", "crane (n02012849)", "tabby", "crane (n03126707)")
    _, plain = import_path(pack(tmp_path / "plain", files), tmp_path / "plain_d")
    assert plain.class_names == tuple(sorted(ids.split()))


# Layouts with tables


def test_tiny_imagenet_as_it_is_distributed(tmp_path: Path) -> None:
    ids = ["n01443537", "n01629819"]
    files: Files = {
        "t/wnids.txt": "\n".join(reversed(ids)).encode(),
        "t/words.txt": b"n01443537\tgoldfish, Carassius auratus\nn01629819\tfire salamander\n",
    }
    for k, wnid in enumerate(ids):
        files[f"t/train/{wnid}/{wnid}_boxes.txt"] = f"{wnid}_0.JPEG\t0\t10\t63\t58\n".encode()
        for n in range(5):
            name = f"t/train/{wnid}/images/{wnid}_{n}.JPEG"
            files[name] = encode(pixels(10 * k + n, 64, 64), "JPEG")
    lines = [f"val_{n}.JPEG\t{ids[n % 2]}\t0\t32\t44\t62\n" for n in range(6)]
    files["t/val/val_annotations.txt"] = "".join(lines).encode()
    for n in range(6):
        files[f"t/val/images/val_{n}.JPEG"] = encode(pixels(100 + n, 64, 64), "JPEG")
        files[f"t/test/images/test_{n}.JPEG"] = encode(pixels(200 + n, 64, 64), "JPEG")
    report, dataset = import_files(tmp_path, files, image_size=64)
    assert dataset.class_names == ("goldfish", "fire salamander")
    assert sizes(dataset) == (10, 0, 6)
    assert dataset.arrays["test_labels"].tolist() == [0, 0, 0, 1, 1, 1]
    assert kinds(report) == {"folder_left_out", "validation_is_test"}
    assert report.left_out["pictures outside of class folders"] == 6


def test_imagenet_as_its_competition_has_it(tmp_path: Path) -> None:
    ids, top = ["n01440764", "n01443537"], "ILSVRC/Data/CLS-LOC"
    files = folders(f"{top}/train/", 3, names=" ".join(ids))
    files |= {f"{top}/val/v{n}.png": png(90 + n) for n in range(4)}
    files |= {f"{top}/test/t{n}.png": png(190 + n) for n in range(4)}
    rows = [f"v{n},{' '.join([f'{ids[n % 2]} 85 1 499 {n}'] * (n + 1))}\n" for n in range(4)]
    files["LOC_val_solution.csv"] = ("ImageId,PredictionString\n" + "".join(rows)).encode()
    files["LOC_synset_mapping.txt"] = b"n01440764 tench, Tinca tinca\nn01443537 goldfish\n"
    report, dataset = import_files(tmp_path, files)
    assert (dataset.class_names, sizes(dataset)) == (("tench", "goldfish"), (6, 0, 4))
    assert dataset.arrays["test_labels"].tolist() == [0, 0, 1, 1]
    assert kinds(report) == {"folder_left_out", "validation_is_test"}


CSV = "id,breed\n" + "".join(f"p{n},{'pug' if n % 3 else 'husky'}\n" for n in range(12))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", CSV),
        ("train.csv", CSV.replace(",", ";")),
        ("trainLabels.tsv", CSV.replace(",", "\t").replace("\n", "\r\n")),
        ("train/labels.csv",
         "".join(f"train/p{n}.png,{'pug' if n % 3 else 'husky'}\n" for n in range(12))),
        ("classes.csv", "filename,husky,pug\n"
         + "".join(f"p{n}.png,{int(n % 3 == 0)},{int(n % 3 > 0)}\n" for n in range(12))),
        ("meta.csv", "lesion,image_id,age,dx\n"
         + "".join(f"L{n},p{n},{n}.5,{'pug' if n % 3 else 'husky'}\n" for n in range(12))),
        ("train/metadata.jsonl", "".join(
            json.dumps({"file_name": f"p{n}.png", "label": "pug" if n % 3 else "husky",
                        "boxes": [[n, 1]]}) + "\n"
            for n in range(12))),
        ("labels.csv", "name,label,class_name\n"
         + "".join(f"p{n},{int(n % 3 > 0)},{'pug' if n % 3 else 'husky'}\n" for n in range(12))),
    ],
)  # fmt: skip
def test_a_table_of_labels_beside_a_folder(tmp_path: Path, name: str, text: str) -> None:
    files = {f"train/p{n}.png": png(n) for n in range(12)}
    other = {f"test/q{n}.png": png(90 + n) for n in range(5)}
    wrong = "id,breed\n" + "".join(f"q{n},pug\n" for n in range(5))
    files |= other | {name: text.encode(), "sample_submission.csv": wrong.encode()}
    _, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("husky", "pug")
    assert np.array(dataset.info.train_counts) + dataset.info.test_counts == pytest.approx([4, 8])
    labels = {
        image.tobytes(): int(label)
        for part in ("train", "test")
        for image, label in zip(
            dataset.arrays[f"{part}_images"], dataset.arrays[f"{part}_labels"], strict=True
        )
    }
    assert labels == {pixels(n).tobytes(): int(n % 3 > 0) for n in range(12)}


def test_a_table_decides_against_folders_that_are_no_classes(tmp_path: Path) -> None:
    files = {f"images_part_{n % 2}/p{n}.png": png(n) for n in range(12)}
    report, dataset = import_files(tmp_path, files | {"labels.csv": CSV.encode()})
    assert dataset.class_names == ("husky", "pug")
    assert "labels_by_table" in kinds(report)


@pytest.mark.parametrize("said", [str, lambda name: ("cat", "dog").index(name)])
def test_a_table_that_says_what_folders_say_changes_nothing(
    tmp_path: Path, said: Callable[[str], object]
) -> None:
    files = train_and_test(cat=4, dog=4)
    table = "path,label\n" + "".join(f"{name},{said(name.split('/')[1])}\n" for name in files)
    report, dataset = import_files(tmp_path, files | {"all.csv": table.encode()})
    assert (report.layout, sizes(dataset)) == ("class folders", (8, 0, 4))


def test_a_column_of_parts_is_used(tmp_path: Path) -> None:
    rows = [(n, "pug" if n % 2 else "husky", ("train", "train", "valid", "test")[n // 4])
            for n in range(16)]  # fmt: skip
    table = "file,label,split\n" + "".join(f"{n}.png,{label},{split}\n" for n, label, split in rows)
    files = {f"images/{n}.png": png(n) for n in range(16)} | {"labels.csv": table.encode()}
    _, dataset = import_files(tmp_path, files)
    assert sizes(dataset) == (8, 4, 4)


@pytest.mark.parametrize(
    ("head", "said", "expected"),
    [
        ("is_valid", ("False", "False", "False", "True"), (12, 0, 4)),
        ("isTest", ("0", "0", "0", "1"), (12, 0, 4)),
        ("is_train", ("yes", "yes", "yes", "no"), (12, 0, 4)),
        ("is_valid,is_test", ("0,0", "0,0", "1,0", "0,1"), (8, 4, 4)),
        ("is_train,is_val,is_test", ("1,0,0", "1,0,0", "0,1,0", "0,0,1"), (8, 4, 4)),
    ],
)
def test_columns_that_say_yes_or_no_to_a_part_are_used(
    tmp_path: Path, head: str, said: Sequence[str], expected: tuple[int, ...]
) -> None:
    """As fastai and Kaggle have them. A validation part alone is the test part, as of folders."""
    rows = [f"{n}.png,{said[n // 4]},{'pug' if n % 2 else 'husky'}\n" for n in range(16)]
    files = {f"images/{n}.png": png(n) for n in range(16)}
    table = f"file,{head},label\n{''.join(rows)}"
    _, dataset = import_files(tmp_path, files | {"labels.csv": table.encode()})
    assert (sizes(dataset), dataset.class_names) == (expected, ("husky", "pug"))
    held = {image.tobytes() for image in dataset.split("test").images}
    assert held == {pixels(12 + n).tobytes() for n in range(4)}


@pytest.mark.parametrize(
    ("head", "said", "why"),
    [
        ("is_valid,is_test", ("0,0", "0,0", "1,1", "0,1"), "several parts of one picture"),
        ("is_valid", ("1", "1", "1", "0"), "that most are not to train on"),
    ],
)
def test_columns_of_parts_that_cannot_be_meant_are_refused(
    tmp_path: Path, head: str, said: Sequence[str], why: str
) -> None:
    """`is_valid` may say that a picture is not damaged."""
    rows = [f"{n}.png,{said[n // 4]},{'pug' if n % 2 else 'husky'}\n" for n in range(16)]
    files = {f"images/{n}.png": png(n) for n in range(16)}
    table = f"file,{head},label\n{''.join(rows)}"
    with pytest.raises(DatasetError, match=why):
        import_files(tmp_path, files | {"labels.csv": table.encode()})


def test_values_of_a_column_of_parts_that_say_none_are_named(tmp_path: Path) -> None:
    splits = ("train", "public", "", "test")
    rows = [f"{n}.png,{'pug' if n % 2 else 'husky'},{splits[n // 4]}\n" for n in range(16)]
    table = "file,label,split\n" + "".join(rows)
    files = {f"images/{n}.png": png(n) for n in range(16)} | {"labels.csv": table.encode()}
    report, dataset = import_files(tmp_path, files)
    assert sizes(dataset) == (12, 0, 4)
    (said,) = [w for w in report.warnings if w.kind == "part_guessed"]
    assert said.count == 8
    assert said.text.endswith("The column “split” of labels.csv says: (nothing), public.")


def test_a_row_too_long_for_a_table_is_no_table(tmp_path: Path) -> None:
    files = folders("", 4) | {"readme.txt": b"a,b\n" + b"x" * 200_000}
    _, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("cat", "dog")


@pytest.mark.parametrize("said", ["b{n}/p.png", "./b{n}/p", "/home/me/a/b{n}/p.png"])
def test_pictures_of_one_name_are_told_apart_by_their_folders(tmp_path: Path, said: str) -> None:
    table = "".join(f"{said.format(n=n)},{'pug' if n % 3 else 'husky'}\n" for n in range(12))
    files = {f"a/b{n}/p.png": png(n) for n in range(12)}
    if said.startswith("/"):  # names more folders than there are
        refused(tmp_path, files | {"t.csv": table.encode()}, "fewer than 3 readable")
        return
    _, dataset = import_files(tmp_path, files | {"t.csv": table.encode()})
    assert np.add(dataset.info.train_counts, dataset.info.test_counts).tolist() == [4, 8]


def test_many_pictures_of_one_name_are_found_fast() -> None:
    """Looking at all of them for each row would take minutes."""
    count = 20_000
    pictures = [Member(n, ("a", f"b{n}", "p.png"), 1, False, "") for n in range(count)]
    index = PictureIndex(pictures)
    start = time.process_time()
    found = [index.find(f"b{n}/p.png", ("t.csv",)) for n in range(count)]
    assert [m is not None and m.ordinal for m in found] == list(range(count))
    assert {index.find("p.png", ("t.csv",)) for _ in range(count)} == {None}
    assert time.process_time() - start < 5


def test_records_that_share_no_column_are_no_table() -> None:
    """A table of them would have a cell for each record and column: the square of their count."""
    lines = "".join(json.dumps({f"k{n}": "p.png"}) + "\n" for n in range(50_000))
    picture = Member(0, ("p.png",), 1, False, "p.png")
    texts = {("metadata.jsonl",): lines}
    contents = Contents([picture], frozenset(), [], texts, lambda wanted: [])
    start = time.process_time()
    assert tables_of(contents, PictureIndex([picture])) == []
    assert time.process_time() - start < 5


def test_pictures_without_one_label_are_left_out(tmp_path: Path) -> None:
    table = CSV + "p0,pug\np11,\n" + "gone,pug\n"
    table = table.replace("p11,pug\n", "", 1)
    files = {f"p{n}.png": png(n) for n in range(13)} | {"labels.csv": table.encode()}
    report, dataset = import_files(tmp_path, files)
    assert sum(sizes(dataset)) == 10
    assert report.left_out == {
        "pictures that labels.csv does not name": 1,
        "pictures with several labels in labels.csv": 1,
        "pictures without a label in labels.csv": 1,
    }


def test_columns_that_may_all_be_labels_are_asked_for(tmp_path: Path) -> None:
    table = "id,colour,shape\n" + "".join(f"p{n},{'ab'[n % 2]},{'cd'[n // 6]}\n" for n in range(12))
    files = {f"p{n}.png": png(n) for n in range(12)} | {"labels.csv": table.encode()}
    refused(tmp_path, files, "several columns that may be the label: colour, shape")


def test_constant_labels_are_one_class(tmp_path: Path) -> None:
    table = "id,label\n" + "".join(f"p{n},0\n" for n in range(12))
    files = {f"p{n}.png": png(n) for n in range(12)} | {"labels.csv": table.encode()}
    refused(tmp_path, files, "only one class, 0")


# WebDataset


@pytest.mark.parametrize("label", ["cls", "json", "txt"])
@pytest.mark.parametrize("named", [True, False])
def test_webdataset(tmp_path: Path, label: str, named: bool) -> None:
    files: Files = {}
    for part, count in (("train", 8), ("test", 4)):
        for n in range(count):
            key = f"{part}/{n:06}"
            files[f"{key}.png"] = png(n + 100 * (part == "test"))
            text = json.dumps({"label": n % 2, "width": 32}) if label == "json" else f"{n % 2}\n"
            files[f"{key}.{label}"] = text.encode()
    files["train/000099.png"] = png(77)
    if named:
        files["classnames.txt"] = b"pug\nhusky\n"
    report, dataset = import_files(tmp_path, files, "tar")
    assert dataset.class_names == (("pug", "husky") if named else ("0", "1"))
    assert sizes(dataset) == (8, 0, 4)
    assert dataset.arrays["test_labels"].tolist() == [0, 0, 1, 1]
    assert report.left_out["samples without a label"] == 1
    assert ("unnamed_classes" in kinds(report)) is not named


def samples(prefix: str, count: int, first: int) -> Files:
    """Of WebDataset, of two classes in turn."""
    files: Files = {}
    for n in range(count):
        files |= {f"{prefix}{n}.png": png(first + n), f"{prefix}{n}.cls": b"%d" % (n % 2)}
    return files


@pytest.mark.parametrize("kind", ["samples", "shards"])
def test_pictures_in_no_part_beside_parts_are_training_images_and_said(
    tmp_path: Path, kind: str
) -> None:
    files: Files = {}
    for part, count, seed in (("train", 8, 0), ("extra", 4, 30), ("test", 4, 60)):
        if kind == "samples":
            files |= samples(f"{part}/", count, seed)
        else:
            files[f"{part}-00000-of-00001.parquet"] = parquet_shard(count, seed)
    report, dataset = import_files(tmp_path, files, "tar")
    assert sizes(dataset) == (12, 0, 4)
    assert [w.count for w in report.warnings if w.kind == "part_guessed"] == [4]


def test_samples_to_predict_are_left_out_and_counted(tmp_path: Path) -> None:
    files = samples("train/", 8, 0) | samples("test/", 4, 30) | samples("pred/", 6, 60)
    report, dataset = import_files(tmp_path, files, "tar")
    assert sizes(dataset) == (8, 0, 4)
    assert report.left_out["pictures to predict, without labels"] == 6
    alone = pack(tmp_path / "alone", samples("pred/", 6, 60), "tar")
    with pytest.raises(DatasetError, match="All pictures are to predict"):
        look(alone, tmp_path / "none")


def test_captions_beside_class_folders_are_no_labels(tmp_path: Path) -> None:
    files = folders("", 4)
    files |= {
        name.replace(".png", ".txt"): f"a photo {n % 2}".encode() for n, name in enumerate(files)
    }
    _, dataset = import_files(tmp_path, files, "tar")
    assert dataset.class_names == ("cat", "dog")


def test_further_pictures_of_a_sample_are_left_out(tmp_path: Path) -> None:
    files = {f"{n}.cls": b"%d" % (n % 2) for n in range(8)}
    files |= {f"{n}.mask.png": png(90 + n) for n in range(8)} | {
        f"{n}.png": png(n) for n in range(8)
    }
    report, dataset = import_files(tmp_path, files, "tar")
    assert report.left_out["further pictures of a sample"] == 8
    images = np.concatenate([dataset.split("train").images, dataset.split("validation").images,
                             dataset.split("test").images])  # fmt: skip
    assert {i.tobytes() for i in images} == {pixels(n).tobytes() for n in range(8)}


# What is refused by its name


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"Rar!\x1a\x07\1\0", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "archive.zip"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=match):
        look(path, tmp_path / "dataset")


def test_archives_within_an_archive_are_named(tmp_path: Path) -> None:
    refused(
        tmp_path, {"train.zip": b"PK", "test.zip": b"PK"}, "holds archives: test.zip, train.zip"
    )


def test_links_are_said(tmp_path: Path) -> None:
    path = pack(tmp_path / "archive", train_and_test(cat=3, dog=3), "tar")
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("train/cat/link.png")
        info.type, info.linkname = tarfile.SYMTYPE, "0.png"
        archive.addfile(info)
    assert look(path, tmp_path / "d", keep=False).left_out == {"links": 1}
    assert not (tmp_path / "d").exists()
