"""Which files of an archive are images of which class, told from their paths alone."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.data.errors import DatasetError
from worker.data.images import SUFFIXES

MAX_CLASSES = 1000
MAX_NAME = 100  # characters of a class name
MAX_PATH = 4096  # characters of a path in an archive
VALIDATION = ("val", "valid", "validation")
LAYOUT_HINT = (
    "Pack one folder of images for each class, such as train/cat/1.png and test/cat/2.png, or just "
    "cat/1.png."
)

Path = tuple[str, ...]  # the parts of a path, such as ("train", "cat", "1.png")


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive: its place in the archive, its path and its size in bytes."""

    ordinal: int
    path: Path
    size: int
    is_folder: bool


@dataclass(frozen=True)
class ImageFile:
    """An image of a class; `in_test` tells its part where the archive has `train` and `test`."""

    member: Member
    label: int
    in_test: bool


@dataclass(frozen=True)
class Layout:
    """The classes of an archive, in natural order, and their images, sorted by part and path."""

    class_names: tuple[str, ...]
    images: tuple[ImageFile, ...]
    has_test: bool
    ignored: int


def split_path(name: str) -> Path | None:
    """The parts of a member's name; None for hidden files, resource forks and paths with `..`."""
    if len(name) > MAX_PATH:
        return None
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return None if hidden or not parts else parts


def find_layout(members: Iterable[Member]) -> Layout:
    """Find the class folders.

    They lie in `train` and `test` folders side by side, or else in one folder, at any depth. An
    image belongs to the class folder that holds it, at any depth. Other files are ignored and
    counted.

    Raises:
        DatasetError: there are no class folders, fewer than two, an empty one, one that is in only
            one of train and test, too many, or one whose name cannot be shown.
    """
    files, folders = [], set()
    for member in members:
        if member.is_folder:
            folders.add(member.path)
        else:
            files.append(member)
            folders.add(member.path[:-1])
    images = [file for file in files if file.path[-1].lower().endswith(SUFFIXES)]
    if not images:
        raise DatasetError("The archive holds no PNG, JPEG, WebP or BMP images.", LAYOUT_HINT)
    base, parts = _find_base({image.path[:-1] for image in images})
    roots = [(*base, part) for part in parts] or [base]
    names = [_classes_under(root, folders) for root in roots]
    class_names = tuple(sorted(set().union(*names), key=natural_key))
    _check_names(class_names)
    labels = {name: label for label, name in enumerate(class_names)}
    found = _label_images(images, roots, labels)
    _check_parts(class_names, found, bool(parts))
    found.sort(key=lambda image: (image.in_test, image.label, image.member.path))
    return Layout(class_names, tuple(found), bool(parts), len(files) - len(found))


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key: digits by value, letters without case, so that `class2` comes before `Class10`."""
    pieces = re.split("([0-9]+)", name.casefold())
    return [(int(p), "") if i % 2 else (0, p) for i, p in enumerate(pieces)], name


def printable(name: str) -> str:
    """`name` with control characters and undecodable bytes escaped, at most 200 characters."""
    shown = "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in name[:200])
    return shown[:200]


def name_list(names: Sequence[str]) -> str:
    """Up to five names for a message, and how many more there are."""
    shown = ", ".join(printable(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _find_base(folders: set[Path]) -> tuple[Path, tuple[str, ...]]:
    """The folder above the classes, and the names of its train and test folders where it has both.

    Goes down from the top as long as there is only one folder that leads to images.
    """
    base: Path = ()
    while True:
        depth = len(base)
        children = {folder[depth] for folder in folders if len(folder) > depth}
        by_name = {child.lower(): child for child in sorted(children)}
        if {"train", "test"} <= by_name.keys():
            return base, (by_name["train"], by_name["test"])
        if len(by_name) > 1 and "train" in by_name and by_name.keys() <= {"train", *VALIDATION}:
            raise DatasetError(
                "The archive has a validation folder beside train, but no test folder.",
                "Rename it to test: the lab holds out its own validation images from train.",
            )
        # The last folder on the way down is a class, not a step on the way to classes.
        if len(children) != 1 or not any(len(folder) > depth + 1 for folder in folders):
            return base, ()
        base = (*base, *children)


def _classes_under(root: Path, folders: set[Path]) -> set[str]:
    depth = len(root)
    return {folder[depth] for folder in folders if len(folder) > depth and folder[:depth] == root}


def _label_images(
    images: Iterable[Member], roots: Sequence[Path], labels: dict[str, int]
) -> list[ImageFile]:
    """The images that lie in a class folder; the same path a second time is left out."""
    found, seen = [], set()
    for image in images:
        for number, root in enumerate(roots):
            depth = len(root)
            inside = image.path[:depth] == root and len(image.path) >= depth + 2
            if not inside or image.path in seen:
                continue
            below = {part.lower() for part in image.path[depth + 1 : -1]}
            if len(roots) == 1 and below & {"train", "test"}:
                raise DatasetError(
                    "There are train or test folders inside class folders.", LAYOUT_HINT
                )
            seen.add(image.path)
            found.append(ImageFile(image, labels[image.path[depth]], in_test=number == 1))
    return found


def _check_names(class_names: tuple[str, ...]) -> None:
    if not class_names:
        raise DatasetError("The archive's images are not in class folders.", LAYOUT_HINT)
    if len(class_names) > MAX_CLASSES:
        raise DatasetError(
            f"The archive has {len(class_names)} class folders.",
            f"The lab takes at most {MAX_CLASSES} classes; each class is one folder of images.",
        )
    for name in class_names:
        if len(name) > MAX_NAME or not name.strip() or not all(_is_shown(c) for c in name):
            raise DatasetError(
                f'A class folder\'s name cannot be shown: "{printable(name)}".',
                f"Rename it: 1 to {MAX_NAME} characters, in UTF-8, without control characters.",
            )
    if len(class_names) == 1:
        raise DatasetError(
            f"The archive has only one class, {class_names[0]}.",
            "A classifier needs at least two class folders side by side.",
        )


def _check_parts(class_names: tuple[str, ...], images: list[ImageFile], has_test: bool) -> None:
    in_train = {image.label for image in images if not image.in_test}
    in_test = {image.label for image in images if image.in_test}
    everything = set(range(len(class_names)))
    if unknown := sorted(in_test - in_train):
        raise DatasetError(
            f"Classes in test that train has no images of: {_names(class_names, unknown)}.",
            "Give each class a folder of the same name in train and in test.",
        )
    if empty := sorted(everything - in_train):
        raise DatasetError(
            f"Class folders without images: {_names(class_names, empty)}.",
            "Add PNG, JPEG, WebP or BMP images to them, or remove the folders.",
        )
    if has_test and (missing := sorted(everything - in_test)):
        raise DatasetError(
            f"Classes in train that test has no images of: {_names(class_names, missing)}.",
            "Give each class a folder of the same name in train and in test.",
        )


def _names(class_names: tuple[str, ...], labels: Sequence[int]) -> str:
    return name_list([class_names[label] for label in labels])


def _is_shown(character: str) -> bool:
    # Control, surrogate (bytes that are no UTF-8), line and paragraph separators.
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
