"""Whether folders are classes, and what may be meant otherwise."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from worker.data.errors import DatasetError
from worker.data.folder_tree import Folder
from worker.data.layout import Found
from worker.data.names import name_list
from worker.data.refusals import LAYOUT_HINT
from worker.data.roles import Part, named_part, part_and_rest, part_of
from worker.data.weaknesses import Weakness

_STRUCTURAL = re.compile(
    r"(images?|imgs?|pictures?|photos?|masks?|annotations?|labels?|gt|ground[\W_]*truth|depth|"
    r"segmentations?|originals?|raw|processed|augmented|cropped|resized|thumbnails?)",
    re.IGNORECASE,
)


def unwrapped(folder: Folder) -> Folder:
    """Down to where the class folders are: some archives have seg_train/seg_train/forest."""
    children = folder.filled()
    while not folder.pictures and len(children) == 1:
        (inner,) = children
        if (
            not inner.filled()
            and not part_of(inner.path[-1])
            and inner.path[-1].lower() != "images"
        ):
            break
        folder, children = inner, inner.filled()
    return folder


def tell_depth(found: Found, children: Sequence[Folder]) -> None:
    """Say where a class has folders of its own: those may have been meant."""
    deep = [child for child in children if len(unwrapped(child).filled()) > 1]
    if deep:
        within = name_list(f.path[-1] for f in unwrapped(deep[0]).filled())
        text = (
            f"{len(deep):,} of {len(children):,} class folders hold folders of pictures, such as "
            f"{deep[0].path[-1]} with {within}: all of these are one class. Where each is a class, "
            "pack them side by side."
        )
        found.warnings.append(Weakness("folders_in_classes", text, len(deep)))
    lone: dict[str, list[str]] = {}
    for child in children:
        inner = unwrapped(child).filled()
        if len(inner) == 1 and not _STRUCTURAL.fullmatch(inner[0].path[-1]):
            lone.setdefault(inner[0].path[-1], []).append(child.path[-1])
    for name, outer in lone.items():
        if len(outer) > 1:
            text = (
                f"{name_list(outer)} each hold one folder of the same name, {name_list([name])}: "
                "the outer folders are taken as classes. Where the inner ones are, pack these side "
                "by side."
            )
            found.warnings.append(Weakness("folders_in_classes", text, len(outer)))


def check_siblings(children: Sequence[Folder]) -> None:
    """Refuse folders that are no classes, by what lies in them and by their names."""
    by_rest: dict[str, dict[Part, str]] = {}
    for child in children:
        if child.count and (said := part_and_rest(child.path[-1])) is not None:
            by_rest.setdefault(said[1], {})[said[0]] = child.path[-1]
    if pairs := [parts for parts in by_rest.values() if Part.TRAIN in parts and len(parts) > 1]:
        raise DatasetError(
            f"{name_list(sorted(pairs[0].values()))} are called like parts of one whole, not like "
            "classes.",
            "Name the parts train, validation and test, with a folder for each class in each.",
        )
    within = {child.path: {f.path[-1] for f in unwrapped(child).filled()} for child in children}
    parts = [child for child in children if named_part(child.path[-1])]
    deep = [child for child in children if child not in parts and len(within[child.path]) > 1]
    if parts and deep and len(parts) + len(deep) == len(children):
        raise DatasetError(
            f"{name_list(child.path[-1] for child in parts)} is called like a part of a dataset, "
            f"and {deep[0].path[-1]} beside it holds folders "
            f"({name_list(sorted(within[deep[0].path]))}): they look like no classes.",
            "Name the parts train, validation and test, with a folder for each class in each, or "
            "pack one of them.",
        )
    inner = Counter(name for names in within.values() for name in names)
    alike = [child for child in children if sum(inner[name] > 1 for name in within[child.path]) > 1]
    if len(alike) > 1:
        shared = sorted(name for name, count in inner.items() if count > 1)
        raise DatasetError(
            f"The folders {name_list(c.path[-1] for c in alike)} hold the same subfolders "
            f"({name_list(shared)}): they look like parts of a dataset, not like classes.",
            "Name the parts train, validation and test, or pack one of them.",
        )
    names = [child.path[-1] for child in children if child.count]
    if len(names) > 1 and all(_STRUCTURAL.fullmatch(name) for name in names):
        raise DatasetError(
            f"The folders {name_list(names)} are named for what is in them, not for classes.",
            LAYOUT_HINT,
        )
    for child in children:
        if any(part_of(below.path[-1]) for below in child.filled()):
            raise DatasetError("There are train or test folders inside class folders.", LAYOUT_HINT)
