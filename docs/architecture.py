"""Draws the map of `docs/architecture.md` from the imports: `python docs/architecture.py`.

A room is a folder of modules, or a module that lies beside rooms. Every import counts, also one
inside a function. A room stands one floor above the highest room that it imports, so that every
arrow points down; where rooms import each other in a circle there is no such order, and the script
says which they are and ends with 1.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE, PICTURE = "docs/architecture.md", "docs/architecture.svg"
BEGIN, END = "<!-- rooms -->\n", "<!-- end of rooms -->"
HOUSES = ("app", "worker")
BESIDE = ("imagefile.py", "confinement.py", "devices.py", "journal.py")
"""Modules that serve both houses and know neither."""
DIVIDED = {*HOUSES, "app/web"}
"""Folders whose parts are rooms; any other folder is one room with all that is in it."""

Rooms = dict[str, set[str]]
"""Each room and the rooms that it imports."""


class Circle(Exception):
    """Rooms that import each other, in the order of their imports."""

    def __init__(self, rooms: list[str]) -> None:
        super().__init__(f"rooms import each other: {' -> '.join([*rooms, rooms[0]])}")


# From files to rooms


def modules(root: Path) -> dict[str, Path]:
    """The files of the houses and beside them, by the name under which they are imported."""
    files = [path for house in HOUSES for path in sorted((root / house).rglob("*.py"))]
    files += [path for path in (root / name for name in BESIDE) if path.exists()]
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in files
    }


def room_of(path: Path, root: Path) -> str:
    """`app/services`, `app/web/pages`, `app/queue.py`; a divided folder's `__init__` is its own."""
    folder = root
    for part in path.relative_to(root).parts:
        folder /= part
        divided = folder.relative_to(root).as_posix() in DIVIDED
        if not (divided and _has_folders(folder)):
            break
    return folder.relative_to(root).as_posix()


def _has_folders(folder: Path) -> bool:
    return any(folder.glob("*/*.py"))


def imported(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of the houses that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, name, is_package=path.name == "__init__.py")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if inner in known or base in known:
                    yield inner if inner in known else base


def _absolute(node: ast.ImportFrom, name: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    above = parts[: len(parts) - node.level + is_package]
    return ".".join([*above, node.module] if node.module else above)


def rooms(root: Path) -> Rooms:
    """Every room with its imports. Packages that are divided and say nothing are left out."""
    known = modules(root)
    found: Rooms = {}
    for name, path in known.items():
        room = room_of(path, root)
        others = {room_of(known[module], root) for module in imported(name, path, known)}
        found.setdefault(room, set()).update(others - {room})
    silent = {room for room in found if room.endswith("/__init__.py") and not found[room]}
    return {room: to - silent for room, to in sorted(found.items()) if room not in silent}


def floors(found: Rooms) -> dict[str, int]:
    """The floor of each room, from 0. Raises Circle."""
    heights: dict[str, int] = {}
    path: list[str] = []

    def climb(room: str) -> int:
        if room in path:
            raise Circle(path[path.index(room) :])
        if room not in heights:
            path.append(room)
            heights[room] = 1 + max((climb(below) for below in sorted(found[room])), default=-1)
            path.pop()
        return heights[room]

    for room in sorted(found):
        climb(room)
    return heights


def told_once(found: Rooms) -> Rooms:
    """Without the arrows that follow from others: what is below my neighbour is below me."""
    reached: Rooms = {}
    for room in sorted(found, key=floors(found).__getitem__):
        reached[room] = set(found[room]).union(*(reached[below] for below in found[room]))
    return {
        room: {to for to in below if not any(to in reached[other] for other in below)}
        for room, below in found.items()
    }


# From rooms to a picture: layers, with a narrow stop on each floor that an arrow passes

GAP, BAND, BOX, MARGIN = 14, 66, 30, 24
SQUEEZE = 0.6
"""How much of their distance spots keep in the end: less is narrower, with arrows more aslant."""
STYLE = """
  text { font: 14px ui-monospace, Menlo, Consolas, "Liberation Mono", monospace; fill: #1a2026; }
  .title { font: 600 17px system-ui, "Helvetica Neue", Arial, sans-serif; }
  .hint { font: 14px system-ui, "Helvetica Neue", Arial, sans-serif; fill: #56616c; }
  .ground { fill: #f5f6f7; }
  .room { fill: #ffffff; stroke: #8b96a0; }
  .worker { fill: #e6e9ec; }
  .arrow { fill: none; stroke: #8b96a0; stroke-opacity: 0.75; }
  .tip { fill: #8b96a0; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e5e9ed; }
    .hint { fill: #9ba7b2; }
    .ground { fill: #101418; }
    .room { fill: #181d22; stroke: #66727d; }
    .worker { fill: #2c343c; }
    .arrow { stroke: #66727d; }
    .tip { fill: #66727d; }
  }
"""


@dataclass(eq=False)
class Spot:
    """A place on a floor: a room, or a stop of an arrow that goes further down."""

    room: str | None
    floor: int
    below: list[Spot] = field(default_factory=list)
    above: list[Spot] = field(default_factory=list)
    x: float = 0.0
    """The middle."""

    @property
    def width(self) -> float:
        return 6.0 if self.room is None else 8.5 * len(self.name) + 16

    @property
    def name(self) -> str:
        return (self.room or "").removesuffix(".py")

    def nearest(self, others: Iterable[Spot]) -> float:
        places = [other.x for other in others]
        return sum(places) / len(places) if places else self.x


def spots(found: Rooms) -> list[list[Spot]]:
    """The floors from the ground up, each from left to right, without coordinates."""
    heights = floors(found)
    layers: list[list[Spot]] = [[] for _ in range(1 + max(heights.values()))]
    placed = {room: Spot(room, height) for room, height in heights.items()}
    for room in sorted(placed):
        layers[heights[room]].append(placed[room])
    for room, below in sorted(told_once(found).items()):
        for to in sorted(below):
            spot = placed[room]
            for floor in range(heights[room] - 1, heights[to], -1):
                stop = Spot(None, floor)
                layers[floor].append(stop)
                _join(spot, stop)
                spot = stop
            _join(spot, placed[to])
    return layers


def _join(upper: Spot, lower: Spot) -> None:
    upper.below.append(lower)
    lower.above.append(upper)


def arrange(layers: list[list[Spot]]) -> float:
    """Give every spot its place, near those that it is joined to; returns the width."""
    for layer in layers:
        _spread(layer, [float(i) for i in range(len(layer))])
    for turn in range(24):
        for layer in layers if turn % 2 == 0 else reversed(layers):
            wanted = [spot.nearest(spot.below if turn % 2 == 0 else spot.above) for spot in layer]
            order = sorted(range(len(layer)), key=wanted.__getitem__)
            layer[:] = [layer[i] for i in order]
            _spread(layer, [wanted[i] for i in order])
    for layer in layers:
        _spread(layer, [SQUEEZE * spot.x for spot in layer])
    every = [spot for layer in layers for spot in layer]
    left = min(spot.x - spot.width / 2 for spot in every)
    for spot in every:
        spot.x += MARGIN - left
    return max(spot.x + spot.width / 2 for spot in every) + MARGIN


def _spread(layer: list[Spot], wanted: list[float]) -> None:
    """As near as can be to the places wanted, in this order, without touching."""
    edge = -1e9
    for spot, x in zip(layer, wanted, strict=True):
        spot.x = max(x, edge + spot.width / 2)
        edge = spot.x + spot.width / 2 + GAP
    shift = sum(x - spot.x for spot, x in zip(layer, wanted, strict=True)) / len(layer)
    for spot in layer:
        spot.x += shift


def picture(found: Rooms) -> str:
    """The map as SVG."""
    layers = spots(found)
    width = arrange(layers)
    height = BAND * len(layers) + 2 * MARGIN + 36

    def top(spot: Spot) -> float:
        return height - MARGIN - BOX - BAND * spot.floor

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        'role="img" aria-labelledby="title">',
        '<title id="title">The rooms of AGKD-BML Lab and their imports</title>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="tip" d="M0 0.5L8 4L0 7.5z"/></marker></defs>',
        f'<rect class="ground" width="{width:.0f}" height="{height:.0f}" rx="6"/>',
        f'<text class="title" x="{MARGIN}" y="{MARGIN + 10}">Who imports whom</text>',
        f'<text class="hint" x="{MARGIN}" y="{MARGIN + 32}">Arrows point down, from a room to what '
        "it imports; those that follow from others are left out. Shaded: the worker.</text>",
    ]
    for spot in (spot for layer in layers for spot in layer if spot.room is not None):
        lines += [_arrow(spot, below, top) for below in spot.below]
    for spot in (spot for layer in layers for spot in layer):
        if spot.room is not None:
            lines.append(_box(spot, top(spot)))
    return "\n".join([*lines, "</svg>", ""])


def _arrow(start: Spot, stop: Spot, top: Callable[[Spot], float]) -> str:
    x, y = start.x, top(start) + BOX
    path = f"M{x:.0f} {y:.0f}"
    while True:
        end = top(stop)
        middle = (y + end) / 2
        path += f"C{x:.0f} {middle:.0f} {stop.x:.0f} {middle:.0f} {stop.x:.0f} {end:.0f}"
        if stop.room is not None:
            return f'<path class="arrow" marker-end="url(#tip)" d="{path}"/>'
        x, y = stop.x, end + BOX
        path += f"V{y:.0f}"
        (stop,) = stop.below


def _box(spot: Spot, top: float) -> str:
    assert spot.room is not None
    kind = "room worker" if spot.room.startswith("worker") else "room"
    return (
        f'<rect class="{kind}" x="{spot.x - spot.width / 2:.0f}" y="{top:.0f}" '
        f'width="{spot.width:.0f}" height="{BOX}" rx="4"/>'
        f'<text x="{spot.x:.0f}" y="{top + 20:.0f}" text-anchor="middle">{escape(spot.name)}</text>'
    )


# From rooms to a page


def says(room: str, root: Path) -> str:
    """The first sentence of the room's docstring, without its full stop."""
    path = root / room if room.endswith(".py") else root / room / "__init__.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else None
    first = " ".join((text or "").split("\n\n")[0].split())
    return first.split(". ")[0].removesuffix(".")


def table(found: Rooms, root: Path) -> str:
    """The same in words, from the top floor down."""
    heights = floors(found)
    lines = ["| floor | room | what it is | imports |", "| ---: | --- | --- | --- |"]
    for room in sorted(found, key=lambda one: (-heights[one], one)):
        knows = ", ".join(f"`{to}`" for to in sorted(found[room]))
        lines.append(f"| {heights[room]} | `{room}` | {says(room, root)} | {knows} |")
    return "\n".join([*lines, ""])


def made(root: Path) -> dict[str, str]:
    """What the files should hold, by their paths. Raises Circle."""
    found = rooms(root)
    before, begin, rest = (root / PAGE).read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    return {
        PAGE: f"{before}{begin}{table(found, root)}{end}{after}",
        PICTURE: picture(found),
    }


def main(root: Path = ROOT) -> int:
    try:
        files = made(root)
    except Circle as circle:
        print(circle, file=sys.stderr)
        return 1
    for path, text in files.items():
        (root / path).write_text(text, encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
