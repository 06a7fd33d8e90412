"""The map of the rooms: made from the imports, kept beside them, and without a circle."""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "docs" / "architecture.py"


@pytest.fixture(scope="module")
def architecture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("architecture", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def house(folder: Path, files: Mapping[str, str]) -> Path:
    """A small house of these files; a folder's docstring is its name."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


SMALL = {
    "app/__init__.py": "",
    "app/main.py": '"""Starts it. And more."""\nfrom app.web import pages\nimport app.store.db\n',
    "app/web/__init__.py": "",
    "app/web/words.py": '"""Words."""\n',
    "app/web/pages/__init__.py": '"""Pages."""\n',
    "app/web/pages/jobs.py": "from .. import words\ndef show():\n    from ...store.db import x\n",
    "app/store/__init__.py": '"""Tables."""\n',
    "app/store/db.py": "from app.store.old import first\nfrom app.contracts import jobs\n",
    "app/store/old/first.py": "import json\n",
    "app/contracts/__init__.py": '"""Shared."""\n',
    "app/contracts/jobs.py": "",
    "worker/run.py": "from app.store import db\nfrom app.contracts import jobs\n",
}


def test_page_and_picture_are_what_the_imports_say(architecture: ModuleType) -> None:
    stale = [
        path
        for path, text in architecture.made(ROOT).items()
        if not (ROOT / path).exists() or (ROOT / path).read_text(encoding="utf-8") != text
    ]
    assert stale == [], "Imports have changed: run `python docs/architecture.py`, look, commit."


def test_a_room_is_a_folder_or_a_file_beside_folders(
    architecture: ModuleType, tmp_path: Path
) -> None:
    assert architecture.rooms(house(tmp_path, SMALL)) == {
        "app/main.py": {"app/web/pages", "app/store"},
        "app/web/pages": {"app/web/words.py", "app/store"},
        "app/web/words.py": set(),
        "app/store": {"app/contracts"},
        "app/contracts": set(),
        "worker": {"app/store", "app/contracts"},
    }


def test_every_arrow_points_down_and_what_follows_is_left_out(
    architecture: ModuleType, tmp_path: Path
) -> None:
    rooms = architecture.rooms(house(tmp_path, SMALL))
    floors = architecture.floors(rooms)
    assert all(floors[room] > floors[to] for room in rooms for to in rooms[room])
    assert (floors["app/contracts"], floors["app/main.py"]) == (0, 3)
    assert architecture.told_once(rooms)["worker"] == {"app/store"}
    assert architecture.told_once(rooms)["app/main.py"] == {"app/web/pages"}


def test_a_circle_is_named_and_nothing_is_drawn(architecture: ModuleType, tmp_path: Path) -> None:
    files = SMALL | {"app/contracts/jobs.py": "def late():\n    import app.web.words\n",
                     "app/web/words.py": "from app import store\n"}  # fmt: skip
    with pytest.raises(architecture.Circle) as circle:
        architecture.floors(architecture.rooms(house(tmp_path, files)))
    assert re.search(r"app/contracts -> app/web/words.py -> app/store", f"{circle.value} " * 2)


def test_the_picture_shows_every_room_once_inside_its_frame(architecture: ModuleType) -> None:
    rooms = architecture.rooms(ROOT)
    svg = ElementTree.fromstring(architecture.picture(rooms))
    space = "{http://www.w3.org/2000/svg}"
    width, height = (float(side) for side in svg.attrib["viewBox"].split()[2:])
    names = [text.text for text in svg.iter(f"{space}text") if "class" not in text.attrib]
    assert sorted(filter(None, names)) == sorted(room.removesuffix(".py") for room in rooms)
    boxes = [box for box in svg.iter(f"{space}rect") if "room" in box.attrib["class"]]
    for one in boxes:
        x, y, w, h = (float(one.attrib[name]) for name in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    places = sorted(
        (float(b.attrib["y"]), float(b.attrib["x"]), float(b.attrib["width"])) for b in boxes
    )
    for (y, x, w), (other_y, other_x, _) in itertools.pairwise(places):
        assert y != other_y or x + w < other_x


def test_the_script_fills_the_page_and_nothing_beside_it(
    architecture: ModuleType, tmp_path: Path
) -> None:
    page = f"# Rooms\n{architecture.BEGIN}old\n{architecture.END}\nAfter.\n"
    root = house(tmp_path, SMALL | {architecture.PAGE: page})
    assert architecture.main(root) == 0
    written = (root / architecture.PAGE).read_text()
    assert written.startswith(f"# Rooms\n{architecture.BEGIN}| floor |")
    assert "| 3 | `app/main.py` | Starts it | `app/store`, `app/web/pages` |\n" in written
    assert written.endswith(f"|  |\n{architecture.END}\nAfter.\n")
    assert (root / architecture.PICTURE).read_text() == architecture.picture(
        architecture.rooms(root)
    )
    house(tmp_path, {"app/contracts/jobs.py": "import app.main\n"})
    assert architecture.main(root) == 1
    assert (root / architecture.PAGE).read_text() == written


def test_every_decision_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([\w./-]+)\)", page)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
