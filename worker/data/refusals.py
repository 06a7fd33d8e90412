"""What is said of archives whose pictures, or whose labels, are not found: what is there, by name,
and the way out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from worker.data.errors import DatasetError
from worker.data.names import Path, name_list

if TYPE_CHECKING:
    from worker.data.layout import Contents
    from worker.data.members import Member

LAYOUT_HINT = (
    "Pack one folder of images for each class, such as train/cat/1.png and test/cat/2.png, or just "
    "cat/1.png."
)
ARRAYS = (
    "Read it with what wrote it, and save its images as PNG, a folder for each class, or as "
    "arrays: x_train, y_train, x_test, y_test in one .npz."
)
_UNPACK = "Unpack these, and pack what was in them."
_FORMATS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("scans in NIfTI", (".nii.gz", ".nii"), "Save their slices as PNG, a folder for each class."),
    (
        "films",
        (".avi", ".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg"),
        "Save pictures of them as PNG or JPEG, a folder for each class.",
    ),
    ("archives", (".zip", ".tar", ".gz", ".tgz", ".xz", ".7z", ".rar", ".bz2", ".zst"), _UNPACK),
    ("TFRecords of TensorFlow", (".tfrecord", ".tfrecords"), ARRAYS),
    ("HDF5 files", (".h5", ".hdf5"), ARRAYS),
    ("MATLAB's files", (".mat",), f"Of these only SVHN's are read. {ARRAYS}"),
    ("tensors of PyTorch", (".pt", ".pth"), ARRAYS),
    ("pickles", (".pkl", ".pickle"), f"Only CIFAR's are read. {ARRAYS}"),
    ("a database of LMDB", (".mdb",), ARRAYS),
    ("RecordIO of MXNet", (".rec",), ARRAYS),
    ("files of FFCV", (".beton",), ARRAYS),
    (
        "Arrow files of Hugging Face",
        (".arrow",),
        "Save the dataset as Parquet, `dataset.to_parquet(…)` for each split, and pack these.",
    ),
    ("tables alone", (".csv", ".tsv", ".xlsx", ".jsonl"), LAYOUT_HINT),
)
"""What files are called in words, how their names end, and the way out; those before others that
say more."""
_NAMED = 5


def nothing_found(contents: Contents) -> DatasetError:
    """Of an archive without a picture that is read."""
    for title, suffixes, hint in _FORMATS:
        found = [m for m in contents.others if _ends(m, suffixes)]
        if found:
            return DatasetError(f"The archive holds {title}: {_names(found)}.", hint)
    if bare := [m for m in contents.others if "." not in m.path[-1]]:
        return DatasetError(
            f"The archive holds files without a suffix alone: {_names(bare)}.",
            "Where they are pictures, name them so: .png or .jpg. " + LAYOUT_HINT,
        )
    return DatasetError(
        "The archive holds no PNG, JPEG, WebP, BMP, PPM, TIFF, GIF or AVIF images.", LAYOUT_HINT
    )


def not_in_class_folders(contents: Contents, where: str) -> DatasetError:
    """Of pictures `where` ("in train") that no table labels."""
    return _unlabelled(contents, f"The pictures {where} are not in class folders")


def one_class(contents: Contents, name: str) -> DatasetError:
    """Of pictures in a single folder that no table labels."""
    return _unlabelled(contents, f"The archive has only one class, {name}")


def _unlabelled(contents: Contents, found: str) -> DatasetError:
    said = f"{found}, and no table says what pictures show"
    boxes = next(_boxes(contents), "")
    if boxes:
        return DatasetError(
            f"{said}. {boxes} beside them name objects within pictures.",
            "A classifier needs one class a picture: cut the objects out, into a folder for each "
            "class, or add a table with the columns filename and label.",
        )
    excel = [m for m in contents.others if _ends(m, (".xlsx", ".xls", ".ods"))]
    if excel:
        return DatasetError(f"{said}: {_names(excel)} is none that is read.", "Save it as CSV.")
    matlab = [m for m in contents.others if _ends(m, (".mat",))]
    if matlab:
        return DatasetError(
            f"{said}: {_names(matlab)} is a file of MATLAB, which is not read.",
            "Write the names of the pictures and their classes into a .csv with the columns "
            "filename and label.",
        )
    texts = name_list("/".join(path) for path in list(contents.texts)[:_NAMED])
    beside = f": what {texts} says was not understood" if texts else ""
    return DatasetError(
        f"{said}{beside}.",
        "Pack one folder a class, or add a table with the columns filename and label.",
    )


def _boxes(contents: Contents) -> Iterator[str]:
    """Annotations of detection, by what they are called."""
    for path, text in contents.texts.items():
        if path[-1].lower().endswith(".json") and _is_coco(text):
            yield "COCO's annotations"
    if any(_ends(m, (".xml",)) and "annotations" in _lower(m.path) for m in contents.others):
        yield "The annotations of Pascal VOC"
    stems = {m.path[-1].rpartition(".")[0] for m in contents.pictures}
    beside = [p for p in contents.texts if "labels" in _lower(p[:-1])]
    if any(path[-1].rpartition(".")[0] in stems for path in beside):
        yield "The boxes of YOLO"


def _is_coco(text: str) -> bool:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, Mapping) and {"images", "annotations", "categories"} <= body.keys()


def _ends(member: Member, suffixes: tuple[str, ...]) -> bool:
    name = member.path[-1].lower()
    return name.endswith(suffixes) or any(f"{suffix}-" in name for suffix in suffixes)


def _lower(path: Path) -> tuple[str, ...]:
    return tuple(name.lower() for name in path)


def _names(members: list[Member]) -> str:
    return name_list(sorted("/".join(member.path) for member in members))
