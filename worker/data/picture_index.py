"""Finds the pictures that tables speak of, and the parts that paths and names of tables say."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import itemgetter
from pathlib import PurePosixPath

from worker.data.members import Member
from worker.data.names import Path
from worker.data.roles import Part, part_and_rest, part_of

_ABOUT = (
    "label", "labels", "annotation", "annotations", "metadata", "gt", "groundtruth", "list", "info",
)  # fmt: skip


class PictureIndex:
    """Finds pictures by what tables call them: a path, a name, or a name without its suffix.

    Paths are kept from their ends, sorted: those that end alike are neighbours.
    """

    def __init__(self, pictures: Sequence[Member]) -> None:
        ends: list[tuple[Path, Member]] = []
        for picture in pictures:
            *folders, name = (part.casefold() for part in picture.path)
            called = (name, name.rpartition(".")[0])
            ends += [((each, *reversed(folders)), picture) for each in called]
        ends.sort(key=itemgetter(0))
        self._ends = [end for end, _ in ends]
        self._pictures = [picture for _, picture in ends]
        self._told: dict[tuple[Path, Path], Member | None] = {}

    def find(self, said: str, table: Path) -> Member | None:
        """The picture; of several of a name the one that the path or the table's own name tells."""
        path = PurePosixPath(said.replace("\\", "/").casefold())
        end = tuple(part for part in reversed(path.parts) if part not in "./")
        if not end:
            return None
        found = self._ending(end[:1])
        if len(found) > 1:
            found = self._ending(end)
        if len(found) < 2:
            picture = self._pictures[found[0]] if found else None
            return None if picture is None or _of_other_parts(picture, end) else picture
        if (end, table) not in self._told:
            self._told[end, table] = _told([self._pictures[at] for at in found], table)
        return self._told[end, table]

    def _ending(self, end: Path) -> range:
        """Where the paths are that end so."""
        behind = (*end[:-1], f"{end[-1]}\0")  # no text lies between these two
        return range(bisect_left(self._ends, end), bisect_left(self._ends, behind))


def _of_other_parts(picture: Member, end: Path) -> bool:
    """Whether a picture lies in `test` where a table speaks of one in `train`."""
    said, there = part_of_path(end[1:]), part_of_path(picture.path[-2::-1])
    return said is not None and there is not None and said is not there


def _told(found: Sequence[Member], table: Path) -> Member | None:
    """Of several pictures that a table may mean the one that lies where the table is, or says."""
    found = [m for m in found if m.path[: len(table) - 1] == table[:-1]] or found
    if len(found) > 1 and (mine := part_of_table(table[-1])) is not None:
        found = [m for m in found if part_of_path(m.path[:-1]) is mine]
    return found[0] if len(found) == 1 else None


def part_of_path(path: Path) -> Part | None:
    """What the first of these folders says that speaks of one."""
    return next((part for name in path if (part := part_of(name)) is not None), None)


def part_of_table(name: str) -> Part | None:
    """Of `train.csv`, `trainLabels.csv`, `val_annotations.txt`."""
    stem = name.rpartition(".")[0]
    part = part_of(stem)
    said = part_and_rest(stem) if part is None else None
    return said[0] if said is not None and said[1].replace(" ", "") in _ABOUT else part
