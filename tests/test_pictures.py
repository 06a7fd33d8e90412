"""The pictures of the README and the documents: all there, and none that nobody shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAXIMUM_BYTES = 2_500_000
"""Of `docs/pictures`: every version of it stays in the history."""


def shown(page: Path) -> set[Path]:
    targets = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve() for target in targets}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_picture_that_a_page_shows_exists(page: Path) -> None:
    assert [picture for picture in shown(page) if not picture.is_file()] == []


def test_every_picture_is_shown() -> None:
    kept = {*(ROOT / "docs").rglob("*.png"), *(ROOT / "docs").rglob("*.svg")}
    assert kept - {picture for page in PAGES for picture in shown(page)} == set()


def test_pictures_stay_small() -> None:
    pictures = (ROOT / "docs" / "pictures").glob("*.png")
    assert 0 < sum(picture.stat().st_size for picture in pictures) < MAXIMUM_BYTES
