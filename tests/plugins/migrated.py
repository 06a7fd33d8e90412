"""A migrated SQLite file, copied for each lab: the migrations themselves run once a process."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from app.store.db import Database

_NAME = "lab.sqlite3"


def lay_out(folder: Path) -> str:
    """Put the tables into a lab's folder that has none yet; returns the URL of its database."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _NAME
    if not file.exists():
        file.write_bytes(_template())
    return f"sqlite:///{file}"


@lru_cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, _NAME)
        database = Database(f"sqlite:///{file}")
        database.migrate()
        database.close()
        return file.read_bytes()
