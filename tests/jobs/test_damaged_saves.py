"""What was kept of a job, and is not what was written, is noticed whatever became of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from worker.jobs.saves import UNREADABLE, read, write

SAVED = {"facts": "f", "seconds": 1.5, "measured": {"x": torch.arange(40.0), "rows": [1, 2, 3]}}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    write(tmp_path / "page.pt", SAVED)
    return tmp_path / "page.pt"


def is_noticed(page: Path, data: bytes) -> bool:
    """Else it is read as it was written."""
    page.write_bytes(data)
    try:
        found = read(page)
    except UNREADABLE:
        return True
    assert torch.equal(found["measured"].pop("x"), SAVED["measured"]["x"])  # type: ignore[index]
    rest = {name: value for name, value in SAVED["measured"].items() if name != "x"}  # type: ignore[attr-defined]
    assert found == SAVED | {"measured": rest}
    return False


def test_what_is_whole_is_read(page: Path) -> None:
    assert not is_noticed(page, page.read_bytes())


def test_what_is_cut_short_is_noticed(page: Path) -> None:
    whole = page.read_bytes()
    assert all(is_noticed(page, whole[:length]) for length in range(0, len(whole), 7))


def test_another_bit_anywhere_is_noticed_or_changes_nothing(page: Path) -> None:
    whole, rng = page.read_bytes(), random.Random(5)
    noticed = 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << rng.randrange(8)
        noticed += is_noticed(page, bytes(data))
    assert noticed > 200, "the tensor and the entries, if not what fills up the file"


def test_a_page_of_zeros_is_noticed(page: Path) -> None:
    """As a file system leaves them that lost its power."""
    assert is_noticed(page, bytes(len(page.read_bytes())))
