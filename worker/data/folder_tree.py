"""The folders of an archive, as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from worker.data.layout import Contents
from worker.data.members import Member
from worker.data.names import Path


@dataclass
class Folder:
    """A folder, the pictures in it and the folders below it."""

    path: Path
    pictures: list[Member] = field(default_factory=list)
    below: dict[str, Folder] = field(default_factory=dict)
    count: int = 0
    """Pictures here and anywhere below."""

    def filled(self) -> list[Folder]:
        """Folders right below that have pictures somewhere."""
        return [child for _, child in sorted(self.below.items()) if child.count]

    def all_pictures(self) -> Iterator[Member]:
        yield from self.pictures
        for child in self.below.values():
            yield from child.all_pictures()

    @property
    def name(self) -> str:
        return "/".join(self.path) or "the archive"


def tree_of(contents: Contents) -> Folder:
    """The topmost folder; of pictures of one name there is the first."""
    top = Folder(())
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


def _at(folder: Folder, path: Path) -> Folder:
    for name in path:
        if name not in folder.below:
            folder.below[name] = Folder((*folder.path, name))
        folder = folder.below[name]
    return folder


def _count(folder: Folder) -> int:
    folder.count = len(folder.pictures) + sum(map(_count, folder.below.values()))
    return folder.count
