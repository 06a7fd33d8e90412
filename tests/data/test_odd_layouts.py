"""Ordinary archives that are laid out in other ways than class folders: what is read, what is said,
and what is refused with which way out."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.packing import (
    Files,
    class_folders,
    encode,
    import_files,
    import_path,
    kinds,
    pixels,
    png,
    sizes,
    train_and_test,
)
from tests.data.test_containers import idx
from worker.data import Dataset, DatasetError, ImportReport
from worker.data.images import fitted

PETS = ("cat", "dog", "owl")


def flat(folder: str, names: list[str], seed: int = 0) -> Files:
    return {f"{folder}{name}": png(seed + n) for n, name in enumerate(names)}


def text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def refusal(tmp_path: Path, files: Mapping[str, bytes]) -> DatasetError:
    """Why an import ends."""
    with pytest.raises(DatasetError) as refused:
        import_files(tmp_path, files)
    return refused.value


# Classes in the names of files


@pytest.mark.parametrize("form", ["{c}.{n}.png", "{c}_{n:03d}.png", "{n}_{c}.png", "{c} ({n}).png"])
def test_classes_in_the_names_of_files_are_read_and_said(tmp_path: Path, form: str) -> None:
    names = [form.format(c=PETS[n % 3], n=n) for n in range(24)]
    report, dataset = import_files(tmp_path, flat("photos/", names))
    assert (dataset.class_names, sizes(dataset)) == (PETS, (18, 0, 6))
    (said,) = [w.text for w in report.warnings if w.kind == "classes_in_names"]
    assert said.endswith(": cat, dog, owl.")


def test_dogs_and_cats_of_kaggle(tmp_path: Path) -> None:
    train = [f"{('cat', 'dog')[n % 2]}.{n // 2}.png" for n in range(24)]
    files = flat("train/", train) | flat("test1/", [f"{n}.png" for n in range(8)], 100)
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("cat", "dog")
    assert {"classes_in_names", "folder_left_out"} <= kinds(report)


def test_parts_of_lists_with_more_columns(tmp_path: Path) -> None:
    """As the Oxford pets have them."""
    names = [f"{PETS[n % 3]}_{n}" for n in range(24)]
    files = flat("images/", [f"{name}.png" for name in names])
    for part, some in (("trainval", names[:15]), ("test", names[15:])):
        lines = [f"{name} {n % 3 + 1} {n % 2 + 1} 1" for n, name in enumerate(some)]
        files[f"annotations/{part}.txt"] = text(lines)
    report, dataset = import_files(tmp_path, files)
    assert (dataset.class_names, sizes(dataset)) == (PETS, (15, 0, 9))
    assert any(
        note.startswith("Parts are those that annotations/test.txt") for note in report.notes
    )


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_{n:04d}.png" for n in range(12)] + [f"DSC_{n:04d}.png" for n in range(12)],
        [f"{n:04d}.png" for n in range(24)],
        [f"animal{n}x.png" for n in range(24)],
        [f"cat_{n}.png" for n in range(23)] + ["dog_1.png"],
        [f"cat_{n}.png" for n in range(23)] + ["readme.png"],
    ],
)
def test_names_of_cameras_and_of_single_pictures_are_no_classes(
    tmp_path: Path, names: list[str]
) -> None:
    error = refusal(tmp_path, flat("all/", names))
    assert "only one class, all, and no table says what pictures show" in error.detail


# Lists and tables


@pytest.mark.parametrize("named", [False, True])
def test_a_list_with_labels_for_each_part(tmp_path: Path, named: bool) -> None:
    """As Caffe has them, and FGVC-Aircraft, whose labels have spaces."""
    names = ("707-320", "Boeing 717", "A330-200") if named else ("0", "1", "2")
    parts = {"train": range(18), "val": range(18, 24), "test": range(24, 36)}
    files = flat("images/", [f"{n:04d}.png" for n in range(36)])
    for part, rows in parts.items():
        lines = [f"{n:04d}{'' if named else '.png'} {names[n % 3]}" for n in rows]
        files[f"images_variant_{part}.txt" if named else f"{part}.txt"] = text(lines)
    report, dataset = import_files(tmp_path, files)
    assert set(dataset.class_names) == set(names)
    assert sizes(dataset) == (18, 6, 12)
    assert ("unnamed_classes" in kinds(report)) is not named


def test_columns_of_attributes_and_of_parts_are_no_labels(tmp_path: Path) -> None:
    """As CelebA has them."""
    names = [f"{n:06d}.png" for n in range(30)]
    files = flat("img_align_celeba/", names)
    files["list_attr_celeba.txt"] = text(
        ["30", "Male Smiling", *(f"{name} {1 if n % 2 else -1} 1" for n, name in enumerate(names))]
    )
    files["list_eval_partition.txt"] = text([f"{name} {n % 3}" for n, name in enumerate(names)])
    error = refusal(tmp_path, files)
    assert "list_attr_celeba.txt, list_eval_partition.txt says was not understood" in error.detail


LABELS = "image,label\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(20))


def test_a_label_beside_an_attribute_is_no_column_a_class(tmp_path: Path) -> None:
    files = flat("images/", [f"{n}.png" for n in range(20)])
    rows = [f"{n}.png,{n % 2},{n // 2 % 2}" for n in range(20)]
    files["labels.csv"] = text(["image,label,at_night", *rows])
    report, dataset = import_files(tmp_path, files)
    assert (dataset.class_names, sum(sizes(dataset))) == (("0", "1"), 20)
    assert not report.left_out
    files["labels.csv"] = text(["image,tail,at_night", *rows])
    assert "several columns that may be the label" in refusal(tmp_path / "b", files).detail


@pytest.mark.parametrize("head", [",file,label", "row,file,label", "file,row,label"])
@pytest.mark.parametrize("suffix", ["", ".png"])
def test_numbers_of_rows_name_no_pictures(tmp_path: Path, head: str, suffix: str) -> None:
    """As pandas writes them beside names, of pictures that are called by number."""
    files = flat("images/", [f"{n}.png" for n in range(24)])
    columns = head.split(",")
    rows = []
    for row in range(24):
        n = 7 * row % 24
        cells = {"": row, "row": row, "file": f"{n}{suffix}", "label": "ab"[n % 2]}
        rows.append(",".join(str(cells[column]) for column in columns))
    files["labels.csv"] = text([head, *rows])
    if "row" in columns and not suffix:
        assert "several columns that may name the pictures" in refusal(tmp_path, files).detail
        return
    _, dataset = import_files(tmp_path, files)
    of_picture = {pixels(n).tobytes(): n % 2 for n in range(24)}
    for part in ("train", "test"):
        images, labels = dataset.arrays[f"{part}_images"], dataset.arrays[f"{part}_labels"]
        assert [of_picture[image.tobytes()] for image in images] == labels.tolist()


def test_a_column_of_parts_by_any_name_is_used(tmp_path: Path) -> None:
    files = flat("images/", [f"{n}.png" for n in range(24)])
    rows = [f"{n}.png,{'ab'[n % 2]},{'train' if n < 16 else 'test'}" for n in range(24)]
    files["labels.csv"] = text(["image,label,phase", *rows])
    _, dataset = import_files(tmp_path, files)
    assert sizes(dataset) == (16, 0, 8)


@pytest.mark.parametrize(("first", "names"), [(0, ("cat", "dog")), (1, ("cat", "dog")), (2, "23")])
def test_a_list_without_numbers_counts_as_labels_do(
    tmp_path: Path, first: int, names: Sequence[str]
) -> None:
    """From 2 on it cannot be told whether the list begins with 0 or with 1."""
    files = flat("images/", [f"{n}.png" for n in range(24)])
    files["labels.csv"] = text(["image,label", *(f"{n}.png,{n % 2 + first}" for n in range(24))])
    files["classes.txt"] = text(["cat", "dog", "owl", "pug"][: 4 if first == 2 else 2])
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == tuple(names)
    assert ("unnamed_classes" in kinds(report)) == (first == 2)


def test_rows_of_another_part_label_nothing(tmp_path: Path) -> None:
    files = flat("test/", [f"{n}.png" for n in range(20)])
    files["labels.csv"] = LABELS.replace("\n", "\ntrain/").removesuffix("train/").encode()
    assert "what labels.csv says was not understood" in refusal(tmp_path, files).detail


@pytest.mark.parametrize("part", ["", "train/"])
def test_a_column_that_is_called_no_label_decides_nothing_against_folders(
    tmp_path: Path, part: str
) -> None:
    files = class_folders(part, {"cat": 10, "dog": 10})
    rows = [f"{name},{'ab'[n % 2]}" for n, name in enumerate(files)]
    error = refusal(tmp_path, files | {"meta.csv": text(["file,camera", *rows])})
    assert error.detail.startswith("The column “camera” of meta.csv may say what pictures show")
    assert error.detail.endswith("and so may their folders: cat, dog.")
    alone = {name.replace("cat/", "").replace("dog/", "1"): data for name, data in files.items()}
    table = text(["file,camera", *(f"{name},{'ab'[n % 2]}" for n, name in enumerate(alone))])
    report, dataset = import_files(tmp_path / "alone", alone | {"meta.csv": table})
    assert dataset.class_names == ("a", "b")
    assert "labels_guessed" in kinds(report)


def labelled(tmp_path: Path, head: str, rows: list[str]) -> tuple[ImportReport, Dataset]:
    files = flat("images/", [f"{n}.png" for n in range(40)])
    return import_files(tmp_path, files | {"labels.csv": text([head, *rows])})


def test_parts_by_numbers_are_taken_as_celeba_and_wilds_number_them(tmp_path: Path) -> None:
    rows = [f"{n},{n}.png,{'ab'[n % 2]},{(0, 0, 1, 2)[n // 2 % 4]}" for n in range(40)]
    report, dataset = labelled(tmp_path, "img_id,img_filename,y,split", rows)
    assert (sizes(dataset), dataset.class_names) == ((20, 10, 10), ("a", "b"))
    (said,) = [w.text for w in report.warnings if w.kind == "split_guessed"]
    assert "says 0, 1, 2: taken for train, validation and test" in said


@pytest.mark.parametrize(("column", "most"), [("fold", 5), ("fold", 3), ("split", 2)])
def test_numbers_that_may_be_anything_are_no_parts_and_said(
    tmp_path: Path, column: str, most: int
) -> None:
    rows = [f"{n}.png,{'ab'[n % 2]},{n // 2 % most}" for n in range(40)]
    report, dataset = labelled(tmp_path, f"file,label,{column}", rows)
    assert sizes(dataset) == (32, 0, 8)
    (said,) = [w.text for w in report.warnings if w.kind == "split_not_used"]
    assert f"The column “{column}” of labels.csv says 0, 1" in said
    assert said.endswith("which names no part: it is not used.")


@pytest.mark.parametrize(
    ("labels", "combined"),
    [
        (["cat", "dog", '"cat,dog"', "owl"], "cat,dog"),
        (["Mass|Effusion", "Mass", "Effusion", "No Finding"], "Mass|Effusion"),
        (["clear primary", "clear primary water", "cloudy", "haze primary"], "clear primary"),
        (["hot dog", "dog", "cat", "owl"], ""),
        (["red car", "red bus", "blue car", "blue bus"], ""),
    ],
)
def test_labels_that_look_like_several_are_said(
    tmp_path: Path, labels: list[str], combined: str
) -> None:
    rows = [f"{n}.png,{labels[n % 4]}" for n in range(40)]
    report, _ = labelled(tmp_path, "file,label", rows)
    said = [w.text for w in report.warnings if w.kind == "labels_combined"]
    assert len(said) == bool(combined)
    assert all(f"several of one picture: {combined}." in text for text in said)


def test_a_table_of_boxes_is_refused_where_pictures_have_several(tmp_path: Path) -> None:
    """One box a picture, as of GTSRB, may be the picture's own."""
    head = "filename,width,height,class,xmin,ymin,xmax,ymax"
    one = [f"{n}.png,40,40,{'ab'[n % 2]},1,1,20,20" for n in range(40)]
    _, dataset = labelled(tmp_path / "one", head, one)
    assert dataset.class_names == ("a", "b")
    with pytest.raises(DatasetError, match="made to find objects"):
        labelled(tmp_path / "several", head, [*one, *one[:20]])


def test_of_several_labels_those_of_the_folders_are_taken(tmp_path: Path) -> None:
    """Imagenette brings labels with errors beside its own."""
    files = train_and_test(cat=6, dog=6)
    right = [name.split("/")[1] for name in files]
    wrong = ["dog", *right[1:]]
    rows = [
        f"{name},{a},{b},{name.startswith('test')}"
        for name, a, b in zip(files, right, wrong, strict=True)
    ]
    table = text(["path,noisy_labels_0,noisy_labels_5,is_valid", *rows])
    report, dataset = import_files(tmp_path, files | {"noisy.csv": table})
    assert (report.layout, dataset.class_names) == ("class folders", ("cat", "dog"))
    assert len(dataset.split("test")) == sum(name.startswith("test") for name in files)


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("sep=;\nfile;label", "{n}.png;{c}"),
        ('"file", "label"', '"{n}.png", "{c}"'),
        ("# of mine\nfile,label", "{n}.png,{c}"),
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, head: str, row: str) -> None:
    rows = [row.format(n=n, c=PETS[n % 3]) for n in range(40)]
    report, dataset = labelled(tmp_path, head, rows)
    assert dataset.class_names == PETS
    assert "labels_guessed" not in kinds(report)


def test_a_table_that_is_not_in_utf8_is_said(tmp_path: Path) -> None:
    files = flat("images/", [f"{n}.png" for n in range(20)])
    files["labels.csv"] = LABELS.replace("b\n", "狗\n").encode("gbk")
    files["notes.txt"] = "猫".encode("gbk")
    report, _ = import_files(tmp_path, files)
    (said,) = [w.text for w in report.warnings if w.kind == "names_guessed"]
    assert "read as cp1252: labels.csv." in said


def test_the_signs_of_kaggle(tmp_path: Path) -> None:
    """The test table names pictures by a path, and its classes are the names of other pictures."""
    head = "Width,Height,Roi.X1,ClassId,Path"
    files = {f"Train/{k}/{n}_{k}.png": png(10 * k + n) for k in range(3) for n in range(6)}
    files |= flat("Test/", [f"{n:05d}.png" for n in range(9)], 100)
    files |= flat("Meta/", [f"{k}.png" for k in range(3)], 200)
    files["Test.csv"] = text([head, *(f"32,32,5,{n % 3},Test/{n:05d}.png" for n in range(9))])
    files["Meta.csv"] = text(["Path,ClassId", *(f"Meta/{k}.png,{k}" for k in range(3))])
    report, dataset = import_files(tmp_path, files)
    assert sizes(dataset) == (18, 0, 9)
    assert dataset.arrays["test_labels"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert "Labels are those of the column “ClassId” of Test.csv." in report.notes


def test_numbers_of_a_table_are_those_of_folders_with_zeros(tmp_path: Path) -> None:
    """GTSRB as it is distributed, its test labels beside it."""
    files = {f"G/Final_Training/Images/{k:05d}/{n}.png": png(9 * k + n) for k in range(3)
             for n in range(6)}  # fmt: skip
    files |= flat("G/Final_Test/Images/", [f"{n:05d}.png" for n in range(9)], 100)
    files["GT-final_test.csv"] = text(
        ["Filename;Width;Roi.X1;ClassId", *(f"{n:05d}.png;32;5;{n % 3}" for n in range(9))]
    )
    _, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("00000", "00001", "00002")
    assert sizes(dataset) == (18, 0, 9)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cat_to_name.json", json.dumps({"0": "owl", "1": "cat", "2": "dog"})),
        ("class_indices.json", json.dumps({"owl": 0, "cat": 1, "dog": 2})),
        ("label_map.csv", "id,name\n0,owl\n1,cat\n2,dog\n"),
    ],
)
def test_numbers_are_named_by_a_map(tmp_path: Path, name: str, data: str) -> None:
    files = flat("images/", [f"{n:04d}.png" for n in range(18)])
    files["labels.csv"] = text(["image,label", *(f"{n:04d}.png,{n % 3}" for n in range(18))])
    files[name] = data.encode()
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("owl", "cat", "dog")
    assert "unnamed_classes" not in kinds(report)


def test_a_table_with_a_row_for_each_number_and_many_more_names_no_classes(tmp_path: Path) -> None:
    files = flat("images/", [f"{n:04d}.png" for n in range(18)])
    files["labels.csv"] = text(["image,label", *(f"{n:04d}.png,{n % 3}" for n in range(18))])
    files["owners.csv"] = text(["id,owner", *(f"{n},owner {n}" for n in range(18))])
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("0", "1", "2")
    assert "unnamed_classes" in kinds(report)


# Files of many images


def grey(count: int, seed: int, side: int = 28) -> np.ndarray:
    return np.stack([pixels(seed + n, side, side)[..., 0] for n in range(count)])


def emnist(kind: str, classes: int = 5) -> Files:
    files = {}
    for part, count, seed in (("train", 20, 0), ("test", 10, 50)):
        name = f"gzip/emnist-{kind}-{part}"
        files[f"{name}-images-idx3-ubyte.gz"] = gzip.compress(idx(grey(count, seed)))
        files[f"{name}-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.arange(count) % classes + 1))
    return files


def test_emnist_lies_on_its_side_and_is_named_by_its_mapping(tmp_path: Path) -> None:
    mapping = text([f"{k} {64 + k} {96 + k}" for k in range(1, 6)])
    files = emnist("letters") | {"gzip/emnist-letters-mapping.txt": mapping}
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("Aa", "Bb", "Cc", "Dd", "Ee")
    assert any("rows and columns of its pictures exchanged" in w.text for w in report.warnings)


def test_several_datasets_of_idx_are_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, emnist("digits") | emnist("mnist"))
    assert "are of several datasets: gzip/emnist-digits-train and gzip/emnist-mn" in error.detail
    named = {f"{kind}-{what}": data for kind in ("digits", "letters")
             for what, data in (("images-idx3-ubyte", idx(grey(6, 0))),
                                ("labels-idx1-ubyte", idx(np.arange(6) % 3)))}  # fmt: skip
    error = refusal(tmp_path / "named", named)
    assert "several datasets are packed together" in error.detail
    assert "Pack the files of one of them" in error.hint


def rows(count: int, seed: int) -> list[str]:
    drawn = grey(count, seed).reshape(count, -1)
    return [f"{n % 5},{','.join(map(str, row))}" for n, row in enumerate(drawn)]


def last(row: str) -> str:
    """The same row with its label at the end."""
    return ",".join(reversed(row.split(",", 1)))


@pytest.mark.parametrize(("head", "turn"), [("", str), ("label", str), ("", last), ("label", last)])
def test_tables_of_pixels(tmp_path: Path, head: str, turn: Callable[[str], str]) -> None:
    """MNIST and its kin as CSV; rows without labels are to predict."""
    names = ",".join(f"pixel{n}" for n in range(784))
    above = [turn(f"label,{names}")] if head else []
    files = {
        "mnist_train.csv": text([*above, *map(turn, rows(20, 0))]),
        "mnist_test.csv": text([*above, *map(turn, rows(10, 50))]),
        "predict.csv": text([names, *(row.partition(",")[2] for row in rows(4, 90))]),
    }
    report, dataset = import_files(tmp_path, files, image_size=32)
    assert (sizes(dataset), dataset.class_names) == ((20, 0, 10), tuple("01234"))
    assert report.left_out == {"rows to predict, without labels": 4}
    assert "unnamed_classes" in kinds(report)
    shown = {bytes(image[..., 0].ravel()): int(label) for image, label in zip(
        dataset.arrays["train_images"], dataset.arrays["train_labels"], strict=True)}  # fmt: skip
    small = np.stack([fitted(Image.fromarray(one), 32) for one in grey(20, 0)])
    assert shown == {one.tobytes(): n % 5 for n, one in enumerate(small)}


def labelled_last(first: Callable[[int], int]) -> Files:
    """Labels at the end, and `first` of the number of a row at its beginning."""
    lines = [row.split(",") for row in map(last, rows(40, 0))]
    return {"a.csv": text([",".join([str(first(n)), *line[1:]]) for n, line in enumerate(lines)])}


@pytest.mark.parametrize(
    "first",
    [lambda n: 0, lambda n: int(n == 7), lambda n: 3 * (n % 2), lambda n: n],
    ids=["the same in all", "hardly ever another", "a gap", "all different"],
)
def test_labels_of_a_table_without_names_are_told_by_what_columns_hold(
    tmp_path: Path, first: Callable[[int], int]
) -> None:
    report, dataset = import_files(tmp_path, labelled_last(first), image_size=32)
    assert dataset.class_names == tuple("01234")
    assert "Labels of a.csv are those of its last column." in report.notes


def test_two_columns_that_could_be_labels_are_asked_for(tmp_path: Path) -> None:
    error = refusal(tmp_path, labelled_last(lambda n: n % 3))
    assert "either the first or the last column looks like labels" in error.detail
    assert "label, pixel0" in error.hint


def test_a_picture_that_became_the_head_of_a_table_is_left_out(tmp_path: Path) -> None:
    """As the tables of letters of Kaggle have it: read and written again without saying that there
    are no names."""
    head = ",".join(["1", "0", *(f"0.{n}" for n in range(1, 784))])
    report, dataset = import_files(tmp_path, {"a.csv": text([head, *rows(20, 0)])}, image_size=32)
    assert sum(sizes(dataset)) == 20
    assert report.left_out == {"pictures that became the names of columns": 1}


@pytest.mark.parametrize(
    "usage", [("Training", "PublicTest", "PrivateTest"), ("train", "val", "test")]
)
def test_pixels_in_one_cell_and_a_file_alone(tmp_path: Path, usage: tuple[str, ...]) -> None:
    """FER-2013, and the way of its parts."""
    drawn = grey(36, 0, 48).reshape(36, -1)
    lines = [f"{n // 3 % 4},{' '.join(map(str, p))},{usage[n % 3]}" for n, p in enumerate(drawn)]
    path = tmp_path / "fer2013.csv"
    path.write_bytes(text(["emotion,pixels,Usage", *lines]))
    _, dataset = import_path(path, tmp_path / "lab", image_size=64)
    assert (sizes(dataset), dataset.class_names) == ((12, 12, 12), tuple("0123"))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["a,b", "1,2"], "hold no pictures that the lab finds"),
        (
            [f"label,{','.join(map(str, range(64)))}", f"1,{','.join(['300'] * 64)}"],
            "from 0 to 255",
        ),
        (
            [f"label,{','.join(map(str, range(64)))}", f"1,{','.join(['x'] * 64)}"],
            "no whole number",
        ),
        (
            [",".join(["9"] * 65), ",".join(["7"] * 65)],
            "neither the first nor the last looks like labels",
        ),
        (["emotion,pixels", "1,1 2 3"], "no squares"),
        (["emotion,pixels", "1"], "Row 1 of a.csv holds no picture"),
        (["name,pixels", "a,1 2 3 4"], "no column of labels"),
    ],
)
def test_tables_that_hold_no_pixels_are_refused(
    tmp_path: Path, lines: list[str], reason: str
) -> None:
    error = refusal(tmp_path, {"a.csv": text(lines)})
    assert reason in error.detail


def test_an_npz_for_each_array(tmp_path: Path) -> None:
    """As KMNIST is published."""
    files = {}
    for part, count, seed in (("train", 20, 0), ("test", 10, 50)):
        for name, array in (("imgs", grey(count, seed)), ("labels", np.arange(count) % 5)):
            stream = io.BytesIO()
            np.savez_compressed(stream, array)
            files[f"kmnist-{part}-{name}.npz"] = stream.getvalue()
    _, dataset = import_files(tmp_path, files)
    assert sizes(dataset) == (20, 0, 10)


# Folders


def test_folders_within_class_folders_are_said(tmp_path: Path) -> None:
    """As SUN397 is laid out, by first letters."""
    files = class_folders("S/a/", {"abbey": 5, "airport": 5}) | class_folders(
        "S/b/", {"bar": 5, "beach": 5}, first_seed=50
    )
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("a", "b")
    (said,) = [w.text for w in report.warnings if w.kind == "folders_in_classes"]
    assert "such as a with abbey, airport" in said


@pytest.mark.parametrize(
    ("inner", "said"), [("cat", True), ("x/cat", True), ("images", False), ("photos", False)]
)
def test_one_folder_of_the_same_name_in_each_class_is_said(
    tmp_path: Path, inner: str, said: bool
) -> None:
    files = class_folders("siteA/", {inner: 5}) | class_folders("siteB/", {inner: 5}, first_seed=50)
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("siteA", "siteB")
    texts = [w.text for w in report.warnings if w.kind == "folders_in_classes"]
    assert [text.startswith("siteA, siteB each hold one") for text in texts] == [True] * said


def test_domains_that_each_have_a_folder_of_images_are_no_classes(tmp_path: Path) -> None:
    """As Office-31 is laid out."""
    files = class_folders("amazon/images/", {"mug": 5, "pen": 5}) | class_folders(
        "dslr/images/", {"mug": 5, "pen": 5}, first_seed=50
    )
    error = refusal(tmp_path, files)
    assert "hold the same subfolders (mug, pen)" in error.detail


def test_words_that_are_taken_for_no_label_are_said(tmp_path: Path) -> None:
    files = flat("images/", [f"{n}.png" for n in range(24)])
    rows = [f"{n}.png,{('rain', 'sun', 'None')[n % 3]}" for n in range(24)]
    files["labels.csv"] = text(["image,label", *rows])
    report, dataset = import_files(tmp_path, files)
    assert dataset.class_names == ("rain", "sun")
    assert report.left_out == {"pictures without a label in labels.csv": 8}
    assert any(note.endswith("Taken for no label: None.") for note in report.notes)


def test_masks_beside_their_pictures_are_said(tmp_path: Path) -> None:
    """As BUSI has them."""
    names = [f"cat ({n}).png" for n in range(9)]
    masks = [*(f"cat ({n})_mask.png" for n in range(9)), "cat (0)_mask_1.png"]
    files = flat("cat/", [*names, *masks, "lone_mask.png"]) | class_folders(
        "", {"dog": 9}, first_seed=50
    )
    report, _ = import_files(tmp_path, files)
    assert [w.count for w in report.warnings if w.kind == "masks_taken"] == [10]


def test_classes_that_may_be_one_are_said(tmp_path: Path) -> None:
    counts = {"Polar bear": 8, "polar_bear": 8, "owl": 8, "ｏｗｌ": 8, "1 1": 8, "1-1": 8}
    report, dataset = import_files(tmp_path, class_folders("", counts))
    assert len(dataset.class_names) == 6
    (said,) = [w.text for w in report.warnings if w.kind == "alike_classes"]
    assert said.endswith(": Polar bear, polar_bear, owl, ｏｗｌ.")


def test_pictures_of_floating_point_numbers_are_not_called_damaged(tmp_path: Path) -> None:
    files = train_and_test(cat=6, dog=6)
    picture = Image.fromarray(np.random.default_rng(0).random((40, 40)).astype(np.float32))
    files["train/cat/deep.tif"] = encode(picture, "TIFF")
    report, _ = import_files(tmp_path, files)
    (reason,) = report.left_out
    assert reason == "pictures that are of floating-point numbers whose range is not known"


# Refused

PHOTOS = {f"images/{n:04d}.png": png(n) for n in range(6)}
COCO = json.dumps({"images": [], "annotations": [], "categories": []}).encode()
ARRAYS = "x_train, y_train, x_test, y_test in one .npz"
WITH_A_WAY_OUT: list[tuple[Mapping[str, bytes], str, str]] = [
    ({"train.tfrecord-00000-of-00002": b"x"}, "TFRecords of TensorFlow", ARRAYS),
    ({"a_x.h5": b"\x89HDF"}, "HDF5 files: a_x.h5", ARRAYS),
    ({"train_lmdb/data.mdb": b"x"}, "a database of LMDB", ARRAYS),
    ({"MNIST/processed/training.pt": b"x"}, "tensors of PyTorch", ARRAYS),
    ({"train.beton": b"x"}, "files of FFCV", ARRAYS),
    ({"train/data-00000-of-00001.arrow": b"x"}, "Arrow files of Hugging Face", "Parquet"),
    ({"train.7z": b"7z", "trainLabels.csv": b"id,label\n"}, "archives: train.7z", "Unpack these"),
    ({"cat/0.nii.gz": b"\x1f\x8b", "dog/0.nii.gz": b"\x1f\x8b"}, "scans in NIfTI", "slices as PNG"),
    ({"run/0.avi": b"RIFF", "walk/0.avi": b"RIFF"}, "films: run/0.avi", "Save pictures of them"),
    ({"train/cat/0001": b"\x89PNG", "train/dog/0002": b"\x89PNG"}, "without a suffix", ".png or"),
    ({**PHOTOS, "annotations/instances.json": COCO}, "COCO's annotations", "cut the objects out"),
    ({**PHOTOS, "Annotations/0001.xml": b"<a/>"}, "Pascal VOC", "cut the objects out"),
    ({**PHOTOS, "labels/0001.txt": b"0 0.5 0.5 1 1"}, "The boxes of YOLO", "cut the objects out"),
    ({**PHOTOS, "labels.xlsx": b"x"}, "labels.xlsx is none that is read", "Save it as CSV"),
    ({**PHOTOS, "devkit/annos.mat": b"x"}, "annos.mat is a file of MATLAB", "into a .csv"),
    ({"a.png": png(0), "b.png": png(1)}, "at the top of the archive", "one folder a class"),
]


@pytest.mark.parametrize(("files", "named", "way_out"), WITH_A_WAY_OUT)
def test_what_is_there_is_named_with_the_way_out(
    tmp_path: Path, files: Mapping[str, bytes], named: str, way_out: str
) -> None:
    error = refusal(tmp_path, files)
    assert named in error.detail
    assert way_out in error.hint


@pytest.mark.parametrize(
    ("data", "named"),
    [(png(0), "a single picture"), (b"PK\x07\x08PK", "one of the parts of a zip that was split")],
)
def test_a_file_alone_is_named(tmp_path: Path, data: bytes, named: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=named):
        import_path(path, tmp_path / "lab")
