"""Class folders, below folders of parts or without them; flat parts get labels from a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from worker.data.classes import name_numbers
from worker.data.errors import DatasetError
from worker.data.file_names import classes_in_names, masks_of_others
from worker.data.images import UNREAD_SUFFIXES
from worker.data.layout import TO_PREDICT, Contents, Found, Sample, has_suffix
from worker.data.members import Member
from worker.data.names import Path, name_list, natural_key
from worker.data.picture_index import PictureIndex
from worker.data.refusals import LAYOUT_HINT, not_in_class_folders, one_class
from worker.data.roles import Part, named_part, part_and_rest, part_of
from worker.data.tables import Table, joined, listed_parts, tables_of
from worker.data.weaknesses import Weakness

KIND = "class folders"
_MOST = 0.9
"""Share of pictures that a table names, from which on it labels the whole archive."""
_NUMBERED = re.compile(
    r"(?:.*[\W_])?(?:fold|part|batch|chunk|shard|vol|volume)[\W_]*\d+", re.IGNORECASE
)


_STRUCTURAL = re.compile(
    r"(images?|imgs?|pictures?|photos?|masks?|annotations?|labels?|gt|ground[\W_]*truth|depth|"
    r"segmentations?|originals?|raw|processed|augmented|cropped|resized|thumbnails?)",
    re.IGNORECASE,
)


@dataclass
class _Folder:
    """A folder, the pictures in it and the folders below it."""

    path: Path
    pictures: list[Member] = field(default_factory=list)
    below: dict[str, _Folder] = field(default_factory=dict)
    count: int = 0
    """Pictures here and anywhere below."""

    def filled(self) -> list[_Folder]:
        """Folders right below that have pictures somewhere."""
        return [child for _, child in sorted(self.below.items()) if child.count]

    def all_pictures(self) -> Iterator[Member]:
        yield from self.pictures
        for child in self.below.values():
            yield from child.all_pictures()

    @property
    def name(self) -> str:
        return "/".join(self.path) or "the archive"


def class_folders(contents: Contents) -> Found | None:
    """Pictures by the folders that they lie in, or by a table that names nearly all of them.

    Raises:
        DatasetError: it cannot be told what is a class.
    """
    if not contents.pictures:
        return None
    index = PictureIndex(contents.pictures)
    tables = tables_of(contents, index)
    whole = next((table for table in tables if table.covers(contents.pictures) >= _MOST), None)
    if whole is None and (several := joined(tables)) is not None:
        whole = several if several.covers(contents.pictures) >= _MOST else None
    if whole is not None and not whole.agrees(contents.pictures):
        return _by_table(whole, contents)
    found = Found(KIND, [])
    top = _tree(contents)
    place = _place_of_parts(top)
    if place is None:
        root = _first_classes(top)
        _check_unread(root, (), contents)
        if len(root.filled()) < 2 and _take_names(found, root, None):
            _take_listed_parts(found, contents, index)
            return found
        if len(children := root.filled()) == 1:
            raise one_class(contents, children[0].path[-1])
        if not children:
            raise not_in_class_folders(contents, "at the top of the archive")
        _take_classes(found, root, None)
        _take_listed_parts(found, contents, index)
    else:
        _take_parts(found, place, tables, contents)
        if top.count > place.count:
            where = f"outside of {place.name}, which holds the parts"
            _leave(found, where, top.count - place.count)
    _tell_left_out(found, contents)
    return found


def _by_table(table: Table, contents: Contents) -> Found:
    """Raises DatasetError where the folders may be the classes as well."""
    found = table.found(contents.pictures)
    name_numbers(found, contents.texts)
    beside = ([f for f in p.path[:-1] if part_of(f) is None] for p in contents.pictures)
    places = {tuple(folders) for folders in beside if folders}
    names = {path[-1] for path in places}
    if not table.sure and len(names) > 1 and not all(map(_NUMBERED.fullmatch, names)):
        raise DatasetError(
            f"The column “{table.column}” of {table.name} may say what pictures show, and so may "
            f"their folders: {name_list(sorted(names, key=natural_key))}.",
            "Call that column label, or leave the table out.",
        )
    if len(places) > 1:
        text = f"{table.name} says what pictures show; names of folders are not used for that."
        found.warnings.append(Weakness("labels_by_table", text, len(places)))
    return found


def _tree(contents: Contents) -> _Folder:
    top = _Folder(())
    for path in sorted(contents.folders):
        _at(top, path)
    seen = set()
    for picture in contents.pictures:
        folder = _at(top, picture.path[:-1])
        # Of a name that comes twice the first: unpacking would have overwritten it.
        if picture.raw not in seen:
            seen.add(picture.raw)
            folder.pictures.append(picture)
    _count(top)
    return top


def _at(folder: _Folder, path: Path) -> _Folder:
    for name in path:
        if name not in folder.below:
            folder.below[name] = _Folder((*folder.path, name))
        folder = folder.below[name]
    return folder


def _count(folder: _Folder) -> int:
    folder.count = len(folder.pictures) + sum(map(_count, folder.below.values()))
    return folder.count


# Parts


def _place_of_parts(top: _Folder) -> _Folder | None:
    """The folder that holds the parts: the highest that has any."""
    level = [top]
    while level:
        places = [folder for folder in level if _parts_in(folder)]
        if len(places) > 1:
            raise DatasetError(
                f"Folders of parts, such as train and test, lie in several places: "
                f"{name_list(place.name for place in places)}.",
                "Pack one of them, or bring their parts together.",
            )
        if places:
            return places[0]
        level = [child for folder in level for child in folder.filled()]
    return None


def _parts_in(folder: _Folder) -> dict[Part, list[_Folder]]:
    """The parts that lie side by side in a folder, by their names.

    A name that says more than its part counts where another one says the same of another part, or
    where it stands alone. Folders without class folders are parts only beside one that has them, or
    where all that is there has the name of a part.
    """
    children = folder.filled()
    by_rest: dict[str, dict[Part, list[_Folder]]] = {}
    for child in children:
        part = part_of(child.path[-1])
        said = (part, "") if part is not None else part_and_rest(child.path[-1])
        if said is not None:
            by_rest.setdefault(said[1], {}).setdefault(said[0], []).append(child)
    for rest, parts in sorted(by_rest.items(), key=lambda item: (-len(item[1]), item[0])):
        named = [child for each in parts.values() for child in each]
        deep = any(child.filled() for child in named)
        alone = len(named) == len(children)
        if (not rest or len(parts) > 1 or alone) and (deep or (alone and len(parts) > 1)):
            return parts
    return {}


def _take_parts(found: Found, place: _Folder, tables: Sequence[Table], contents: Contents) -> None:
    parts = _parts_in(place)
    _check_unread(place, parts, contents)
    for part, folders in parts.items():
        if len(folders) > 1:
            raise DatasetError(
                f"Several folders look like the {part} part: "
                f"{name_list(folder.name for folder in folders)}.",
                "Leave one, or bring them together.",
            )
    roles = {part: folders[0] for part, folders in parts.items()}
    if Part.UNLABELLED in roles:
        folder = roles.pop(Part.UNLABELLED)
        _leave(found, f"in {folder.name}: {TO_PREDICT}", folder.count)
    flat, labelled = [], []
    for part, folder in roles.items():
        inner = _unwrapped(folder)
        if inner.filled():
            _take_classes(found, inner, part)
        elif _take_table(found, inner, part, tables):
            labelled.append(part)
        elif not _take_names(found, inner, part):
            flat.append((part, folder))
    if labelled and len(labelled) < len(roles):
        _as_folders_have_it(found, labelled)
    for part, folder in sorted(flat, key=lambda each: each[0] is not Part.TRAIN):
        if part is Part.TRAIN or not found.samples:
            raise not_in_class_folders(contents, f"in {folder.name}")
        where = f"in {folder.name}, which has no class folders: they have no labels"
        _leave(found, where, folder.count)
    used = {folder.path for folder in roles.values()}
    for child in place.filled():
        if child.path not in used and part_of(child.path[-1]) is None:
            _leave(found, f"in {child.name}, beside the parts", child.count)


def _check_unread(place: _Folder, parts: Collection[Part], contents: Contents) -> None:
    """Refuse what would leave out a whole part, besides `parts`, without a picture that is read."""
    for child in place.below.values():
        part = named_part(child.path[-1])
        if child.count or part in (None, Part.UNLABELLED) or part in parts:
            continue
        within = [m for m in contents.others if m.path[: len(child.path)] == child.path]
        unread = [m for m in within if has_suffix(m, UNREAD_SUFFIXES)]
        if unread:
            kinds = Counter(m.path[-1].rpartition(".")[2].upper() for m in unread)
            counted = ", ".join(f"{count:,} {kind} files" for kind, count in sorted(kinds.items()))
            raise DatasetError(
                f"{name_list([child.name])} holds no picture that is read: {counted}.",
                "Convert them to PNG or JPEG, or leave the folder out.",
            )


def _as_folders_have_it(found: Found, labelled: Sequence[Part]) -> None:
    """A table's numbers as the folders of other parts write them: 7 is 00007."""
    folders = {s.class_name for s in found.samples if s.part not in labelled}
    written = {int(name): name for name in folders if name.isdecimal()}
    if len(written) == len(folders):
        found.samples = [
            s._replace(class_name=written.get(int(s.class_name), s.class_name))
            if s.part in labelled and s.class_name.isdecimal()
            else s
            for s in found.samples
        ]


def _unwrapped(folder: _Folder) -> _Folder:
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


def _leave(found: Found, where: str, count: int) -> None:
    """Say that the pictures there are left out."""
    text = f"Pictures left out because they lie {where} ({count:,})."
    found.warnings.append(Weakness("folder_left_out", text, count))


def _take_table(found: Found, folder: _Folder, part: Part, tables: Sequence[Table]) -> bool:
    """Whether a table labels most of a flat part; its pictures are taken."""
    pictures = list(folder.all_pictures())
    for table in tables:
        if table.covers(pictures) >= 0.5:
            more = table.found(pictures)
            found.samples += [sample._replace(part=part) for sample in more.samples]
            found.notes += more.notes
            found.warnings += more.warnings
            found.left_out += more.left_out
            found.used |= more.used
            return True
    return False


def _take_names(found: Found, folder: _Folder, part: Part | None) -> bool:
    """Whether the names of its pictures tell classes apart; these are taken, and it is said."""
    pictures = list(folder.all_pictures())
    names = classes_in_names(pictures)
    if not names:
        return False
    found.samples += [Sample(p.ordinal, "/".join(p.path), names[p.ordinal], part) for p in pictures]
    shown = name_list(sorted(set(names.values()), key=natural_key))
    text = f"Classes are read from the names of files, such as {pictures[0].path[-1]}: {shown}."
    found.warnings.append(Weakness("classes_in_names", text, len(names)))
    return True


def _take_listed_parts(found: Found, contents: Contents, index: PictureIndex) -> None:
    """Parts by lists, where those of train and of test or validation name nearly all pictures."""
    parts, lists = listed_parts(contents, index)
    known = [sample for sample in found.samples if sample.ordinal in parts]
    told = {parts[sample.ordinal] for sample in known}
    whole = Part.TRAIN in told and not told.isdisjoint({Part.TEST, Part.VALIDATION})
    if known and whole and len(known) >= _MOST * len(found.samples):
        names = name_list("/".join(path) for path in lists)
        found.used |= set(lists)
        left = len(found.samples) - len(known)
        found.samples = [sample._replace(part=parts[sample.ordinal]) for sample in known]
        found.notes.append(f"Parts are those that {names} list.")
        if left:
            _leave(found, f"in none of {names}", left)
    unused = sorted(
        "/".join(path) for path in contents.texts
        if {"train", "test"} <= set(re.findall("[a-z]+", path[-1].lower()))
    )  # fmt: skip
    if unused:
        text = f"A split seems to be described, and is not used: {name_list(unused)}."
        found.warnings.append(Weakness("split_not_used", text, len(unused)))


# Classes


def _first_classes(top: _Folder) -> _Folder:
    """The folder that the classes lie in: the first on the way down that has more than one."""
    folder = top
    while len(children := folder.filled()) == 1 and any(c.filled() for c in children):
        folder = children[0]
    return folder


def _take_classes(found: Found, root: _Folder, part: Part | None) -> None:
    children = sorted(root.below.values(), key=lambda child: natural_key(child.path[-1]))
    if part is None:
        _check_siblings(children)
    _tell_depth(found, children)
    if empty := [child.path[-1] for child in children if not child.count]:
        raise DatasetError(
            f"Class folders without images: {name_list(empty)}.",
            "Add PNG or JPEG images to them, or remove the folders.",
        )
    for child in children:
        found.samples += [
            Sample(picture.ordinal, "/".join(picture.path), child.path[-1], part)
            for picture in child.all_pictures()
        ]


def _tell_depth(found: Found, children: Sequence[_Folder]) -> None:
    """Say where a class has folders of its own: those may have been meant."""
    deep = [child for child in children if len(_unwrapped(child).filled()) > 1]
    if deep:
        within = name_list(f.path[-1] for f in _unwrapped(deep[0]).filled())
        text = (
            f"{len(deep):,} of {len(children):,} class folders hold folders of pictures, such as "
            f"{deep[0].path[-1]} with {within}: all of these are one class. Where each is a class, "
            "pack them side by side."
        )
        found.warnings.append(Weakness("folders_in_classes", text, len(deep)))
    lone: dict[str, list[str]] = {}
    for child in children:
        inner = _unwrapped(child).filled()
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


def _check_siblings(children: Sequence[_Folder]) -> None:
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
    within = {child.path: {f.path[-1] for f in _unwrapped(child).filled()} for child in children}
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


def _tell_left_out(found: Found, contents: Contents) -> None:
    taken = {sample.ordinal for sample in found.samples}
    names = {sample.class_name for sample in found.samples}
    if len(names) > 1 and all(_NUMBERED.fullmatch(name) for name in names):
        text = (
            f"The folders {name_list(sorted(names, key=natural_key))} are named like shares of one "
            "whole; each is taken as a class."
        )
        found.warnings.append(Weakness("numbered_folders", text, len(names)))
    if alike := sorted(name for name in names if part_of(name)):
        text = f"Folders named like parts are taken as classes: {name_list(alike)}."
        found.warnings.append(Weakness("classes_like_parts", text, len(alike)))
    if masks := masks_of_others([p for p in contents.pictures if p.ordinal in taken]):
        text = (
            f"Pictures that seem to be masks of others, by names such as {masks[0].path[-1]}, are "
            f"taken as pictures of their class ({len(masks):,}): leave them out of the archive."
        )
        found.warnings.append(Weakness("masks_taken", text, len(masks)))
    seen: set[str] = set()
    for picture in contents.pictures:
        twice = picture.raw in seen
        seen.add(picture.raw)
        if picture.ordinal not in taken:
            reason = (
                "pictures of a name that comes twice"
                if twice
                else "pictures outside of class folders"
            )
            found.left_out[reason] += 1
