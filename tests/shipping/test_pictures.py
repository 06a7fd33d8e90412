"""The pictures that the lab ships: small, of free licence, and named wherever they must be."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from app.contracts.results import Picture
from app.services.reencoding import IMAGE_FORMATS
from app.store.showcase import EXAMPLES, picture_file, pool
from tests.test_models_in_the_box import CLASSES

NOTICE = (EXAMPLES / "NOTICE").read_text(encoding="utf-8")


@pytest.mark.parametrize("picture", pool(), ids=lambda picture: picture.name)
def test_a_picture_is_a_small_square_with_its_licence(picture: Picture) -> None:
    path = picture_file(picture.name)
    with Image.open(path, formats=IMAGE_FORMATS) as image:
        assert image.size == (160, 160)
        image.load()
    section = next(part for part in NOTICE.split("\n\n") if part.startswith(f"{path.name}\n"))
    for fact in (picture.title, picture.author, picture.source, picture.found_in, picture.changed):
        assert fact in section
    assert picture.licence.casefold() in section.casefold()
    assert picture.label in CLASSES


def test_every_file_is_a_picture_of_the_list_once() -> None:
    names = [picture.name for picture in pool()]
    assert len(set(names)) == len(names)
    there = {path.name for path in EXAMPLES.iterdir()}
    assert there == {f"{name}.jpg" for name in names} | {"NOTICE", "pictures.json"}
    assert sum(Path(EXAMPLES / name).stat().st_size for name in there) < 500_000


def test_there_is_a_picture_of_every_class() -> None:
    assert {picture.label for picture in pool()} == set(CLASSES)


@pytest.mark.parametrize("picture", pool(), ids=lambda picture: picture.name)
def test_a_credit_leads_to_the_very_picture(picture: Picture) -> None:
    """By the address of its page, or by the name of its file."""
    of_its_own = urlsplit(picture.source).path.strip("/") != ""
    assert of_its_own or picture.found_in.split(", ")[-1] in picture.credit
    assert picture.author in picture.credit
    assert picture.licence in picture.credit
