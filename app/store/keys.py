"""Keys that nobody else knows and all web processes of a lab share."""

from __future__ import annotations

import secrets

from app.store.db import Database, Turn
from app.store.tables import KeyRow


def kept(database: Database, name: str) -> bytes:
    """The key of this name, drawn by who first asks for it. 32 bytes."""
    with database.reading() as session:
        row = session.get(KeyRow, name)
    if row is None:
        with database.writing(Turn.REGISTER) as session:
            row = session.get(KeyRow, name) or KeyRow(name=name, key=secrets.token_hex(32))
            session.add(row)
    return bytes.fromhex(row.key)
